-- Read dead letters as a whole, as many as there is room for; the first one in any case.
-- flags: no-writes
-- uses: history, archive
--
-- ARGV: room (bytes of messages and histories), ids
-- Answer: for each id, in order, until the room is used up {state, kind, tenant, died_at, code, told, attempts,
--         recoveries, crashes, postpones, accepted_at, message, history (JSON)}   (nil for what it has not; state is
--         `archived` where PostgreSQL has the letter)
local room, answer = tonumber(ARGV[1]), {}
for place = 2, #ARGV do
  local id = ARGV[place]
  room = room - redis.call('HSTRLEN', job_key(id), 'message') - redis.call('HSTRLEN', job_key(id), 'history')
  if room < 0 and place > 2 then return answer end
  local record = redis.call('HMGET', job_key(id), 'state', 'kind', 'tenant', 'died_at', 'code', 'told', 'attempts',
    'recoveries', 'crashes', 'postpones', 'accepted_at', 'message')
  record[1], record[13] = standing_of(id), history_of(id)
  answer[#answer + 1] = record
end
return answer
