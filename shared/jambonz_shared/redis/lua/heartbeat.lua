-- A process says that it lives, and learns who has not for a lease; on the clock of Redis, the only one all share.
-- KEYS: workers or gateways (sorted set).  ARGV: process_id, lease_ms.
-- Reply: {now_ms, expired process ids ...}; the expired are left where they are, for whoever adopts their calls.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms), ARGV[1])
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now_ms - tonumber(ARGV[2])))
table.insert(expired, 1, now_ms)
return expired
