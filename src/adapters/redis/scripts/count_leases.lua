-- How many connection slots a user holds.
--
-- KEYS  the user's leases, by when they end

return redis.call('ZCOUNT', KEYS[1], '(' .. text(time_ms()), '+inf')
