-- Take in jobs; one that is known already is said to be known and nothing is added.
-- The one step that Redis refuses when it is out of memory.
--
-- ARGV: states (of '', 'dead', 'done', parted by commas) in which a known job gets a new life, then for each job
--       id, kind, tenant, digest, keep (ms), due ('' | 'at:<ms>' | 'in:<ms>'), urgent (1 | ''), message
-- Answer: for each job its offer (accepted | known | revived | conflict) and its state
-- Moves: nothing -> ready or scheduled; dead or done -> ready or scheduled (a new life)
local revive = ARGV[1]
local seq = tonumber(redis.call('HGET', meta, 'seq') or '0')
local answer, accepted, ready, tenants, urgents, scheduled = {}, 0, {}, {}, {}, {}

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

local function offer(id, kind, tenant, digest, keep, due, urgent, message)
  local known = redis.call('HMGET', job_key(id), 'state', 'digest')
  if known[1] and known[2] ~= digest then return 'conflict', known[1] end
  if known[1] and not string.find(revive, known[1], 1, true) then
    -- A write even so: WAIT confirms the last write of a connection, and there must be one to confirm.
    redis.call('HSET', job_key(id), 'offered_at', now)
    return 'known', known[1]
  end
  if known[1] == 'dead' then
    redis.call('ZREM', key('dead'), id)
    redis.call('HDEL', job_key(id), 'attempts', 'crashes', 'postpones', 'postponed_at', 'parked_at', 'code', 'told',
      'died_at', 'urgent')
  else
    -- Of a job that is done only a record is left, which would expire.
    if known[1] then redis.call('DEL', job_key(id)) end
    accepted = accepted + 1
  end
  seq = seq + 1
  redis.call('HSET', job_key(id), 'state', 'ready', 'kind', kind, 'tenant', tenant, 'digest', digest, 'keep', keep,
    'seq', seq, 'accepted_at', now, 'changed_at', now, 'message', message)
  if urgent == '1' then redis.call('HSET', job_key(id), 'urgent', 1) end
  return known[1] and 'revived' or 'accepted', place(id, tenant, due_of(due), urgent == '1')
end

for i = 2, #ARGV, 8 do
  local told, state = offer(unpack(ARGV, i, i + 7))
  answer[#answer + 1] = told
  answer[#answer + 1] = state
end
push_urgent(urgents)
for _, tenant in ipairs(tenants) do push_tail(tenant, ready[tenant]) end
redis.call('HSET', meta, 'layout', LAYOUT, 'seq', seq)
if accepted > 0 then redis.call('HINCRBY', meta, 'accepted', accepted) end
-- Idle workers sleep until the next due time, so they must hear of an earlier one.
if #tenants > 0 or #urgents > 0 or scheduled[redis.call('ZRANGE', key('scheduled'), 0, 0)[1]] then wake() end
return answer
