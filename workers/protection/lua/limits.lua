-- A library: rate limits. Steps that name it can take several limits at once, all or nothing.
--
-- A use is {key, limit, window_us, weight, default_key, job}: so much is to be taken of that key's limit in any window.
-- limit is -1 where the caller has none; an operator's override may still hold. job is '' unless a job that asks again
-- within the window is to take nothing more.
--
-- limit:<key> is a list of what was taken, oldest first, each entry `instant total weight`: the instant in microseconds,
-- all that the list ever counted up to and with this entry, and this entry's share. The totals make both questions cheap:
-- what is used (the last total less what has left), and when a weight fits (a binary search by total).
-- Up to EXACT units a window each taking has its own instant. Above, instants are rounded up to SLOTS a window, so that
-- memory does not grow with the limit: units may leave up to a slot later than they could, and never earlier.
--
-- jobs:<key> has the jobs that took once, each with the microsecond at which it did. They are apart from the log, which
-- an earlier release reads too. The latest EXACT are kept: of a log that is all of them; of a counter that has more,
-- those before them count again when they ask again, so that less is allowed and never more.
local USE_ARGUMENTS = 6
local EXACT = 1000
local SLOTS = 100
-- Clocks of two servers differ a little when one takes over; a clock set back further than this is another matter.
local CLOCK_STEP_US = 1000000
-- What can never fit is asked again after this long at the most: an operator may change the limit meanwhile.
local NEVER_MS = 60000
-- Who was told a turn has so long to come for it before somebody else may take it.
local TURN_US = 1000000

-- Uses as arguments carry them: key, limit, window in milliseconds, weight, default key ('' for none), job ('' for none).
local function read_uses(first, count)
  local uses = {}
  for index = 0, count - 1 do
    local at = first + USE_ARGUMENTS * index
    uses[index + 1] = {
      key = ARGV[at], limit = tonumber(ARGV[at + 1]), window_us = tonumber(ARGV[at + 2]) * 1000,
      weight = tonumber(ARGV[at + 3]), default_key = ARGV[at + 4], job = ARGV[at + 5],
    }
  end
  return uses
end

local function slot_of(limit, window_us)
  if limit <= EXACT then return 1 end
  return math.ceil(window_us / SLOTS)
end

local function parse_entry(text)
  local at, total, weight = string.match(text, '^(%d+) (%d+) (%d+)$')
  return {at = tonumber(at), total = tonumber(total), weight = tonumber(weight)}
end

local function entry_text(entry)
  return string.format('%.0f %.0f %.0f', entry.at, entry.total, entry.weight)
end

-- The place of the first entry from `low` on of which `holds` is true, and the entry; `size` where there is none.
local function first_entry(name, low, size, holds)
  local high, found = size, nil
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = parse_entry(redis.call('LINDEX', name, middle))
    if holds(entry) then
      high, found = middle, entry
    else
      low = middle + 1
    end
  end
  return high, found
end

-- What of a key's log still counts at this instant: how much, the place of its oldest entry, and the last entry.
local function read_log(name, window_us)
  local size = redis.call('LLEN', name)
  local log = {name = name, size = size, first = 0, used = 0}
  if size == 0 then return log end
  log.last = parse_entry(redis.call('LINDEX', name, -1))
  local function counts(entry) return entry.at + window_us >= now_us end
  -- Mostly the head still counts, or all has left; only in between is there something to search.
  log.head = parse_entry(redis.call('LINDEX', name, 0))
  log.oldest = log.head
  if not counts(log.last) then
    log.first = size
  elseif not counts(log.head) then
    log.first, log.head = first_entry(name, 1, size, counts)
    log.head = log.head or log.last
  end
  if log.first < size then log.used = log.last.total - log.head.total + log.head.weight end
  return log
end

-- The instant from which `weight` more fits into what a log counts now; now where it fits already, nil for never.
local function fits_at(log, weight, limit, window_us)
  if weight > limit then return nil end
  local too_much = log.used + weight - limit
  if too_much <= 0 then return now_us end
  local gone = log.head.total - log.head.weight + too_much
  if log.head.total >= gone then return log.head.at + window_us + 1 end
  local _, entry = first_entry(log.name, log.first, log.size, function(found) return found.total >= gone end)
  return (entry or log.last).at + window_us + 1
end

-- The rule by which a line's turns were told.
local function line_rule(use) return string.format('%.0f %.0f', use.rule.limit, use.window_us) end

-- The total up to which what leaves is promised to those who were told a turn by the rule that holds now.
local function read_line(use)
  local told, rule = string.match(redis.call('GET', key('line:' .. use.key)) or '', '^(-?%d+) (.*)$')
  return rule == line_rule(use) and tonumber(told) or -math.huge
end

-- The instant at which it is a use's turn. Were all told the first instant at which one fits, all would come back then
-- and all but one in vain: so each is told when so much has left that what was promised before fits too.
-- line:<key> holds the total up to which what leaves is promised, and the rule: where that has changed, the line is void.
local function turn_at(use)
  local log, limit, last = use.log, use.rule.limit, use.log.last
  local turn = math.max(last.total + log.wanted - limit, use.promised + use.weight)
  -- What is not there yet will leave a window after what it follows by a whole limit.
  local rounds = math.max(0, math.ceil((turn - last.total) / limit))
  local at, total = now_us, turn - rounds * limit
  if total > last.total - log.used then
    local _, entry = first_entry(log.name, log.first, log.size, function(found) return found.total >= total end)
    at = (entry or last).at + use.window_us + 1
  end
  at = at + rounds * use.window_us
  redis.call('SET', key('line:' .. use.key), string.format('%.0f %s', turn, line_rule(use)), 'PX',
    math.ceil((at - now_us) / 1000) + 1000)
  return at
end

-- Whether what has left is set aside for those who were told a turn. They have TURN_US to come for it; then the line is
-- void, and whoever asks takes: some of it may have been promised to jobs that are no more.
local function is_set_aside(use)
  local log = use.log
  if use.promised + use.rule.limit <= log.last.total then return false end
  -- The log still has what counted when something was taken last: either there was room then, or its oldest made it.
  local left_at_last = use.rule.limit - log.last.total + log.oldest.total - log.oldest.weight
  local since = left_at_last >= log.wanted and log.last.at or log.oldest.at + use.window_us
  if now_us - since < TURN_US then return true end
  redis.call('DEL', key('line:' .. use.key))
  use.promised = -math.huge
  return false
end

-- A clock that was set back (a server with another clock took over) would hold what is counted until it has caught up.
-- All of it counts as taken just now instead: never more than the limit, and never longer than a window.
local function mend_clock(use, log)
  if not log.last or log.last.at <= now_us + slot_of(use.rule.limit, use.window_us) + CLOCK_STEP_US then return log end
  redis.call('DEL', log.name, key('jobs:' .. use.key))
  redis.call('RPUSH', log.name, entry_text({at = now_us, total = log.used, weight = log.used}))
  redis.call('PEXPIRE', log.name, math.ceil(use.window_us / 1000) + 1000)
  return read_log(log.name, use.window_us)
end

-- Names under which an operator may have set a limit for a key, the most specific first: the key itself, then patterns
-- that end in `*` after a separator (`tenant:acme/*`, `tenant:*`), then what the caller gave as default.
local function override_names(limit_key, default_key)
  local names = {limit_key}
  for place = #limit_key - 1, 1, -1 do
    if string.find(string.sub(limit_key, place, place), '[:/]') then
      names[#names + 1] = string.sub(limit_key, 1, place) .. '*'
    end
  end
  if default_key ~= '' then names[#names + 1] = default_key end
  return names
end

-- The operators' override that holds for a key, with the name under which it stands, or nil.
local function override_of(limit_key, default_key)
  if redis.call('EXISTS', key('limits')) == 0 then return nil end
  local names = override_names(limit_key, default_key)
  for place, text in ipairs(redis.call('HMGET', key('limits'), unpack(names))) do
    if text then
      local found = cjson.decode(text)
      if not found.expires_at or found.expires_at > now then
        found.name = names[place]
        return found
      end
    end
  end
  return nil
end

-- Milliseconds for which a key is blocked by what its provider said; nil where it is not.
local function blocked_ms(limit_key)
  local left = redis.call('PTTL', key('blocked:' .. limit_key))
  return left >= 0 and left + 1 or nil
end

-- Which limit holds for a use: its caller's, or an operator's.
local function apply_rule(use)
  local override = override_of(use.key, use.default_key)
  use.rule = {limit = use.limit, window_us = use.window_us}
  if override then use.rule = {limit = override.limit, window_us = override.window_ms * 1000} end
  use.override = override
  use.own_window_us, use.window_us = use.window_us, use.rule.window_us
  return use
end

-- Whether a use's job has taken it already, and what it took still counts. A limit below the weight lets nobody in:
-- an operator who sets it to 0 means those, too, that have taken.
local function has_taken(use)
  if use.job == '' or use.weight > use.rule.limit then return false end
  local at = redis.call('ZSCORE', key('jobs:' .. use.key), use.job)
  return at and tonumber(at) + use.window_us >= now_us
end

-- Note that a use's job has taken it.
local function note_job(use)
  local name = key('jobs:' .. use.key)
  redis.call('ZADD', name, string.format('%.0f', now_us), use.job)
  redis.call('ZREMRANGEBYSCORE', name, '-inf', string.format('(%.0f', now_us - use.window_us))
  redis.call('ZREMRANGEBYRANK', name, 0, -EXACT - 1)
  redis.call('PEXPIRE', name, math.ceil(use.window_us / 1000) + 1000)
end

-- See whether a use fits, beside what the uses before it in the same call want of the same key.
local function look_at_use(use, logs, line_up)
  apply_rule(use)
  use.blocked_ms = blocked_ms(use.key)
  if use.blocked_ms then use.blocked_by, use.retry_ms = 'blocked:' .. use.key, use.blocked_ms end
  if use.rule.limit < 0 then return end
  if not logs[use.key] then
    logs[use.key] = mend_clock(use, read_log(key('limit:' .. use.key), use.window_us))
    logs[use.key].wanted = 0
  end
  use.log = logs[use.key]
  use.taken = has_taken(use)
  if use.taken then return end
  use.log.wanted = use.log.wanted + use.weight
  local fits, wait_ms = fits_at(use.log, use.log.wanted, use.rule.limit, use.window_us), NEVER_MS
  if fits and line_up and use.log.last then
    use.promised = read_line(use)
    if fits > now_us or is_set_aside(use) then fits = turn_at(use) end
  end
  if fits then wait_ms = math.ceil((fits - now_us) / 1000) end
  if wait_ms > (use.retry_ms or 0) then use.blocked_by, use.retry_ms = 'limit:' .. use.key, wait_ms end
end

-- Look at all uses; nil where all fit, else what holds longest as {blocked_by, milliseconds}. Nothing is counted yet.
-- Where `line_up` is true, uses stand behind those that were told a turn before, and are told theirs.
local function look_at_limits(uses, line_up)
  local logs, refusal = {}, nil
  for _, use in ipairs(uses) do
    look_at_use(use, logs, line_up)
    if use.retry_ms and (not refusal or use.retry_ms > refusal[2]) then refusal = {use.blocked_by, use.retry_ms} end
  end
  return refusal
end

-- Note a key among those that operators are shown. The hash lives as long as its longest log, and whatever it holds in
-- vain goes by and by: each newcomer takes two names away that stand for nothing any more.
local function note_key(limit_key, rule, ttl_ms)
  local noted = redis.call('HGET', key('limited'), limit_key)
  if noted ~= rule and (rule ~= '' or not noted) then
    redis.call('HSET', key('limited'), limit_key, rule)
    redis.call('PEXPIRE', key('limited'), ttl_ms, 'NX')
  end
  redis.call('PEXPIRE', key('limited'), ttl_ms, 'GT')
  if noted then return end
  for _, other in ipairs(redis.call('HRANDFIELD', key('limited'), 2)) do
    if redis.call('EXISTS', key('limit:' .. other), key('blocked:' .. other)) == 0 and other ~= limit_key then
      redis.call('HDEL', key('limited'), other)
    end
  end
end

-- Count one use that was looked at, from now on, or from `from_us` on where it is for later.
local function count_use(use)
  local log, slot, from_us = use.log, slot_of(use.rule.limit, use.window_us), use.from_us or now_us
  local last = log.last or {at = 0, total = 0}
  local entry = {at = math.max(from_us + (slot - from_us % slot) % slot, last.at), total = last.total + use.weight}
  if entry.at == last.at then
    entry.weight = last.weight + use.weight
    redis.call('LSET', log.name, -1, entry_text(entry))
  else
    entry.weight = use.weight
    redis.call('RPUSH', log.name, entry_text(entry))
    log.size = log.size + 1
  end
  -- What has left goes with the first use of a key.
  if log.first > 0 then redis.call('LTRIM', log.name, log.first, -1) end
  -- A list that begins anew has other totals.
  if not log.last then redis.call('DEL', key('line:' .. use.key)) end
  if log.used == 0 or log.head.at == entry.at then log.head = entry end
  log.size, log.first, log.last, log.used = log.size - log.first, 0, entry, log.used + use.weight
  if use.job ~= '' then note_job(use) end
  local ttl_ms = math.ceil((entry.at - now_us + use.window_us) / 1000) + 1000
  redis.call('PEXPIRE', log.name, ttl_ms)
  note_key(use.key, string.format('%.0f %.0f %s', use.limit, use.own_window_us / 1000, use.default_key), ttl_ms)
end

-- Count all uses that were looked at, but for those that were taken before.
local function count_limits(uses)
  for _, use in ipairs(uses) do
    if use.log and not use.taken then count_use(use) end
  end
end

-- Take all of them or none: nil where they are taken, else {blocked_by, milliseconds until it is worth asking again}.
local function take_limits(uses, line_up)
  local refusal = look_at_limits(uses, line_up)
  if not refusal then count_limits(uses) end
  return refusal
end
