-- Gives connection slots of one slot's users back.
--
-- KEYS  the leases of the user of each
-- ARGV  the leases

for n = 1, #KEYS do redis.call('ZREM', KEYS[n], ARGV[n]) end
