-- Set a flag. What is not said stays as it was.
-- flags: allow-oom
--
-- ARGV: flag, percent, fallback ('' for none, '=' for the one that it has), by whom, reason, the audit's entry (JSON)
-- Answer: the flag as it is kept (JSON)
local fallback = ARGV[3]
if fallback == '=' then
  local before = redis.call('HGET', key('flags'), ARGV[1])
  local readable, known = pcall(cjson.decode, before or '{}')
  fallback = readable and type(known) == 'table' and known.fallback or ''
end
local flag = cjson.encode({
  percent = tonumber(ARGV[2]), fallback = fallback ~= '' and fallback or nil, by = ARGV[4], reason = ARGV[5], at = now,
})
redis.call('HSET', key('flags'), ARGV[1], flag)
redis.call('RPUSH', key('audit'), ARGV[6])
return flag
