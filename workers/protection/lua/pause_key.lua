-- Pause a gate key, everywhere and at once. Running jobs end.
-- flags: allow-oom
--
-- ARGV: gate key, by whom, reason, the audit's entry (JSON)
-- Answer: 1, or 0 where it was paused already (nothing is changed then)
local pause = cjson.encode({by = ARGV[2], reason = ARGV[3], at = now})
if redis.call('HSETNX', key('paused'), ARGV[1], pause) == 0 then return 0 end
redis.call('RPUSH', key('audit'), ARGV[4])
return 1
