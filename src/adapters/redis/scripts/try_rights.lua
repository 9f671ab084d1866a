-- Tries what the other scripts call, on a key that is only there meanwhile.
--
-- KEYS  the key
-- ARGV  a channel
-- Gives the names of what the user of this connection may not do.

local key, channel = KEYS[1], ARGV[1]
local lacking = {}

local function try(command, ...)
  local answer = redis.pcall(command, ...)
  local refused = type(answer) == 'table' and answer.err and string.find(answer.err, 'The user executing the script', 1, true)
  if refused then lacking[#lacking + 1] = command end
  return not refused
end

if try('UNLINK', key) then
  try('HSET', key, 'name', '')
  try('HGET', key, 'name')
  try('HGETALL', key)
  redis.call('UNLINK', key)
  try('ZADD', key, 0, '')
  try('ZCARD', key)
  try('ZCOUNT', key, 0, 0)
  try('ZSCORE', key, '')
  try('ZRANGEBYSCORE', key, 0, 0)
  try('ZREMRANGEBYSCORE', key, 1, 1)
  try('ZREM', key, '')
  redis.call('UNLINK', key)
  try('RPUSH', key, '')
  try('LRANGE', key, 0, 0)
  try('LREM', key, 1, '')
  redis.call('UNLINK', key)
  try('SET', key, '', 'PX', 1000)
  try('GET', key)
  try('PTTL', key)
  try('PEXPIRE', key, 1000)
  try('PERSIST', key)
  redis.call('UNLINK', key)
end
try('XADD', key, 'NOMKSTREAM', '*', 'name', '')
try('XRANGE', key, '-', '+')
try('XREVRANGE', key, '+', '-')
try('XLEN', key)
try('XTRIM', key, 'MINID', 0)
try('XINFO', 'STREAM', key)
try('TIME')
try('PUBLISH', channel, '')
return lacking
