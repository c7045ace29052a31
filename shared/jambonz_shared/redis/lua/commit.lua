-- The effects of one handler run, all or nothing: state, facts, and a batch of Directives. Runs for every event.
-- KEYS: call, chan.
-- ARGV: worker_id, fence, epoch, n, ttl_ms, batch, previous, then pairs of a field of the hash and its value. Before
-- these may come d:<epoch> with the n that has to be committed there, then an empty name and the limit of batches that
-- wait.
-- Reply: seq; or {"gone"}, {"fenced", owner}, {"early"}, {"dup", seq}, {"full", batches that wait}.
--
-- Refused for anyone but the owner of this fence; skipped if event n of this epoch was committed before (n 0 is no
-- event). Early if the owner has sent event `previous` of this epoch before, or that of another one, and it is not here:
-- Redis refused it for a while (out of memory), it is repeated, and must not find its number taken, nor write an older
-- state over a newer one. Empty batch: none. An empty value deletes the field. ttl_ms 0: the owner has looked after the
-- time to live a short while ago. Full: all was saved but the batch, as by send.lua.
--
-- Numbers are turned from text and into text as seldom as can be: that took a tenth of the script (docs/benchmarks,
-- 2026-11-21-hot-path.md). Redis prints a Lua number with 17 digits each time it is an argument.
local call, batch = KEYS[1], ARGV[6]
local d = 'd:' .. ARGV[3]
local n, previous = ARGV[4], ARGV[7]

local old = redis.call('HMGET', call, 'owner', 'fence', 'seq', d)
if old[1] ~= ARGV[1] or old[2] ~= ARGV[2] then
  if redis.call('EXISTS', call) == 0 then
    return {'gone'}
  end
  return {'fenced', old[1] or ''}
end
local seq = tonumber(old[3] or 0)
local is_event = n ~= '0'
-- Nearly always the event that was sent before this one is the one that was committed last.
if is_event and previous ~= old[4] then
  local last = tonumber(old[4] or 0)
  if tonumber(n) <= last then
    return {'dup', seq}
  end
  if tonumber(previous) > last then
    return {'early'}
  end
end

local seq_text, full
if batch ~= '' then
  seq = seq + 1
  seq_text = string.format('%d', seq)
end
local first = 8
if #ARGV > 7 and string.sub(ARGV[8], 1, 2) == 'd:' then
  if tonumber(redis.call('HGET', call, ARGV[8]) or 0) < tonumber(ARGV[9]) then
    return {'early'}
  end
  first = 10
end
if #ARGV > first and ARGV[first] == '' then
  local limit = tonumber(ARGV[first + 1])
  first = first + 2
  if seq_text and redis.call('HLEN', call) >= limit then
    local waiting = 0
    for _, field in ipairs(redis.call('HKEYS', call)) do
      if string.sub(field, 1, 2) == 'b:' then
        waiting = waiting + 1
      end
    end
    if waiting >= limit then
      full, seq_text = waiting, nil
    end
  end
end
if seq_text and is_event and #ARGV < first then
  -- Nearly always: the answer to a hook, and nothing else has changed. Without tables the script is a tenth cheaper.
  redis.call('HSET', call, d, n, 'seq', seq_text, 'b:' .. seq_text, batch)
else
  local set, deleted = {}, {}
  if is_event then
    set[1], set[2] = d, n
  end
  if seq_text then
    set[#set + 1] = 'seq'
    set[#set + 1] = seq_text
    set[#set + 1] = 'b:' .. seq_text
    set[#set + 1] = batch
  end
  for i = first, #ARGV, 2 do
    if ARGV[i + 1] == '' then
      deleted[#deleted + 1] = ARGV[i]
    else
      set[#set + 1] = ARGV[i]
      set[#set + 1] = ARGV[i + 1]
    end
  end
  -- In slices: Lua's unpack has room for some 8,000 values.
  for from = 1, #set, 4000 do
    redis.call('HSET', call, unpack(set, from, math.min(from + 3999, #set)))
  end
  for from = 1, #deleted, 4000 do
    redis.call('HDEL', call, unpack(deleted, from, math.min(from + 3999, #deleted)))
  end
end
if seq_text then
  redis.call('PUBLISH', KEYS[2], 'D' .. seq_text .. '\n' .. batch)
end

-- A Call without Connections is in its grace time, which no commit may prolong.
if ARGV[5] ~= '0' and (redis.call('HGET', call, 'live') or '0') ~= '0' then
  redis.call('PEXPIRE', call, ARGV[5])
end
if full then
  return {'full', full}
end
return seq
