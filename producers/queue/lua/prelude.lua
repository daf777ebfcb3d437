-- What every step begins with: names of keys, the server's time, the layout's version, and what nearly all need. What some
-- share is in libraries, which a step names: each function costs every call of a script that has it.
-- KEYS[1] is the queue's base `<namespace>:{<queue>}`. Every other key derives from it and so has its hash tag: a step
-- touches one slot of a Cluster. docs/queue.md lists the keys, the fields of a job, and the states.
local B = KEYS[1]
local function key(suffix) return B .. ':' .. suffix end
local function job_key(id) return B .. ':job:' .. id end
local meta = key('meta')

local LAYOUT = 1
-- Fields of meta that a step or its libraries tell in a line `-- reads: done, …` are `meta_done` and so on; in one call.
local layout --[[names]] = unpack(redis.call('HMGET', meta, 'layout' --[[fields]]))
if layout and tonumber(layout) > LAYOUT then
  return redis.error_reply('LAYOUT ' .. layout)
end

-- The server's clock is the only one that counts: clients' clocks are wrong.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

-- Lua can hand a command only so many arguments at once.
local CHUNK = 1000
local function in_chunks(items, act)
  for from = 1, #items, CHUNK do
    act(unpack(items, from, math.min(from + CHUNK - 1, #items)))
  end
end

-- One token wakes one idle worker, and a lease that leaves jobs behind wakes the next one.
local function wake()
  if redis.call('EXISTS', key('wake')) == 0 then redis.call('RPUSH', key('wake'), '1') end
end
