-- The effects of one handler run, all or nothing: state, facts, and a batch of Directives. Runs for every event.
-- KEYS: call, log, chan.
-- ARGV: worker_id, fence, epoch, n, ttl_ms, batch, facts, status, previous, k, then k pairs of a state field and its
-- JSON.
-- Reply: seq; or {"gone"}, {"fenced", owner}, {"early"}, {"dup", seq}.
--
-- Refused for anyone but the owner of this fence; skipped if event n of this epoch was committed before (n 0 is no
-- event). Early if the owner has sent event `previous` of this epoch before and it is not here: Redis refused it for
-- a while (out of memory), it is repeated, and must not find its number taken. Empty facts, status, batch: unchanged,
-- none. Empty JSON deletes the field. ttl_ms 0: the owner has looked after the time to live a short while ago.
local call, log = KEYS[1], KEYS[2]
local d = 'd:' .. ARGV[3]
local n, batch = tonumber(ARGV[4]), ARGV[6]

local old = redis.call('HMGET', call, 'owner', 'fence', 'seq', 'live', d)
if old[1] ~= ARGV[1] or old[2] ~= ARGV[2] then
  if redis.call('EXISTS', call) == 0 then
    return {'gone'}
  end
  return {'fenced', old[1] or ''}
end
local seq = tonumber(old[3] or 0)
if n > 0 and old[5] and n <= tonumber(old[5]) then
  return {'dup', seq}
end
if n > 0 and tonumber(ARGV[9]) > tonumber(old[5] or 0) then
  return {'early'}
end

local set, deleted = {}, {}
if n > 0 then
  set[1] = d
  set[2] = ARGV[4]
end
if ARGV[7] ~= '' then
  set[#set + 1] = 'facts'
  set[#set + 1] = ARGV[7]
end
if ARGV[8] ~= '' then
  set[#set + 1] = 'status'
  set[#set + 1] = ARGV[8]
end
for i = 11, 9 + 2 * tonumber(ARGV[10]), 2 do
  if ARGV[i + 1] == '' then
    deleted[#deleted + 1] = 's:' .. ARGV[i]
  else
    set[#set + 1] = 's:' .. ARGV[i]
    set[#set + 1] = ARGV[i + 1]
  end
end
if batch ~= '' then
  seq = seq + 1
  set[#set + 1] = 'seq'
  set[#set + 1] = seq
end
-- In slices: Lua's unpack has room for some 8,000 values.
for from = 1, #set, 4000 do
  redis.call('HSET', call, unpack(set, from, math.min(from + 3999, #set)))
end
for from = 1, #deleted, 4000 do
  redis.call('HDEL', call, unpack(deleted, from, math.min(from + 3999, #deleted)))
end
if batch ~= '' then
  redis.call('XADD', log, seq .. '-0', 'd', batch)
  redis.call('PUBLISH', KEYS[3], 'D' .. seq .. '\n' .. batch)
end

-- A Call without Connections is in its grace time, which no commit may prolong.
if (tonumber(old[4]) or 0) == 0 then
  if redis.call('PTTL', log) == -1 then
    redis.call('PEXPIRE', log, redis.call('PTTL', call))
  end
elseif ARGV[5] ~= '0' then
  redis.call('PEXPIRE', call, ARGV[5])
  redis.call('PEXPIRE', log, ARGV[5])
end
return seq
