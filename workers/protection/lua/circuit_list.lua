-- Look at circuits. Changes nothing.
-- flags: no-writes
-- uses: circuits
--
-- ARGV: names; none for all that are known
-- Answer: now; then for each, by name: name, what it is now, percent of the calls that are let in, its fields and values
local names = ARGV
if #names == 0 then
  names = redis.call('SMEMBERS', key('circuits'))
  table.sort(names)
end
local found = {now}
for _, name in ipairs(names) do
  local circuit = read_circuit(name)
  local state = state_now(circuit)
  local share = 0
  if state == 'closed' then share = share_now(circuit) end
  found[#found + 1] = {name, state, share, redis.call('HGETALL', circuit_key(name))}
end
return found
