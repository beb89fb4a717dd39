#!lua flags=no-writes
-- The servers that are there: id, address, id, address …
--
-- KEYS: 1 members, as for join

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local members, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #members, 2 do
  if tonumber(string.sub(members[i + 1], 1, 16), 16) > now then
    found[#found + 1] = members[i]
    found[#found + 1] = string.sub(members[i + 1], 17)
  end
end
return found
