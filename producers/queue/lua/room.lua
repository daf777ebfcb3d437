-- Whether a queue has room for a job, by its limits, and when it should have some. For a step that uses held, too, and that
-- takes the limits as its second argument: '' for none; else jobs and bytes of the queue (0 for no limit), parted by a
-- comma; where there are more, then jobs and bytes of a tenant in it, and 1 where no new job is to be taken at all.
-- What is done here is done by each call that enqueues, so it is in few functions, and in none what is done once.
-- reads: accepted, done, purged, discarded, drain
local limit_jobs, limit_bytes, more = string.match(ARGV[2], '^(%d+),(%d+)(.*)$')
local has_limits, jobs_now, gone, other_limit_reached, refusal = limit_jobs ~= nil, 0, 0, nil, nil

if has_limits then
  limit_jobs, limit_bytes = tonumber(limit_jobs), tonumber(limit_bytes)
  gone = (meta_done or 0) + (meta_purged or 0) + (meta_discarded or 0)
  -- By counters that every release keeps.
  jobs_now = (meta_accepted or 0) - gone
  if held_jobs > math.max(0, jobs_now) then
    -- An earlier release removed jobs that had been counted, so nothing that was counted is known any more.
    meta_held_generation, held_jobs, held_bytes = string.format('%d', meta_held_generation + 1), 0, 0
    redis.call('HSET', meta, 'held_generation', meta_held_generation)
    redis.call('DEL', key('held'))
  elseif limit_bytes > 0 and not meta_held_generation then
    meta_held_generation = '0'
    redis.call('HSET', meta, 'held_generation', meta_held_generation)
  end
end

if has_limits and more ~= '' then
  local limit_tenant_jobs, limit_tenant_bytes, closed = string.match(more, '^,(%d+),(%d+),(%d)$')
  limit_tenant_jobs, limit_tenant_bytes = tonumber(limit_tenant_jobs), tonumber(limit_tenant_bytes)
  local has_tenant_limits = limit_tenant_jobs > 0 or limit_tenant_bytes > 0
  if has_tenant_limits and not meta_held_tenants then
    meta_held_generation, meta_held_tenants = meta_held_generation or '0', '1'
    redis.call('HSET', meta, 'held_generation', meta_held_generation, 'held_tenants', meta_held_tenants)
  end
  -- Then no other limit matters.
  if closed == '1' then limit_jobs, limit_bytes = 0, 0 end
  function other_limit_reached(tenant)
    if closed == '1' then return 'closed', 0, 0 end
    if not has_tenant_limits then return end
    local jobs, bytes = unpack(held_by(tenant))
    if limit_tenant_jobs > 0 and jobs >= limit_tenant_jobs then return 'tenant_jobs', jobs, limit_tenant_jobs end
    if limit_tenant_bytes > 0 and bytes >= limit_tenant_bytes then return 'tenant_bytes', bytes, limit_tenant_bytes end
  end
end

-- Which limit leaves no room for another job of a tenant's, if any, and what it counts now. A queue below its limit takes
-- a job of any size, or a large one would never find room.
local function limit_reached(tenant)
  if limit_jobs > 0 and jobs_now >= limit_jobs then return 'jobs', jobs_now, limit_jobs end
  if limit_bytes > 0 and held_bytes >= limit_bytes then return 'bytes', held_bytes, limit_bytes end
  if other_limit_reached then return other_limit_reached(tenant) end
end

-- Note how many jobs have left the queue, and append to the answer why jobs were refused, where any were. Two points in
-- time are kept, and a new one is noted every 5 s by whoever enqueues.
local function tell_room(answer)
  local at = tonumber(string.match(meta_drain or '', '^%d+,%-?%d+,(%d+)') or nil)
  if not refusal and at and now - at < 5000 then return end
  local since, by_then, by_now = string.match(meta_drain or '', '^(%d+),(%-?%d+),%d+,(%-?%d+)$')
  since, by_then = tonumber(since), tonumber(by_then)
  if not at or now - at >= 5000 then
    since, by_then = at, tonumber(by_now)
    if not at or now - at > 30000 then since, by_then = now, gone end
    redis.call('HSET', meta, 'drain', string.format('%d,%d,%d,%d', since, by_then, now, gone))
  end
  if not refusal then return end

  -- The most and the least that a refused producer is told to wait (ms), and what it is told where nothing is known of
  -- how fast the queue drains, or where nothing has left it lately.
  local LONGEST, SHORTEST, UNKNOWN, STANDING = 300000, 1000, 5000, 30000
  local function room_in()
    if refusal.reason == 'closed' or now - since < 1000 then return UNKNOWN end
    -- Jobs a second, over 5 to 35 s.
    local rate, wanted = math.max(0, gone - by_then) * 1000 / (now - since), refusal.jobs
    if rate == 0 then return STANDING end
    if string.find(refusal.reason, 'bytes', 1, true) then
      wanted = refusal.bytes
      -- Jobs are as large as those that are there, on the average.
      rate = rate * math.max(1, held_bytes / math.max(1, jobs_now))
    end
    -- Tenants take turns, so each gets its share of the pace.
    if string.find(refusal.reason, 'tenant', 1, true) then
      rate = rate / math.max(1, redis.call('LLEN', key('rotation')))
    end
    -- There is never room for more than the limit at once.
    local over = math.max(1, refusal.held - refusal.limit + math.min(wanted, refusal.limit))
    return math.ceil(math.max(SHORTEST, math.min(LONGEST, over * 1000 / rate)))
  end
  for _, told in ipairs({refusal.reason, refusal.held, refusal.limit, room_in()}) do answer[#answer + 1] = told end
end
