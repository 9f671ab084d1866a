-- Reads a stream behind an id, and what is known of its extent at the same moment.
--
-- KEYS  the stream, the origin, the clock, the index of users' streams by their newest entries
-- ARGV  the id to read behind ('' for the start) and its milliseconds; age limit in ms (0: none); most entries (0: only
--       the extent is asked for); bytes of envelopes after which no more are wanted; bytes of each envelope that don't count;
--       the topic's name in the index
-- Gives the time, the origin, the stream's last id, the oldest id retained and the id before it, whether it is known that
-- the stream never lost an entry, whether more lies behind; then the entries: id, envelope and prev of each. What is not
-- known or not there is nil.

local stream, after, after_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local age_ms, entries_max, bytes_max, uncounted_bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local refusal = refused_by_replica(stream)
if refusal then return refusal end

local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
local info = not last and (stream_info(stream) or begin_again_if_removed(stream, KEYS[4], ARGV[7], KEYS[3], KEYS[2]))
if not last and not info then
  return { text(steady_ms(KEYS[3])), text(origin_ms(KEYS[2])), false, false, false, 0, 0, {} }
end
local now, origin = time_ms(), origin_ms(KEYS[2])
local last_id = last and last[1] or field(info, 'last-generated-id')

local retained = age_ms > 0 and text(now - age_ms) .. '-0' or '-'
local from = retained
if after ~= '' and (age_ms == 0 or after_ms >= now - age_ms) then from = '(' .. after end

local oldest = redis.call('XRANGE', stream, retained, '+', 'COUNT', 1)[1]
local before, untrimmed = false, 0
if oldest then
  before = field(oldest[2], 'prev')
  if not before and retained ~= '-' then
    local expired = redis.call('XREVRANGE', stream, '(' .. oldest[1], '-', 'COUNT', 1)[1]
    before = expired and expired[1] or false
  end
  if not before then
    info = stream_info(stream)
    -- Redis counts what was ever added since version 7.
    if field(info, 'entries-added') == field(info, 'length') then untrimmed = 1 end
  end
end

local entries, count, bytes, more, step = {}, 0, 0, 0, 32
while entries_max > 0 and more == 0 do
  local chunk = redis.call('XRANGE', stream, from, '+', 'COUNT', step)
  for _, entry in ipairs(chunk) do
    if count > 0 and (count >= entries_max or bytes > bytes_max) then
      more = 1
      break
    end
    local envelope = field(entry[2], 'event')
    entries[#entries + 1] = entry[1]
    entries[#entries + 1] = envelope
    entries[#entries + 1] = field(entry[2], 'prev')
    count = count + 1
    bytes = bytes + math.max(0, (envelope and #envelope or 0) - uncounted_bytes)
  end
  if #chunk < step then break end
  from = '(' .. chunk[#chunk][1]
  step = math.min(step * 2, 256)
end
if last and count == 0 and after ~= '' then
  -- Whoever stands behind the last entry may have seen one that was removed.
  last_id = field(info or stream_info(stream), 'last-generated-id')
end
return { text(now), text(origin), last_id, oldest and oldest[1] or false, before, untrimmed, more, entries }
