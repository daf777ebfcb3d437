-- Tell a circuit how a call ended.
-- flags: allow-oom
-- uses: circuits
--
-- ARGV: the circuit's name, the call's holder, the generation in which it was let in ('' where that is not known),
--   `success`, `failure` or `neither`; milliseconds and counts of the policy: threshold, window, open, open at the most,
--   probe, ramp
-- Answer: what the circuit is now, its failures in the window, 1 where it is that by this
-- Moves: closed -> open, half-open -> closed, half-open -> open
local name, holder, generation, outcome = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local threshold, window_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local policy = {open_ms = tonumber(ARGV[7]), open_limit_ms = tonumber(ARGV[8]), probe_ms = tonumber(ARGV[9])}
local ramp_ms = tonumber(ARGV[10])
local circuit = read_circuit(name)

local function told()
  local failures = #count_failures(circuit, now - window_ms)
  return {state_now(circuit), circuit.changed and threshold or failures, circuit.changed and 1 or 0}
end

local function tell_probe()
  if outcome == 'neither' then
    -- It learned nothing, so the next one may try.
    write_circuit(name, circuit, {probe = '', probe_until = ''})
  elseif outcome == 'success' then
    close_circuit(name, circuit, ramp_ms)
  else
    open_circuit(name, circuit, policy, (tonumber(circuit.trips) or 0) + 1)
  end
end

local function tell_failure()
  local failures = count_failures(circuit, now - window_ms)
  failures[#failures + 1] = string.format('%.0f', now)
  if #failures < threshold then
    write_circuit(name, circuit, {failures = table.concat(failures, ' ')})
    return
  end
  -- One that opens again before its ramp has ended has not recovered: it stays open for longer.
  open_circuit(name, circuit, policy, share_now(circuit) < 100 and (tonumber(circuit.trips) or 0) + 1 or 0)
end

if forced_state(circuit) then return told() end
if circuit.state == 'half-open' then
  -- Calls from before it opened end when they end; only the probe's word counts.
  if circuit.probe == holder then tell_probe() end
elseif circuit.state == 'closed' and outcome == 'failure' then
  if generation == '' or generation == circuit.generation then tell_failure() end
end
return told()
