-- KEYS: the lock, the last token. ARGV: holder, ttl in ms, last token the client has seen.
-- Returns {1, token} or {0, remaining ms}.
local remaining = redis.call('PTTL', KEYS[1])
if remaining ~= -2 then
  return {0, remaining}
end
local time = redis.call('TIME')
local token = math.max(
  tonumber(redis.call('GET', KEYS[2]) or '0') + 1,
  tonumber(time[1]) * 1000000 + tonumber(time[2]),
  tonumber(ARGV[3]) + 1)
-- Lua counts in doubles, which are exact up to 2^53.
if token > 9007199254740991 then
  return redis.error_reply('ERR fencing tokens are used up')
end
local text = string.format('%.0f', token)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[1], text .. ':' .. ARGV[1], 'PX', ARGV[2])
return {1, text}
