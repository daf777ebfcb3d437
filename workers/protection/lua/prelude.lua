-- What every step of the gates begins with. KEYS[1] is the gates' base `<namespace>:{gates}`: every other key derives
-- from it and so has its hash tag, apart from the queues', so that one step can ask all gates of a job.
local G = KEYS[1]
local function key(suffix) return G .. ':' .. suffix end

-- The server's clock is the only one that counts: clients' clocks are wrong. Milliseconds and microseconds since 1970.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)
