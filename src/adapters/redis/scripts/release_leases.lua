-- Gives connection slots of one slot's users back. A key of another type is left alone.
--
-- KEYS  the leases of the user of each
-- ARGV  the leases

for n = 1, #KEYS do
  local removed = redis.pcall('ZREM', KEYS[n], ARGV[n])
  if type(removed) == 'table' and not string.find(removed.err, 'WRONGTYPE', 1, true) then return removed end
end
