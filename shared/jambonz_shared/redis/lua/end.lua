-- The owner ends a Call: nothing of it stays.
-- KEYS: call, chan.  ARGV: worker_id, fence.
-- Reply: {"gone"}, {"fenced", owner}, {"live"} while Connections are left, or {"ok"}.
local call, chan = KEYS[1], KEYS[2]

local old = redis.call('HMGET', call, 'app', 'owner', 'fence', 'live')
if not old[1] then
  return {'gone'}
end
if old[2] ~= ARGV[1] or old[3] ~= ARGV[2] then
  return {'fenced', old[2] or ''}
end
if (tonumber(old[4]) or 0) > 0 then
  return {'live'}
end
redis.call('DEL', call)
redis.call('PUBLISH', chan, 'E')
return {'ok'}
