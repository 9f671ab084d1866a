-- Appends an announcement for every process, and notifies them.
--
-- KEYS  the announcements
-- ARGV  their channel; ms that they are kept; most bytes of them together; the announcement's kind and its text
-- Gives its id, or nil if there is no room for it now.

local stream, channel, kept_ms, bytes_max = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local kind, content = ARGV[4], ARGV[5]

-- The bytes of all announcements before an entry, and behind it.
local function bytes(entry)
  local before = tonumber(field(entry[2], 'bytes_before'))
  return before, before + #entry[2][2]
end

redis.call('XTRIM', stream, 'MINID', text(time_ms() - kept_ms))
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local first_bytes = oldest and bytes(oldest) or 0
local last_bytes = newest and select(2, bytes(newest)) or 0
if last_bytes - first_bytes + #content > bytes_max then return false end

local info = stream_info(stream)
local prev = info and field(info, 'last-generated-id') or '0-0'
local id = redis.call('XADD', stream, '*', kind, content, 'prev', prev, 'bytes_before', text(last_bytes))
redis.call('PUBLISH', channel, id)
return id
