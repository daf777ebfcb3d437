-- Look at the jobs that could run now, by tenant and kind, and at what the queue has worked off so far: what the need for
-- workers is reckoned from. Of long lists a sample stands for all.
-- flags: no-writes
--
-- ARGV: ms within which scheduled jobs count, tenants to look at at the most, jobs to look at of each list
-- Answer: {paused (1 | 0), leased, workers, done, retried, died, busy_ms}, then for each list of jobs
--         {jobs in it, jobs looked at, tenant, kind, how many of these, tenant, kind, how many, ...}
local horizon, tenants, sample = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function group(size, ids)
  local counted, order, looked_at = {}, {}, 0
  for _, id in ipairs(ids) do
    local job = redis.call('HMGET', job_key(id), 'tenant', 'kind')
    if job[1] and job[2] then
      local name = job[1] .. '\n' .. job[2]
      if not counted[name] then
        counted[name] = {job[1], job[2], 0}
        order[#order + 1] = counted[name]
      end
      counted[name][3] = counted[name][3] + 1
      looked_at = looked_at + 1
    end
  end
  local answer = {size, looked_at}
  for _, one in ipairs(order) do
    for part = 1, 3 do answer[#answer + 1] = one[part] end
  end
  return answer
end

local function group_of_list(name)
  return group(redis.call('LLEN', name), redis.call('LRANGE', name, 0, sample - 1))
end

local function leased()
  local total = 0
  for _, boot in ipairs(redis.call('ZRANGE', key('workers'), 0, -1)) do
    total = total + redis.call('ZCARD', key('leased:' .. boot))
  end
  return total
end

local told = redis.call('HMGET', meta, 'done', 'retried', 'died', 'busy_ms')
local answer = {{redis.call('HEXISTS', meta, 'paused'), leased(), redis.call('ZCOUNT', key('workers'), now, '+inf')}}
for place = 1, 4 do answer[1][3 + place] = tonumber(told[place] or '0') end
answer[2] = group_of_list(key('alone'))
answer[3] = group_of_list(key('urgent'))
local due = redis.call('ZRANGEBYSCORE', key('scheduled'), '-inf', now + horizon, 'LIMIT', 0, sample)
answer[4] = group(redis.call('ZCOUNT', key('scheduled'), '-inf', now + horizon), due)
local known, rest = {}, 0
for _, tenant in ipairs(redis.call('LRANGE', key('rotation'), 0, -1)) do
  if not known[tenant] then
    known[tenant] = true
    if tenants > 0 then
      answer[#answer + 1] = group_of_list(key('ready:' .. tenant))
      tenants = tenants - 1
    else
      rest = rest + redis.call('LLEN', key('ready:' .. tenant))
    end
  end
end
answer[#answer + 1] = {rest, 0}
return answer
