-- Take in jobs; one that is known already is said to be known and nothing is added.
-- The one step that Redis refuses when it is out of memory.
--
-- ARGV: states (of '', 'dead', 'done', parted by commas) in which a known job gets a new life, then for each job
--       id, kind, tenant, digest, keep (ms), due ('' | 'at:<ms>' | 'in:<ms>'), urgent (1 | ''), revives ('' | <ms>),
--       message
--       revives: whose dead letter is given a new life, by the time of that death. A job that is dead by it, or by an
--       earlier one, runs with what is offered, which may be other content; in any other state it is known, and
--       nothing happens, so that an offer can be repeated. The states of above are not asked.
-- Answer: for each job its offer (accepted | known | revived | conflict) and its state
-- Moves: nothing -> ready or scheduled; dead or done -> ready or scheduled (a new life)
local revive = ARGV[1]
local seq = tonumber(redis.call('HGET', meta, 'seq') or '0')
local answer, accepted, ready, tenants, urgents, scheduled = {}, 0, {}, {}, {}, {}
local kinds = {}

local function due_of(text)
  if text == '' then return nil end
  local ms = tonumber(string.sub(text, 4))
  if string.sub(text, 1, 3) == 'in:' then ms = now + ms end
  return ms > now and ms or nil
end

local function place(id, tenant, due, urgent)
  if due then
    redis.call('ZADD', key('scheduled'), due, id)
    redis.call('HSET', job_key(id), 'state', 'scheduled', 'due', due)
    scheduled[id] = true
    return 'scheduled'
  end
  if urgent then
    urgents[#urgents + 1] = id
    return 'ready'
  end
  if not ready[tenant] then
    ready[tenant] = {}
    tenants[#tenants + 1] = tenant
  end
  table.insert(ready[tenant], id)
  return 'ready'
end

local function is_revived(state, died_at, revives)
  if revives then return state == 'dead' and died_at <= revives end
  return string.find(revive, state, 1, true) ~= nil
end

local function offer(id, kind, tenant, digest, keep, due, urgent, revives, message)
  revives = tonumber(revives)
  local known = redis.call('HMGET', job_key(id), 'state', 'digest', 'died_at', 'archived', 'keep')
  local died_at = tonumber(known[3] or '0')
  if known[1] and not revives and known[2] ~= digest then return 'conflict', known[1] end
  if known[1] and not is_revived(known[1], died_at, revives) then
    -- A write even so: WAIT confirms the last write of a connection, and there must be one to confirm.
    redis.call('HSET', job_key(id), 'offered_at', now)
    return 'known', known[1]
  end
  if known[1] and revives then
    keep = math.max(tonumber(keep), tonumber(known[5] or '0'))
    -- Messages of plain actors are never in conflict, whoever offers them.
    if known[2] == 'message' then digest = known[2] end
  end
  if known[1] == 'dead' and not is_archived(known[1], known[3], known[4]) then
    redis.call('ZREM', key('dead'), id)
    redis.call('HDEL', job_key(id), 'attempts', 'crashes', 'postpones', 'postponed_at', 'parked_at', 'code', 'told',
      'died_at', 'urgent')
  else
    -- Its letter waits in PostgreSQL, and the offer may not come from there.
    if known[1] == 'dead' and not revives then redis.call('HSET', key('revived'), id, died_at) end
    -- Of a job that is done or archived only a record is left, which would expire.
    if known[1] then redis.call('DEL', job_key(id)) end
    if known[1] == 'dead' then redis.call('ZREM', key('archived'), id) end
    accepted = accepted + 1
    kinds[kind] = (kinds[kind] or 0) + 1
  end
  seq = seq + 1
  redis.call('HSET', job_key(id), 'state', 'ready', 'kind', kind, 'tenant', tenant, 'digest', digest, 'keep', keep,
    'seq', seq, 'accepted_at', now, 'changed_at', now, 'message', message)
  if urgent == '1' then redis.call('HSET', job_key(id), 'urgent', 1) end
  local died_before = math.max(died_at, revives or 0)
  if died_before > 0 then redis.call('HSET', job_key(id), 'died_before', died_before) end
  return known[1] and 'revived' or 'accepted', place(id, tenant, due_of(due), urgent == '1')
end

for i = 2, #ARGV, 9 do
  local told, state = offer(unpack(ARGV, i, i + 8))
  answer[#answer + 1] = told
  answer[#answer + 1] = state
end
push_urgent(urgents)
for _, tenant in ipairs(tenants) do push_tail(tenant, ready[tenant]) end
redis.call('HSET', meta, 'layout', LAYOUT, 'seq', seq)
if accepted > 0 then redis.call('HINCRBY', meta, 'accepted', accepted) end
-- A producer may name any kind, and each would be a label of a metric for ever: beyond so many they count together.
for kind, more in pairs(kinds) do
  local room = redis.call('HEXISTS', key('enqueued'), kind) == 1 or redis.call('HLEN', key('enqueued')) < 100
  redis.call('HINCRBY', key('enqueued'), room and kind or '', more)
end
-- Idle workers sleep until the next due time, so they must hear of an earlier one.
if #tenants > 0 or #urgents > 0 or scheduled[redis.call('ZRANGE', key('scheduled'), 0, 0)[1]] then wake() end
return answer
