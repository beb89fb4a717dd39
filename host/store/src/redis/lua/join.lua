#!lua
-- A server is there, until a time. Those whose time is long over are forgotten.
--
-- KEYS: 1 members: their ids, each with 16 hex digits of milliseconds and its address
-- ARGV: 1 id 2 address 3 milliseconds

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local members = redis.call('HGETALL', KEYS[1])
for i = 1, #members, 2 do
  if tonumber(string.sub(members[i + 1], 1, 16), 16) + 3600000 < now then
    redis.call('HDEL', KEYS[1], members[i])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%016x', now + tonumber(ARGV[3])) .. ARGV[2])
return {'ok'}
