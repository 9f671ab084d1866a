-- What there is of a message.
--
-- KEYS  its state, its stream; then idempotency keys to look up
-- ARGV  ids of its stream to look up
-- Gives the time, the state, what the keys hold, and the envelopes under the ids; nil for what is not there.

local refusal = refused_by_replica(KEYS[2])
if refusal then return refusal end

local held, envelopes = {}, {}
for n = 3, #KEYS do held[n - 2] = redis.call('GET', KEYS[n]) end
for n = 1, #ARGV do
  local entry = redis.call('XRANGE', KEYS[2], ARGV[n], ARGV[n])[1]
  envelopes[n] = entry and field(entry[2], 'event') or false
end
return { text(time_ms()), redis.call('HGETALL', KEYS[1]), held, envelopes }
