-- Take of several limits at once, all or nothing. What is refused is not counted.
-- flags: allow-oom
-- uses: limits
--
-- ARGV: number of uses, whether refused ones line up (1, 0), then for each use its arguments (limits.lua names them)
-- Answer: now in microseconds, by what it is refused ('' where all are taken), milliseconds until it is worth asking
--         again, then for each use: what remains (-1 where no limit holds), the instant in microseconds from which the
--         same weight fits (again), be it for another job
local uses = read_uses(3, tonumber(ARGV[1]))
local refusal = take_limits(uses, ARGV[2] == '1') or {'', 0}
local answer = {now_us, refusal[1], refusal[2]}
for _, use in ipairs(uses) do
  local remaining, fits = -1, now_us
  if use.log then
    remaining = math.max(0, use.rule.limit - use.log.used)
    fits = fits_at(use.log, use.weight, use.rule.limit, use.window_us) or now_us + NEVER_MS * 1000
  end
  answer[#answer + 1] = remaining
  answer[#answer + 1] = math.max(fits, now_us + (use.blocked_ms or 0) * 1000)
end
return answer
