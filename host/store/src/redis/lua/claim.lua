#!lua
-- Claims, renews or releases a shard, or says who owns it.
--
-- KEYS: 1 owner: m member, e epoch, u until when (milliseconds)
-- ARGV: 1 what 2 member 3 epoch 4 milliseconds
-- A claim with epoch 0 only asks whether the shard is free, and what the last epoch was.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local owner = redis.call('HMGET', KEYS[1], 'm', 'e', 'u')
local member, epoch, till = owner[1] or '', owner[2] or '0', tonumber(owner[3] or '0')
local ours = member == ARGV[2] and epoch == ARGV[3]

if ARGV[1] == 'look' then
  if member == '' or till <= now then return {'free', epoch} end
  return {'taken', epoch, member}
elseif ARGV[1] == 'claim' then
  if member ~= '' and till > now and member ~= ARGV[2] then return {'taken', epoch, member} end
  if tonumber(ARGV[3]) <= tonumber(epoch) then return {'free', epoch} end
  redis.call('HSET', KEYS[1], 'm', ARGV[2], 'e', ARGV[3], 'u', string.format('%.0f', now + tonumber(ARGV[4])))
  return {'done', ARGV[3]}
elseif not ours then
  return {'taken', epoch, member}
elseif ARGV[1] == 'renew' then
  -- Also when its time is over: nobody has claimed the shard since.
  redis.call('HSET', KEYS[1], 'u', string.format('%.0f', now + tonumber(ARGV[4])))
else
  redis.call('HSET', KEYS[1], 'm', '')
end
return {'done', epoch}
