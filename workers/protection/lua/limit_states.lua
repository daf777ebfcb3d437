-- How keys stand that operators are shown. Changes nothing.
-- flags: no-writes
-- uses: limits
--
-- ARGV: keys or patterns
-- Answer: for each: the limit that holds (-1 for none), its window in ms, used, whether anything is noted (1, 0), the
--         instant in microseconds from which one more fits (0 where it fits now), the override that holds (JSON with its
--         name, '' for none), the block (JSON, '' for none)
local function state_of(limit_key)
  local noted = redis.call('HGET', key('limited'), limit_key) or ''
  local limit, window_ms, default_key = string.match(noted, '^(-?%d+) (%d+) (.*)$')
  local use = apply_rule({
    key = limit_key, limit = tonumber(limit or -1), window_us = tonumber(window_ms or 0) * 1000, weight = 1,
    default_key = default_key or '',
  })
  local log = read_log(key('limit:' .. limit_key), use.window_us)
  local fits = 0
  if use.rule.limit >= 0 and log.used >= use.rule.limit then
    fits = fits_at(log, 1, use.rule.limit, use.window_us) or 0
  end
  local override = use.override and cjson.encode(use.override) or ''
  local blocked = redis.call('GET', key('blocked:' .. limit_key)) or ''
  return {use.rule.limit, use.window_us / 1000, log.used, log.size > 0 and 1 or 0, fits, override, blocked}
end

local states = {}
for index, limit_key in ipairs(ARGV) do states[index] = state_of(limit_key) end
return states
