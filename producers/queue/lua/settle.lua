-- End leases: each job goes where its outcome sends it. Only who holds the lease may; a replay changes nothing.
-- flags: allow-oom
-- uses: lanes, history, deaths, held
-- reads: done, busy_ms
--
-- ARGV: boot id, the milliseconds that threads were at work on all of these, then for each run of jobs lease token,
--       verb and how many, and of each job its id and, but for ack, a detail (JSON)
--   ack       done                                             detail none
--   retry     a failed attempt that counts: scheduled          {delay, code, told, entry}
--   postpone  not now, no attempt spent: scheduled             {delay, at?, blocked_by, limited?, code?, told?}
--             (at: an instant in ms that goes before the delay where it is sooner; limited: it counts towards the time
--             that the job may be told so)
--   bury      dead letter                                      {code, told, entry}
--   release   back to the head of ready, no attempt spent      {alone?} (alone: to be leased singly)
--   park      until its key is released, no attempt spent      {key, blocked_by, offer?, limit?}
--   (delay, offer and limit in ms; entry is JSON within JSON, which the history takes as it is. What follows the JSON
--   after a newline replaces the job's message.)
-- Answer: the places (from 0) of the jobs whose lease was lost before (they are somebody else's now)
local boot = ARGV[1]
local leased, worker = key('leased:' .. boot), key('worker:' .. boot)
local lost, released, freed, unleased = {}, {}, {}, {}
-- Jobs that are done, in lists of those whose records are alike, and which they are.
local finished, is_finished = {}, {}
local at = string.format('%d', now)
local ended, done = false, tonumber(meta_done or '0')
local alone = redis.call('HGET', worker, 'alone')

-- Leave the records of done jobs that differ in their digests alone. The first is made, and the others are copies of it:
-- each command that writes goes into the append-only file and to the replicas, and costs more than all else here.
local function record(jobs)
  local first = jobs[1]
  -- Deleted first: a hash that held a message stays large in memory.
  redis.call('DEL', first)
  redis.call('HSET', first, 'state', 'done', 'kind', jobs.kind, 'tenant', jobs.tenant, 'changed_at', at,
    'attempts', jobs.attempts, 'settled', jobs.token)
  redis.call('PEXPIRE', first, jobs.keep)
  for i = 3, #jobs, 2 do
    redis.call('COPY', first, jobs[i], 'REPLACE')
    redis.call('HSET', jobs[i], 'digest', jobs[i + 1])
  end
  redis.call('HSET', first, 'digest', jobs[2])
end

local function finish(job, token, kind, tenant, digest, keep, attempts, note)
  count_out(tenant or '', note)
  is_finished[job] = true
  done = done + 1
  if tonumber(keep or '0') <= 0 then
    redis.call('DEL', job)
    return
  end
  attempts = attempts or '0'
  local alike = finished[#finished]
  if not (alike and alike.kind == kind and alike.tenant == tenant and alike.keep == keep
    and alike.attempts == attempts and alike.token == token) then
    alike = {kind = kind, tenant = tenant, keep = keep, attempts = attempts, token = token}
    finished[#finished + 1] = alike
  end
  alike[#alike + 1] = job
  alike[#alike + 1] = digest
end

-- What trends are made of: how often each outcome was, all jobs of the call together.
local COUNTED = {retry = 'retried', postpone = 'postponed', park = 'postponed'}
local counted = {}

-- What becomes of jobs that are not done. Most calls tell of none, and each function costs every call that makes it.
local function make_verbs()
  local verbs = {}

  local function schedule(id, delay, at)
    local due = now + math.max(0, tonumber(delay))
    if at then due = math.max(now, math.min(due, at)) end
    redis.call('HSET', job_key(id), 'state', 'scheduled', 'due', due, 'changed_at', now)
    redis.call('ZADD', key('scheduled'), due, id)
    if redis.call('ZRANGE', key('scheduled'), 0, 0)[1] == id then wake() end
  end

  local function tell(id, detail)
    if detail.code then redis.call('HSET', job_key(id), 'code', detail.code, 'told', detail.told or '') end
    if detail.entry then add_history(id, detail.entry) end
  end

  function verbs.retry(id, detail)
    redis.call('HINCRBY', job_key(id), 'attempts', 1)
    redis.call('HDEL', job_key(id), 'blocked_by')
    tell(id, detail)
    schedule(id, detail.delay)
  end

  function verbs.postpone(id, detail)
    redis.call('HINCRBY', job_key(id), 'postpones', 1)
    if detail.limited then redis.call('HSETNX', job_key(id), 'postponed_at', now) end
    redis.call('HSET', job_key(id), 'blocked_by', detail.blocked_by)
    tell(id, detail)
    schedule(id, detail.delay, detail.at)
  end

  function verbs.bury(id, detail)
    if detail.attempted then redis.call('HINCRBY', job_key(id), 'attempts', 1) end
    tell(id, detail)
    bury(id, detail.code, detail.told)
  end

  function verbs.release(id, detail)
    redis.call('HSET', job_key(id), 'state', 'ready', 'changed_at', now)
    if detail.alone then
      redis.call('RPUSH', key('alone'), id)
    else
      released[#released + 1] = id
    end
    freed[1] = true
  end

  function verbs.park(id, detail)
    local seq = redis.call('HGET', job_key(id), 'seq') or 0
    redis.call('HSET', job_key(id), 'state', 'parked', 'park', detail.key, 'blocked_by', detail.blocked_by,
      'changed_at', now)
    redis.call('HSETNX', job_key(id), 'parked_at', now)
    tell(id, detail)
    redis.call('ZADD', key('parked:' .. detail.key), seq, id)
    local info = {reason = detail.blocked_by, since = now, offer = detail.offer, limit = detail.limit}
    if redis.call('HSETNX', key('parks'), detail.key, cjson.encode(info)) == 1 and detail.offer then
      redis.call('ZADD', key('releases'), now + detail.offer, detail.key)
    end
  end

  local function exchange(id, message)
    local tenant, note = unpack(redis.call('HMGET', job_key(id), 'tenant', 'held'))
    tenant = tenant or ''
    count_out(tenant, note)
    redis.call('HSET', job_key(id), 'message', message, count_in(tenant, #message))
  end

  return function(id, verb, detail)
    -- Bytes have no place in JSON, so a message stands behind it.
    local ends = string.find(detail, '\n', 1, true)
    if ends then exchange(id, string.sub(detail, ends + 1)) end
    verbs[verb](id, cjson.decode(string.sub(detail, 1, (ends or 0) - 1)))
    local name = COUNTED[verb]
    if name then counted[name] = (counted[name] or 0) + 1 end
  end
end

local settle_otherwise
-- End a lease; answers whether it was held.
local function settle(id, token, verb, detail)
  local job = job_key(id)
  if is_finished[job] then return true end
  local lease, kind, tenant, digest, keep, attempts, note = unpack(
    redis.call('HMGET', job, 'lease', 'kind', 'tenant', 'digest', 'keep', 'attempts', 'held'))
  if lease ~= token then return redis.call('HGET', job, 'settled') == token end
  ended = true
  unleased[#unleased + 1] = id
  if alone == id then
    redis.call('HDEL', worker, 'alone')
    if redis.call('EXISTS', key('alone')) == 1 then wake() end
  end
  if verb == 'ack' then
    finish(job, token, kind, tenant, digest, keep, attempts, note)
    return true
  end
  redis.call('HDEL', job, 'lease', 'started')
  redis.call('HSET', job, 'settled', token)
  settle_otherwise = settle_otherwise or make_verbs()
  settle_otherwise(id, verb, detail)
  return true
end

local place, next_run = 0, 3
while next_run < #ARGV do
  local token, verb, first = ARGV[next_run], ARGV[next_run + 1], next_run + 3
  local step = verb == 'ack' and 1 or 2
  next_run = first + step * ARGV[next_run + 2]
  for i = first, next_run - 1, step do
    if not settle(ARGV[i], token, verb, ARGV[i + 1]) then lost[#lost + 1] = place end
    place = place + 1
  end
end
for _, alike in ipairs(finished) do record(alike) end
in_chunks(unleased, function(...) redis.call('ZREM', leased, ...) end)
-- The last one goes to the head first, so that they stand there in the order in which they were leased.
for i = #released, 1, -1 do
  push_head(redis.call('HGET', job_key(released[i]), 'tenant'), released[i])
end
if freed[1] then wake() end
local busy_ms = math.floor(tonumber(ARGV[2] or '0'))
if ended or busy_ms > 0 then
  redis.call('HSET', meta, 'done', done, 'busy_ms', tonumber(meta_busy_ms or '0') + busy_ms, held_now())
end
for name, more in pairs(counted) do redis.call('HINCRBY', meta, name, more) end
return lost
