-- Count a queue's jobs by place, all at one instant, so that the counts can be held against each other.
-- Costs two look-ups for each tenant that has ready jobs.
-- flags: no-writes
--
-- ARGV: tenants to name at the most (those with the most ready jobs)
-- Answer: {layout, accepted, done, purged, discarded, ready, scheduled, leased, parked, dead, workers, paused (JSON or
--         nil), since when the job that is ready longest is ready (ms or nil), next due time (ms or nil), now (ms),
--         archived, dead letters in PostgreSQL that wait for an operator},
--         {tenant, ready jobs, ...}
local named = tonumber(ARGV[1])
local sizes, ready, oldest = {}, redis.call('LLEN', key('alone')) + redis.call('LLEN', key('urgent')), nil

local function note_oldest(id)
  local since = id and tonumber(redis.call('HGET', job_key(id), 'changed_at') or nil)
  if since and (not oldest or since < oldest) then oldest = since end
end

local function count_ready()
  local known = {}
  for _, tenant in ipairs(redis.call('LRANGE', key('rotation'), 0, -1)) do
    if not known[tenant] then
      known[tenant] = true
      local size = redis.call('LLEN', key('ready:' .. tenant))
      ready = ready + size
      sizes[#sizes + 1] = {tenant, size}
      note_oldest(redis.call('LINDEX', key('ready:' .. tenant), 0))
    end
  end
  note_oldest(redis.call('LINDEX', key('alone'), 0))
  note_oldest(redis.call('LINDEX', key('urgent'), 0))
end

local function sum(prefix, names)
  local total = 0
  for _, name in ipairs(names) do total = total + redis.call('ZCARD', key(prefix .. name)) end
  return total
end

local function largest()
  table.sort(sizes, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  local answer = {}
  for place = 1, math.min(named, #sizes) do
    answer[#answer + 1] = sizes[place][1]
    answer[#answer + 1] = sizes[place][2]
  end
  return answer
end

count_ready()
local told = redis.call('HMGET', meta, 'accepted', 'done', 'purged', 'discarded', 'paused', 'archived', 'dead_archived')
local archived = tonumber(told[6] or '0')
local counts = {tonumber(layout or '0')}
for place = 1, 4 do counts[#counts + 1] = tonumber(told[place] or '0') end
-- Earlier releases know of no archive, and take what went there for discarded.
counts[5] = counts[5] - archived
counts[#counts + 1] = ready
counts[#counts + 1] = redis.call('ZCARD', key('scheduled'))
counts[#counts + 1] = sum('leased:', redis.call('ZRANGE', key('workers'), 0, -1))
counts[#counts + 1] = sum('parked:', redis.call('HKEYS', key('parks')))
counts[#counts + 1] = redis.call('ZCARD', key('dead'))
-- A worker whose lease has run out is not a worker any more, though its jobs are not recovered yet.
counts[#counts + 1] = redis.call('ZCOUNT', key('workers'), now, '+inf')
counts[#counts + 1] = told[5]
counts[#counts + 1] = oldest or false
counts[#counts + 1] = redis.call('ZRANGE', key('scheduled'), 0, 0, 'WITHSCORES')[2] or false
counts[#counts + 1] = now
counts[#counts + 1] = archived
counts[#counts + 1] = tonumber(told[7] or '0')
return {counts, largest()}
