-- Let a forced circuit go by its calls again. One that was forced open is half-open then: one call tries first.
-- flags: allow-oom
-- uses: circuits
--
-- ARGV: the circuit's name, the audit's entry (JSON)
-- Answer: 1, or 0 where the circuit is not forced (nothing is changed then)
local name = ARGV[1]
local circuit = read_circuit(name)
local forced = forced_state(circuit)
if not forced then return 0 end
redis.call('HDEL', circuit_key(name), 'forced', 'forced_by', 'forced_reason', 'forced_at', 'forced_until')
circuit.forced, circuit.forced_until = nil, nil
write_circuit(name, circuit, {generation = next_generation(circuit), open_until = forced == 'open' and now or ''})
redis.call('RPUSH', key('audit'), ARGV[2])
return 1
