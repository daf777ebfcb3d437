-- Block a key until an instant, as its provider's answer says. Of several blocks the longest wins.
-- flags: allow-oom
-- uses: limits
--
-- ARGV: key, the instant in ms or '' , else for how many ms from now, reason, the longest block in ms
-- Answer: the instant in ms until which the key is blocked now (in the past where nothing was asked for)
local limit_key, reason, longest = ARGV[1], ARGV[4], tonumber(ARGV[5])
local wanted = tonumber(ARGV[2]) or now + tonumber(ARGV[3])
wanted = math.min(wanted, now + longest)
local name = key('blocked:' .. limit_key)
local left = redis.call('PTTL', name)
if wanted <= now + math.max(left, 0) then return left > 0 and now + left or wanted end
redis.call('SET', name, cjson.encode({['until'] = wanted, reason = reason, at = now}), 'PXAT', wanted)
note_key(limit_key, '', wanted - now + 1000)
return wanted
