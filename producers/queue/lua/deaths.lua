-- How jobs die.
-- End a job as a dead letter. It never expires. Each death is later than the one before, also where the clock of a
-- server that took over is behind: deaths are told apart by their times.
local function bury(id, code, told)
  local died_at = math.max(now, tonumber(redis.call('HGET', job_key(id), 'died_before') or '0') + 1)
  redis.call('HSET', job_key(id), 'state', 'dead', 'code', code, 'told', told, 'died_at', died_at, 'changed_at', now)
  redis.call('HDEL', job_key(id), 'blocked_by', 'archived')
  redis.call('ZADD', key('dead'), died_at, id)
  redis.call('HINCRBY', meta, 'died', 1)
end
