-- Takes a Call from the worker that owns it, because that one is dead or gives it up.
-- KEYS: call, chan.  ARGV: worker_id.
-- Reply: {"gone"}, {"other", owner}, or {"ok"}.
--
-- The fence rises, so a worker that was only slow can no longer commit.
local call, chan = KEYS[1], KEYS[2]
local worker_id = ARGV[1]

local old = redis.call('HMGET', call, 'app', 'owner')
if not old[1] then
  return {'gone'}
end
if old[2] ~= worker_id then
  return {'other', old[2] or ''}
end
local fence = redis.call('HINCRBY', call, 'fence', 1)
redis.call('HSET', call, 'owner', '')
redis.call('PUBLISH', chan, 'O' .. string.format('%.0f', fence) .. '\31')
return {'ok'}
