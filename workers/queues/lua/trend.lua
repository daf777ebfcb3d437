-- Note how a queue stood at a minute, unless somebody has noted that minute, or a later one.
-- flags: allow-oom
--
-- ARGV: queue, minute (ms since 1970), the point (JSON with `at`, the minute), points to keep
-- Answer: 1, or 0 where it was noted before
local points, minute = key(ARGV[1]), tonumber(ARGV[2])
local last = redis.call('LINDEX', points, -1)
local readable, known = pcall(cjson.decode, last or '{}')
if readable and type(known) == 'table' and (tonumber(known.at) or 0) >= minute then return 0 end
redis.call('RPUSH', points, ARGV[3])
redis.call('LTRIM', points, -tonumber(ARGV[4]), -1)
return 1
