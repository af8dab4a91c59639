-- KEYS: the lock. ARGV: token:holder. Returns 1, or 0 when another or nobody holds it.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
