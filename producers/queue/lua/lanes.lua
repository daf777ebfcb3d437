-- Where ready jobs stand: a list for each tenant, and the lane of those that must not be late.
local function push_tail(tenant, ids)
  local ready, length = key('ready:' .. tenant), 0
  for from = 1, #ids, CHUNK do
    length = redis.call('RPUSH', ready, unpack(ids, from, math.min(from + CHUNK - 1, #ids)))
  end
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
