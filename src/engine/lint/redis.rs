//! Redis' files: commands that block the server or concern it as a whole, keys outside the prefix, and keys
//! that should expire and do not.

use std::ops::Range;

use super::Hit;
use super::keyspace::{self, Space};
use crate::config::Settings;
use crate::project::migration::Script;
use crate::project::words;

/// One command of a file.
pub struct Line {
    /// Its bytes.
    pub at: Range<usize>,
    /// Its words; empty where it cannot be read.
    pub words: Vec<Word>,
    error: Option<Hit>,
}

/// One word and where it stands.
pub struct Word {
    /// Its text; of a word `@file` the file's.
    pub text: String,
    /// Its bytes, quotes included.
    pub at: Range<usize>,
}

impl Line {
    /// Its name, in upper case.
    pub fn name(&self) -> String {
        self.words.first().map(|word| word.text.to_ascii_uppercase()).unwrap_or_default()
    }

    /// A word in upper case; empty where there is none.
    pub fn upper(&self, at: usize) -> String {
        self.words.get(at).map(|word| word.text.to_ascii_uppercase()).unwrap_or_default()
    }

    fn has(&self, option: &str) -> bool {
        self.words.iter().skip(2).any(|word| word.text.eq_ignore_ascii_case(option))
    }
}

/// Reads a file.
pub fn read(script: &Script) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut start = 0;
    for text in script.text.split('\n') {
        let begin = start;
        start += text.len() + 1;
        let shown = text.trim();
        if shown.is_empty() || shown.starts_with('#') {
            continue;
        }
        let first = begin + (text.len() - text.trim_start().len());
        let mut line = Line { at: first..first + shown.len(), words: Vec::new(), error: None };
        match words::split(text) {
            Ok(found) => {
                let starts: Vec<usize> = found.iter().map(|word| word.start).chain([text.len()]).collect();
                for (at, word) in found.into_iter().enumerate() {
                    let end = word.start + text[word.start..starts[at + 1]].trim_end().len();
                    let mut written = String::from_utf8_lossy(&word.bytes).into_owned();
                    if let Some(file) = written.strip_prefix('@').filter(|_| word.is_bare) {
                        written = script.includes.get(file).cloned().unwrap_or_else(|| file.to_owned());
                    }
                    line.words.push(Word { text: written, at: begin + word.start..begin + end });
                }
            }
            Err(error) => {
                let at = begin + error.offset;
                line.error = Some(Hit::new("syntax-error", at..at + 1, error.why));
            }
        }
        lines.push(line);
    }
    lines
}

/// Judges the commands of a file.
pub fn judge(lines: &[Line], settings: &Settings, key_prefix: &str) -> Vec<Hit> {
    let spaces = keyspace::declared(settings);
    let mut hits = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(word) = line.words.first() else {
            hits.extend(line.error.clone());
            continue;
        };
        let name = line.name();
        let shown = match name.as_str() {
            "CONFIG" | "SCRIPT" | "FUNCTION" | "ACL" | "CLIENT" => format!("{name} {}", line.upper(1)),
            _ => name.clone(),
        };
        if let Some((rule, why, hint)) = command(&name, line) {
            hits.push(Hit::new(rule, word.at.clone(), format!("`{shown}` {why}")).hint(hint));
            continue;
        }
        hits.extend(inside(line));
        let keys = keyspace::keys(&name, &line.words);
        for key in &keys {
            let outside = !key.text.starts_with("{{prefix}}") && !key.text.starts_with(key_prefix);
            if outside {
                hits.push(
                    Hit::new(
                        "redis-prefix",
                        key.at.clone(),
                        format!("the key `{}` does not begin with the project's prefix", key.text),
                    )
                    .hint("write {{prefix}} before it")
                    .statement(line.at.start),
                );
            }
        }
        hits.extend(ttl(line, &name, &lines[number + 1..], &spaces, key_prefix));
    }
    hits
}

/// What a command is, whatever its keys.
fn command(name: &str, line: &Line) -> Option<(&'static str, &'static str, &'static str)> {
    let sub = line.upper(1);
    Some(match (name, sub.as_str()) {
        ("KEYS", _) => (
            "redis-keys",
            "walks every key of the server and stops it meanwhile",
            "SCAN with MATCH goes in small pieces",
        ),
        ("FLUSHALL" | "FLUSHDB", _) => {
            ("redis-flush", "removes everybody's keys", "lyrox db reset removes what is the project's")
        }
        (
            "BLPOP" | "BRPOP" | "BRPOPLPUSH" | "BLMOVE" | "BLMPOP" | "BZPOPMIN" | "BZPOPMAX" | "BZMPOP" | "WAIT"
            | "WAITAOF" | "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "MONITOR",
            _,
        ) => ("redis-wait", "waits for others and would hold the migration", "use the form that does not wait"),
        ("XREAD" | "XREADGROUP", _) if line.words.iter().any(|word| word.text.eq_ignore_ascii_case("BLOCK")) => {
            ("redis-wait", "with BLOCK waits for others and would hold the migration", "leave BLOCK out")
        }
        (
            "DEBUG" | "SHUTDOWN" | "CONFIG" | "SAVE" | "BGSAVE" | "BGREWRITEAOF" | "REPLICAOF" | "SLAVEOF" | "FAILOVER"
            | "CLUSTER" | "MODULE" | "SWAPDB" | "SYNC" | "PSYNC" | "LATENCY" | "SLOWLOG" | "SELECT" | "AUTH" | "HELLO"
            | "RESET" | "QUIT" | "CLIENT" | "MULTI" | "EXEC" | "DISCARD" | "WATCH" | "UNWATCH" | "MOVE" | "MIGRATE",
            _,
        )
        | ("SCRIPT" | "FUNCTION", "FLUSH" | "KILL" | "DEBUG")
        | ("FUNCTION", "RESTORE")
        | ("ACL", "LOAD" | "SAVE") => (
            "redis-server",
            "concerns the whole server or lyrox's own connection, not the project's keys",
            "take it out; settings belong into the server's own configuration",
        ),
        ("DEL", _) => ("redis-delete", "frees the value while everybody waits", "UNLINK frees it in the background"),
        (
            "SORT" | "SORT_RO" | "SMEMBERS" | "HGETALL" | "HKEYS" | "HVALS" | "SINTERSTORE" | "SUNIONSTORE"
            | "SDIFFSTORE" | "ZINTERSTORE" | "ZUNIONSTORE" | "ZDIFFSTORE",
            _,
        ) => (
            "redis-slow",
            "costs as much as the data is large, and everybody waits",
            "HSCAN, SSCAN and ZSCAN go in small pieces",
        ),
        ("LRANGE" | "ZRANGE", _)
            if line.words.get(2).is_some_and(|word| word.text == "0")
                && line.words.get(3).is_some_and(|word| word.text == "-1") =>
        {
            ("redis-slow", "from 0 to -1 reads all there is, and everybody waits", "read it in ranges")
        }
        _ => return None,
    })
}

/// Commands that a Lua text calls.
fn inside(line: &Line) -> Vec<Hit> {
    let mut hits = Vec::new();
    for word in line.words.iter().skip(1) {
        for call in ["redis.call(", "redis.pcall("] {
            for piece in word.text.split(call).skip(1) {
                let called: String = piece
                    .trim_start()
                    .trim_start_matches(['\'', '"'])
                    .chars()
                    .take_while(char::is_ascii_alphanumeric)
                    .collect();
                let (rule, hint) = match called.to_ascii_uppercase().as_str() {
                    "KEYS" => ("redis-keys", "SCAN with MATCH goes in small pieces"),
                    "FLUSHALL" | "FLUSHDB" => ("redis-flush", "UNLINK the keys that are meant"),
                    _ => continue,
                };
                let message =
                    format!("the script calls `{}`, which stops the server meanwhile", called.to_ascii_uppercase());
                hits.push(Hit::new(rule, word.at.clone(), message).hint(hint).statement(line.at.start));
            }
        }
    }
    hits.dedup_by(|a, b| a.rule == b.rule && a.at == b.at);
    hits
}

/// A key that is written and lives for ever.
fn ttl(line: &Line, name: &str, below: &[Line], spaces: &[Space], key_prefix: &str) -> Vec<Hit> {
    let has_own = match name {
        "SETEX" | "PSETEX" | "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" => true,
        "SET" | "GETEX" => ["EX", "PX", "EXAT", "PXAT", "KEEPTTL"].iter().any(|option| line.has(option)),
        _ => false,
    };
    if has_own || !(keyspace::writes(name) || name == "PERSIST") {
        return Vec::new();
    }
    let expires = |key: &str| {
        below.iter().any(|line| {
            matches!(line.name().as_str(), "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT")
                && line.words.get(1).is_some_and(|word| word.text == key)
        })
    };
    let mut hits = Vec::new();
    for key in keyspace::keys(name, &line.words) {
        if expires(&key.text) && name != "PERSIST" {
            continue;
        }
        let bare =
            key.text.strip_prefix("{{prefix}}").or_else(|| key.text.strip_prefix(key_prefix)).unwrap_or(&key.text);
        let hit = match spaces.iter().find(|space| space.holds(bare)) {
            Some(Space { name: space, ttl: Some(ttl), .. }) => Hit::new(
                "redis-ttl",
                key.at.clone(),
                format!("`{bare}` is of the key space `{space}`, which expires after {ttl}; here it lives for ever"),
            )
            .hint(if name == "SET" {
                format!("EX {}", ttl.duration().as_secs())
            } else {
                format!("EXPIRE {} {}", key.text, ttl.duration().as_secs())
            }),
            Some(_) => continue,
            None if matches!(name, "SET" | "SETNX" | "GETSET" | "MSET" | "MSETNX") => Hit::new(
                "redis-no-ttl",
                key.at.clone(),
                format!("`{bare}` is of no declared key space and lives for ever"),
            )
            .hint("give it EX seconds, or declare it under [redis.keyspaces]"),
            None => continue,
        };
        hits.push(hit.statement(line.at.start));
    }
    hits
}
