-- Events that no worker has taken for too long are taken out of dispatch.
-- KEYS: dispatch.  ARGV: before_ms (older entries go, Unix ms of their ids).
-- Reply: how many went.
--
-- Redis 7 counts what a group has not read (lag, by which KEDA scales workers), and counts what was trimmed unread for
-- ever (redis/redis#13473). What stays is all unread if the group stands before it, so the count can be told anew.
-- Redis 6.2 knows neither (no entries-added).
local dispatch, before_ms = KEYS[1], ARGV[1]
local gone = redis.call('XTRIM', dispatch, 'MINID', before_ms)
if gone == 0 then
  return 0
end

local function fields(flat)
  local found = {}
  for i = 1, #flat, 2 do
    found[flat[i]] = flat[i + 1]
  end
  return found
end

local added = fields(redis.call('XINFO', 'STREAM', dispatch))['entries-added']
for _, flat in ipairs(added and redis.call('XINFO', 'GROUPS', dispatch) or {}) do
  local group = fields(flat)
  if tonumber(string.match(group['last-delivered-id'], '^%d+')) < tonumber(before_ms) then
    -- The last id of the millisecond before: the first entry that stays has not been read.
    local before = string.format('%.0f-18446744073709551615', tonumber(before_ms) - 1)
    local read = added - redis.call('XLEN', dispatch)
    redis.call('XGROUP', 'SETID', dispatch, group.name, before, 'ENTRIESREAD', string.format('%.0f', read))
  end
end
return gone
