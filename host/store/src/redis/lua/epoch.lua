#!lua
-- A number that is larger each time. It is never behind the minutes since 2026 began, so that it also
-- grows when a failover forgets the last ones; 24 bits of that last until 2057.
--
-- KEYS: 1 the last one

local minutes = math.floor((tonumber(redis.call('TIME')[1]) - 1767225600) / 60)
local epoch = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') + 1, minutes)
redis.call('SET', KEYS[1], string.format('%.0f', epoch))
return string.format('%.0f', epoch)
