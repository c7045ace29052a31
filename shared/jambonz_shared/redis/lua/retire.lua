-- Removes a consumer from the group of dispatch, unless entries are pending for it: nobody would get them any more.
-- KEYS: dispatch.  ARGV: group, consumer.
-- Reply: 1 if it is not there any more, 0 if it has pending entries.
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if pending.err then
  -- No such group: Redis has lost it, and its consumers.
  return 1
end
if #pending > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
