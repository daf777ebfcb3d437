-- Say how many jobs a tenant gets in each of its turns.
-- flags: allow-oom
--
-- ARGV: tenant, weight (1 to 100; 1 is what all others have), the audit's entry (JSON)
-- Answer: the weight that it had before (where that is the same, nothing is changed)
local tenant, weight = ARGV[1], tonumber(ARGV[2])
local before = tonumber(redis.call('HGET', key('weights'), tenant) or 1)
if before == weight then return before end
redis.call('HSET', meta, 'layout', LAYOUT)
if weight == 1 then
  redis.call('HDEL', key('weights'), tenant)
else
  redis.call('HSET', key('weights'), tenant, weight)
end
-- A turn that is under way begins anew.
redis.call('HDEL', key('credits'), tenant)
-- What all weights add to a round of turns, so that a lease need not read them all.
if redis.call('HINCRBY', meta, 'surplus', weight - before) == 0 then redis.call('HDEL', meta, 'surplus') end
redis.call('RPUSH', key('audit'), ARGV[3])
return before
