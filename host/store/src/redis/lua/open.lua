#!lua flags=no-writes
-- How many open runs each module has, in one shard: leaps from module to module.
--
-- KEYS: 1 the index of open runs

local found, from, behind = {}, '-', string.rep('\255', 25)
while true do
  local next = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, 1)
  if #next == 0 then return found end
  local module = string.sub(next[1], 1, 32)
  found[#found + 1] = module
  found[#found + 1] = tostring(redis.call('ZLEXCOUNT', KEYS[1], '[' .. module, '[' .. module .. behind))
  from = '(' .. module .. behind
end
