-- What the limits of a queue are held against: the jobs whose messages it holds and the bytes of these, in `meta`, and of
-- each tenant, in `held`. They are counted from when the first producer came that has such a limit, and nothing is where
-- none has: `held_generation` is there while counting is on, `held_tenants` while tenants are counted, too.
-- A job notes in its field `held` what has it: the generation of the counters, its bytes, and `t` where its tenant's have
-- it. It is taken off these and no others when it goes. An earlier release adds and removes jobs without counting them.
-- `enqueue` sees where that left too much and begins a new generation; of the one before nothing is taken off any more.
-- reads: held_generation, held_jobs, held_bytes, held_tenants
local held_jobs, held_bytes = (meta_held_jobs or 0) + 0, (meta_held_bytes or 0) + 0
local held_of = {}

local function held_by(tenant)
  local held = held_of[tenant]
  if not held then
    local told = redis.call('HMGET', key('held'), 'jobs:' .. tenant, 'bytes:' .. tenant)
    held = {tonumber(told[1] or '0'), tonumber(told[2] or '0')}
    held_of[tenant] = held
  end
  return held
end

-- A job comes. Answers its field with its note, and nothing where nobody counts.
local function count_in(tenant, bytes)
  if not meta_held_generation then return end
  held_jobs, held_bytes = held_jobs + 1, held_bytes + bytes
  if meta_held_tenants then
    local held = held_by(tenant)
    held[1], held[2] = held[1] + 1, held[2] + bytes
  end
  return 'held', meta_held_generation .. '/' .. bytes .. (meta_held_tenants and 't' or '')
end

-- A job goes, whose note was this (false where it was not counted).
local function count_out(tenant, note)
  if not note then return end
  local generation, bytes, of_tenant = string.match(note, '^(%d+)/(%d+)(t?)$')
  if generation ~= meta_held_generation then return end
  held_jobs, held_bytes = held_jobs - 1, held_bytes - bytes
  if of_tenant == 't' then
    local held = held_by(tenant)
    held[1], held[2] = held[1] - 1, held[2] - bytes
  end
end

-- Fields of meta to be written by a step that counted, at its end; none where nobody counts.
local function held_now()
  for tenant, held in pairs(held_of) do
    local jobs, bytes = 'jobs:' .. tenant, 'bytes:' .. tenant
    if held[1] > 0 then
      redis.call('HSET', key('held'), jobs, held[1], bytes, held[2])
    else
      redis.call('HDEL', key('held'), jobs, bytes)
    end
  end
  if not meta_held_generation then return end
  return 'held_jobs', held_jobs, 'held_bytes', held_bytes
end
