-- Allow leases of a paused queue again.
-- flags: allow-oom
--
-- ARGV: the audit's entry (JSON)
-- Answer: 1, or 0 where the queue was not paused (nothing is changed then)
if redis.call('HDEL', meta, 'paused') == 0 then return 0 end
redis.call('RPUSH', key('audit'), ARGV[1])
wake()
return 1
