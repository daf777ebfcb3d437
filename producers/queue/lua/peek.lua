-- List a page of the jobs in one place. Pages shift while jobs move: it is a look, no snapshot of the whole.
-- flags: no-writes
--
-- ARGV: state (ready | scheduled | leased | parked | dead), jobs to skip, jobs wanted
-- Answer: where the next page begins (-1: there is none), then for each job
--         {id, state, kind, tenant, changed_at, attempts, code, blocked_by, due}   (nil for what it has not)
local state, skip, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answer, after = {-1}, skip + wanted

-- The keys that hold the jobs of a state, the one that is taken from first before the others.
local function holders()
  local found = {}
  local function add(prefix, names)
    for _, name in ipairs(names) do found[#found + 1] = key(prefix .. name) end
  end
  if state == 'ready' then
    found[1], found[2] = key('alone'), key('urgent')
    add('ready:', redis.call('LRANGE', key('rotation'), 0, -1))
  elseif state == 'leased' then
    add('leased:', redis.call('ZRANGE', key('workers'), 0, -1))
  elseif state == 'parked' then
    add('parked:', redis.call('HKEYS', key('parks')))
  else
    found[1] = key(state)
  end
  return found
end

local size_of, range_of = 'ZCARD', 'ZRANGE'
if state == 'ready' then size_of, range_of = 'LLEN', 'LRANGE' end

for _, holder in ipairs(holders()) do
  local size = redis.call(size_of, holder)
  local room = wanted - (#answer - 1)
  if skip < size and room > 0 then
    for _, id in ipairs(redis.call(range_of, holder, skip, skip + room - 1)) do
      local fields = redis.call('HMGET', job_key(id), 'state', 'kind', 'tenant', 'changed_at', 'attempts', 'code',
        'blocked_by', 'due')
      table.insert(fields, 1, id)
      answer[#answer + 1] = fields
    end
    if size > skip + room then answer[1] = after end
  elseif room <= 0 and size > 0 then
    answer[1] = after
  end
  skip = math.max(0, skip - size)
end
return answer
