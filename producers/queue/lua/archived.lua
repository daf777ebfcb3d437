-- Let go of dead letters that PostgreSQL has. Of each a small record is left, so that its job goes on being known for as
-- long as it would be were it done; the job is no longer one of the queue's.
-- flags: allow-oom
-- uses: archive, held
-- reads: archived
--
-- ARGV: how long the record is left where the job names no time (ms), how many dead letters of the queue PostgreSQL has
--       that wait for an operator ('' where nobody counted), `archived` of meta before they were counted ('' likewise),
--       then for each letter id, died_at (ms)
-- Answer: letters that were let go, records that went since their time had passed
-- Moves: dead -> nothing (archived), where the job is dead by that death and by no later one; one that lives again is
--        noted among `revived`
local shortest, gone, expired = tonumber(ARGV[1]), 0, 0

local function archive(id, died_at)
  local job = redis.call('HMGET', job_key(id), 'state', 'died_at', 'archived', 'kind', 'tenant', 'digest', 'keep',
    'attempts', 'code', 'told', 'changed_at', 'accepted_at', 'recoveries', 'crashes', 'postpones', 'held')
  if job[1] and (job[1] ~= 'dead' or job[2] ~= died_at) then
    -- It has another life already, which its producer gave it before PostgreSQL had the letter; an operator's is known.
    redis.call('HSET', key('revived'), id, died_at)
    return
  end
  if not job[1] or job[3] == died_at then return end
  redis.call('ZREM', key('dead'), id)
  count_out(job[5] or '', job[16])
  -- Deleted first: a hash that held a message stays large in memory.
  redis.call('DEL', job_key(id))
  redis.call('HSET', job_key(id), 'state', 'dead', 'died_at', died_at, 'archived', died_at, 'kind', job[4] or '',
    'tenant', job[5] or '', 'digest', job[6] or '', 'keep', job[7] or 0, 'attempts', job[8] or 0, 'code', job[9] or '',
    'changed_at', job[11] or now, 'accepted_at', job[12] or now, 'recoveries', job[13] or 0, 'crashes', job[14] or 0,
    'postpones', job[15] or 0)
  -- Whoever waits for the job is told why it died.
  if job[10] and #job[10] <= 500 then redis.call('HSET', job_key(id), 'told', job[10]) end
  local keep = tonumber(job[7] or '0')
  -- Not by the key's own expiry, which an earlier release would leave on a job that it gives a new life.
  local is_new = redis.call('ZADD', key('archived'), now + (keep > 0 and keep or shortest), id)
  -- An earlier release gave it a new life since it was archived before, and did not count that as this one does.
  if is_new == 0 then redis.call('HINCRBY', meta, 'accepted', 1) end
  gone = gone + 1
end

local function expire()
  local ids = redis.call('ZRANGEBYSCORE', key('archived'), '-inf', now, 'LIMIT', 0, 1000)
  if #ids == 0 then return end
  for _, id in ipairs(ids) do
    if standing_of(id) == 'archived' then
      redis.call('DEL', job_key(id))
      expired = expired + 1
    else
      -- As above, and it has not died again.
      redis.call('HINCRBY', meta, 'accepted', 1)
    end
  end
  in_chunks(ids, function(...) redis.call('ZREM', key('archived'), ...) end)
end

for i = 4, #ARGV, 2 do archive(ARGV[i], ARGV[i + 1]) end
expire()
if gone > 0 then
  redis.call('HSET', meta, 'archived', tonumber(meta_archived or '0') + gone, held_now())
  -- Under this name earlier releases account for them.
  redis.call('HINCRBY', meta, 'discarded', gone)
  redis.call('HINCRBY', meta, 'dead_archived', gone)
end
if ARGV[2] ~= '' then
  local since = tonumber(redis.call('HGET', meta, 'archived') or '0') - tonumber(ARGV[3])
  redis.call('HSET', meta, 'dead_archived', tonumber(ARGV[2]) + since)
end
return {gone, expired}
