-- Holds on to connection slots of one slot's users, also to those that had ended. A key of another type is left alone.
--
-- KEYS  the leases of the user of each
-- ARGV  ms that they hold from now on; then the leases

local ttl_ms, now = tonumber(ARGV[1]), time_ms()
for n = 1, #KEYS do
  local added = redis.pcall('ZADD', KEYS[n], text(now + ttl_ms), ARGV[n + 1])
  if type(added) == 'number' then
    if redis.call('PTTL', KEYS[n]) < ttl_ms then redis.call('PEXPIRE', KEYS[n], ttl_ms) end
  elseif not string.find(added.err, 'WRONGTYPE', 1, true) then
    return added
  end
end
