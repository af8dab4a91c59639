-- Takes one from a rate. KEYS[1]: when the rate is whole again, in µs.
-- ARGV: µs for each one, how many may come at once.
-- Answers 0, or after how many µs to come again.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local before = tonumber(redis.call('GET', KEYS[1]) or now) or now
if before < now then before = now end
local after = before + interval
local wait = after - now - interval * tonumber(ARGV[2])
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return 0
