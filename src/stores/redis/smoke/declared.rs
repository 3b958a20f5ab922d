//! The project's own tests on Redis.
//!
//! Redis undoes nothing: before a command that may write, its keys (as `COMMAND GETKEYS` finds them) are
//! journaled with their values (`DUMP`) and their absolute expiry in `<prefix>lyrox:smoke:journal`; after the
//! test they are put back, and keys that were not there are removed; a run that died is tidied up by the
//! next one. Only keys below the project's prefix may be written. A script that writes keys it was not given
//! is beyond this. With `commit`, each step runs on a connection of its own.

use std::time::{Duration, Instant};

use redis::aio::ConnectionLike as _;
use redis::{Cmd, RedisError, Value as Found};
use serde_json::Value;

use super::RedisSmoke;
use crate::error::{Code, Error, Result};
use crate::project::smoke::{placeholders, plain};
use crate::project::words;
use crate::stores::redis::error::refusal;
use crate::stores::redis::link::Link;
use crate::stores::smoke::{Answer, Call, Refusal, Reply, Ttl, Variables};

/// Commands that change nothing although their flags do not say so.
const HARMLESS: [&str; 9] = ["PING", "ECHO", "TIME", "INFO", "DBSIZE", "COMMAND", "LOLWUT", "LASTSAVE", "WAIT"];
/// Commands of a transaction: in a session of a test's own.
const TRANSACTION: [&str; 5] = ["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"];
/// Commands that change the connection, which tests share.
const STATEFUL: [&str; 12] = [
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "UNSUBSCRIBE",
    "MONITOR",
    "SELECT",
    "AUTH",
    "HELLO",
    "RESET",
    "QUIT",
    "CLIENT",
    "READONLY",
];

impl RedisSmoke<'_> {
    pub(super) async fn declared_step(&mut self, call: Call<'_>, variables: &Variables) -> Result<Reply> {
        let arguments = arguments(call.text, variables)?;
        let name = arguments.first().map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default();
        let effect = self.effect(&name, &arguments, call.session.is_some()).await?;
        let keys = self.keys(&arguments).await?;
        if effect != Effect::None {
            if !self.run.may_write {
                return Ok(Reply::writes());
            }
            if effect == Effect::Keys {
                self.journal_keys(&name, &keys).await?;
            }
        }
        let mut command = Cmd::new();
        for argument in &arguments {
            command.arg(argument.as_slice());
        }
        let mut link = self.session(&call).await?;
        let begun = Instant::now();
        let reply = link.req_packed_command(&command).await.and_then(Found::extract_error);
        let elapsed = begun.elapsed();
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                return match refusal(&error) {
                    Some(no) => Ok(Reply::Refused(Refusal { codes: vec![no.word], message: no.text })),
                    None => Err(self.lost("carry out a step", &error)),
                };
            }
        };
        let ttl = match keys.first() {
            None => None,
            Some(key) => match self.ask(redis::cmd("PTTL").arg(key.as_slice())).await? {
                Ok(Found::Int(-2)) => Some(Ttl::Missing),
                Ok(Found::Int(-1)) => Some(Ttl::Forever),
                Ok(Found::Int(left)) => Some(Ttl::Left(Duration::from_millis(u64::try_from(left).unwrap_or(0)))),
                _ => None,
            },
        };
        let value = json(&reply);
        let rows = match &value {
            Value::Null => 0,
            Value::Array(values) => values.len() as u64,
            _ => 1,
        };
        Ok(Reply::Answer(Answer { first: value.clone(), value, rows, ttl, elapsed }))
    }

    /// The connection of a step: its session's, the test's, or with `commit` a new one.
    async fn session(&mut self, call: &Call<'_>) -> Result<Link> {
        let name = call.session.unwrap_or_default();
        if let Some(known) = self.sessions.get(name).filter(|_| !call.reconnect) {
            return Ok(known.clone());
        }
        if call.session.is_none() && !call.reconnect && !self.is_committing {
            return Ok(self.link());
        }
        let link = self.connect(self.store.endpoint()).await?.link;
        if call.session.is_some() || !self.is_committing {
            self.sessions.insert(name.to_owned(), link.clone());
        }
        Ok(link)
    }

    /// What a command may change.
    async fn effect(&self, name: &str, arguments: &[Vec<u8>], has_session: bool) -> Result<Effect> {
        let refuse = |why: &str| {
            Error::new(Code::SmokeFile, format!("`{name}` cannot be a step of a smoke test"))
                .why(why.to_owned())
                .data("put back")
                .hint("steps read, write keys below the prefix, call functions, and publish")
        };
        if STATEFUL.contains(&name) {
            return Err(refuse("it changes the connection"));
        }
        if TRANSACTION.contains(&name) {
            return if has_session {
                Ok(Effect::None)
            } else {
                Err(refuse("it changes the connection")
                    .hint("session = \"a\" gives the steps a connection of their own"))
            };
        }
        let second = arguments.get(1).map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default();
        if HARMLESS.contains(&name)
            || matches!(
                (name, second.as_str()),
                ("CONFIG", "GET") | ("FUNCTION", "LIST") | ("SCRIPT", "EXISTS") | ("ACL", "WHOAMI")
            )
        {
            return Ok(Effect::None);
        }
        if name == "PUBLISH" || name == "SPUBLISH" {
            return Ok(Effect::Elsewhere);
        }
        if matches!(name, "EVAL_RO" | "EVALSHA_RO" | "FCALL_RO") {
            return Ok(Effect::None);
        }
        if matches!(name, "EVAL" | "EVALSHA" | "FCALL") {
            return Ok(Effect::Keys);
        }
        let info = self.ask(redis::cmd("COMMAND").arg("INFO").arg(name)).await?;
        let flags = match info {
            Ok(info) => format!("{info:?}"),
            Err(error) => return Err(refuse(&format!("the server does not tell what it does: {}", shown(&error)))),
        };
        let has = |flag: &str| flags.contains(&format!("\"{flag}\"")) || flags.contains(&format!("'{flag}'"));
        if has("readonly") {
            Ok(Effect::None)
        } else if has("write") {
            Ok(Effect::Keys)
        } else if has("admin") {
            Err(refuse("it changes the server"))
        } else {
            Err(refuse("the server does not know it, or it cannot be undone"))
        }
    }

    /// The keys of a command, as the server itself finds them.
    async fn keys(&self, arguments: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let mut command = redis::cmd("COMMAND");
        command.arg("GETKEYS");
        for argument in arguments {
            command.arg(argument.as_slice());
        }
        Ok(match self.ask(&command).await? {
            Ok(reply) => redis::from_redis_value(reply).unwrap_or_default(),
            Err(_) => Vec::new(),
        })
    }

    /// Writes down what the keys hold, once for each test, before anything is changed.
    async fn journal_keys(&mut self, name: &str, keys: &[Vec<u8>]) -> Result<()> {
        let refuse = |why: String| {
            Error::new(Code::SmokeFailed, "what the step does could not be undone")
                .why(why)
                .data("put back")
                .hint("name every key in the command, below {{prefix}}")
        };
        if keys.is_empty() {
            return Err(refuse(format!("`{name}` writes, and names no key")));
        }
        let prefix = self.store.prefix().as_bytes().to_vec();
        let own = format!("{}lyrox:", self.store.prefix()).into_bytes();
        for key in keys {
            let shown = String::from_utf8_lossy(key).into_owned();
            if !key.starts_with(&prefix) {
                return Err(refuse(format!("`{shown}` is not below the project's prefix")));
            }
            if key.starts_with(&own) {
                return Err(refuse(format!("`{shown}` is lyrox's own")));
            }
            let replies = self
                .ask_all(vec![
                    redis::cmd("DUMP").arg(key.as_slice()).to_owned(),
                    redis::cmd("PTTL").arg(key.as_slice()).to_owned(),
                    redis::cmd("TIME").to_owned(),
                ])
                .await?;
            let [dump, left, time] = replies.as_slice() else {
                return Err(Error::bug("three questions, other answers"));
            };
            let mut entry = match left {
                Found::Int(left) if *left >= 0 => (milliseconds(time) + left).to_string().into_bytes(),
                _ => b"-1".to_vec(),
            };
            entry.push(b' ');
            match dump {
                Found::BulkString(bytes) => entry.extend(bytes),
                Found::Nil => entry = Vec::new(),
                _ => return Err(refuse(format!("the server does not hand out what `{shown}` holds (DUMP)"))),
            }
            let field = [b"key:".as_slice(), key].concat();
            let journal = self.journal();
            // The first entry of a key is what was there before the test.
            if let Err(error) = self.ask(redis::cmd("HSETNX").arg(journal).arg(field).arg(entry)).await? {
                return Err(refuse(shown_error(&error)));
            }
            self.written.insert(key.clone());
        }
        Ok(())
    }

    /// Puts back what the journal says, and removes the users it names. Says what was still there.
    pub(super) async fn put_back(&mut self) -> Result<Vec<String>> {
        let journal = self.journal();
        let refuse = |why: String| {
            Error::new(Code::SmokeLeftover, "what a smoke test changed could not be put back")
                .why(why)
                .hint(format!("HGETALL {journal} holds the values; run it again when the server takes writes"))
        };
        let entries: Vec<(Vec<u8>, Vec<u8>)> = match self.ask(redis::cmd("HGETALL").arg(&journal)).await? {
            Ok(reply) => redis::from_redis_value(reply).unwrap_or_default(),
            Err(error) => return Err(refuse(shown_error(&error))),
        };
        let mut done = Vec::new();
        for (field, entry) in entries {
            let is_user = field.starts_with(b"user:");
            let command = if let Some(user) = field.strip_prefix(b"user:") {
                done.push(format!("user `{}`", String::from_utf8_lossy(user)));
                redis::cmd("ACL").arg("DELUSER").arg(user).to_owned()
            } else if let Some(key) = field.strip_prefix(b"key:") {
                done.push(format!("key `{}`", String::from_utf8_lossy(key)));
                self.restore(key, &entry).await?
            } else {
                continue;
            };
            let asked = if is_user { self.ask_everywhere(&command).await? } else { self.ask(&command).await? };
            if let Err(error) = asked {
                return Err(refuse(shown_error(&error)));
            }
            if let Err(error) = self.ask(redis::cmd("HDEL").arg(&journal).arg(field)).await? {
                return Err(refuse(shown_error(&error)));
            }
        }
        Ok(done)
    }

    /// The command that makes a key what it was.
    async fn restore(&self, key: &[u8], entry: &[u8]) -> Result<Cmd> {
        let remove = redis::cmd("DEL").arg(key).to_owned();
        let Some(space) = entry.iter().position(|byte| *byte == b' ') else { return Ok(remove) };
        let until: i64 = std::str::from_utf8(&entry[..space]).ok().and_then(|text| text.parse().ok()).unwrap_or(-1);
        let now = match self.ask(&redis::cmd("TIME")).await? {
            Ok(time) => milliseconds(&time),
            Err(_) => 0,
        };
        let left = match until {
            -1 => 0,
            // It would have expired meanwhile.
            until if until <= now => return Ok(remove),
            until => until - now,
        };
        Ok(redis::cmd("RESTORE").arg(key).arg(left).arg(&entry[space + 1..]).arg("REPLACE").to_owned())
    }
}

/// What a command may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    None,
    /// Its keys.
    Keys,
    /// Something that nobody keeps: a message.
    Elsewhere,
}

/// Splits the line and puts the values into its words.
fn arguments(text: &str, variables: &Variables) -> Result<Vec<Vec<u8>>> {
    let line = text.trim();
    let wrong = |why: String| Error::new(Code::SmokeFile, "a step is no Redis command").why(why).data("put back");
    if line.contains('\n') {
        return Err(wrong("one command a step; the text has several lines".into()));
    }
    let mut words = words::words(line).map_err(|error| wrong(error.to_string()))?;
    for word in &mut words {
        // Bytes that are no text hold no placeholder.
        let Ok(text) = std::str::from_utf8(word) else { continue };
        let found = placeholders(text);
        if found.is_empty() {
            continue;
        }
        let mut filled = String::new();
        let mut from = 0;
        for (range, name) in found {
            filled.push_str(&text[from..range.start]);
            filled.push_str(&variables.get(name).map(plain).unwrap_or_default());
            from = range.end;
        }
        filled.push_str(&text[from..]);
        *word = filled.into_bytes();
    }
    Ok(words)
}

fn json(reply: &Found) -> Value {
    match reply {
        Found::Nil => Value::Null,
        Found::Int(number) => Value::from(*number),
        Found::BulkString(bytes) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        Found::SimpleString(text) | Found::VerbatimString { text, .. } => Value::String(text.clone()),
        Found::Okay => Value::String("OK".into()),
        Found::Double(number) => Value::from(*number),
        Found::Boolean(truth) => Value::Bool(*truth),
        Found::Array(values) | Found::Set(values) => Value::Array(values.iter().map(json).collect()),
        Found::Map(pairs) => Value::Object(
            pairs
                .iter()
                .map(|(key, value)| {
                    let key = match json(key) {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    (key, json(value))
                })
                .collect(),
        ),
        _ => Value::Null,
    }
}

/// The answer of `TIME` in milliseconds.
fn milliseconds(time: &Found) -> i64 {
    let (seconds, micros): (i64, i64) = redis::from_redis_value(time.clone()).unwrap_or((0, 0));
    seconds * 1000 + micros / 1000
}

fn shown(error: &RedisError) -> String {
    shown_error(error)
}

fn shown_error(error: &RedisError) -> String {
    refusal(error).map_or_else(|| "no answer".into(), |refusal| refusal.shown())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_stay_within_their_word() {
        let variables = Variables::from([("prefix".to_owned(), json!("app:")), ("v".to_owned(), json!("a \"b\" c"))]);
        let words = arguments("SET {{prefix}}k:{{v}} \"x {{v}}\"", &variables).expect("words");
        let words: Vec<String> = words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        assert_eq!(words, ["SET", "app:k:a \"b\" c", "x a \"b\" c"]);
        assert!(arguments("GET \"a", &variables).is_err());
        assert!(arguments("GET a\nGET b", &variables).is_err());
    }
}
