-- What several scripts need. It stands before each of them.

-- A number as a text without an exponent.
local function text(number)
  return string.format('%.0f', number)
end

-- Milliseconds since the Unix epoch, by this server's clock.
local function time_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The same, but never less than what it told before: a topic that has no stream has no last id to keep it from going
-- back. A server that is full or read-only can't remember, which must not keep anybody from reading.
local function steady_ms(clock_key)
  local before, now = tonumber(redis.call('GET', clock_key) or 0), time_ms()
  if now <= before then return before end
  redis.pcall('SET', clock_key, text(now))
  return now
end

-- When this journal was created, behind every id of one that was wiped before.
local function origin_ms(origin_key)
  local origin = redis.call('GET', origin_key)
  if origin then return tonumber(origin) end
  origin = time_ms() + 1
  redis.pcall('SET', origin_key, text(origin))
  return origin
end

-- The value of a field in a flat list of names and values.
local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
  return false
end

-- The refusal of a replica, whose streams may lag behind what was acknowledged; nothing where the server may be written to.
-- What is tried is a write that changes nothing, and that a server whose memory is full takes too.
local function refused_by_replica(stream)
  local answer = redis.pcall('XTRIM', stream, 'MINID', '0')
  local refusal = type(answer) == 'table' and answer.err or ''
  if string.find(refusal, 'READONLY', 1, true) or string.find(refusal, 'MASTERDOWN', 1, true) then
    return redis.error_reply('READONLY this server is a replica')
  end
end

-- What is known of a stream that is there, though it may be empty; nothing if it is not there.
local function stream_info(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then return nil end
  return info
end

-- A user's stream that is in the index, and is not there, was removed by somebody else. It begins again as one that has lost
-- everything up to now, so that whoever comes back to it is told. Its last id lies behind all that it can have had; those begin
-- at the origin, which may be later than now. Gives what is known of it then, or nothing if there was none.
local function begin_again_if_removed(stream, index, user, clock_key, origin_key)
  if not redis.call('ZSCORE', index, user) then return nil end
  local ms = math.max(steady_ms(clock_key), origin_ms(origin_key)) + 1
  redis.pcall('XADD', stream, 'MAXLEN', 0, text(ms) .. '-1', 'event', '')
  return stream_info(stream)
end

-- Removes what is over of a user's continuations, which are kept as times and positions. Gives those that are left.
local function continuations_at(key, now)
  local left = {}
  for _, allowed in ipairs(redis.call('LRANGE', key, 0, -1)) do
    if tonumber(string.match(allowed, '^%d+')) > now then
      left[#left + 1] = allowed
    else
      redis.call('LREM', key, 1, allowed)
    end
  end
  return left
end

-- Uses a continuation from a position, if there is one.
local function take_continuation(key, position, now)
  for _, allowed in ipairs(continuations_at(key, now)) do
    if string.match(allowed, ' (.*)$') == position then return redis.call('LREM', key, 1, allowed) == 1 end
  end
  return false
end
