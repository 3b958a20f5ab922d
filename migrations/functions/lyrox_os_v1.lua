#!lua name=lyrox_os
-- Steps that must not be interleaved with another client's. Included by a migration and part of its
-- checksum: to change a function, add a file of the next version and a migration that loads it.

-- lyrox_rate_limit KEY LIMIT WINDOW_MS: counts one call in the present window.
-- Answers how many calls are left, or -1 when this one is refused; PTTL of the key says how long.
redis.register_function('lyrox_rate_limit', function(keys, args)
  local calls = redis.call('INCR', keys[1])
  if calls == 1 then
    redis.call('PEXPIRE', keys[1], args[2])
  end
  return math.max(tonumber(args[1]) - calls, -1)
end)

-- lyrox_lock_release KEY TOKEN: gives back a lock taken by SET KEY TOKEN NX PX ...
-- Answers 1, or 0 when the lock has expired and is perhaps held by another by now.
redis.register_function('lyrox_lock_release', function(keys, args)
  if redis.call('GET', keys[1]) == args[1] then
    return redis.call('DEL', keys[1])
  end
  return 0
end)
