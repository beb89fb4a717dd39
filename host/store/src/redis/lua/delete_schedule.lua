#!lua flags=allow-oom
-- KEYS: 1 schedules 2 their order. ARGV: 1 id (16 bytes)

redis.call('ZREM', KEYS[2], ARGV[1])
return {redis.call('HDEL', KEYS[1], ARGV[1]) == 1 and 'deleted' or 'none'}
