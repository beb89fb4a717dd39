#!lua flags=no-writes
-- Entries of a journal, or log lines, from a position on.
--
-- KEYS: 1 head 2 the list. ARGV: 1 the field with its end 2 the field with its beginning (or empty)
-- 3 from 4 how many 5 how many bytes, about
-- Answers `none` when there is nothing at this position, else `some` and what there is.

local head = redis.call('HMGET', KEYS[1], ARGV[1], ARGV[2])
local last, first, from = tonumber(head[1] or '0'), tonumber(head[2] or '0'), tonumber(ARGV[3])
if from < first or from >= last then return {'none'} end
local stop, most, bytes, block = math.min(last, from + tonumber(ARGV[4])), tonumber(ARGV[5]), 0, 8
local found = {'some'}
while from < stop and bytes < most do
  local some = redis.call('LRANGE', KEYS[2], from - first, math.min(from + block, stop) - 1 - first)
  if #some == 0 then return found end
  for i = 1, #some do
    found[#found + 1] = some[i]
    bytes = bytes + #some[i]
  end
  from = from + #some
  -- Small ones are read many at a time; large ones must not come in hundreds.
  if bytes < most / 16 then block = 256 else block = 8 end
end
-- What was committed together comes together: each says how many of its commit are behind it.
local final = found[#found]
if #found > 1 and #final >= 8 then
  local behind = math.min(struct.unpack('<I4', final, 5), last - from)
  if behind > 0 then
    for _, item in ipairs(redis.call('LRANGE', KEYS[2], from - first, from + behind - 1 - first)) do
      found[#found + 1] = item
    end
  end
end
return found
