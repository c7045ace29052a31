-- A Connection leaves a Call; without any left, the Call lives for the grace time only.
-- KEYS: call, chan.  ARGV: epoch, grace_ms.
-- Reply: number of Connections left, -1 if the Call is gone.
--
-- May be repeated: only the first one publishes and starts the grace time.
local call, chan = KEYS[1], KEYS[2]
local epoch, grace_ms = ARGV[1], ARGV[2]

if redis.call('EXISTS', call) == 0 then
  return -1
end
if redis.call('HDEL', call, 'c:' .. epoch) == 0 then
  return tonumber(redis.call('HGET', call, 'live') or 0)
end
local left = redis.call('HINCRBY', call, 'live', -1)
redis.call('PUBLISH', chan, 'L' .. epoch)
if left == 0 then
  redis.call('PEXPIRE', call, grace_ms)
end
return left
