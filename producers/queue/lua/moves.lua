-- Jobs that become ready: due ones, and parked ones that are released. For steps that use lanes, too.
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
