-- Takes a connection slot of a user.
--
-- KEYS  the user's leases, by when they end
-- ARGV  the lease; most leases; ms that it holds
-- Gives 1 if it was granted.

local lease, cap, ttl_ms, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), time_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now))
if not redis.call('ZSCORE', KEYS[1], lease) and redis.call('ZCARD', KEYS[1]) >= cap then return 0 end
redis.call('ZADD', KEYS[1], text(now + ttl_ms), lease)
if redis.call('PTTL', KEYS[1]) < ttl_ms then redis.call('PEXPIRE', KEYS[1], ttl_ms) end
return 1
