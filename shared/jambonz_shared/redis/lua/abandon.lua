-- A gateway's Connections leave a Call: all of a dead one's; of a living one's those that it does not hold any more.
-- Without any left the Call lives for the grace time, until jambonz reconnects.
-- KEYS: call, chan.  ARGV: gateway_id, grace_ms, epochs of the Connections that stay ...
-- Reply: {-1} if the Call is gone, else {Connections left, owner, app}.
--
-- May be repeated: what has left is not there the second time.
local call, chan = KEYS[1], KEYS[2]
local gateway_id, grace_ms = ARGV[1], ARGV[2]

local stays = {}
for i = 3, #ARGV do
  stays[ARGV[i]] = true
end

local old = redis.call('HMGET', call, 'app', 'owner', 'live')
if not old[1] then
  return {-1}
end
local left = tonumber(old[3] or 0)
local has_left = false
-- Names only: state and batches may be large.
for _, field in ipairs(redis.call('HKEYS', call)) do
  local epoch = string.match(field, '^c:(%d+)$')
  -- The gateway is what comes before the last unit separator.
  if epoch and not stays[epoch] and string.match(redis.call('HGET', call, field), '^(.*)\31') == gateway_id then
    redis.call('HDEL', call, field)
    left = redis.call('HINCRBY', call, 'live', -1)
    redis.call('PUBLISH', chan, 'L' .. epoch)
    has_left = true
  end
end
if has_left and left == 0 then
  redis.call('PEXPIRE', call, grace_ms)
end
return {left, old[2] or '', old[1]}
