-- Holds on to connection slots of one slot's users, also to those that had ended.
--
-- KEYS  the leases of the user of each
-- ARGV  ms that they hold from now on; then the leases

local ttl_ms, now = tonumber(ARGV[1]), time_ms()
for n = 1, #KEYS do
  redis.call('ZADD', KEYS[n], text(now + ttl_ms), ARGV[n + 1])
  if redis.call('PTTL', KEYS[n]) < ttl_ms then redis.call('PEXPIRE', KEYS[n], ttl_ms) end
end
