-- What every step begins with: names of keys, the server's time, the layout's version, and the moves that steps share.
-- KEYS[1] is the queue's base `<namespace>:{<queue>}`. Every other key derives from it and so has its hash tag: a step
-- touches one slot of a Cluster. docs/queue.md lists the keys, the fields of a job, and the states.
local B = KEYS[1]
local function key(suffix) return B .. ':' .. suffix end
local function job_key(id) return B .. ':job:' .. id end
local meta = key('meta')

local LAYOUT = 1
local layout = redis.call('HGET', meta, 'layout')
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

local function push_tail(tenant, ids)
  local length = 0
  in_chunks(ids, function(...) length = redis.call('RPUSH', key('ready:' .. tenant), ...) end)
  -- A tenant is in the rotation exactly while it has ready jobs.
  if length == #ids then redis.call('RPUSH', key('rotation'), tenant) end
end

-- Jobs that must not be late stand in one lane for all tenants.
local function push_urgent(ids)
  in_chunks(ids, function(...) redis.call('RPUSH', key('urgent'), ...) end)
end

local function push_head(tenant, id)
  if redis.call('HEXISTS', job_key(id), 'urgent') == 1 then
    redis.call('LPUSH', key('urgent'), id)
  elseif redis.call('LPUSH', key('ready:' .. tenant), id) == 1 then
    redis.call('LPUSH', key('rotation'), tenant)
  end
end

-- Make jobs ready that were elsewhere, in this order; returns how many there were. Ids without a job are dropped.
local function make_ready(ids)
  local tenants, by_tenant, urgent, count = {}, {}, {}, 0
  for _, id in ipairs(ids) do
    local tenant, is_urgent = unpack(redis.call('HMGET', job_key(id), 'tenant', 'urgent'))
    if tenant then
      redis.call('HSET', job_key(id), 'state', 'ready', 'changed_at', now)
      if not is_urgent and not by_tenant[tenant] then
        by_tenant[tenant] = {}
        tenants[#tenants + 1] = tenant
      end
      table.insert(is_urgent and urgent or by_tenant[tenant], id)
      count = count + 1
    end
  end
  push_urgent(urgent)
  for _, tenant in ipairs(tenants) do push_tail(tenant, by_tenant[tenant]) end
  if count > 0 then wake() end
  return count
end

-- Scheduled jobs whose time has come, in the order of their due times.
local function promote(limit)
  local due = redis.call('ZRANGEBYSCORE', key('scheduled'), '-inf', now, 'LIMIT', 0, limit)
  if #due == 0 then return 0 end
  in_chunks(due, function(...) redis.call('ZREM', key('scheduled'), ...) end)
  for _, id in ipairs(due) do redis.call('HDEL', job_key(id), 'due') end
  return make_ready(due)
end

-- Milliseconds until the next scheduled job is due; -1 where there is none.
local function next_due()
  local first = redis.call('ZRANGE', key('scheduled'), 0, 0, 'WITHSCORES')
  if not first[2] then return -1 end
  return math.max(0, tonumber(first[2]) - now)
end

-- The first `limit` jobs parked under a key, in the order in which they were enqueued.
local function release_parked(park, limit)
  local parked = key('parked:' .. park)
  local ids = redis.call('ZRANGE', parked, 0, limit - 1)
  if #ids > 0 then
    in_chunks(ids, function(...) redis.call('ZREM', parked, ...) end)
    for _, id in ipairs(ids) do redis.call('HDEL', job_key(id), 'park', 'blocked_by') end
    make_ready(ids)
  end
  if redis.call('EXISTS', parked) == 0 then
    redis.call('HDEL', key('parks'), park)
    redis.call('ZREM', key('releases'), park)
  end
  return #ids
end

-- Add an entry (a JSON object) to a job's history (a JSON list of them). A job that goes round for ever must not grow:
-- of what comes after so many bytes the latest entry is kept, and how many there were.
local function add_history(id, entry)
  local history = redis.call('HGET', job_key(id), 'history')
  if not history then
    redis.call('HSET', job_key(id), 'history', '[' .. entry .. ']')
  elseif #history < 262144 then
    redis.call('HSET', job_key(id), 'history', string.sub(history, 1, -2) .. ',' .. entry .. ']')
  else
    redis.call('HSET', job_key(id), 'latest', entry)
    redis.call('HINCRBY', job_key(id), 'beyond', 1)
  end
end

-- The history as a whole; where entries were left out, one tells how many.
local function history_of(id)
  local told = redis.call('HMGET', job_key(id), 'history', 'latest', 'beyond')
  if not told[1] or not told[2] then return told[1] end
  local left_out = ',{"outcome":"left out","entries":' .. (tonumber(told[3]) - 1) .. '},'
  return string.sub(told[1], 1, -2) .. left_out .. told[2] .. ']'
end

-- A job is archived while PostgreSQL has its dead letter; `archived` then names the death: an earlier release, which does
-- not know the field, may have given the job a new life.
local function is_archived(state, died_at, archived)
  return state == 'dead' and archived and archived == died_at
end

-- Where the record of a job says that it is: its state, or `archived`.
local function standing_of(id)
  local told = redis.call('HMGET', job_key(id), 'state', 'died_at', 'archived')
  return is_archived(told[1], told[2], told[3]) and 'archived' or told[1]
end

-- End a job as a dead letter. It never expires. Each death is later than the one before, also where the clock of a
-- server that took over is behind: deaths are told apart by their times.
local function bury(id, code, told)
  local died_at = math.max(now, tonumber(redis.call('HGET', job_key(id), 'died_before') or '0') + 1)
  redis.call('HSET', job_key(id), 'state', 'dead', 'code', code, 'told', told, 'died_at', died_at, 'changed_at', now)
  redis.call('HDEL', job_key(id), 'blocked_by', 'archived')
  redis.call('ZADD', key('dead'), died_at, id)
  redis.call('HINCRBY', meta, 'died', 1)
end
