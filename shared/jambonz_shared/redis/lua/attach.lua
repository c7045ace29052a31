-- A Connection attaches to a Call; the Call is made if there is none.
-- KEYS: call, log, chan.  ARGV: gateway_id, app, path, line, ttl_ms, is_reconnect (0/1), epoch_known, seq_known,
-- owner_known, fence_known, is_acked_known (0/1).
-- Reply: {"app", other_app}, or {"ok", epoch, owner, fence, seq, acked, existed, live epochs as "1,2"}.
--
-- epoch_known 0 is a new Connection. Above 0 it is one that was attached before: it comes back within the grace
-- time, or Redis has lost its data and is refilled; numbers then never fall, so that nobody takes new for old.
-- The log is renewed with the hash: at detach both got the short grace time. Of an owner that Redis has lost, or not
-- heard of yet, the gateway tells: that worker has the Call's state in memory, which nobody else has.
local call, log, chan = KEYS[1], KEYS[2], KEYS[3]
local gateway_id, app, path, line, ttl_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local is_reconnect, epoch_known, seq_known = ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8])

local old = redis.call('HMGET', call, 'app', 'epoch', 'owner', 'fence', 'seq', 'acked', 'gateway')
local existed = old[1] and 1 or 0
if old[1] and old[1] ~= app then
  return {'app', old[1]}
end
local newest, seq = tonumber(old[2] or 0), tonumber(old[5] or 0)

if not old[5] and redis.call('EXISTS', log) == 1 then
  -- Only the hash was lost: entries of the log keep their ids, and XADD refuses a seq at or below the last of them.
  local info = redis.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      seq = math.max(seq, tonumber(string.match(info[i + 1], '^%d+')))
    end
  end
end

if existed == 0 and epoch_known > 0 then
  -- Redis lost the Call, and other gateways may have seen more of it than this one: they would take a batch with a
  -- seq they know for delivered. The time in ms is beyond all that any of them has seen.
  local now = redis.call('TIME')
  seq = math.max(seq, tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
end

local owner, fence, acked = old[3] or '', tonumber(old[4] or 0), tonumber(old[6] or 0)
if epoch_known > 0 then
  acked = math.max(acked, tonumber(ARGV[11]))
  if tonumber(ARGV[10]) > fence then
    owner, fence = ARGV[9], tonumber(ARGV[10])
  end
end

local epoch = epoch_known
if epoch_known == 0 then
  epoch = newest + 1
end
seq = math.max(seq, seq_known)

local live, forgotten = {}, {}
if existed == 1 then
  for _, field in ipairs(redis.call('HKEYS', call)) do
    local other = string.match(field, '^c:(%d+)$')
    if other and tonumber(other) ~= epoch then
      local connection = is_reconnect and epoch_known == 0 and redis.call('HGET', call, field)
      -- The line is what follows the last unit separator; gateway ids hold none.
      if connection and string.match(connection, '\31([^\31]*)$') == line then
        forgotten[#forgotten + 1] = field
      else
        live[#live + 1] = tonumber(other)
      end
    end
  end
end
live[#live + 1] = epoch
table.sort(live)

if #forgotten > 0 then
  redis.call('HDEL', call, unpack(forgotten))
end
local set = {
  'app', app, 'epoch', math.max(newest, epoch), 'seq', seq, 'live', #live, 'c:' .. epoch, gateway_id .. '\31' .. line,
}
if epoch >= newest or not old[7] then
  set[#set + 1] = 'gateway'
  set[#set + 1] = gateway_id
  set[#set + 1] = 'path'
  set[#set + 1] = path
end
if fence > 0 then
  set[#set + 1] = 'owner'
  set[#set + 1] = owner
  set[#set + 1] = 'fence'
  set[#set + 1] = fence
end
if acked == 1 then
  set[#set + 1] = 'acked'
  set[#set + 1] = 1
end
redis.call('HSET', call, unpack(set))
redis.call('PEXPIRE', call, ttl_ms)
redis.call('PEXPIRE', log, ttl_ms)
if epoch_known == 0 then
  redis.call('PUBLISH', chan, 'N' .. epoch .. '\31' .. line)
end
return {'ok', epoch, owner, fence, seq, acked, existed, table.concat(live, ',')}
