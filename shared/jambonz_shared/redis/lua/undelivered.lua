-- The call log: batches of a Call that are not delivered yet.
-- KEYS: call.  ARGV: seq behind which they are wanted.
-- Reply: {seq, batch, seq, batch, ...} in the order of their numbers; nothing of a Call that is gone.
local call, after = KEYS[1], tonumber(ARGV[1])

local seqs = {}
for _, field in ipairs(redis.call('HKEYS', call)) do
  local seq = string.sub(field, 1, 2) == 'b:' and tonumber(string.sub(field, 3))
  if seq and seq > after then
    seqs[#seqs + 1] = seq
  end
end
table.sort(seqs)

local reply = {}
for _, seq in ipairs(seqs) do
  reply[#reply + 1] = seq
  reply[#reply + 1] = redis.call('HGET', call, string.format('b:%.0f', seq))
end
return reply
