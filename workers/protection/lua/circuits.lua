-- Circuits: what is known of each, who may call, and what becomes of it by the calls' outcomes.
--
-- A circuit is a hash, and none at all while it is closed and nothing failed. `state` is what was written last; what it
-- is now follows from it and the clock, so that nobody has to come by when a time-out ends:
--   closed     `failures`: the instants of failures in the window; `closed_at`, `ramp_ms`: the ramp after an opening
--   open       `opened_at`, `open_until`; after that it is half-open
--   half-open  `probe`, `probe_until`: who holds the one reservation, and until when
-- `generation` changes with each opening and closing: who was let in before tells nothing of what came after.
-- `forced`, `forced_by`, `forced_reason`, `forced_at`, `forced_until`: an operator's word, above all else.

-- Where an operator forced a circuit open without an end, it is asked again after this long.
local FORCED_WAIT_MS = 60000
-- Who is refused for the sake of somebody's probe asks again then, at the latest.
local PROBE_WAIT_MS = 10000
-- Used where no worker has said otherwise: an operator's command knows nothing of the workers' settings.
local PROBE_MS = 30000
-- Percent of the calls that are let in, in the first, second and last third of a ramp.
local SHARES = {10, 25, 50}
-- A circuit that nobody asked or told for so long after its last instant is as good as new.
local KEEP_MS = 86400000

local function circuit_key(name) return key('circuit:' .. name) end

local function read_circuit(name)
  local flat, circuit = redis.call('HGETALL', circuit_key(name)), {}
  for at = 1, #flat, 2 do circuit[flat[at]] = flat[at + 1] end
  circuit.state = circuit.state or 'closed'
  circuit.generation = circuit.generation or '0'
  return circuit
end

-- What an operator forced it to be, as long as that holds.
local function forced_state(circuit)
  local ends = tonumber(circuit.forced_until)
  if ends and ends <= now then return nil end
  return circuit.forced
end

local function state_now(circuit)
  local forced = forced_state(circuit)
  if forced then return forced end
  if circuit.state == 'open' and (tonumber(circuit.open_until) or 0) <= now then return 'half-open' end
  return circuit.state
end

-- Percent of the calls that are let in while it is closed, and the milliseconds until that is more.
local function share_now(circuit)
  local began, stage = tonumber(circuit.closed_at), (tonumber(circuit.ramp_ms) or 0) / #SHARES
  if not began or stage <= 0 then return 100, 0 end
  local passed = math.max(0, math.floor((now - began) / stage))
  if passed >= #SHARES then return 100, 0 end
  return SHARES[passed + 1], math.ceil(began + (passed + 1) * stage - now)
end

-- 0 to 99. The same holder draws the same, so whoever was let in once is let in again as the share grows.
local function draw(circuit, holder)
  return tonumber(string.sub(redis.sha1hex(circuit.generation .. ' ' .. holder), 1, 8), 16) % 100
end

local function wait_of(circuit, state, holder)
  if state == 'open' then return (tonumber(circuit.open_until) or now + FORCED_WAIT_MS) - now end
  if state == 'half-open' then
    local held = circuit.probe and circuit.probe ~= holder and (tonumber(circuit.probe_until) or 0) - now or 0
    return held > 0 and math.min(held, PROBE_WAIT_MS) or nil
  end
  local share, rises = share_now(circuit)
  return draw(circuit, holder) >= share and rises or nil
end

-- Whether `holder` (a text of its own for each call) would be let in. Writes nothing.
-- Answer: nil, or {blocked_by, retry_ms}; and the circuit, with what it is now in `now_state`
local function look_circuit(name, holder)
  local circuit = read_circuit(name)
  circuit.now_state = state_now(circuit)
  local wait = wait_of(circuit, circuit.now_state, holder)
  return wait and {'circuit:' .. name, math.max(1, math.ceil(wait))} or nil, circuit
end

local function keep_circuit(name, circuit)
  if circuit.forced and circuit.forced_until == '' then
    redis.call('PERSIST', circuit_key(name))
    return
  end
  local last = math.max(now, tonumber(circuit.open_until) or 0, tonumber(circuit.forced_until) or 0)
  redis.call('PEXPIRE', circuit_key(name), last - now + KEEP_MS)
end

-- Write fields; '' stands for a field that is to go, but for the end of what an operator forced.
local function write_circuit(name, circuit, fields)
  for field, value in pairs(fields) do
    if value == '' and field ~= 'forced_until' then
      redis.call('HDEL', circuit_key(name), field)
      circuit[field] = nil
    else
      redis.call('HSET', circuit_key(name), field, value)
      circuit[field] = tostring(value)
    end
  end
  keep_circuit(name, circuit)
end

-- Ask for `holder` to be let in. Where the circuit is half-open that reserves the probe, so ask when nothing else can
-- refuse any more.
-- Answer: as look_circuit; in the circuit `probing` says that the probe is its own, `changed` that it is half-open by this
local function ask_circuit(name, holder)
  local blocked, circuit = look_circuit(name, holder)
  redis.call('SADD', key('circuits'), name)
  if not blocked and circuit.now_state == 'half-open' then
    circuit.changed = circuit.state == 'open'
    circuit.probing = true
    local reserved = now + (tonumber(circuit.probe_ms) or PROBE_MS)
    write_circuit(name, circuit, {state = 'half-open', probe = holder, probe_until = reserved})
  end
  return blocked, circuit
end

local function next_generation(circuit)
  -- Two changes within a millisecond are two generations all the same.
  return math.max(now, (tonumber(circuit.generation) or 0) + 1)
end

-- policy: open_ms, open_limit_ms, probe_ms
local function open_circuit(name, circuit, policy, trips)
  local length = math.min(policy.open_ms * 2 ^ math.min(trips, 30), math.max(policy.open_ms, policy.open_limit_ms))
  write_circuit(name, circuit, {
    state = 'open', opened_at = now, open_until = math.floor(now + length), trips = trips, probe_ms = policy.probe_ms,
    generation = next_generation(circuit), failures = '', closed_at = '', probe = '', probe_until = '',
  })
  circuit.changed = true
end

local function close_circuit(name, circuit, ramp_ms)
  write_circuit(name, circuit, {
    state = 'closed', closed_at = now, ramp_ms = ramp_ms, generation = next_generation(circuit),
    failures = '', opened_at = '', open_until = '', probe = '', probe_until = '',
  })
  circuit.changed = true
end

local function count_failures(circuit, since)
  local recent = {}
  for at in string.gmatch(circuit.failures or '', '%d+') do
    if tonumber(at) > since then recent[#recent + 1] = at end
  end
  return recent
end
