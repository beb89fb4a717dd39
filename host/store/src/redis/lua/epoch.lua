#!lua
-- A number that is larger each time, and larger than another one. It is never behind the minutes
-- since 2026 began, so that it also grows when a failover forgets the last ones; 24 bits of that last
-- until 2057.
--
-- KEYS: 1 the last one. ARGV: 1 the other one

local minutes = math.floor((tonumber(redis.call('TIME')[1]) - 1767225600) / 60)
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1]))
local epoch = string.format('%.0f', math.max(last + 1, minutes))
redis.call('SET', KEYS[1], epoch)
return epoch
