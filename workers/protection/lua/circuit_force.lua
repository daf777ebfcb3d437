-- Force a circuit open or closed, whatever its calls say.
-- flags: allow-oom
-- uses: circuits
--
-- ARGV: the circuit's name, `open` or `closed`, by whom, reason, milliseconds until it ends ('' for no end), the audit's
--   entry (JSON)
-- Answer: 1 where the circuit was known before
local name, state, ends = ARGV[1], ARGV[2], ''
if ARGV[5] ~= '' then ends = now + tonumber(ARGV[5]) end
local circuit = read_circuit(name)
-- A forced opening ends half-open: one call tries first. A forced closing ends closed, without a ramp.
write_circuit(name, circuit, {
  forced = state, forced_by = ARGV[3], forced_reason = ARGV[4], forced_at = now, forced_until = ends,
  state = state, opened_at = state == 'open' and now or '', open_until = state == 'open' and ends or '',
  generation = next_generation(circuit), failures = '', closed_at = '', probe = '', probe_until = '', trips = '',
})
redis.call('RPUSH', key('audit'), ARGV[6])
return 1 - redis.call('SADD', key('circuits'), name)
