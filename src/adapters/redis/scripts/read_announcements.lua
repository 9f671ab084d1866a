-- Reads the announcements behind an id.
--
-- KEYS  the announcements
-- ARGV  the id ('' to learn the last one only); ms that they are kept; most of them
-- Gives the last id; whether some behind the id are gone; then the announcements: id, kind and text of each.

local stream, after, kept_ms, count_max = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local refusal = refused_by_replica(stream)
if refusal then return refusal end

redis.pcall('XTRIM', stream, 'MINID', text(time_ms() - kept_ms))
local info = stream_info(stream)
local last = info and field(info, 'last-generated-id') or '0-0'
if after == '' then return { last, 0, {} } end

local found = redis.call('XRANGE', stream, '(' .. after, '+', 'COUNT', count_max)
local begins_after = found[1] and field(found[1][2], 'prev') or last
local announcements = {}
for _, entry in ipairs(found) do
  announcements[#announcements + 1] = entry[1]
  announcements[#announcements + 1] = entry[2][1]
  announcements[#announcements + 1] = entry[2][2]
end
return { last, begins_after ~= after and 1 or 0, announcements }
