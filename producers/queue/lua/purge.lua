-- Remove jobs that wait: ready, scheduled or parked ones. Never dead letters, never leased jobs.
-- flags: allow-oom
-- uses: held
-- reads: purged
--
-- ARGV: place (ready | scheduled | parked:<park key>), tenant ('' for all), jobs to look at in this call, the audit's
--       entry (JSON; '' in every call but the first), where to go on (0, then what the last call answered)
-- Answer: jobs removed, jobs looked at (done when this is less than asked), where to go on
local place, tenant, limit, position = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local removed, seen = 0, 0

local function drop(id)
  local owner, note = unpack(redis.call('HMGET', job_key(id), 'tenant', 'held'))
  count_out(owner or '', note)
  redis.call('DEL', job_key(id))
  removed = removed + 1
end

-- Suspects are ready too. There are as many at the most as workers that died held jobs.
local function purge_alone()
  for _, id in ipairs(redis.call('LRANGE', key('alone'), 0, -1)) do
    if seen >= limit then return end
    if tenant == '' or redis.call('HGET', job_key(id), 'tenant') == tenant then
      redis.call('LREM', key('alone'), 1, id)
      drop(id)
      seen = seen + 1
    end
  end
end

-- Urgent jobs of all tenants stand in one lane, so `position` tells how many of it were left where they are.
local function purge_urgent()
  if seen >= limit then return end
  local before, ids = removed, redis.call('LRANGE', key('urgent'), position, position + limit - seen - 1)
  for _, id in ipairs(ids) do
    if tenant == '' or redis.call('HGET', job_key(id), 'tenant') == tenant then
      redis.call('LREM', key('urgent'), 1, id)
      drop(id)
    end
  end
  seen = seen + #ids
  position = position + #ids - (removed - before)
end

local function purge_ready()
  purge_alone()
  purge_urgent()
  for _, name in ipairs(redis.call('LRANGE', key('rotation'), 0, -1)) do
    if (tenant == '' or tenant == name) and seen < limit then
      local ids = redis.call('LPOP', key('ready:' .. name), limit - seen) or {}
      for _, id in ipairs(ids) do drop(id) end
      seen = seen + #ids
      if redis.call('EXISTS', key('ready:' .. name)) == 0 then
        redis.call('LREM', key('rotation'), 0, name)
        redis.call('HDEL', key('credits'), name)
      end
    end
  end
end

local function purge_sorted()
  local ids = redis.call('ZRANGE', key(place), position, position + limit - 1)
  for _, id in ipairs(ids) do
    if tenant == '' or redis.call('HGET', job_key(id), 'tenant') == tenant then
      redis.call('ZREM', key(place), id)
      drop(id)
    end
  end
  seen = #ids
  position = position + seen - removed
end

local function close_park(park)
  if redis.call('EXISTS', key(place)) == 0 then
    redis.call('HDEL', key('parks'), park)
    redis.call('ZREM', key('releases'), park)
  end
end

if ARGV[4] ~= '' then redis.call('RPUSH', key('audit'), ARGV[4]) end
if place == 'ready' then
  purge_ready()
else
  purge_sorted()
  if place ~= 'scheduled' then close_park(string.sub(place, #'parked:' + 1)) end
end
if removed > 0 then redis.call('HSET', meta, 'purged', tonumber(meta_purged or '0') + removed, held_now()) end
return {removed, seen, position}
