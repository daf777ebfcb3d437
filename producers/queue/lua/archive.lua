-- Which jobs are archived.
-- A job is archived while PostgreSQL has its dead letter; `archived` then names the death: an earlier release, which does
-- not know the field, may have given the job a new life.
local function is_archived(state, died_at, archived)
  return state == 'dead' and archived and archived == died_at
end

-- Where the record of a job says that it is: its state, or `archived`.
local function standing_of(id)
  local told = redis.call('HMGET', job_key(id), 'state', 'died_at', 'archived')
  return is_archived(told[1], told[2], told[3]) and 'archived' or told[1]
end
