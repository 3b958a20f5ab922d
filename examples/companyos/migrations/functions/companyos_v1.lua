#!lua name=companyos
-- Steps that must not be interleaved with another client's. Included by a migration and part of its checksum: to
-- change a function, add a file of the next version and a migration that loads it.

-- companyos_lock_release KEY TOKEN: gives back a lock taken by SET KEY TOKEN NX PX ...
-- Answers 1, or 0 when the lock has expired and is perhaps held by another by now.
redis.register_function('companyos_lock_release', function(keys, args)
  if redis.call('GET', keys[1]) == args[1] then
    return redis.call('DEL', keys[1])
  end
  return 0
end)

-- companyos_lock_extend KEY TOKEN MS: a holder that is still at work asks for more time.
redis.register_function('companyos_lock_extend', function(keys, args)
  if redis.call('GET', keys[1]) == args[1] then
    return redis.call('PEXPIRE', keys[1], args[2])
  end
  return 0
end)
