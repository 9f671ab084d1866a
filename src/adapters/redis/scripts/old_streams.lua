-- Users whose streams may have no entry that is still within a stream's life.
--
-- KEYS  the index of users' streams by their newest entries
-- ARGV  ms that a stream outlives its newest entry; most users

return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. text(time_ms() - ARGV[1]), 'LIMIT', 0, ARGV[2])
