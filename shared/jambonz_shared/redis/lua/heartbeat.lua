-- A process says that it lives, on the clock of Redis, the only one all share.
-- KEYS: workers or gateways (sorted set).  ARGV: process_id.
-- Reply: 1 if it was not in there, else 0; nobody needs to know.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms), ARGV[1])
