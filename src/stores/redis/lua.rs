//! The scripts that lyrox runs inside the server. Each checks the lock first, so a run whose lease has
//! become another's writes nothing.
//!
//! A transaction (MULTI) does not stop at an error: the commands after a failed one still run. A script
//! can stop there, and its writes are kept or lost together with the journal's. So the commands of a
//! migration run inside one wherever the server allows them there.

/// Takes a lock over from a holder that is gone, if it is still that holder's.
/// KEYS: lock. ARGV: its value, the new value, the lease in milliseconds.
pub const TAKE_OVER: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// Renews the lock if it is still ours.
/// KEYS: lock. ARGV: our value, the lease in milliseconds.
pub const RENEW: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// Gives the lock back if it is still ours.
/// KEYS: lock. ARGV: our value.
pub const RELEASE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// Takes a row up: renews the lock and answers the server's time, the row and its journal.
/// KEYS: lock, migrations, journal. ARGV: our value, the lease in milliseconds, the version.
pub const TAKE_UP: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'lost'} end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local t = redis.call('TIME')
local ms = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
return {'taken', ms, redis.call('HGET', KEYS[2], ARGV[3]), redis.call('HGET', KEYS[3], ARGV[3])}";

/// Runs commands until one fails, and writes how far it came.
/// KEYS: lock, migrations, journal, events, owned, texts, then the commands' keys.
/// ARGV: 1 our value, 2 the lease, 3 the version, 4 the row to begin with (empty: leave it), 5 the row to
/// end with (empty: it goes on later), 6 the event to end with, 7 the text to keep and 8 that of its way back
/// (empty: none, `=`: as they are), 9 the journal's beginning (it is completed by its chain and count), 10 the
/// chain and 11 the count of what is in effect before, 12 how many owned names follow; the names with their
/// values; then each command as its chain, its number of words, its words.
/// A JSON text that ends in `null}` gets the server's time in its place.
pub const RUN: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'lost'} end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local version = ARGV[3]
local function stamped(json)
  if string.sub(json, -5) ~= 'null}' then return json end
  local t = redis.call('TIME')
  return string.sub(json, 1, -6) .. string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)) .. '}'
end
local chain, done = ARGV[10], tonumber(ARGV[11])
local function journal()
  redis.call('HSET', KEYS[3], version, ARGV[9] .. '\"chain\":\"' .. chain .. '\",\"done\":' .. done .. '}')
end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], version, ARGV[4]) end
local at = 13
for _ = 1, tonumber(ARGV[12]) do
  redis.call('HSET', KEYS[5], ARGV[at], ARGV[at + 1])
  at = at + 2
end
while at <= #ARGV do
  local count, words = tonumber(ARGV[at + 1]), {}
  for nth = 1, count do words[nth] = ARGV[at + 1 + nth] end
  local reply = redis.pcall(unpack(words))
  if type(reply) == 'table' and reply.err then
    journal()
    return {'failed', done, reply.err}
  end
  chain, done = ARGV[at], done + 1
  at = at + 2 + count
end
if ARGV[5] == '' then
  journal()
else
  redis.call('HSET', KEYS[2], version, stamped(ARGV[5]))
  redis.call('HDEL', KEYS[3], version)
  redis.call('RPUSH', KEYS[4], stamped(ARGV[6]))
  for field, text in pairs({[version] = ARGV[7], [version .. ':down'] = ARGV[8]}) do
    if text == '' then redis.call('HDEL', KEYS[6], field) elseif text ~= '=' then redis.call('HSET', KEYS[6], field, text) end
  end
end
return {'done', done, redis.call('HGET', KEYS[2], version)}";

/// Writes how a failed run ended.
/// KEYS: lock, migrations, journal, events, owned. ARGV: our value, the version, the row (empty: there is
/// none, `=`: as it is), the journal (empty: there is none, `=`: as it is), the event, a name that is not
/// owned after all (empty: none).
pub const SETTLE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local function stamped(json)
  if string.sub(json, -5) ~= 'null}' then return json end
  local t = redis.call('TIME')
  return string.sub(json, 1, -6) .. string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)) .. '}'
end
local function put(key, value)
  if value == '' then redis.call('HDEL', key, ARGV[2]) elseif value ~= '=' then redis.call('HSET', key, ARGV[2], stamped(value)) end
end
put(KEYS[2], ARGV[3])
put(KEYS[3], ARGV[4])
redis.call('RPUSH', KEYS[4], stamped(ARGV[5]))
if ARGV[6] ~= '' then redis.call('HDEL', KEYS[5], ARGV[6]) end
return 1";

/// Writes one event, if the lock is still ours.
/// KEYS: lock, events. ARGV: our value, the event.
pub const TELL: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local t = redis.call('TIME')
local ms = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('RPUSH', KEYS[2], string.sub(ARGV[2], 1, -6) .. ms .. '}')
return 1";
