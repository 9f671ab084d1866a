-- Messages whose producers were last seen before some time, those that have been silent for longest first.
--
-- KEYS  the index of messages by their producers' silence
-- ARGV  ms of silence; most messages
-- Gives the time before which they were seen last, and their ids.

local seen_before = time_ms() - ARGV[1]
return { text(seen_before), redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. text(seen_before), 'LIMIT', 0, ARGV[2]) }
