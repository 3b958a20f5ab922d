//! What a key is to hold, what it holds, and the commands from one to the other. Pure.

use redis::{Cmd, Value, cmd};
use serde_json::{Map, Value as Json, json};

use super::placeholders;
use crate::config::file::{KeyType, Keyspace};
use crate::stores::load::Fields;

/// What a key holds now.
#[derive(Clone, Debug)]
pub struct Stored {
    /// As TYPE names it.
    pub kind: String,
    /// Its remaining life in milliseconds; -1: for ever.
    pub life: i64,
    /// Its value; none where it has another type than its key space.
    pub value: Option<Json>,
}

/// What a key is to hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// A string.
    Text(String),
    /// These fields, beside what others there are.
    Hash(Vec<(String, String)>),
    /// These items, in this order.
    List(Vec<String>),
    /// These members, beside what others there are.
    Set(Vec<String>),
    /// These members with their scores, beside what others there are.
    Sorted(Vec<(String, f64)>),
    /// These entries, in this order.
    Stream(Vec<Vec<(String, String)>>),
}

/// A value as Redis keeps it: texts as they are, tables and lists as JSON.
pub fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// A reply as text.
pub fn plain(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Okay => "OK".into(),
        _ => String::new(),
    }
}

/// How a value of each type is written in a seed.
pub const fn example(kind: KeyType) -> &'static str {
    match kind {
        KeyType::String => "value = \"...\"",
        KeyType::Hash => "fields = { name = \"...\" }",
        KeyType::List => "items = [\"...\"]",
        KeyType::Set => "members = [\"...\"]",
        KeyType::Zset => "members = { name = 1.5 }",
        KeyType::Stream => "entries = [{ name = \"...\" }]",
    }
}

/// The command that reads a key.
pub fn read_command(kind: KeyType, key: &str) -> Cmd {
    match kind {
        KeyType::String => cmd("GET").arg(key).clone(),
        KeyType::Hash => cmd("HGETALL").arg(key).clone(),
        KeyType::List => cmd("LRANGE").arg(key).arg(0).arg(-1).clone(),
        KeyType::Set => cmd("SMEMBERS").arg(key).clone(),
        KeyType::Zset => cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES").clone(),
        KeyType::Stream => cmd("XRANGE").arg(key).arg("-").arg("+").clone(),
    }
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
        _ => Vec::new(),
    }
}

fn table(value: Value) -> Json {
    let flat = items(value);
    Json::Object(flat.chunks(2).filter_map(|pair| Some((plain(pair.first()?), json!(plain(pair.get(1)?))))).collect())
}

/// The answer of [`read_command`] as JSON.
pub fn read(kind: KeyType, value: Value) -> Json {
    match kind {
        KeyType::String => {
            let text = plain(&value);
            // JSON in a string is compared as JSON: the order of its fields means nothing.
            match serde_json::from_str::<Json>(&text) {
                Ok(parsed @ (Json::Object(_) | Json::Array(_))) => parsed,
                _ => json!(text),
            }
        }
        KeyType::Hash => table(value),
        KeyType::List | KeyType::Set => Json::Array(items(value).iter().map(|item| json!(plain(item))).collect()),
        KeyType::Zset => {
            let mut pairs = items(value);
            // RESP3 answers pairs, RESP2 a flat list.
            if pairs.first().is_some_and(|pair| matches!(pair, Value::Array(_))) {
                pairs = pairs.into_iter().flat_map(items).collect();
            }
            let entry = |pair: &[Value]| Some((plain(pair.first()?), json!(plain(pair.get(1)?).parse::<f64>().ok()?)));
            Json::Object(pairs.chunks(2).filter_map(entry).collect())
        }
        KeyType::Stream => {
            let entries = items(value).into_iter().filter_map(|entry| items(entry).into_iter().nth(1).map(table));
            Json::Array(entries.collect())
        }
    }
}

/// A bulk row's fields under the names that named rows have: what is no part of the key is the value.
pub fn canonical(keyspace: &Keyspace, fields: Fields) -> Fields {
    let parts = placeholders(&keyspace.pattern);
    let mut row = Fields::new();
    let mut rest = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            "value" | "fields" | "items" | "members" | "entries" => {
                row.insert("value".into(), value);
            }
            "ttl" => {
                row.insert(name, value);
            }
            _ if parts.contains(&name) => {
                row.insert(name, value);
            }
            _ => {
                rest.insert(name, value);
            }
        }
    }
    if !row.contains_key("value") && !rest.is_empty() {
        row.insert("value".into(), Json::Object(rest));
    }
    row
}

fn pairs(value: &Json) -> Option<Vec<(String, String)>> {
    Some(value.as_object()?.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

fn list(value: &Json) -> Option<Vec<String>> {
    Some(value.as_array()?.iter().map(text).collect())
}

impl Wish {
    /// Reads what a row says its key holds.
    ///
    /// # Errors
    /// Words for a value that the type cannot hold.
    pub fn read(kind: KeyType, value: &Json) -> Result<Self, String> {
        let wish = match kind {
            KeyType::String => Some(Self::Text(text(value))),
            KeyType::Hash => pairs(value).filter(|pairs| !pairs.is_empty()).map(Self::Hash),
            KeyType::List => list(value).filter(|items| !items.is_empty()).map(Self::List),
            KeyType::Set => list(value).filter(|items| !items.is_empty()).map(Self::Set),
            KeyType::Zset => value.as_object().filter(|table| !table.is_empty()).and_then(|table| {
                let score = |value: &Json| value.as_f64().or_else(|| text(value).parse().ok());
                table
                    .iter()
                    .map(|(name, value)| Some((name.clone(), score(value)?)))
                    .collect::<Option<Vec<_>>>()
                    .map(Self::Sorted)
            }),
            KeyType::Stream => value
                .as_array()
                .filter(|entries| !entries.is_empty())
                .and_then(|entries| entries.iter().map(pairs).collect::<Option<Vec<_>>>().map(Self::Stream)),
        };
        wish.ok_or_else(|| format!("the value is not what a {} holds", kind.name()))
    }

    /// The commands that make a key hold this, with this life in milliseconds (none: for ever). None
    /// where it does already; a remaining life within the wanted one is left to run.
    pub fn commands(&self, key: &str, stored: Option<&Stored>, life: Option<u64>) -> Vec<Cmd> {
        // A new text and its life are one command.
        if let (Self::Text(text), None, Some(life)) = (self, stored, life) {
            return vec![cmd("SET").arg(key).arg(text).arg("PX").arg(life).clone()];
        }
        let value = stored.and_then(|stored| stored.value.as_ref());
        let mut commands = self.writes(key, value);
        let now = stored.map(|stored| u64::try_from(stored.life).ok());
        match (life, now) {
            (Some(wanted), None | Some(None)) => commands.push(cmd("PEXPIRE").arg(key).arg(wanted).clone()),
            (Some(wanted), Some(Some(left))) if left > wanted => {
                commands.push(cmd("PEXPIRE").arg(key).arg(wanted).clone());
            }
            (None, Some(Some(_))) => commands.push(cmd("PERSIST").arg(key).clone()),
            // Writing a list or stream anew deletes the key, and its life with it.
            (Some(wanted), _) if matches!(self, Self::List(_) | Self::Stream(_)) && !commands.is_empty() => {
                commands.push(cmd("PEXPIRE").arg(key).arg(wanted).clone());
            }
            _ => {}
        }
        commands
    }

    fn writes(&self, key: &str, stored: Option<&Json>) -> Vec<Cmd> {
        match self {
            Self::Text(wanted) => {
                let is_same = stored.is_some_and(|stored| match stored {
                    Json::String(text) => text == wanted,
                    stored => serde_json::from_str::<Json>(wanted).is_ok_and(|wanted| wanted == *stored),
                });
                if is_same { Vec::new() } else { vec![cmd("SET").arg(key).arg(wanted).arg("KEEPTTL").clone()] }
            }
            Self::Hash(fields) => {
                let differs = |field: &&(String, String)| {
                    stored.and_then(|stored| stored.get(&field.0)).and_then(Json::as_str) != Some(field.1.as_str())
                };
                one(
                    cmd("HSET").arg(key),
                    fields.iter().filter(differs).flat_map(|(name, value)| [name.clone(), value.clone()]),
                )
            }
            Self::Set(members) => {
                let is_missing = |member: &&String| {
                    !stored
                        .and_then(Json::as_array)
                        .is_some_and(|items| items.iter().any(|item| item == member.as_str()))
                };
                one(cmd("SADD").arg(key), members.iter().filter(is_missing).cloned())
            }
            Self::Sorted(members) => {
                let differs = |member: &&(String, f64)| {
                    stored.and_then(|stored| stored.get(&member.0)).and_then(Json::as_f64) != Some(member.1)
                };
                let pairs = members.iter().filter(differs).flat_map(|(name, score)| [score.to_string(), name.clone()]);
                one(cmd("ZADD").arg(key), pairs)
            }
            Self::List(items) => {
                if stored.is_some_and(|stored| *stored == json!(items)) {
                    return Vec::new();
                }
                let mut commands = vec![cmd("DEL").arg(key).clone()];
                commands.push(cmd("RPUSH").arg(key).arg(items).clone());
                commands
            }
            Self::Stream(entries) => {
                let wanted = entries.iter().map(|entry| {
                    Json::Object(entry.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
                });
                if stored.is_some_and(|stored| *stored == Json::Array(wanted.collect())) {
                    return Vec::new();
                }
                let mut commands = vec![cmd("DEL").arg(key).clone()];
                for entry in entries {
                    let mut add = cmd("XADD");
                    add.arg(key).arg("*");
                    for (name, value) in entry {
                        add.arg(name).arg(value);
                    }
                    commands.push(add);
                }
                commands
            }
        }
    }
}

/// One command with these words, or none where there are none.
fn one(command: &Cmd, words: impl Iterator<Item = String>) -> Vec<Cmd> {
    let words: Vec<String> = words.collect();
    if words.is_empty() { Vec::new() } else { vec![command.clone().arg(words).clone()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: KeyType, wanted: Json, stored: Option<(Json, i64)>, life: Option<u64>) -> Vec<String> {
        let stored = stored.map(|(value, life)| Stored { kind: kind.name().into(), life, value: Some(value) });
        let commands = Wish::read(kind, &wanted).expect("a value").commands("k", stored.as_ref(), life);
        let words = |command: &Cmd| {
            command
                .args_iter()
                .map(|word| match word {
                    redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    _ => "?".into(),
                })
                .collect::<Vec<_>>()
                .join(" ")
        };
        commands.iter().map(words).collect()
    }

    #[test]
    fn only_what_differs_is_sent() {
        let hash = || json!({ "a": "1", "b": true });
        assert_eq!(shown(KeyType::Hash, hash(), None, Some(10)), ["HSET k a 1 b true", "PEXPIRE k 10"]);
        assert_eq!(
            shown(KeyType::Hash, hash(), Some((json!({ "a": "1", "b": "false", "c": "x" }), 5)), Some(10)),
            ["HSET k b true"]
        );
        assert!(shown(KeyType::Hash, hash(), Some((json!({ "a": "1", "b": "true" }), 5)), Some(10)).is_empty());
        assert!(shown(KeyType::Zset, json!({ "m": 1.5 }), Some((json!({ "m": 1.5 }), -1)), None).is_empty());
        assert_eq!(shown(KeyType::Set, json!(["a", "b"]), Some((json!(["b"]), -1)), None), ["SADD k a"]);
        assert_eq!(shown(KeyType::List, json!(["a", 2]), Some((json!(["a"]), -1)), None), ["DEL k", "RPUSH k a 2"]);
        assert!(
            shown(KeyType::String, json!({ "b": 1, "a": 2 }), Some((json!({ "a": 2, "b": 1 }), -1)), None).is_empty()
        );
        assert!(shown(KeyType::Stream, json!([{ "a": 1 }]), Some((json!([{ "a": "1" }]), -1)), None).is_empty());
    }

    #[test]
    fn a_life_is_compared_by_presence_and_range() {
        let text = || json!("x");
        let life = |left: i64, wanted| shown(KeyType::String, text(), Some((text(), left)), wanted);
        assert!(life(500, Some(1000)).is_empty(), "it runs on");
        assert_eq!(life(-1, Some(1000)), ["PEXPIRE k 1000"]);
        assert_eq!(life(2000, Some(1000)), ["PEXPIRE k 1000"]);
        assert_eq!(life(2000, None), ["PERSIST k"]);
        assert!(life(-1, None).is_empty());
    }
}
