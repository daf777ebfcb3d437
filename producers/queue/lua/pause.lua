-- Stop leases of a queue, everywhere and at once. Jobs go on being taken in, and running ones end.
-- flags: allow-oom
--
-- ARGV: by whom, reason, the audit's entry (JSON)
-- Answer: 1, or 0 where the queue was paused already (nothing is changed then)
if redis.call('HEXISTS', meta, 'paused') == 1 then return 0 end
redis.call('HSET', meta, 'layout', LAYOUT, 'paused', cjson.encode({by = ARGV[1], reason = ARGV[2], at = now}))
redis.call('RPUSH', key('audit'), ARGV[3])
return 1
