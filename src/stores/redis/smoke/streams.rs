//! Streams deliver to their groups: each entry to one consumer, until it is acknowledged.

use redis::{Cmd, Value};

use super::RedisSmoke;
use super::tries::{SAFETY, command, shown};
use crate::error::Result;
use crate::stores::smoke::Verdict;

impl RedisSmoke<'_> {
    /// Makes a stream with a group, adds an entry, and has two consumers ask for it.
    pub(super) async fn try_streams(&mut self) -> Result<Verdict> {
        let key = self.own_key("stream");
        let marker = self.run.marker();
        self.written.insert(key.clone().into_bytes());
        let safety = SAFETY.as_millis().to_string();
        let read =
            |consumer: &str| command(&["XREADGROUP", "GROUP", "g", consumer, "COUNT", "10", "STREAMS", &key, ">"]);
        let make = command(&["XGROUP", "CREATE", &key, "g", "$", "MKSTREAM"]);
        if let Err(error) = self.ask(&make).await? {
            return Ok(Verdict::fail(format!("a group cannot be made: {}", shown(&error))));
        }
        self.ask(&command(&["PEXPIRE", &key, &safety])).await?.ok();
        let verdict = self.deliver(&key, &marker, &read).await?;
        self.ask(&command(&["DEL", &key])).await?.ok();
        Ok(verdict)
    }

    async fn deliver(&self, key: &str, marker: &str, read: &(dyn Fn(&str) -> Cmd + Sync)) -> Result<Verdict> {
        let steps: [Step<'_>; 8] = [
            (command(&["XADD", key, "*", "field", marker]), &|reply| !is_empty(reply), "an entry was not taken"),
            (read("one"), &|reply| holds(reply, marker), "an entry did not reach its group"),
            (read("two"), &is_empty, "an entry reached two consumers of one group"),
            (
                command(&["XPENDING", key, "g"]),
                &|reply| first(reply) == Some(1),
                "an entry that was read is not pending",
            ),
            (
                command(&["XAUTOCLAIM", key, "g", "two", "0", "0"]),
                &|reply| holds(reply, marker),
                "what a consumer left cannot be claimed by another",
            ),
            (command(&["XLEN", key]), &|reply| *reply == Value::Int(1), "the stream has not the one entry"),
            (
                command(&["XGROUP", "DELCONSUMER", key, "g", "two"]),
                &|reply| *reply == Value::Int(1),
                "no entry was pending",
            ),
            (command(&["XPENDING", key, "g"]), &|reply| first(reply) == Some(0), "an entry is pending for nobody"),
        ];
        for (command, is_right, otherwise) in steps {
            match self.ask(&command).await? {
                Ok(reply) if is_right(&reply) => {}
                Ok(_) => return Ok(Verdict::fail(otherwise)),
                Err(error) => return Ok(Verdict::fail(format!("{otherwise}: {}", shown(&error)))),
            }
        }
        // Another entry, acknowledged as workers do.
        let add = self.ask(&command(&["XADD", key, "*", "field", marker])).await?;
        let id = match add {
            Ok(Value::BulkString(id)) => String::from_utf8_lossy(&id).into_owned(),
            _ => return Ok(Verdict::fail("an entry was not taken")),
        };
        self.ask(&read("one")).await?.ok();
        let acknowledged = self.ask(&command(&["XACK", key, "g", &id])).await?;
        let pending = self.ask(&command(&["XPENDING", key, "g"])).await?;
        if !matches!(acknowledged, Ok(Value::Int(1))) || !matches!(&pending, Ok(reply) if first(reply) == Some(0)) {
            return Ok(Verdict::fail("an entry that was acknowledged is still pending"));
        }
        let there = match self.streams.len() {
            0 => String::new(),
            1 => "; 1 stream as migrated".into(),
            count => format!("; {count} streams as migrated"),
        };
        Ok(Verdict::Pass(format!("read once, pending, claimed, acknowledged{there}")))
    }
}

/// What is sent, what its answer has to be, and what is wrong if it is not.
type Step<'a> = (Cmd, &'a dyn Fn(&Value) -> bool, &'static str);

fn is_empty(reply: &Value) -> bool {
    match reply {
        Value::Nil => true,
        Value::Array(values) => values.is_empty(),
        Value::Map(pairs) => pairs.is_empty(),
        _ => false,
    }
}

/// The number that an answer begins with.
fn first(reply: &Value) -> Option<i64> {
    match reply {
        Value::Array(values) => match values.first() {
            Some(Value::Int(number)) => Some(*number),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a text is anywhere in a reply.
pub(super) fn holds(reply: &Value, text: &str) -> bool {
    match reply {
        Value::BulkString(bytes) => bytes == text.as_bytes(),
        Value::SimpleString(found) => found == text,
        Value::Array(values) | Value::Set(values) => values.iter().any(|value| holds(value, text)),
        Value::Map(pairs) => pairs.iter().any(|(key, value)| holds(key, text) || holds(value, text)),
        _ => false,
    }
}
