#!lua
-- A module, if one is given, and what is published of some workflows: all of it or nothing.
--
-- KEYS: 1 publications 2 modules 3 their order 4 the bytes of the module
-- ARGV: 1 number of changes; for each the workflow, the revision it was decided on (8 bytes) and the
-- new value; then, if there is a module, its digest, what is known of it, and its bytes.
-- A value is a checksum (4 bytes), a revision (8 bytes) and data.

local changes = tonumber(ARGV[1])
for i = 0, changes - 1 do
  local there = redis.call('HGET', KEYS[1], ARGV[3 * i + 2])
  local revision = there and string.sub(there, 5, 12) or string.rep('\0', 8)
  if revision ~= ARGV[3 * i + 3] then return {'changed', ARGV[3 * i + 2]} end
end
for i = 0, changes - 1 do
  redis.call('HSET', KEYS[1], ARGV[3 * i + 2], ARGV[3 * i + 4])
end
local module = 3 * changes + 2
if not ARGV[module] or redis.call('HEXISTS', KEYS[2], ARGV[module]) == 1 then return {'ok'} end
redis.call('SET', KEYS[4], ARGV[module + 2])
redis.call('HSET', KEYS[2], ARGV[module], ARGV[module + 1])
redis.call('RPUSH', KEYS[3], ARGV[module])
return {'new'}
