-- Allows a user one snapshot after a position that takes nothing from the budget.
--
-- KEYS  where snapshots were capped
-- ARGV  the position; ms that it is good; most that are kept, of which the oldest give way

local key, position, within_ms, count_max, now = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), time_ms()
local left = continuations_at(key, now)
for n = 1, #left - count_max + 1 do redis.call('LREM', key, 1, left[n]) end
redis.call('RPUSH', key, text(now + within_ms) .. ' ' .. position)
if redis.call('PTTL', key) < within_ms then redis.call('PEXPIRE', key, within_ms) end
