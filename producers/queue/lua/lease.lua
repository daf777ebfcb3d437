-- Lease ready jobs to a worker. Suspects come first, one at a time; then urgent jobs, up to half where others wait, too;
-- then tenants take turns by their weights.
-- A replay (the same request again, because the answer was lost) gets the same jobs.
-- flags: allow-oom
-- uses: lanes, moves
-- reads: paused, surplus, leased_total, waited_ms
--
-- ARGV: boot id, number of the request (rises by one each), jobs wanted, lease (ms), how many jobs are too few to be
--       parted among workers
-- Answer: paused (1 | 0), ms until the next scheduled job is due (-1: none), now (ms), then for each job
--         id, kind, tenant, message, ready_at, alone, past ('' of a job that was never leased before, else attempts,
--         recoveries, crashes, postpones, postponed_at, parked_at; '' for what it has not)
-- Moves: scheduled -> ready (due ones), ready -> leased
local boot, request, wanted, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local least = math.max(1, tonumber(ARGV[5]))
local leased, worker = key('leased:' .. boot), key('worker:' .. boot)
local token = boot .. '/' .. ARGV[2]
-- Its suspect, and how many urgent jobs are ready.
local alone, urgents = redis.call('HGET', worker, 'alone'), 0

-- A small backlog is parted among the workers, so that one does not take what another is idle for.
local function fair_share()
  local total, seen = 0, redis.call('LRANGE', key('rotation'), 0, 63)
  for _, tenant in ipairs(seen) do
    total = total + redis.call('LLEN', key('ready:' .. tenant))
    if total >= wanted * 16 then return wanted end
  end
  -- Of many tenants the first stand for all.
  if #seen == 64 then total = total * redis.call('LLEN', key('rotation')) / 64 end
  total = total + urgents
  local workers = math.max(1, redis.call('ZCARD', key('workers')))
  return math.min(wanted, math.max(least, math.ceil(total / workers)))
end

-- A job that was lost with its worker is leased singly, and only one such to a worker: whoever kills it is known then.
local function take_suspect(taken)
  if alone then return end
  alone = redis.call('LPOP', key('alone'))
  if not alone then return end
  redis.call('HSET', worker, 'alone', alone)
  taken[#taken + 1] = alone
end

-- How much of a lease urgent jobs may take before the others. They go first, and the others get half: urgent jobs without
-- end would starve them. The odd place goes to the ones and the others by turns, since most leases are of one job.
local function urgent_part(room)
  if urgents == 0 or redis.call('EXISTS', key('rotation')) == 0 then return room end
  if room % 2 == 0 then return room / 2 end
  if redis.call('HDEL', meta, 'urgent_last') == 1 then return math.floor(room / 2) end
  redis.call('HSET', meta, 'urgent_last', 1)
  return math.ceil(room / 2)
end

local function take_urgent(taken, room)
  if room < 1 or urgents == 0 then return end
  for _, id in ipairs(redis.call('LPOP', key('urgent'), room) or {}) do taken[#taken + 1] = id end
end

-- What weights add to a round in which each tenant has one turn; nil where all weigh 1.
local surplus = tonumber(meta_surplus or nil)

-- The next tenant's turn: as many jobs as it weighs, times as many such rounds as the lease has room for. A turn that
-- the lease cuts short goes on with the next one: its tenant stays in front, and `credits` has what it may still take.
local function take_turn(taken, room, rounds)
  local tenant = redis.call('LPOP', key('rotation'))
  local weight, credit = 1, nil
  if surplus then
    weight = tonumber(redis.call('HGET', key('weights'), tenant) or 1)
    credit = tonumber(redis.call('HGET', key('credits'), tenant) or nil)
  end
  local count = math.min((credit or weight) + weight * (rounds - 1), room)
  for _, id in ipairs(redis.call('LPOP', key('ready:' .. tenant), count) or {}) do taken[#taken + 1] = id end
  if credit then redis.call('HDEL', key('credits'), tenant) end
  if redis.call('EXISTS', key('ready:' .. tenant)) == 0 then return end
  local rest = (credit or weight) - count
  if rest > 0 then redis.call('HSET', key('credits'), tenant, rest) end
  redis.call(rest > 0 and 'LPUSH' or 'RPUSH', key('rotation'), tenant)
end

local function take_turns(taken, limit)
  local turns, rounds = 0, 1
  while #taken < limit do
    if turns == 0 then
      turns = redis.call('LLEN', key('rotation'))
      if turns == 0 then return end
      rounds = math.max(1, math.floor((limit - #taken) / (turns + (surplus or 0))))
    end
    take_turn(taken, limit - #taken, rounds)
    turns = turns - 1
  end
end

-- What of a job goes into the answer, and what tells where the rest comes from.
local function read(id)
  return redis.call('HMGET', job_key(id), 'kind', 'tenant', 'message', 'ready_at', 'changed_at', 'settled',
    'recoveries')
end

-- What happened to a job before. Only one that was leased before has any of it.
local function past_of(id, job)
  if not (job[6] or job[7]) then return '' end
  local past = redis.call('HMGET', job_key(id), 'attempts', 'recoveries', 'crashes', 'postpones', 'postponed_at',
    'parked_at')
  for field = 1, 6 do past[field] = past[field] or '' end
  return past
end

local jobs = {}

local function take()
  local taken, places, waited, at = {}, {}, 0, string.format('%d', now)
  take_suspect(taken)
  urgents = redis.call('LLEN', key('urgent'))
  local limit = #taken + math.min(wanted - #taken, fair_share())
  take_urgent(taken, urgent_part(limit - #taken))
  take_turns(taken, limit)
  take_urgent(taken, limit - #taken)
  for place, id in ipairs(taken) do
    local job = read(id)
    local ready_at = job[5]
    if ready_at then
      redis.call('HSET', job_key(id), 'state', 'leased', 'lease', token, 'ready_at', ready_at, 'changed_at', at)
      job[4] = ready_at
      jobs[id] = job
      waited = waited + math.max(0, now - tonumber(ready_at))
    end
  end
  -- The last one first: each is then put before those that are there, which is found at once.
  for place = #taken, 1, -1 do
    places[#places + 1] = string.format('%s.%05d', ARGV[2], place)
    places[#places + 1] = taken[place]
  end
  in_chunks(places, function(...) redis.call('ZADD', leased, ...) end)
  if #taken > 0 then
    redis.call('HSET', meta, 'leased_total', (meta_leased_total or 0) + #taken,
      'waited_ms', (meta_waited_ms or 0) + waited)
  end
  return taken
end

redis.call('ZADD', key('workers'), now + lease, boot)
if not layout then redis.call('HSET', meta, 'layout', LAYOUT) end
local taken, due = redis.call('ZRANGEBYSCORE', leased, request, '(' .. (request + 1)), next_due()
if #taken == 0 and not meta_paused and wanted > 0 then
  if due == 0 then
    promote(500)
    due = next_due()
  end
  taken = take()
end

local answer = {meta_paused and 1 or 0, due, now}
for _, id in ipairs(taken) do
  -- Read already where it was taken just now, and not in a replay.
  local job, last = jobs[id] or read(id), #answer
  if job[3] then
    answer[last + 1], answer[last + 2], answer[last + 3], answer[last + 4] = id, job[1] or '', job[2] or '', job[3]
    answer[last + 5], answer[last + 6], answer[last + 7] = job[4] or '', alone == id and 1 or 0, past_of(id, job)
  else
    -- Somebody removed the job's record; reconcile tells of it.
    redis.call('ZREM', leased, id)
    if alone == id then redis.call('HDEL', worker, 'alone') end
  end
end
-- A worker that has its suspect and took nothing leaves further ones behind without a token: it would only wake itself
-- with it, again and again. Its suspect's end wakes the next.
local left = redis.call('EXISTS', key('rotation'), key('urgent'),
  (#taken > 0 or not alone) and key('alone') or key('urgent')) > 0
if not meta_paused and left then
  wake()
else
  redis.call('DEL', key('wake'))
end
return answer
