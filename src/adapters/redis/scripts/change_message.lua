-- Changes a message, if it is still as it was seen, appends events to it, and tells who listens.
--
-- KEYS  its state, its stream, the index of messages by their producers' silence; then idempotency keys to remember
-- ARGV  the version that was seen ('' for a message that is not there), the new version; the message's id; its channel;
--       when its producer was last seen; ms that an idempotency key is known; what is told of the database; how many fields and their names and values;
--       how many events and the id in the stream, number and envelope of each; then what the idempotency keys hold
-- Gives 1 if the message is now as asked for, 0 if somebody else has changed it.

local state, stream, index = KEYS[1], KEYS[2], KEYS[3]
local seen_version, new_version, id, channel, seen_at, window_ms, database_mark = unpack(ARGV, 1, 7)
local version = redis.call('HGET', state, 'version') or ''
-- A driver that had to send this twice changes nothing the second time.
if version == new_version then return 1 end
if version ~= seen_version then return 0 end

local at = 8
local function take(count)
  local first = at
  at = at + count
  return unpack(ARGV, first, at - 1)
end

redis.call('HSET', state, 'version', new_version, take(2 * take(1)))
redis.call('ZADD', index, seen_at, id)
for _ = 1, tonumber(take(1)) do
  local stream_id, number, envelope = take(3)
  redis.call('XADD', stream, stream_id, 'event', envelope)
  redis.call('PUBLISH', channel, '{"id":"' .. number .. '",' .. database_mark .. string.sub(envelope, 2))
end
for n = 4, #KEYS do redis.call('SET', KEYS[n], take(1), 'PX', window_ms) end
return 1
