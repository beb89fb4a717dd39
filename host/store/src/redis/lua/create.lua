#!lua
-- Makes the keyspace, unless it is there. KEYS: 1 what says what it is. ARGV: fields and values

if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return {'ok'}
