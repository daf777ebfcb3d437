-- What every step of the trends begins with. KEYS[1] is their base `<namespace>:{trends}`.
local T = KEYS[1]
local function key(suffix) return T .. ':' .. suffix end
