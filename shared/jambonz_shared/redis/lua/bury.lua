-- Strikes a process off the registry if it has been silent for a lease; one that is only slow stays.
-- KEYS: workers or gateways (sorted set).  ARGV: process_id, lease_ms.
-- Reply: 1 if it is not there any more, 0 if it lives.
local beat_ms = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not beat_ms then
  return 1
end
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if tonumber(beat_ms) >= now_ms - tonumber(ARGV[2]) then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
