-- Note who a worker is, for those who look at a queue. A step, so that a worker can come while Redis is out of memory:
-- it may be the one that empties it.
-- flags: allow-oom
--
-- ARGV: boot id, then names and values of facts
-- Answer: 1
redis.call('HSET', key('worker:' .. ARGV[1]), unpack(ARGV, 2))
return 1
