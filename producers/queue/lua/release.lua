-- Let parked jobs of one key go, in the order in which they were enqueued: some at once, or all by and by.
-- flags: allow-oom
-- uses: lanes, moves
--
-- ARGV: park key, jobs to release at once, jobs a second from now on ('' for none: only those at once; 0 ends a ramp)
-- Answer: jobs released at once, jobs still parked under the key
-- Moves: parked -> ready
local park, at_once, rate = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local released = at_once > 0 and release_parked(park, at_once) or 0
local info = redis.call('HGET', key('parks'), park)
if info and rate == 0 then
  local changed = cjson.decode(info)
  changed.rate, changed.released_at, changed.carry, changed.asked_at = nil, nil, nil, nil
  redis.call('HSET', key('parks'), park, cjson.encode(changed))
  if changed.offer then
    redis.call('ZADD', key('releases'), now + changed.offer, park)
  else
    redis.call('ZREM', key('releases'), park)
  end
elseif info and rate then
  local changed = cjson.decode(info)
  -- The ramp's tick counts from here; a ramp that runs already goes on counting.
  changed.rate = rate
  changed.asked_at = now
  changed.released_at = changed.released_at or now
  redis.call('HSET', key('parks'), park, cjson.encode(changed))
  redis.call('ZADD', key('releases'), now, park)
end
return {released, redis.call('ZCARD', key('parked:' .. park))}
