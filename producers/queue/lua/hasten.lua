-- Bring scheduled jobs forward, in this order and one after the other: what held them has changed, so they need not wait
-- for the instant that it told them. They stand in its line anew, and one that is due sooner stays as it is.
-- flags: allow-oom
--
-- ARGV: ms until the first is due, ms from one to the next, then ids, each with what it must still be blocked by
-- Answer: jobs brought forward
local due, step, hastened = now + tonumber(ARGV[1]), tonumber(ARGV[2]), 0
for place = 3, #ARGV, 2 do
  local id = ARGV[place]
  local told = tonumber(redis.call('ZSCORE', key('scheduled'), id) or nil)
  if told and told > due and redis.call('HGET', job_key(id), 'blocked_by') == ARGV[place + 1] then
    redis.call('ZADD', key('scheduled'), due, id)
    redis.call('HSET', job_key(id), 'due', due)
    redis.call('HDEL', job_key(id), 'postpones')
    hastened = hastened + 1
  end
  due = due + step
end
-- Idle workers sleep until what was due next before.
if hastened > 0 then wake() end
return hastened
