-- Appends events to users' streams of one slot, each with the position that it was appended at, and notifies who listens.
--
-- KEYS  the origin, the clock, the index of users' streams by their newest entries; then for each event its stream and its
--       idempotency key
-- ARGV  most entries of a stream (about); ms that a stream outlives its newest entry (0: for ever); what is said of the
--       database; then for each event its user, its channel, its envelope, and ms that its idempotency key is known (0: it
--       has none)
-- Gives for each event its id, behind a `=` if it had been appended before; or, behind a `!`, why its topic's keys can't be used.

local index, entries_max, life_ms, database_mark = KEYS[3], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local now = time_ms()

-- The position before the next entry of a stream, or an error of its key.
local function head(stream, user)
  local found = redis.pcall('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  if found.err then return found end
  if found[1] then return found[1][1] end
  local info = stream_info(stream) or begin_again_if_removed(stream, index, user, KEYS[2], KEYS[1])
  if info then return field(info, 'last-generated-id') end
  -- There is no stream, so nothing was appended within its life.
  now = steady_ms(KEYS[2])
  local start = origin_ms(KEYS[1])
  now = math.max(now, start)
  if life_ms > 0 then start = math.max(start, now - life_ms) end
  return text(start) .. '-0'
end

-- The id that follows another: counters begin at 1, so that no entry of ours has the id of a topic's head before it.
local function next_id(last_id)
  local ms, counter = string.match(last_id, '^(%d+)-(%d+)$')
  if now > tonumber(ms) then return text(now) .. '-1' end
  return ms .. '-' .. text(tonumber(counter) + 1)
end

local function append(stream, user, channel, envelope)
  local prev = head(stream, user)
  if type(prev) == 'table' then return prev end
  -- Another program's entries may come later than this one, so when the stream ends is not known now: a sweep will see.
  redis.call('ZADD', index, 'NX', text(now), user)
  local function add(id)
    return redis.pcall('XADD', stream, 'MAXLEN', '~', entries_max, id, 'event', envelope, 'prev', prev)
  end
  local id = add(next_id(prev))
  if type(id) == 'table' and string.find(id.err, 'equal or smaller', 1, true) then
    -- Somebody has removed the last entry, which had a later id.
    id = add(next_id(field(stream_info(stream), 'last-generated-id')))
  end
  if type(id) == 'table' then return id end
  redis.call('PERSIST', stream)
  redis.call('PUBLISH', channel, '{"id":"' .. id .. '","prev":"' .. prev .. '",' .. database_mark .. string.sub(envelope, 2))
  return id
end

local ids = {}
for n = 1, (#KEYS - 3) / 2 do
  local stream, key = KEYS[2 * n + 2], KEYS[2 * n + 3]
  local user, channel, envelope, known_ms = unpack(ARGV, 4 * n, 4 * n + 3)
  local first = known_ms ~= '0' and redis.pcall('GET', key)
  local id = first or append(stream, user, channel, envelope)
  if type(id) == 'table' then
    -- What is wrong with one topic's keys is no matter of the others.
    if not string.find(id.err, 'WRONGTYPE', 1, true) then return id end
    ids[n] = '!' .. id.err
  elseif first then
    ids[n] = '=' .. first
  else
    ids[n] = id
    if known_ms ~= '0' then redis.call('SET', key, id, 'PX', known_ms) end
  end
end
return ids
