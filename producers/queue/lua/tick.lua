-- What has to happen every second, done by whoever comes: a worker's pulse, the jobs of workers that are not heard of,
-- due jobs, parked jobs whose release is due.
-- flags: allow-oom
-- uses: lanes, moves, history, deaths
--
-- ARGV: boot id ('' for one that leases nothing), lease (ms), stopping (1 | 0), poison limit, grace (ms),
--       what holds this boot up ('' or none: nothing, it takes jobs)
-- Answer: jobs that this boot holds, recovered, buried as poison, promoted, released,
--         ms until the next scheduled job is due (-1: none), how often changes were announced, kinds of the jobs
--         buried, then park keys that wait for an offer
-- Moves: leased -> ready or dead (recovery), scheduled -> ready, parked -> ready
local boot, lease, stopping = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local poison_limit, grace = tonumber(ARGV[4]), tonumber(ARGV[5])
local recovered, buried, buried_kinds = 0, 0, {}

-- Nobody ticked for long: Redis was away, and the fleet's silence says nothing of the fleet. It gets time to pulse.
local function mind_outage()
  local ticked = tonumber(redis.call('HGET', meta, 'ticked_at') or now)
  if now - ticked > lease / 2 then redis.call('HSET', meta, 'grace_until', now + grace) end
  redis.call('HSET', meta, 'ticked_at', now)
  return now >= tonumber(redis.call('HGET', meta, 'grace_until') or '0')
end

local function recover_job(id, dead, interrupted, who)
  local job = redis.call('HMGET', job_key(id), 'lease', 'started', 'tenant', 'kind')
  if not job[3] then return end
  redis.call('HDEL', job_key(id), 'lease', 'started')
  redis.call('HINCRBY', job_key(id), 'recoveries', 1)
  local started = job[2] and job[2] == job[1]
  local cause = interrupted and 'the worker was stopped' or 'the worker was lost'
  redis.call('HSET', job_key(id), 'state', 'ready', 'cause', cause, 'changed_at', now)
  add_history(id, cjson.encode({at = now, outcome = 'recovered', cause = cause, worker = dead, started = started,
    host = who[1] or nil, pid = tonumber(who[2]), release = who[3] or nil}))
  recovered = recovered + 1
  if interrupted then
    push_head(job[3], id)
  elseif started and redis.call('HINCRBY', job_key(id), 'crashes', 1) >= poison_limit then
    bury(id, 'JOB_POISON', 'the job was running each time its worker died, ' .. poison_limit .. ' time(s)')
    buried = buried + 1
    buried_kinds[buried] = job[4] or ''
  else
    redis.call('RPUSH', key('alone'), id)
  end
end

local function recover(dead, limit)
  local leased, worker = key('leased:' .. dead), key('worker:' .. dead)
  local interrupted = redis.call('HGET', worker, 'stopping') == '1'
  local ids
  if interrupted then
    -- They go to the head, the last one first (and the last ones, where they are many), so that they stand there in
    -- the order in which they were leased.
    ids = redis.call('ZREVRANGE', leased, 0, limit - 1)
  else
    ids = redis.call('ZRANGE', leased, 0, limit - 1)
  end
  local who = redis.call('HMGET', worker, 'host', 'pid', 'release')
  for _, id in ipairs(ids) do recover_job(id, dead, interrupted, who) end
  in_chunks(ids, function(...) redis.call('ZREM', leased, ...) end)
  if redis.call('EXISTS', leased) == 0 then
    redis.call('ZREM', key('workers'), dead)
    redis.call('DEL', worker)
  end
  return #ids
end

local function recover_lost()
  local room = 500
  for _, dead in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), '-inf', '(' .. now, 'LIMIT', 0, 10)) do
    if room <= 0 then return end
    room = room - recover(dead, room)
  end
  if recovered > buried then wake() end
end

-- Who knows what is parked somewhere asks for its ramp each second. Where nobody does any more, as after a release was
-- rolled back, those that are left would only park its jobs again, so many a second and for ever.
local ASKED_WITHIN = 10000
local function end_forsaken_ramp(park, info)
  if not (info.rate and info.offer and info.asked_at) or now - info.asked_at <= ASKED_WITHIN then return end
  info.rate, info.released_at, info.carry, info.asked_at = nil, nil, nil, nil
  redis.call('HSET', key('parks'), park, cjson.encode(info))
end

-- Jobs that may leave their park now: by the ramp's rate, or a few to see whether somebody takes them by now.
local function due_of(park, info)
  end_forsaken_ramp(park, info)
  if info.rate then
    local elapsed = math.min(1000, now - (info.released_at or now))
    local count = info.rate * elapsed / 1000 + (info.carry or 0)
    info.carry = count - math.floor(count)
    info.released_at = now
    redis.call('HSET', key('parks'), park, cjson.encode(info))
    redis.call('ZADD', key('releases'), now + 50, park)
    return math.floor(count)
  end
  if not info.offer then
    redis.call('ZREM', key('releases'), park)
    return 0
  end
  redis.call('ZADD', key('releases'), now + info.offer, park)
  local first = redis.call('ZRANGE', key('parked:' .. park), 0, 0)[1]
  local since = first and tonumber(redis.call('HGET', job_key(first), 'parked_at')) or now
  -- What has waited too long is offered in bulk: whoever takes it and still does not know it buries it.
  if info.limit and now - since > info.limit then return 500 end
  return 10
end

local function release_due()
  local released = 0
  for _, park in ipairs(redis.call('ZRANGEBYSCORE', key('releases'), '-inf', now, 'LIMIT', 0, 50)) do
    local info = redis.call('HGET', key('parks'), park)
    if info then
      local count = due_of(park, cjson.decode(info))
      if count > 0 then released = released + release_parked(park, count) end
    else
      redis.call('ZREM', key('releases'), park)
    end
  end
  return released
end

if boot ~= '' then
  redis.call('ZADD', key('workers'), now + lease, boot)
  if stopping then redis.call('HSET', key('worker:' .. boot), 'stopping', '1') end
  if (ARGV[6] or '') ~= '' then
    redis.call('HSET', key('worker:' .. boot), 'held_up', ARGV[6])
  else
    redis.call('HDEL', key('worker:' .. boot), 'held_up')
  end
end
if mind_outage() then recover_lost() end
local promoted = promote(2000)
local released = release_due()
local answer = {redis.call('ZCARD', key('leased:' .. boot)), recovered, buried, promoted, released, next_due(),
  tonumber(redis.call('HGET', meta, 'changes') or '0'), buried_kinds}
for _, park in ipairs(redis.call('ZRANGE', key('releases'), 0, 49)) do answer[#answer + 1] = park end
return answer
