-- Ask the gates of some jobs, of each job for itself: pauses, then circuits, then limits, all or nothing.
-- A circuit reserves its probe, so it is only looked at until nothing else can refuse the job any more.
-- flags: allow-oom
-- uses: pauses, limits, circuits
--
-- ARGV: number of jobs, then for each: holder (a text of its own), whether refused uses line up (1, 0), number of gate
--       keys, these, number of circuits, these, number of uses, these (five arguments each, as for take)
-- Answer: for each job by what it is refused ('' where it may run), milliseconds until it is worth asking again
--         (-1 where that is not known), the reason of a pause
local at = 1

local function next_argument()
  at = at + 1
  return ARGV[at - 1]
end

local function next_list()
  local list = {}
  for place = 1, tonumber(next_argument()) do list[place] = next_argument() end
  return list
end

local function look_at_circuits(names, holder)
  for _, name in ipairs(names) do
    local refusal = look_circuit(name, holder)
    if refusal then return refusal end
  end
  return nil
end

local function refusal_of(holder, line_up, keys, circuits, uses)
  local pause = ask_pauses(keys)
  if pause then return {pause[1], -1, pause[2]} end
  local refusal = look_at_circuits(circuits, holder) or take_limits(uses, line_up)
  if refusal then return {refusal[1], refusal[2], ''} end
  for _, name in ipairs(circuits) do ask_circuit(name, holder) end
  return {'', 0, ''}
end

local answer = {}
for _ = 1, tonumber(next_argument()) do
  local holder, line_up = next_argument(), next_argument() == '1'
  local keys, circuits = next_list(), next_list()
  local count = tonumber(next_argument())
  local uses = read_uses(at, count)
  at = at + 5 * count
  for _, told in ipairs(refusal_of(holder, line_up, keys, circuits, uses)) do answer[#answer + 1] = told end
end
return answer
