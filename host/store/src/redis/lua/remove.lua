#!lua flags=allow-oom
-- Removes a run that has ended, with everything that belongs to it. Memory may be full: it frees some.
--
-- KEYS: as for a commit, 14 snapshot. ARGV: 1 run (16 bytes) 2 the length of its journal 3 workflow
-- 4 parent (16 bytes, or empty)

local head = redis.call('HMGET', KEYS[1], 'l', 'b', 'w', 'y', 'e', 'd')
local run, workflow = ARGV[1], ARGV[3] .. '\0'
if not head[1] then return {'none'} end
local ended = head[5] or ''
if ended == '' then return {'open'} end
-- What was read of it is not what is there.
if head[1] ~= ARGV[2] then return {'changed'} end
local start = head[2]
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[14])
redis.call('ZREM', KEYS[6], start .. run)
redis.call('ZREM', KEYS[7], workflow .. start .. run)
redis.call('ZREM', KEYS[8], (head[3] or '') .. run)
redis.call('ZREM', KEYS[9], (head[4] or '') .. run)
redis.call('ZREM', KEYS[10], workflow .. ended .. run)
redis.call('ZREM', KEYS[11], (head[6] or '') .. start .. run)
if ARGV[4] ~= '' then redis.call('ZREM', KEYS[12], ARGV[4] .. start .. run) end
return {'removed'}
