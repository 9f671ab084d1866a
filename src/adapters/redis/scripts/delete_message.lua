-- Removes a message with its events, and tells who listens.
--
-- KEYS  its state, its stream, the index of messages by their producers' silence
-- ARGV  its id; its channel; the time before which its producer must have been seen last ('' for whenever)
-- Gives 1 if it was removed, 0 if it was not there or its producer has been seen since.

local state, stream, index = KEYS[1], KEYS[2], KEYS[3]
local id, channel, seen_before = ARGV[1], ARGV[2], tonumber(ARGV[3])
local seen_at = tonumber(redis.call('HGET', state, 'producer_seen_at') or 0)
if seen_before and seen_at >= seen_before then return 0 end
local removed = redis.call('UNLINK', state)
redis.call('UNLINK', stream)
redis.call('ZREM', index, id)
if removed == 1 then redis.call('PUBLISH', channel, '{}') end
return removed
