#!lua
-- Writes a schedule when the one that is there has the revision that the change was decided on.
--
-- KEYS: 1 schedules 2 their order 3 the last number. ARGV: 1 id (16 bytes) 2 that revision (8 bytes,
-- empty for none) 3 the new value: a checksum (4 bytes), a revision (8 bytes) and data

local there = redis.call('HGET', KEYS[1], ARGV[1])
local revision = there and string.sub(there, 5, 12) or ''
if revision ~= ARGV[2] then return {'changed', revision} end
if not there then redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {'ok'}
