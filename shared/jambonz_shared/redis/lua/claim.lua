-- A worker takes a Call that nobody else owns, and gets all that is known of it.
-- KEYS: call, chan.  ARGV: worker_id, is_young (0/1), app of the worker.
-- Reply: {"gone"}, {"app", other_app} of a Call that is not its app's, {"owned", owner}, or
-- {"ok", fence, field, value, ...} with the whole hash but the batches: those are for gateways.
--
-- is_young: the worker's link has just come up, Redis may have lost its last second, and the gateway may not have told
-- yet which seq it has seen. The next one is the time in ms, beyond all of them.
local call, chan = KEYS[1], KEYS[2]
local worker_id = ARGV[1]

if redis.call('EXISTS', call) == 0 then
  return {'gone'}
end
local old = redis.call('HMGET', call, 'owner', 'fence', 'seq', 'app')
if old[4] and old[4] ~= ARGV[3] then
  return {'app', old[4]}
end
local owner = old[1] or ''
if owner ~= '' and owner ~= worker_id then
  return {'owned', owner}
end

local now = redis.call('TIME')
local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local fence
if old[2] then
  fence = redis.call('HINCRBY', call, 'fence', 1)
else
  -- The first fence is the time in ms. So it still rises when Redis has lost its data and the gateways have refilled
  -- it: neither an old owner nor a gateway that remembers an old fence is misled.
  fence = now_ms
  redis.call('HSET', call, 'fence', string.format('%.0f', fence))
end
redis.call('HSET', call, 'owner', worker_id)
if ARGV[2] == '1' and tonumber(old[3] or 0) < now_ms then
  redis.call('HSET', call, 'seq', string.format('%.0f', now_ms))
end
redis.call('PUBLISH', chan, 'O' .. string.format('%.0f', fence) .. '\31' .. worker_id)

local fields, reply = redis.call('HGETALL', call), {'ok', fence}
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) ~= 'b:' then
    reply[#reply + 1] = fields[i]
    reply[#reply + 1] = fields[i + 1]
  end
end
return reply
