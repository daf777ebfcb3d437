-- Lift the block of a key.
-- flags: allow-oom
--
-- ARGV: key, the audit's entry (JSON)
-- Answer: 1, or 0 where the key was not blocked (nothing is changed then)
if redis.call('DEL', key('blocked:' .. ARGV[1])) == 0 then return 0 end
redis.call('RPUSH', key('audit'), ARGV[2])
return 1
