-- Ask the gates of some jobs, of each job for itself: pauses, then circuits, then limits, all or nothing.
-- A circuit reserves its probe, so it is only looked at until nothing else can refuse the job any more.
-- flags: allow-oom
-- uses: pauses, limits, circuits
--
-- Further jobs with the same gates may be let in ahead, for some time, where nothing is near to refusing one: they count
-- as taken at its end, so that in no window there are more than the limit.
--
-- ARGV: number of jobs, longest time for jobs that are let in ahead (ms), then for each: holder (a text of its own),
--       whether refused uses line up (1, 0), jobs wanted ahead, number of gate keys, these, number of circuits, these,
--       number of uses, these (with arguments as for take)
-- Answer: now (ms), then for each job by what it is refused ('' where it may run), milliseconds until it is worth asking
--         again (-1 where that is not known), the reason of a pause, jobs let in ahead, for how long (ms)
-- Of a limit no more than this part is let in ahead at a time, for no longer than this part of its window, and only while
-- less than half of it is used.
local PART = 100
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

local function are_all_closed(names)
  for _, name in ipairs(names) do
    local circuit = read_circuit(name)
    if state_now(circuit) ~= 'closed' or share_now(circuit) < 100 then return false end
  end
  return true
end

-- How many of so many jobs ahead the limits leave room for, and for how long (ms).
local function room_ahead(uses, jobs, ms)
  for _, use in ipairs(uses) do
    if use.log then
      -- Uses of one key add up, which is too much to think of here; and who is let in ahead has no name to take once.
      if use.job ~= '' or use.log.wanted ~= use.weight then return 0, 0 end
      local limit = use.rule.limit
      jobs = math.min(jobs, math.floor(math.min(limit / PART, limit / 2 - use.log.used) / use.weight))
      ms = math.min(ms, math.floor(use.window_us / PART / 1000))
    end
  end
  return jobs, ms
end

local function let_in_ahead(circuits, uses, wanted, longest)
  if wanted < 1 or not are_all_closed(circuits) then return 0, 0 end
  local jobs, ms = room_ahead(uses, wanted, longest)
  if jobs < 1 or ms < 1 then return 0, 0 end
  for _, use in ipairs(uses) do
    use.weight, use.from_us = use.weight * jobs, now_us + ms * 1000
    if use.log then count_use(use) end
  end
  return jobs, ms
end

local answer = {now}
local jobs, longest = tonumber(next_argument()), tonumber(next_argument())
for _ = 1, jobs do
  local holder, line_up, wanted = next_argument(), next_argument() == '1', tonumber(next_argument())
  local keys, circuits = next_list(), next_list()
  local count = tonumber(next_argument())
  local uses = read_uses(at, count)
  at = at + USE_ARGUMENTS * count
  local refusal = refusal_of(holder, line_up, keys, circuits, uses)
  for _, told in ipairs(refusal) do answer[#answer + 1] = told end
  answer[#answer + 1], answer[#answer + 2] = 0, 0
  if refusal[1] == '' then answer[#answer - 1], answer[#answer] = let_in_ahead(circuits, uses, wanted, longest) end
end
return answer
