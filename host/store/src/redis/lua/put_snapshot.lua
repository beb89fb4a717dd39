#!lua
-- Puts a snapshot in the place of the one before. A run that is not there gets none, because nobody
-- would take it away.
--
-- KEYS: 1 head 2 snapshot. ARGV: 1 snapshot

if redis.call('EXISTS', KEYS[1]) == 0 then return {'none'} end
redis.call('SET', KEYS[2], ARGV[1])
return {'ok'}
