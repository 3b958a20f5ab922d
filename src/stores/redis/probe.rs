//! A command was begun outside a script and its answer was lost: looks whether it took effect.

use redis::{RedisResult, Value};

use super::commands::Known;
use super::link::Link;
use super::script::Command;

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It took effect.
    Done,
    /// It did not, or may be run again without harm.
    Run,
    /// A person has to look; the text says at what.
    Unclear(String),
}

/// Looks whether a command took effect.
///
/// # Errors
/// The driver's.
pub async fn probe(link: &mut Link, command: &Command, known: &Known) -> RedisResult<Found> {
    if known.is_read {
        return Ok(Found::Run);
    }
    let name = command.full_name();
    Ok(match name.as_str() {
        "FUNCTION LOAD" if command.words.iter().any(|word| word.eq_ignore_ascii_case(b"REPLACE")) => Found::Run,
        "FUNCTION LOAD" => {
            let library = command.library().unwrap_or_default();
            match code(link, &library).await? {
                None => Found::Run,
                Some(live) if Some(&live) == command.words.last() => Found::Done,
                Some(_) => Found::Unclear(format!("library `{library}` is loaded with other code than the file's")),
            }
        }
        "FUNCTION DELETE" => {
            if code(link, &command.word(2)).await?.is_some() {
                Found::Run
            } else {
                Found::Done
            }
        }
        "ACL SETUSER" | "ACL DELUSER" | "SCRIPT LOAD" => Found::Run,
        // The same twice is the same as once.
        "DEL" | "UNLINK" | "HSET" | "HMSET" | "HDEL" | "HSETNX" | "SADD" | "SREM" | "ZREM" | "MSET" | "SETNX"
        | "SETEX" | "PSETEX" | "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" | "PERSIST" => Found::Run,
        "SET" if !command.words.iter().any(|word| word.eq_ignore_ascii_case(b"GET")) => Found::Run,
        "ZADD" if !command.words.iter().any(|word| word.eq_ignore_ascii_case(b"INCR")) => Found::Run,
        _ => Found::Unclear(format!("nothing tells whether `{name}` took effect")),
    })
}

/// Whether a refusal of a command that is run again after a doubt means that it had taken effect.
pub fn means_done(command: &Command, word: &str, text: &str) -> bool {
    match command.full_name().as_str() {
        "XGROUP CREATE" => word == "BUSYGROUP",
        "FUNCTION DELETE" => text.contains("not found"),
        _ => false,
    }
}

/// The code of a library as it is loaded now.
///
/// # Errors
/// The driver's.
pub async fn code(link: &mut Link, library: &str) -> RedisResult<Option<Vec<u8>>> {
    let mut list = redis::cmd("FUNCTION");
    list.arg("LIST").arg("LIBRARYNAME").arg(escaped(library)).arg("WITHCODE");
    let found: Vec<Value> = list.query_async(link).await?;
    Ok(found.iter().find_map(|entry| {
        let is_it = field(entry, "library_name").is_some_and(|name| name == library.as_bytes());
        is_it.then(|| field(entry, "library_code")).flatten()
    }))
}

/// A library's name as a pattern that matches it alone.
fn escaped(name: &str) -> String {
    name.chars().flat_map(|c| if "*?[]\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

/// A field of a reply that lists names and values in turn.
pub fn field(entry: &Value, name: &str) -> Option<Vec<u8>> {
    let pairs = entry.as_map_iter()?;
    let mut found = pairs.filter(|(key, _)| bytes(key).is_some_and(|key| key == name.as_bytes()));
    found.next().and_then(|(_, value)| bytes(value))
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes.clone()),
        Value::SimpleString(text) => Some(text.clone().into_bytes()),
        _ => None,
    }
}
