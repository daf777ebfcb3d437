-- Remove an operator's override, so that the callers' own limit holds again.
-- flags: allow-oom
--
-- ARGV: key or pattern, the audit's entry (JSON)
-- Answer: 1, or 0 where there was none (nothing is changed then)
if redis.call('HDEL', key('limits'), ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', key('audit'), ARGV[2])
return 1
