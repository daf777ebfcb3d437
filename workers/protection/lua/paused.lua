-- Ask whether one of some gate keys is paused.
-- uses: pauses
-- flags: no-writes
--
-- ARGV: gate keys
-- Answer: nil, or {blocked_by, reason} of the first one that is
return ask_pauses(ARGV)
