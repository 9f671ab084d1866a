-- Removes those of some users' streams of one slot that have outlived their newest entry, whoever wrote that, and puts the
-- others where they belong in the index. A key that is no stream is not ours, and is left alone.
--
-- KEYS  the index of users' streams by their newest entries; then the streams
-- ARGV  ms that a stream outlives its newest entry; then the users
-- Gives how many streams were removed.

local index, oldest_ms, removed = KEYS[1], time_ms() - ARGV[1], 0
for n = 2, #KEYS do
  local stream, user = KEYS[n], ARGV[n]
  local info = stream_info(stream)
  local newest_ms = info and tonumber(string.match(field(info, 'last-generated-id'), '^%d+'))
  if newest_ms and newest_ms >= oldest_ms then
    redis.call('ZADD', index, text(newest_ms), user)
  else
    if info then removed = removed + redis.call('UNLINK', stream) end
    redis.call('ZREM', index, user)
  end
end
return removed
