-- Set an operator's override of a key's limit, or of a pattern's. It replaces the one that is there.
-- flags: allow-oom
--
-- ARGV: key or pattern, limit, window in ms, reason, by whom, for how many ms ('' for ever), the audit's entry (JSON)
-- Answer: the override as it is kept (JSON)
local override = {
  limit = tonumber(ARGV[2]), window_ms = tonumber(ARGV[3]), reason = ARGV[4], by = ARGV[5], at = now,
  expires_at = ARGV[6] ~= '' and now + tonumber(ARGV[6]) or nil,
}
local text = cjson.encode(override)
redis.call('HSET', key('limits'), ARGV[1], text)
redis.call('RPUSH', key('audit'), ARGV[7])
-- What has run out goes whenever an operator sets something: the hash holds only what operators said.
local kept = redis.call('HGETALL', key('limits'))
for index = 1, #kept, 2 do
  local expires_at = cjson.decode(kept[index + 1]).expires_at
  if expires_at and expires_at <= now then redis.call('HDEL', key('limits'), kept[index]) end
end
return text
