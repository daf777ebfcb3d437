-- A worker goes, and will not be heard of again. What it still holds is recovered by the next tick.
-- flags: allow-oom
--
-- ARGV: boot id
-- Answer: jobs that it still held
local held = redis.call('ZCARD', key('leased:' .. ARGV[1]))
if held == 0 then
  redis.call('ZREM', key('workers'), ARGV[1])
  redis.call('DEL', key('worker:' .. ARGV[1]))
elseif redis.call('ZSCORE', key('workers'), ARGV[1]) then
  redis.call('ZADD', key('workers'), 0, ARGV[1])
end
return held
