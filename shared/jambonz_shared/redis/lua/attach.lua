-- A Connection attaches to a Call; the Call is made if there is none.
-- KEYS: call, chan.  ARGV: gateway_id, app, path, line, ttl_ms, is_reconnect (0/1), epoch_known, seq_known,
-- owner_known, fence_known, is_acked_known (0/1).
-- Reply: {"app", other_app}, or {"ok", epoch, owner, fence, seq, acked, existed, live epochs as "1,2", app,
-- is_passed_over (0/1), former owner of a Call that this Connection has taken to its app}.
--
-- epoch_known 0 is a new Connection. Above 0 it is one that was attached before: it comes back within the grace
-- time, or Redis has lost its data and is refilled; numbers then never fall, so that nobody takes new for old.
-- Of an owner that Redis has lost, or not heard of yet, the gateway tells: that worker has the Call's state in memory,
-- which nobody else has.
--
-- A new Connection of another app takes the Call there if the Call's app has consented (field s:@transfer, which is
-- used up): nobody owns it then, and nothing of its state stays but what the consent names. What was committed until
-- then was the other app's: s:@since tells. The line main of the app that the Call has come from (s:@from) goes on, as
-- an older line of the same Call. Once a side line is there jambonz takes commands there only (PROTOCOL.md 2.5): all
-- others are passed over.
local call, chan = KEYS[1], KEYS[2]
local gateway_id, app, path, line, ttl_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local is_reconnect, epoch_known, seq_known = ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8])

local old = redis.call('HMGET', call, 'app', 'epoch', 'owner', 'fence', 'seq', 'acked', 'gateway', 's:@transfer',
  's:@from', 'side')
local existed = old[1] and 1 or 0

local function consent()
  local found = line == 'side' and old[8] and cjson.decode(old[8])
  if found and found.app == app then
    local now = redis.call('TIME')
    if tonumber(now[1]) * 1000 < found.until_ms then
      return found
    end
  end
end

local function change_app()
  for _, field in ipairs(redis.call('HKEYS', call)) do
    if string.sub(field, 1, 2) == 's:' then
      redis.call('HDEL', call, field)
    end
  end
  -- The side line's epoch is the next one, or a later one if Redis has lost it; owners here have higher fences.
  local since = string.format('{"epoch":%.0f,"fence":%.0f}', tonumber(old[2] or 0) + 1, tonumber(old[4] or 0))
  redis.call('HSET', call, 's:@from', old[9] or '"' .. old[1] .. '"', 's:@since', since)
end

local former_owner = ''
if old[1] and old[1] ~= app then
  if epoch_known > 0 and tonumber(ARGV[10]) > tonumber(old[4] or 0) then
    -- It was taken there, and Redis has lost that: the newer fence counts.
    change_app()
  elseif (epoch_known > 0 or line == 'main' or line == 'left') and old[9] == '"' .. app .. '"' then
    app = old[1]
  else
    local consented = epoch_known == 0 and consent()
    if not consented then
      return {'app', old[1]}
    end
    change_app()
    redis.call('HSET', call, 'facts', consented.facts)
    for name, json in pairs(consented.state) do
      redis.call('HSET', call, 's:' .. name, json)
    end
    former_owner = old[3] or ''
    old[3], old[4] = '', old[4] and tonumber(old[4]) + 1
    redis.call('PUBLISH', chan, 'A' .. app)
    if old[4] then
      redis.call('PUBLISH', chan, 'O' .. string.format('%.0f', old[4]) .. '\31')
    end
  end
end
local newest, seq = tonumber(old[2] or 0), tonumber(old[5] or 0)

if existed == 0 and epoch_known > 0 then
  -- Redis lost the Call, and other gateways may have seen more of it than this one: they would take a batch with a
  -- seq they know for delivered. The time in ms is beyond all that any of them has seen.
  local now = redis.call('TIME')
  seq = math.max(seq, tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
end

local owner, fence, acked = old[3] or '', tonumber(old[4] or 0), tonumber(old[6] or 0)
acked = math.max(acked, tonumber(ARGV[11]))
if epoch_known > 0 then
  if tonumber(ARGV[10]) > fence then
    owner, fence = ARGV[9], tonumber(ARGV[10])
  end
end

local epoch = epoch_known
if epoch_known == 0 then
  epoch = newest + 1
end
seq = math.max(seq, seq_known)
local newest_side = tonumber(old[10] or 0)
local is_passed_over = newest_side > 0 and (line ~= 'side' or newest_side > epoch) and 1 or 0

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
if line == 'side' then
  set[#set + 1] = 'side'
  set[#set + 1] = math.max(newest_side, epoch)
end
if (epoch >= newest and is_passed_over == 0) or not old[7] then
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
if epoch_known == 0 then
  redis.call('PUBLISH', chan, 'N' .. epoch .. '\31' .. line)
end
return {
  'ok', epoch, owner, fence, seq, acked, existed, table.concat(live, ','), app, is_passed_over, former_owner,
}
