-- The first hook of a Call has been acked: after a reconnect it is not owed its application again.
-- KEYS: call.  Reply: 1, or 0 if the Call is gone (which this must not bring back).
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], 'acked', 1)
return 1
