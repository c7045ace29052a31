-- A batch of Directives from anybody, owner or not.
-- KEYS: call, log, chan.  ARGV: ttl_ms, batch, is_young (0/1, as in claim.lua).
-- Reply: {"gone"}, or {"ok", seq, gateway of the newest Connection}.
local call, log = KEYS[1], KEYS[2]
local ttl_ms, batch = tonumber(ARGV[1]), ARGV[2]

local old = redis.call('HMGET', call, 'app', 'gateway', 'live', 'seq')
if not old[1] then
  return {'gone'}
end
if ARGV[3] == '1' then
  local now = redis.call('TIME')
  local now_ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
  if tonumber(old[4] or 0) < now_ms then
    redis.call('HSET', call, 'seq', string.format('%.0f', now_ms))
  end
end
local seq = redis.call('HINCRBY', call, 'seq', 1)
redis.call('XADD', log, seq .. '-0', 'd', batch)
redis.call('PUBLISH', KEYS[3], 'D' .. seq .. '\n' .. batch)

-- The time to live is renewed when half of it is over, because reading it is cheaper than writing, above all with AOF
-- or replicas; but never beyond the grace time of a Call without Connections.
local left_ms = redis.call('PTTL', log)
if (tonumber(old[3]) or 0) > 0 then
  if left_ms < ttl_ms / 2 then
    redis.call('PEXPIRE', call, ttl_ms)
    redis.call('PEXPIRE', log, ttl_ms)
  end
elseif left_ms == -1 then
  redis.call('PEXPIRE', log, redis.call('PTTL', call))
end
return {'ok', seq, old[2] or ''}
