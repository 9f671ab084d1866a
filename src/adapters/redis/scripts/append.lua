-- Appends events to users' streams of one slot, each with the position that it was appended at, and tells who listens.
--
-- KEYS  the origin, the clock; then for each event its stream and its idempotency key
-- ARGV  most entries of a stream (about); ms that a stream lives on without appends (0: for ever); what is told of the
--       database; then for each event its channel, its envelope, and ms that its idempotency key is known (0: it has none)
-- Gives for each event its id, behind a `=` if it had been appended before.

local entries_max, life_ms, database_mark = ARGV[1], tonumber(ARGV[2]), ARGV[3]

-- Where the next entry of a stream goes: the position before it, and the id to ask for.
local function place(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if last then return last[1], '*' end
  local info = stream_info(stream)
  if info then return field(info, 'last-generated-id'), '*' end
  -- There is no stream, so nothing was appended within its life.
  local now, origin = steady_ms(KEYS[2]), origin_ms(KEYS[1])
  local start = origin
  if life_ms > 0 then start = math.max(origin, now - life_ms) end
  local id = now > origin and text(now) .. '-0' or text(origin) .. '-1'
  return text(start) .. '-0', id
end

local function append(stream, channel, envelope)
  local prev, wanted_id = place(stream)
  local id = redis.call('XADD', stream, 'MAXLEN', '~', entries_max, wanted_id, 'event', envelope, 'prev', prev)
  if life_ms > 0 then redis.call('PEXPIRE', stream, life_ms) end
  redis.call('PUBLISH', channel, '{"id":"' .. id .. '","prev":"' .. prev .. '",' .. database_mark .. string.sub(envelope, 2))
  return id
end

local ids = {}
for n = 1, (#KEYS - 2) / 2 do
  local stream, key = KEYS[2 * n + 1], KEYS[2 * n + 2]
  local channel, envelope, known_ms = ARGV[3 * n + 1], ARGV[3 * n + 2], ARGV[3 * n + 3]
  local first = known_ms ~= '0' and redis.call('GET', key)
  if first then
    ids[n] = '=' .. first
  else
    ids[n] = append(stream, channel, envelope)
    if known_ms ~= '0' then redis.call('SET', key, ids[n], 'PX', known_ms) end
  end
end
return ids
