-- Tell the workers of a queue that something they keep a copy of in memory has changed: their next tick sees it.
-- flags: allow-oom
--
-- ARGV: none
-- Answer: how often it was told
return redis.call('HINCRBY', meta, 'changes', 1)
