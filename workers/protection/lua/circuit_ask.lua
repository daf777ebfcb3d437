-- Ask a circuit for a call.
-- flags: allow-oom
-- uses: circuits
--
-- ARGV: the circuit's name, the call's holder
-- Answer: milliseconds to wait (-1 where the call may go on), what the circuit is now, its generation, 1 where this call
-- is the probe, 1 where the circuit is half-open by this
local blocked, circuit = ask_circuit(ARGV[1], ARGV[2])
return {
  blocked and blocked[2] or -1, circuit.now_state, circuit.generation,
  circuit.probing and 1 or 0, circuit.changed and 1 or 0,
}
