-- Read what the records of some jobs say of where they are. Without the messages.
-- flags: no-writes
-- uses: archive
--
-- ARGV: ids
-- Answer: for each job {state (`archived` for a dead one whose letter PostgreSQL has), kind, tenant, lease, park (nil
--         for what it has not), 1 where the message is there}
local answer = {}
for place, id in ipairs(ARGV) do
  local record = redis.call('HMGET', job_key(id), 'state', 'kind', 'tenant', 'lease', 'park')
  record[1] = standing_of(id)
  record[6] = redis.call('HEXISTS', job_key(id), 'message')
  answer[place] = record
end
return answer
