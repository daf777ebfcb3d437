-- Let jobs of a paused gate key run again.
-- flags: allow-oom
--
-- ARGV: gate key, the audit's entry (JSON)
-- Answer: 1, or 0 where it was not paused (nothing is changed then)
if redis.call('HDEL', key('paused'), ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', key('audit'), ARGV[2])
return 1
