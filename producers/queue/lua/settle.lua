-- End leases: each job goes where its outcome sends it. Only who holds the lease may; a replay changes nothing.
-- flags: allow-oom
-- uses: lanes, history, deaths, held
-- reads: done, busy_ms
--
-- ARGV: boot id, then for each job id, lease token, verb, detail (JSON, or '' for ack)
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
--       and at last, where it is known, the milliseconds that threads were at work on all of these
-- Answer: for each job 1, or 0 where the lease was lost before (its jobs are somebody else's now)
local boot = ARGV[1]
local leased, worker = key('leased:' .. boot), key('worker:' .. boot)
local answer, released, freed, unleased = {}, {}, {}, {}
local at = string.format('%d', now)
local ended, done = false, tonumber(meta_done or '0')
local alone = redis.call('HGET', worker, 'alone')

local function finish(job, token, kind, tenant, digest, told_keep, attempts, note)
  count_out(tenant or '', note)
  -- Deleted first: a hash that held a message stays large in memory.
  redis.call('DEL', job)
  if tonumber(told_keep or '0') > 0 then
    redis.call('HSET', job, 'state', 'done', 'kind', kind, 'tenant', tenant, 'digest', digest, 'changed_at', at,
      'attempts', attempts or '0', 'settled', token)
    redis.call('PEXPIRE', job, told_keep)
  end
  done = done + 1
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
local function settle(id, token, verb, detail)
  local job = job_key(id)
  local lease, settled, kind, tenant, digest, keep, attempts, note = unpack(
    redis.call('HMGET', job, 'lease', 'settled', 'kind', 'tenant', 'digest', 'keep', 'attempts', 'held'))
  if lease ~= token then return settled == token and 1 or 0 end
  ended = true
  unleased[#unleased + 1] = id
  if alone == id then
    redis.call('HDEL', worker, 'alone')
    if redis.call('EXISTS', key('alone')) == 1 then wake() end
  end
  if verb == 'ack' then
    finish(job, token, kind, tenant, digest, keep, attempts, note)
    return 1
  end
  redis.call('HDEL', job, 'lease', 'started')
  redis.call('HSET', job, 'settled', token)
  settle_otherwise = settle_otherwise or make_verbs()
  settle_otherwise(id, verb, detail)
  return 1
end

for i = 2, #ARGV - 3, 4 do
  answer[#answer + 1] = settle(unpack(ARGV, i, i + 3))
end
in_chunks(unleased, function(...) redis.call('ZREM', leased, ...) end)
-- The last one goes to the head first, so that they stand there in the order in which they were leased.
for i = #released, 1, -1 do
  push_head(redis.call('HGET', job_key(released[i]), 'tenant'), released[i])
end
if freed[1] then wake() end
local busy_ms = (#ARGV - 1) % 4 == 1 and math.floor(tonumber(ARGV[#ARGV])) or 0
if ended or busy_ms > 0 then
  redis.call('HSET', meta, 'done', done, 'busy_ms', tonumber(meta_busy_ms or '0') + busy_ms, held_now())
end
for name, more in pairs(counted) do redis.call('HINCRBY', meta, name, more) end
return answer
