-- Takes over entries of another journal with their ids, behind those of the same topic that were taken over before.
--
-- KEYS  the user's stream; the index of users' streams by their newest entries
-- ARGV  the user; the id that the entries follow; the last of them, or else that one; its ms; then for each entry its id, its
--       envelope and the position before it
-- Gives 1 if they are there now, 0 if the stream has other entries and was left as it is.

local stream, index = KEYS[1], KEYS[2]
local user, after, last, last_ms = unpack(ARGV, 1, 4)

local function checked(answer)
  if type(answer) == 'table' and answer.err then error(answer.err, 0) end
  return answer
end

local kind = redis.call('TYPE', stream).ok
if kind == 'none' then
  -- The stream begins as one that has lost everything up to there.
  if after ~= '0-0' then checked(redis.pcall('XADD', stream, 'MAXLEN', 0, after, 'event', '')) end
elseif kind ~= 'stream' then
  return redis.error_reply('WRONGTYPE the key of a stream holds something else')
else
  local head = field(stream_info(stream), 'last-generated-id')
  if head == last then return 1 end
  if head ~= after then return 0 end
end
redis.call('ZADD', index, 'NX', last_ms, user)
for n = 5, #ARGV, 3 do
  checked(redis.pcall('XADD', stream, ARGV[n], 'event', ARGV[n + 1], 'prev', ARGV[n + 2]))
end
return 1
