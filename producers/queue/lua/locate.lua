-- Look at one job: its record without the message, and each place where it stands, at one instant.
-- flags: no-writes
-- uses: history, archive
--
-- ARGV: id, look (0: where it stands; 1: also what stands before it and around it; 2: as 0, and whether a list has it
--       twice, for which the whole list is read), then further places to look into (as suffixes of keys)
-- Answer: {now (ms), 1 where the message is there, state (`archived` for a dead one whose letter PostgreSQL has), kind, tenant, changed_at, lease, park, then with look 1:
--         accepted_at, due, attempts, recoveries, cause, crashes, postpones, postponed_at, parked_at, code, told,
--         blocked_by, history, died_at},
--         {for each place: suffix, jobs before it there, 1 where the place is listed (the tenant in the rotation,
--         the worker among the workers, the park key among the parks)},
--         with look 1: {paused (JSON), jobs that are taken before it (an estimate), park (JSON), next release (ms),
--         until when its worker is believed to live (ms), host, pid, release, started_at,
--         what every worker is held up by, where the job is ready}   (nil for what is not)
local id, look = ARGV[1], tonumber(ARGV[2])
local record = redis.call('HMGET', job_key(id), 'state', 'kind', 'tenant', 'changed_at', 'lease', 'park')
record[1] = standing_of(id)
local state, tenant, lease, park = record[1], record[3] or '', record[5] or '', record[6] or ''
-- The token of a lease is the worker's boot id and the number of its request.
local boot = string.match(lease, '^(.*)/[^/]*$') or ''

local function places_to_see()
  local seen, found = {}, {}
  local function add(suffix)
    if not seen[suffix] then found[#found + 1] = suffix end
    seen[suffix] = true
  end
  if state == 'ready' then add('ready:' .. tenant) end
  if state == 'leased' then add('leased:' .. boot) end
  if state == 'parked' then add('parked:' .. park) end
  for _, suffix in ipairs({'alone', 'urgent', 'scheduled', 'dead'}) do add(suffix) end
  for place = 3, #ARGV do add(ARGV[place]) end
  return found
end

local function is_list(suffix)
  return suffix == 'alone' or suffix == 'urgent' or string.sub(suffix, 1, 6) == 'ready:'
end

local function positions(suffix)
  if not is_list(suffix) then
    local rank = redis.call('ZRANK', key(suffix), id)
    return rank and {rank} or {}
  end
  if look == 2 then return redis.call('LPOS', key(suffix), id, 'COUNT', 2) end
  -- A job that has just come stands near the end; a long list is read from its head only for the others.
  local near = redis.call('LPOS', key(suffix), id, 'RANK', -1, 'MAXLEN', 10000)
  local position = near or redis.call('LPOS', key(suffix), id)
  return position and {position} or {}
end

local function listed(suffix)
  local kind, name = string.match(suffix, '^(%a+):(.*)$')
  if kind == 'ready' then return redis.call('LPOS', key('rotation'), name) and 1 or 0 end
  if kind == 'leased' then return redis.call('ZSCORE', key('workers'), name) and 1 or 0 end
  if kind == 'parked' then return redis.call('HEXISTS', key('parks'), name) end
  return 1
end

-- What a tenant may take in this turn, and in each turn after it.
local function turn_of(name)
  local weight = tonumber(redis.call('HGET', key('weights'), name) or 1)
  return tonumber(redis.call('HGET', key('credits'), name) or weight), weight
end

local function taken_in(turns, first, weight)
  return turns > 0 and first + (turns - 1) * weight or 0
end

-- Tenants take turns: of each other tenant as many jobs go first as fit into its turns before the job's own one.
local function ahead_in_rotation(position)
  local turn, total, ahead = redis.call('LPOS', key('rotation'), tenant) or 0, redis.call('LLEN', key('rotation')), 0
  local seen = redis.call('LRANGE', key('rotation'), 0, 999)
  local first, weight = turn_of(tenant)
  local full = position < first and 0 or 1 + math.floor((position - first) / weight)
  for place, name in ipairs(seen) do
    local turns = (place - 1 < turn) and full + 1 or full
    if name ~= tenant then
      ahead = ahead + math.min(redis.call('LLEN', key('ready:' .. name)), taken_in(turns, turn_of(name)))
    end
  end
  -- Of many tenants the first stand for all.
  if total > #seen then ahead = math.floor(ahead * total / #seen) end
  return position + ahead
end

-- Urgent jobs and the others go by turns, the urgent one first.
local function ahead_of_ready(position)
  local ahead = ahead_in_rotation(position)
  return redis.call('LLEN', key('alone')) + ahead + math.min(redis.call('LLEN', key('urgent')), ahead + 1)
end

local function ahead_of_urgent(position)
  local others = 0
  for _, name in ipairs(redis.call('LRANGE', key('rotation'), 0, 999)) do
    if others < position then others = others + redis.call('LLEN', key('ready:' .. name)) end
  end
  return redis.call('LLEN', key('alone')) + position + math.min(others, position)
end

-- What every live worker is held up by, as its pulse tells; false where one of them takes jobs, or there is none.
local function held_up_by()
  local found = false
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), now, '+inf', 'LIMIT', 0, 1000)) do
    local by = redis.call('HGET', key('worker:' .. name), 'held_up')
    if not by then return false end
    found = by
  end
  return found
end

local function surroundings(places)
  local ahead = false
  if state == 'ready' and places[1] == 'ready:' .. tenant then ahead = ahead_of_ready(places[2]) end
  if state == 'ready' and places[1] == 'urgent' then ahead = ahead_of_urgent(places[2]) end
  if state == 'ready' and places[1] == 'alone' then ahead = places[2] end
  local told = {redis.call('HGET', meta, 'paused'), ahead, false, false, false, false, false, false, false, false}
  if state == 'ready' then told[10] = held_up_by() end
  if state == 'parked' then
    told[3], told[4] = redis.call('HGET', key('parks'), park), redis.call('ZSCORE', key('releases'), park)
  elseif state == 'leased' then
    told[5] = redis.call('ZSCORE', key('workers'), boot)
    local worker = redis.call('HMGET', key('worker:' .. boot), 'host', 'pid', 'release', 'started_at')
    for field = 1, 4 do told[5 + field] = worker[field] end
  end
  return told
end

local places = {}
for _, suffix in ipairs(places_to_see()) do
  for _, position in ipairs(positions(suffix)) do
    places[#places + 1] = suffix
    places[#places + 1] = position
    places[#places + 1] = listed(suffix)
  end
end

local fields = {now, redis.call('HEXISTS', job_key(id), 'message')}
for field = 1, 6 do fields[2 + field] = record[field] end
if look ~= 1 then return {fields, places} end
local more = redis.call('HMGET', job_key(id), 'accepted_at', 'due', 'attempts', 'recoveries', 'cause', 'crashes',
  'postpones', 'postponed_at', 'parked_at', 'code', 'told', 'blocked_by', 'history', 'died_at')
more[13] = history_of(id)
for field = 1, 14 do fields[8 + field] = more[field] end
return {fields, places, surroundings(places)}
