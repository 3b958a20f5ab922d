//! Redis, broken thing by thing.

use super::laboratory::{Servers, project};
use super::{Break, try_all};

const SECTION: &str = r#"[redis]
key_prefix = "PREFIX"
[redis.keyspaces.sessions]
pattern = "session:{id}"
type = "hash"
ttl = "1h"
[redis.keyspaces.queue]
pattern = "queue:{id}"
type = "list"
[redis.keyspaces.events]
pattern = "events:{id}"
type = "stream"
[redis.channels]
news = ["news.made", "news.gone"]
"#;

const MIGRATION: &str = "FUNCTION LOAD REPLACE @locks.lua\n\
    FUNCTION LOAD REPLACE @rates.lua\n\
    ACL SETUSER worker on nopass resetchannels ~{{prefix}}queue:* &{{prefix}}news.* +@read +@write -@dangerous\n\
    HSET {{prefix}}config limit 10\n\
    XGROUP CREATE {{prefix}}mail work $ MKSTREAM\n";

const LOCKS: &str = "#!lua name=locks\nredis.register_function('lock_release', function(keys, args) \
    if redis.call('GET', keys[1]) == args[1] then return redis.call('DEL', keys[1]) else return 0 end end)\n";
const RATES: &str =
    "#!lua name=rates\nredis.register_function('rate', function(keys, args) return redis.call('INCR', keys[1]) end)\n";
/// Releases whatever lock, whoever holds it.
const LAX: &str = "#!lua name=locks\nredis.register_function('lock_release', function(keys, args) return redis.call('DEL', keys[1]) end)\n";

const fn of(
    own: &'static str,
    fault: &'static [&'static [&'static str]],
    repair: &'static [&'static [&'static str]],
) -> Words {
    Break { own, schema: true, fault, repair }
}

/// What no schema holds: the keys of the application, the settings of the server.
const fn beside(
    own: &'static str,
    fault: &'static [&'static [&'static str]],
    repair: &'static [&'static [&'static str]],
) -> Words {
    Break { own, schema: false, fault, repair }
}

type Words = Break<&'static [&'static [&'static str]]>;

const USER: &[&[&str]] = &[&[
    "ACL",
    "SETUSER",
    "worker",
    "reset",
    "on",
    "nopass",
    "resetchannels",
    "~Pqueue:*",
    "&Pnews.*",
    "+@read",
    "+@write",
    "-@dangerous",
]];
const SESSION: &[&[&str]] = &[&["DEL", "Psession:1"]];

const BREAKS: &[Words] = &[
    of("objects.function", &[&["FUNCTION", "DELETE", "rates"]], &[&["FUNCTION", "LOAD", RATES]]),
    of("objects.function", &[&["FUNCTION", "LOAD", "REPLACE", LAX]], &[&["FUNCTION", "LOAD", "REPLACE", LOCKS]]),
    of("objects.function", &[&["FUNCTION", "DELETE", "locks"]], &[&["FUNCTION", "LOAD", LOCKS]]),
    of("objects.user", &[&["ACL", "DELUSER", "worker"]], USER),
    of("objects.user", &[&["ACL", "SETUSER", "worker", "allkeys"]], USER),
    of("objects.user", &[&["ACL", "SETUSER", "worker", "allchannels"]], USER),
    of("objects.user", &[&["ACL", "SETUSER", "worker", "+@all"]], USER),
    of("objects.user", &[&["ACL", "SETUSER", "worker", "off"]], USER),
    of("objects.key", &[&["DEL", "Pconfig"]], &[&["HSET", "Pconfig", "limit", "10"]]),
    of(
        "objects.key",
        &[&["DEL", "Pconfig"], &["SET", "Pconfig", "10"]],
        &[&["DEL", "Pconfig"], &["HSET", "Pconfig", "limit", "10"]],
    ),
    of("stream", &[&["XGROUP", "DESTROY", "Pmail", "work"]], &[&["XGROUP", "CREATE", "Pmail", "work", "$"]]),
    of("stream", &[&["DEL", "Pmail"]], &[&["XGROUP", "CREATE", "Pmail", "work", "$", "MKSTREAM"]]),
    beside("keyspace.sessions", &[&["HSET", "Psession:1", "a", "1"]], SESSION),
    beside("keyspace.sessions", &[&["SET", "Psession:1", "a", "EX", "60"]], SESSION),
    beside("keyspace.sessions", &[&["HSET", "Psession:1", "a", "1"], &["EXPIRE", "Psession:1", "7200"]], SESSION),
    beside("keyspace.queue", &[&["SADD", "Pqueue:1", "a"]], &[&["DEL", "Pqueue:1"]]),
    beside(
        "eviction",
        &[&["CONFIG", "SET", "maxmemory", "100mb"], &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]],
        &[&["CONFIG", "SET", "maxmemory-policy", "noeviction"], &["CONFIG", "SET", "maxmemory", "0"]],
    ),
];

#[test]
fn a_break_in_redis_fails_its_own_test_and_no_other() {
    let servers = Servers::start("redis");
    let url = servers.redis.clone().expect("Redis");
    let mut project = project("mutredis", SECTION, &format!("REDIS_URL='{url}'\n"));
    project.redis = url;
    project.write("migrations/1_all.up.redis", MIGRATION);
    project.write("migrations/locks.lua", LOCKS).write("migrations/rates.lua", RATES);
    project.lyrox(&["db", "migrate"]).ok();
    try_all(&project, "redis", BREAKS, |commands| {
        for command in *commands {
            // `P` stands for the project's prefix.
            let words: Vec<String> = command
                .iter()
                .map(|word| match word.split_once('P') {
                    Some((before @ ("" | "~" | "&"), rest)) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => {
                        format!("{before}{}{rest}", project.prefix)
                    }
                    _ => (*word).to_owned(),
                })
                .collect();
            project.redis(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    });
}
