//! A Redis value as a line of JSON, and back: by its type, its members sorted where the type has no order, bytes that are
//! no text in base64, and its expiry as a moment, not as a time left.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use redis::{Cmd, Value};
use serde_json::{Value as Json, json};

use crate::error::{Code, Error, Result};

/// So many members go in one command.
const MEMBERS: usize = 1000;

/// Bytes as JSON.
pub(super) fn text(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => Json::String(text.to_owned()),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

/// Bytes from JSON.
pub(super) fn bytes(json: &Json) -> Result<Vec<u8>> {
    match json {
        Json::String(text) => Ok(text.as_bytes().to_vec()),
        other => match other.get("base64").and_then(Json::as_str).map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => Ok(bytes),
            _ => Err(bad("a text is expected")),
        },
    }
}

pub(super) fn bad(why: &str) -> Error {
    Error::new(Code::Bundle, "a line of the bundle is no Redis value").why(why)
}

/// The commands that read a value of this type; none for a type that lyrox does not know.
pub(super) fn reading(kind: &str, key: &[u8]) -> Option<Vec<Cmd>> {
    let command = |name: &str, rest: &[&str]| {
        let mut command = redis::cmd(name);
        command.arg(key);
        rest.iter().for_each(|word| {
            command.arg(*word);
        });
        command
    };
    Some(match kind {
        "string" => vec![command("GET", &[])],
        "hash" => vec![command("HGETALL", &[])],
        "list" => vec![command("LRANGE", &["0", "-1"])],
        "set" => vec![command("SMEMBERS", &[])],
        "zset" => vec![command("ZRANGE", &["0", "-1", "WITHSCORES"])],
        "stream" => {
            let mut info = redis::cmd("XINFO");
            info.arg("STREAM").arg(key);
            let mut groups = redis::cmd("XINFO");
            groups.arg("GROUPS").arg(key);
            vec![command("XRANGE", &["-", "+"]), info, groups]
        }
        _ => return None,
    })
}

/// A value as JSON, from the replies of [`reading`]; none where the key went away meanwhile.
pub(super) fn value(kind: &str, replies: Vec<Value>) -> Result<Option<Json>> {
    let mut replies = replies.into_iter();
    let first = replies.next().unwrap_or(Value::Nil);
    Ok(match kind {
        "string" => match first {
            Value::Nil => None,
            reply => Some(text(&raw(reply)?)),
        },
        "hash" | "zset" => {
            let mut pairs = pairs(first)?;
            pairs.sort();
            let each = |(one, two): (Vec<u8>, Vec<u8>)| json!([text(&one), text(&two)]);
            (!pairs.is_empty()).then(|| Json::Array(pairs.into_iter().map(each).collect()))
        }
        "list" | "set" => {
            let mut members = items(first)?.into_iter().map(raw).collect::<Result<Vec<_>>>()?;
            if kind == "set" {
                members.sort();
            }
            (!members.is_empty()).then(|| Json::Array(members.iter().map(|member| text(member)).collect()))
        }
        _ => {
            let mut entries = Vec::new();
            for entry in items(first)? {
                let mut two = items(entry)?.into_iter();
                let id = raw(two.next().unwrap_or(Value::Nil))?;
                let fields = items(two.next().unwrap_or(Value::Nil))?;
                let fields = fields.into_iter().map(|field| Ok(text(&raw(field)?))).collect::<Result<Vec<_>>>()?;
                entries.push(json!([text(&id), fields]));
            }
            let info = named(replies.next().unwrap_or(Value::Nil), "last-generated-id")?;
            let mut groups = Vec::new();
            for group in items(replies.next().unwrap_or(Value::Nil))? {
                groups.push((named(group.clone(), "name")?, named(group, "last-delivered-id")?));
            }
            groups.sort();
            let groups: Vec<Json> = groups.iter().map(|(name, last)| json!([text(name), text(last)])).collect();
            Some(json!({ "entries": entries, "last": text(&info), "groups": groups }))
        }
    })
}

/// The commands that make a key.
///
/// # Errors
/// `LYX-BUNDLE` for what is no value of the type.
pub(super) fn writing(key: &[u8], kind: &str, json: &Json, expires: Option<i64>) -> Result<Vec<Cmd>> {
    let mut commands = Vec::new();
    let list = || json.as_array().ok_or_else(|| bad("a list is expected"));
    match kind {
        "string" => {
            let mut set = redis::cmd("SET");
            set.arg(key).arg(bytes(json)?);
            commands.push(set);
        }
        "hash" | "zset" => {
            for some in list()?.chunks(MEMBERS) {
                let mut add = redis::cmd(if kind == "hash" { "HSET" } else { "ZADD" });
                add.arg(key);
                for pair in some {
                    let (one, two) = (bytes(&pair[0])?, bytes(&pair[1])?);
                    // The score stands first.
                    if kind == "hash" {
                        add.arg(one).arg(two)
                    } else {
                        add.arg(two).arg(one)
                    };
                }
                commands.push(add);
            }
        }
        "list" | "set" => {
            for some in list()?.chunks(MEMBERS) {
                let mut add = redis::cmd(if kind == "list" { "RPUSH" } else { "SADD" });
                add.arg(key);
                for member in some {
                    add.arg(bytes(member)?);
                }
                commands.push(add);
            }
        }
        "stream" => stream(key, json, &mut commands)?,
        _ => return Err(bad("its type is unknown")),
    }
    if let Some(moment) = expires {
        let mut expire = redis::cmd("PEXPIREAT");
        expire.arg(key).arg(moment);
        commands.push(expire);
    }
    Ok(commands)
}

fn stream(key: &[u8], json: &Json, commands: &mut Vec<Cmd>) -> Result<()> {
    let list = |name: &str| json[name].as_array().ok_or_else(|| bad("a stream is expected"));
    let entries = list("entries")?;
    for entry in entries {
        let mut add = redis::cmd("XADD");
        add.arg(key).arg(bytes(&entry[0])?);
        for field in entry[1].as_array().ok_or_else(|| bad("an entry is expected"))? {
            add.arg(bytes(field)?);
        }
        commands.push(add);
    }
    let last = bytes(&json["last"])?;
    if entries.is_empty() {
        // A stream without an entry comes to be by one that is taken out again.
        let id: &[u8] = if last == b"0-0" { b"0-1" } else { &last };
        let mut add = redis::cmd("XADD");
        add.arg(key).arg(id).arg("x").arg("x");
        let mut trim = redis::cmd("XTRIM");
        trim.arg(key).arg("MAXLEN").arg(0);
        commands.extend([add, trim]);
    }
    let mut set = redis::cmd("XSETID");
    set.arg(key).arg(last);
    commands.push(set);
    for group in list("groups")? {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(key).arg(bytes(&group[0])?).arg(bytes(&group[1])?);
        commands.push(create);
    }
    Ok(())
}

/// The bytes of a reply.
fn raw(reply: Value) -> Result<Vec<u8>> {
    match reply {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        Value::Double(number) if number.is_infinite() => {
            Ok(if number > 0.0 { b"inf".to_vec() } else { b"-inf".to_vec() })
        }
        Value::Double(number) => Ok(number.to_string().into_bytes()),
        other => Err(Error::bug(format!("a reply of an unknown kind: {other:?}"))),
    }
}

fn items(reply: Value) -> Result<Vec<Value>> {
    match reply {
        Value::Array(items) | Value::Set(items) => Ok(items),
        Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(one, two)| [one, two]).collect()),
        Value::Nil => Ok(Vec::new()),
        other => Err(Error::bug(format!("a reply of an unknown kind: {other:?}"))),
    }
}

fn pairs(reply: Value) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let items = items(reply)?;
    // The newer protocol gives pairs as lists of their own.
    let items: Vec<Value> = if items.iter().all(|item| matches!(item, Value::Array(_))) {
        items.into_iter().map(self::items).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect()
    } else {
        items
    };
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(one), Some(two)) = (items.next(), items.next()) {
        pairs.push((raw(one)?, raw(two)?));
    }
    Ok(pairs)
}

/// A field of a reply that names its fields.
fn named(reply: Value, name: &str) -> Result<Vec<u8>> {
    let mut items = items(reply)?.into_iter();
    while let (Some(field), Some(value)) = (items.next(), items.next()) {
        if raw(field).is_ok_and(|field| field == name.as_bytes()) {
            return raw(value);
        }
    }
    Err(Error::bug(format!("a reply lacks `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_come_back() {
        for given in [&b"plain"[..], b"", "é\n".as_bytes(), &[0xff, 0, 1]] {
            assert_eq!(bytes(&text(given)).expect("bytes"), given);
        }
        assert!(bytes(&json!(1)).is_err() && bytes(&json!({ "base64": "!" })).is_err());
    }

    #[test]
    fn members_are_sorted_whatever_the_reply_is_like() {
        let word = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let flat = Value::Array(vec![word("b"), word("2"), word("a"), word("1")]);
        let map = Value::Map(vec![(word("b"), word("2")), (word("a"), word("1"))]);
        let nested = Value::Array(vec![
            Value::Array(vec![word("b"), Value::Double(2.0)]),
            Value::Array(vec![word("a"), Value::Double(1.0)]),
        ]);
        let expected = Some(json!([["a", "1"], ["b", "2"]]));
        for (kind, reply) in [("hash", flat), ("hash", map), ("zset", nested)] {
            assert_eq!(value(kind, vec![reply]).expect("a value"), expected);
        }
        assert_eq!(value("string", vec![Value::Nil]).expect("nothing"), None);
    }
}
