-- Takes a turn, keeps it or gives it back.
--
-- KEYS  the turn
-- ARGV  its holder; ms that it lasts, 0 to give it back
-- Gives 1 if it is, or was, this holder's, 0 if it is another's.

local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('UNLINK', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
