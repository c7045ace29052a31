-- The owner writes down what it remembers of a Call, because Redis may have lost some of it, or all.
-- KEYS: call, chan.
-- ARGV: worker_id, fence, app, grace_ms, facts, status, k, k pairs of epoch and committed n, then pairs of a state
-- field and its JSON.
-- Reply: {"fenced", owner} if the Call was claimed or orphaned since, else {"ok", Connections attached}.
--
-- Without a hash the Call is made anew for the grace time: its gateway attaches to it when it is back. Numbers never
-- fall: what Redis kept may be newer than a worker that was stopped. The seq goes on at the time in ms, beyond all that
-- gateways have seen: one of the second that Redis has lost they would take for delivered.
--
-- Of the state nothing stays that the owner does not name. It names all that it has ever sent, also what is on its way
-- here behind this; what it does not know was deleted since, or is of an app that had the Call before.
local call, chan = KEYS[1], KEYS[2]
local worker_id, fence, grace_ms = ARGV[1], ARGV[2], ARGV[4]

local old = redis.call('HMGET', call, 'app', 'owner', 'fence', 'live', 'seq')
local newest_fence = tonumber(old[3] or 0)
if newest_fence > tonumber(fence) or (newest_fence == tonumber(fence) and old[2] ~= worker_id) then
  return {'fenced', old[2] or ''}
end

local set = {'owner', worker_id, 'fence', fence}
if newest_fence < tonumber(fence) then
  set[#set + 1] = 'app'
  set[#set + 1] = ARGV[3]
end
for _, field in ipairs(redis.call('HKEYS', call)) do
  if string.sub(field, 1, 2) == 's:' then
    redis.call('HDEL', call, field)
  end
end
local now = redis.call('TIME')
set[#set + 1] = 'seq'
set[#set + 1] = math.max(tonumber(old[5] or 0), tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000))
if ARGV[5] ~= '' then
  set[#set + 1] = 'facts'
  set[#set + 1] = ARGV[5]
end
if ARGV[6] ~= '' then
  set[#set + 1] = 'status'
  set[#set + 1] = ARGV[6]
end
local marks = 7 + 2 * tonumber(ARGV[7])
local newest = tonumber(redis.call('HGET', call, 'epoch') or 0)
for i = 8, marks, 2 do
  local d = 'd:' .. ARGV[i]
  local n = tonumber(redis.call('HGET', call, d) or 0)
  set[#set + 1] = d
  set[#set + 1] = math.max(n, tonumber(ARGV[i + 1]))
  newest = math.max(newest, tonumber(ARGV[i]))
end
set[#set + 1] = 'epoch'
set[#set + 1] = newest
for i = marks + 1, #ARGV, 2 do
  set[#set + 1] = 's:' .. ARGV[i]
  set[#set + 1] = ARGV[i + 1]
end
-- In slices: Lua's unpack has room for some 8,000 values.
for from = 1, #set, 4000 do
  redis.call('HSET', call, unpack(set, from, math.min(from + 3999, #set)))
end
if not old[1] then
  redis.call('PEXPIRE', call, grace_ms)
end
-- Also when it is known: a gateway that was back first found no inbox, gave its event to dispatch, and holds the rest
-- until it hears of an owner.
redis.call('PUBLISH', chan, 'O' .. fence .. '\31' .. worker_id)
return {'ok', tonumber(old[4] or 0)}
