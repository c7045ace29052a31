-- The first hook of a Call has been acked: after a reconnect it is not owed its application again.
-- KEYS: call.  ARGV: field of the batch with the ack, what of it is left to be delivered (empty: it stays as it is).
-- Reply: 1, or 0 if the Call is gone (which this must not bring back).
local call, batch, left = KEYS[1], ARGV[1], ARGV[2]
if redis.call('EXISTS', call) == 0 then
  return 0
end
redis.call('HSET', call, 'acked', 1)
if left ~= '' and redis.call('HGET', call, batch) then
  redis.call('HSET', call, batch, left)
end
return 1
