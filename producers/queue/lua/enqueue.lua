-- Take in jobs; one that is known already is said to be known and nothing is added.
-- The one step that Redis refuses when it is out of memory.
-- uses: lanes, archive, held, room
-- reads: seq, accepted
--
-- ARGV: states (of '', 'dead', 'done', parted by commas) in which a known job gets a new life; limits ('' for none;
--       room tells how they are written), then for each run of jobs that have these in common
--       kind, tenant, keep (ms), due ('' | 'at:<ms>' | 'in:<ms>'), urgent (1 | ''), revives ('' | <ms>), how many (of
--       1,000 at most), and of each job id, digest, message
--       revives: whose dead letter is given a new life, by the time of that death. A job that is dead by it, or by an
--       earlier one, runs with what is offered, which may be other content; in any other state it is known, and
--       nothing happens, so that an offer can be repeated. The states of above are not asked.
-- Answer: a list of the jobs that are not accepted and ready, of each its place (from 0), its offer (accepted | known |
--         revived | conflict | full) and its state ('' where it is full); then, where a limit refused any: which one
--         (jobs | bytes | tenant_jobs | tenant_bytes | closed), what it counts now, the limit, ms until there should
--         be room
-- Moves: nothing -> ready or scheduled; dead or done -> ready or scheduled (a new life)
local revive = ARGV[1]
local seq, accepted = tonumber(meta_seq or '0'), tonumber(meta_accepted or '0')
local at = string.format('%d', now)
-- `dues` has due times and ids by turns, `scheduled` which ids these are. What few calls need is made by those.
local unusual, ready, tenants, kinds, urgents, dues, scheduled = {}, {}, {}, {}, nil, nil, nil
-- What the jobs of a run have in common, and when they become ready (nil for at once).
local kind, tenant, run_keep, urgent, revives, due_ms

-- A known job is offered. Answers what it is told, where it has no new life; else nil, digest and keep of that life, when
-- it died at the latest, and whether it was one of the queue's jobs all the time.
local function meet(id, state, digest, keep, revives)
  local was_digest, died_at, archived, was_keep = unpack(
    redis.call('HMGET', job_key(id), 'digest', 'died_at', 'archived', 'keep'))
  local died_ms = tonumber(died_at or '0')
  if not revives and was_digest ~= digest then return 'conflict' end
  local is_revived = string.find(revive, state, 1, true)
  if revives then is_revived = state == 'dead' and died_ms <= revives end
  if not is_revived then
    -- A write even so: WAIT confirms the last write of a connection, and there must be one to confirm.
    redis.call('HSET', job_key(id), 'offered_at', now)
    return 'known'
  end
  if revives then
    keep = math.max(tonumber(keep), tonumber(was_keep or '0'))
    -- Messages of plain actors are never in conflict, whoever offers them.
    if was_digest == 'message' then digest = was_digest end
  end
  local died_before = math.max(died_ms, revives or 0)
  if state == 'dead' and not is_archived(state, died_at, archived) then
    redis.call('ZREM', key('dead'), id)
    local owner, note = unpack(redis.call('HMGET', job_key(id), 'tenant', 'held'))
    count_out(owner or '', note)
    redis.call('HDEL', job_key(id), 'attempts', 'crashes', 'postpones', 'postponed_at', 'parked_at', 'code', 'told',
      'died_at', 'urgent')
    return nil, digest, keep, died_before, true
  end
  -- Its letter waits in PostgreSQL, and the offer may not come from there.
  if state == 'dead' and not revives then redis.call('HSET', key('revived'), id, died_ms) end
  -- Of a job that is done or archived only a record is left, which would expire.
  redis.call('DEL', job_key(id))
  if state == 'dead' then redis.call('ZREM', key('archived'), id) end
  return nil, digest, keep, died_before, false
end

local function place(id)
  if due_ms then
    redis.call('HSET', job_key(id), 'due', due_ms)
    if not dues then dues, scheduled = {}, {} end
    dues[#dues + 1] = due_ms
    dues[#dues + 1] = id
    scheduled[id] = true
    return 'scheduled'
  end
  if urgent then
    urgents = urgents or {}
    urgents[#urgents + 1] = id
    return 'ready'
  end
  local lane = ready[tenant]
  if not lane then
    lane = {}
    ready[tenant] = lane
    tenants[#tenants + 1] = tenant
  end
  lane[#lane + 1] = id
  return 'ready'
end

-- `asks` unless it is known that no job has this id.
local function offer(id, digest, message, asks)
  local job, bytes, keep, died_before, stayed = job_key(id), #message, run_keep, revives or 0, false
  local state = asks and redis.call('HGET', job, 'state')
  if state then
    local told
    told, digest, keep, died_before, stayed = meet(id, state, digest, keep, revives)
    if told then return told, state end
  elseif has_limits then
    local reason, held, limit = limit_reached(tenant)
    if reason then
      -- What the first one met is what the producer is told.
      refusal = refusal or {reason = reason, held = held, limit = limit, jobs = 0, bytes = 0}
      refusal.jobs, refusal.bytes = refusal.jobs + 1, refusal.bytes + bytes
      return 'full', ''
    end
  end
  if not stayed then
    accepted, jobs_now = accepted + 1, jobs_now + 1
    kinds[kind] = (kinds[kind] or 0) + 1
  end
  seq = seq + 1
  redis.call('HSET', job, 'state', due_ms and 'scheduled' or 'ready', 'kind', kind, 'tenant', tenant, 'digest', digest,
    'keep', keep, 'seq', seq, 'accepted_at', at, 'changed_at', at, 'message', message, count_in(tenant, bytes))
  if urgent then redis.call('HSET', job, 'urgent', 1) end
  if died_before > 0 then redis.call('HSET', job, 'died_before', died_before) end
  return state and 'revived' or 'accepted', place(id)
end

-- Whether none of a run's jobs is known, and none is there twice. Most runs are so, and to ask of all at once is cheaper.
local function are_new(first, last)
  local jobs, seen = {}, {}
  for i = first, last, 3 do
    if seen[ARGV[i]] then return false end
    seen[ARGV[i]] = true
    jobs[#jobs + 1] = job_key(ARGV[i])
  end
  return redis.call('EXISTS', unpack(jobs)) == 0
end

local next_run, told_of = 3, 0
while next_run < #ARGV do
  local due, is_urgent, revived, count
  kind, tenant, run_keep, due, is_urgent, revived, count = unpack(ARGV, next_run, next_run + 6)
  urgent, revives, due_ms = is_urgent == '1', tonumber(revived), nil
  if due ~= '' then
    due_ms = tonumber(string.sub(due, 4))
    if string.sub(due, 1, 3) == 'in:' then due_ms = now + due_ms end
    if due_ms <= now then due_ms = nil end
  end
  local first = next_run + 7
  next_run = first + 3 * count
  local asks = count == '1' or not are_new(first, next_run - 3)
  for i = first, next_run - 3, 3 do
    local told, state = offer(ARGV[i], ARGV[i + 1], ARGV[i + 2], asks)
    if told ~= 'accepted' or state ~= 'ready' then
      unusual[#unusual + 1] = told_of
      unusual[#unusual + 1] = told
      unusual[#unusual + 1] = state
    end
    told_of = told_of + 1
  end
end
if urgents then push_urgent(urgents) end
for _, tenant in ipairs(tenants) do push_tail(tenant, ready[tenant]) end
if dues then in_chunks(dues, function(...) redis.call('ZADD', key('scheduled'), ...) end) end
if not layout then redis.call('HSET', meta, 'layout', LAYOUT) end
redis.call('HSET', meta, 'seq', seq, 'accepted', accepted, held_now())
-- A producer may name any kind, and each would be a label of a metric for ever: beyond so many they count together.
for kind, more in pairs(kinds) do
  local is_new = redis.call('HINCRBY', key('enqueued'), kind, more) == more
  if is_new and kind ~= '' and redis.call('HLEN', key('enqueued')) > 100 then
    redis.call('HDEL', key('enqueued'), kind)
    redis.call('HINCRBY', key('enqueued'), '', more)
  end
end
-- Idle workers sleep until the next due time, so they must hear of an earlier one.
if #tenants > 0 or urgents or (dues and scheduled[redis.call('ZRANGE', key('scheduled'), 0, 0)[1]]) then
  wake()
end
local answer = {unusual}
if has_limits then tell_room(answer) end
return answer
