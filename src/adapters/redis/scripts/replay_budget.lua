-- A user's replays within a sliding window.
--
-- KEYS  the times of the replays that were granted; where snapshots were capped, as `allow_continuation.lua` keeps it
-- ARGV  most replays within the window; ms of the window; 1 to take one (0 only looks); the position of the client that asks
-- Gives 1 and how many are left, or 0 and in how many ms the next one is free.

local limit, window_ms, takes, now = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1', time_ms()
local granted = {}
for _, at in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local age_ms = now - tonumber(at)
  -- Grants from the future come from a clock that has stepped back since; to keep them would lock the user out.
  if age_ms >= 0 and age_ms < window_ms then
    granted[#granted + 1] = tonumber(at)
  elseif takes then
    redis.call('LREM', KEYS[1], 1, at)
  end
end
local left = math.max(0, limit - #granted)
if not takes or take_continuation(KEYS[2], ARGV[4], now) then return { 1, left } end
if #granted < limit then
  redis.call('RPUSH', KEYS[1], text(now))
  redis.call('PEXPIRE', KEYS[1], window_ms)
  return { 1, limit - #granted - 1 }
end
-- The grant whose fall from the window brings the number below the limit; the limit may have been lowered.
local blocking = granted[#granted - limit + 1] or now
return { 0, math.max(1, window_ms - (now - blocking)) }
