-- How many entries of a stream are not over the age limit.
--
-- KEYS  the stream
-- ARGV  age limit in ms (0: none)

local refusal = refused_by_replica(KEYS[1])
if refusal then return refusal end

local age_ms = tonumber(ARGV[1])
if age_ms == 0 then return redis.call('XLEN', KEYS[1]) end
local from, length, step = text(time_ms() - age_ms) .. '-0', 0, 256
while true do
  local chunk = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', step)
  length = length + #chunk
  if #chunk < step then return length end
  from = '(' .. chunk[#chunk][1]
end
