#!lua flags=no-writes
-- Records of some runs of one shard, until they have this many bytes; at least one.
--
-- KEYS: record and head of each run. ARGV: 1 how many bytes, about
-- For a run without record: nothing when it has no head, else an empty string, which is no record.

local found, bytes, most = {}, 0, tonumber(ARGV[1])
for i = 1, #KEYS, 2 do
  local record = redis.call('GET', KEYS[i])
  if not record and redis.call('EXISTS', KEYS[i + 1]) == 1 then record = '' end
  found[#found + 1] = record
  bytes = bytes + (record and #record or 0)
  if bytes >= most then return found end
end
return found
