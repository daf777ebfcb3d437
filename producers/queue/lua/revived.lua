-- Forget that dead jobs were given another life, once PostgreSQL has noted it.
-- flags: allow-oom
--
-- ARGV: for each job id, died_at (ms) of the life that was noted
-- Answer: how many were forgotten; one that has died and come back since stays
local gone = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', key('revived'), ARGV[i]) == ARGV[i + 1] then
    gone = gone + redis.call('HDEL', key('revived'), ARGV[i])
  end
end
return gone
