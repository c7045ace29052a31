-- A worker takes a Call that nobody else owns, and gets all that is known of it.
-- KEYS: call, chan.  ARGV: worker_id.
-- Reply: {"gone"}, {"owned", owner}, or {"ok", fence, field, value, ...} with the whole hash.
local call, chan = KEYS[1], KEYS[2]
local worker_id = ARGV[1]

if redis.call('EXISTS', call) == 0 then
  return {'gone'}
end
local old = redis.call('HMGET', call, 'owner', 'fence')
local owner = old[1] or ''
if owner ~= '' and owner ~= worker_id then
  return {'owned', owner}
end

local fence
if old[2] then
  fence = redis.call('HINCRBY', call, 'fence', 1)
else
  -- The first fence is the time in ms. So it still rises when Redis has lost its data and the gateways have refilled
  -- it: neither an old owner nor a gateway that remembers an old fence is misled.
  local now = redis.call('TIME')
  fence = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
  redis.call('HSET', call, 'fence', string.format('%.0f', fence))
end
redis.call('HSET', call, 'owner', worker_id)
redis.call('PUBLISH', chan, 'O' .. string.format('%.0f', fence) .. '\31' .. worker_id)

local reply = redis.call('HGETALL', call)
table.insert(reply, 1, fence)
table.insert(reply, 1, 'ok')
return reply
