-- What happened to a job in its attempts.
-- Add an entry (a JSON object) to a job's history (a JSON list of them). A job that goes round for ever must not grow:
-- of what comes after so many bytes the latest entry is kept, and how many there were.
local function add_history(id, entry)
  local history = redis.call('HGET', job_key(id), 'history')
  if not history then
    redis.call('HSET', job_key(id), 'history', '[' .. entry .. ']')
  elseif #history < 262144 then
    redis.call('HSET', job_key(id), 'history', string.sub(history, 1, -2) .. ',' .. entry .. ']')
  else
    redis.call('HSET', job_key(id), 'latest', entry)
    redis.call('HINCRBY', job_key(id), 'beyond', 1)
  end
end

-- The history as a whole; where entries were left out, one tells how many.
local function history_of(id)
  local told = redis.call('HMGET', job_key(id), 'history', 'latest', 'beyond')
  if not told[1] or not told[2] then return told[1] end
  local left_out = ',{"outcome":"left out","entries":' .. (tonumber(told[3]) - 1) .. '},'
  return string.sub(told[1], 1, -2) .. left_out .. told[2] .. ']'
end
