-- A batch of Directives from anybody, owner or not.
-- KEYS: call, chan.  ARGV: ttl_ms, batch, is_young (0/1, as in claim.lua), limit of batches that wait.
-- Reply: {"gone"}, {"full", batches that wait}, or {"ok", seq, gateway of the newest Connection}.
--
-- Full: a Call without a websocket takes no batch above the limit, whoever sends in a loop.
local call, batch = KEYS[1], ARGV[2]
local ttl_ms, limit = tonumber(ARGV[1]), tonumber(ARGV[4])

local old = redis.call('HMGET', call, 'app', 'gateway', 'live', 'seq')
if not old[1] then
  return {'gone'}
end
-- Most calls have fewer fields in all, so that names need not be looked at.
if redis.call('HLEN', call) >= limit then
  local waiting = 0
  for _, field in ipairs(redis.call('HKEYS', call)) do
    if string.sub(field, 1, 2) == 'b:' then
      waiting = waiting + 1
    end
  end
  if waiting >= limit then
    return {'full', waiting}
  end
end

local seq = tonumber(old[4] or 0) + 1
if ARGV[3] == '1' then
  local now = redis.call('TIME')
  seq = math.max(seq, tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000) + 1)
end
local seq_text = string.format('%.0f', seq)
redis.call('HSET', call, 'seq', seq_text, 'b:' .. seq_text, batch)
redis.call('PUBLISH', KEYS[2], 'D' .. seq_text .. '\n' .. batch)

-- The time to live is renewed when half of it is over, because reading it is cheaper than writing, above all with AOF
-- or replicas; but never beyond the grace time of a Call without Connections.
if tonumber(old[3] or 0) > 0 and redis.call('PTTL', call) < ttl_ms / 2 then
  redis.call('PEXPIRE', call, ttl_ms)
end
return {'ok', seq, old[2] or ''}
