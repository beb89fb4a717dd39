#!lua
-- One commit, judged in the same order as admission.rs, and written as a whole or not at all.
-- Nothing is written in front of the last refusal.
--
-- KEYS: 1 head 2 record 3 journal 4 logs 5 references
--       6 start 7 workflow 8 due 9 ready 10 ended 11 open 12 children 13 made 14 owner of the shard
-- ARGV: 1 commit id 2 expected length 3 token (16 hex digits, or empty) 4 first log line
--       5 length 6 log lines 7 where the journal begins 8 record 9 wake_at (8 bytes, or empty)
--       10 ready (1 or empty) 11 updated_at (8 bytes) 12 terminal (1 or empty) 13 run (16 bytes)
--       14 started_at (8 bytes) 15 workflow 16 parent (16 bytes, or empty) 17 module (32 bytes)
--       18 number of references 19 number of entries 20 channel for hints; then references, entries,
--       log lines
--
-- The head: t token, l length, n log lines, f where the journal begins, b start, c the last commit's
-- id; and what the run has in indexes, empty when nothing: w wake_at, y ready since, e ended at,
-- d module while it is open.

-- Tokens have 64 bits, Lua's numbers 53; strings are not compared, because that depends on a locale.
local function older(a, b)
  local a1, b1 = tonumber(string.sub(a, 1, 8), 16), tonumber(string.sub(b, 1, 8), 16)
  if a1 ~= b1 then return a1 < b1 end
  return tonumber(string.sub(a, 9), 16) < tonumber(string.sub(b, 9), 16)
end

local head = redis.call('HMGET', KEYS[1], 't', 'l', 'n', 'f', 'b', 'c', 'w', 'y', 'e', 'd')
local token, length, lines, first = head[1], head[2], head[3], head[4]
local exists = length and true or false
local references, entries = tonumber(ARGV[18]), tonumber(ARGV[19])
if exists then
  -- It is done already: its answer was lost, and it was sent again.
  if head[6] == ARGV[1] then return {'done'} end
  if ARGV[3] ~= '' and older(ARGV[3], token) then return {'lease lost'} end
  -- Nor does one that was leased by an earlier owner of the shard: the owner now may have read the run.
  if ARGV[3] ~= '' then
    local epoch = redis.call('HGET', KEYS[14], 'e')
    if epoch and tonumber(string.sub(ARGV[3], 1, 6), 16) < tonumber(epoch) then return {'lease lost'} end
  end
  if ARGV[2] == '0' then return {'exists'} end
  if ARGV[2] ~= length then return {'conflict', length} end
else
  -- Redis has lost everything, or another one answers: nothing is begun on top of that.
  if redis.call('EXISTS', KEYS[13]) == 0 then return {'vanished'} end
  if ARGV[2] ~= '0' then return {'conflict', '0'} end
  token, lines, first = '0000000000000000', '0', '0'
end
if ARGV[4] ~= lines then return {'lines', lines} end
if exists then
  for i = 21, 20 + references do
    if redis.call('SISMEMBER', KEYS[5], ARGV[i]) == 1 then return {'duplicate'} end
  end
  -- Cheap to see, and never to be built upon.
  if redis.call('LLEN', KEYS[3]) ~= tonumber(length) - tonumber(first) then
    return {'damaged', 'the journal does not have the entries that it should'}
  end
  if redis.call('LLEN', KEYS[4]) ~= tonumber(lines) then
    return {'damaged', 'it does not have the log lines that it should'}
  end
end

local function append(command, key, from, to)
  while from <= to do
    local last = math.min(from + 499, to)
    redis.call(command, key, unpack(ARGV, from, last))
    from = last + 1
  end
end

append('SADD', KEYS[5], 21, 20 + references)
append('RPUSH', KEYS[3], 21 + references, 20 + references + entries)
append('RPUSH', KEYS[4], 21 + references + entries, #ARGV)
local gone = tonumber(ARGV[7]) - tonumber(first)
if gone > 0 then redis.call('LTRIM', KEYS[3], gone, -1) end
redis.call('SET', KEYS[2], ARGV[8])

local run, workflow = ARGV[13], ARGV[15]
local change = {'c', ARGV[1], 'l', ARGV[5]}
local function note(field, old, new)
  if old ~= new then change[#change + 1] = field; change[#change + 1] = new end
end
-- Moves the run within an index, from one place to another; an empty place is none.
local function move(key, field, old, new, front, back)
  old = old or ''
  note(field, old, new)
  if old == new then return end
  if old ~= '' then redis.call('ZREM', key, front .. old .. back) end
  if new ~= '' then redis.call('ZADD', key, 0, front .. new .. back) end
end

note('t', head[1], ARGV[3] ~= '' and ARGV[3] or token)
note('n', head[3], ARGV[6])
note('f', head[4], ARGV[7])
local start = head[5]
if not exists then
  start = ARGV[14]
  note('b', false, start)
  redis.call('ZADD', KEYS[6], 0, start .. run)
  redis.call('ZADD', KEYS[7], 0, workflow .. '\0' .. start .. run)
  if ARGV[16] ~= '' then redis.call('ZADD', KEYS[12], 0, ARGV[16] .. start .. run) end
end
move(KEYS[8], 'w', head[7], ARGV[9], '', run)

-- A run keeps its place in the line as long as it is ready.
local ready, ended = head[8] or '', head[9] or ''
if ARGV[10] == '' then ready = '' elseif ready == '' then ready = ARGV[11] end
move(KEYS[9], 'y', head[8], ready, '', run)

-- A failed run can be tried again.
if ARGV[12] == '' then ended = ''
elseif ended == '' and ARGV[10] == '' then ended = ARGV[11] end
move(KEYS[10], 'e', head[9], ended, workflow .. '\0', run)

move(KEYS[11], 'd', head[10], ARGV[12] == '' and ARGV[17] or '', '', start .. run)
redis.call('HSET', KEYS[1], unpack(change))
-- Who listens knows its own commits by the first half of their ids.
redis.call('PUBLISH', ARGV[20], string.sub(ARGV[1], 1, 8) .. 'r' .. run)
return {'ok'}
