//! A Redis value as a line of JSON, and back: by its type, its members sorted where the type has no order, bytes that are
//! no text in base64, and its expiry as a moment, not as a time left.

use std::collections::BTreeSet;

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
            // None of its entries, and nothing that is pending, is left out.
            info.arg("STREAM").arg(key).arg("FULL").arg("COUNT").arg(0);
            vec![info]
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
            let about = first;
            let mut entries = Vec::new();
            for entry in items(field(&about, "entries").unwrap_or(Value::Nil))? {
                let mut two = items(entry)?.into_iter();
                let id = raw(two.next().unwrap_or(Value::Nil))?;
                let fields = items(two.next().unwrap_or(Value::Nil))?;
                let fields = fields.into_iter().map(|field| Ok(text(&raw(field)?))).collect::<Result<Vec<_>>>()?;
                entries.push(json!([text(&id), fields]));
            }
            let there: BTreeSet<String> =
                entries.iter().filter_map(|entry| entry[0].as_str().map(str::to_owned)).collect();
            let mut groups = Vec::new();
            for group in items(field(&about, "groups").unwrap_or(Value::Nil))? {
                groups.push((named(&group, "name")?, group_of(&group, &there)?));
            }
            groups.sort_by(|one, other| one.0.cmp(&other.0));
            let groups: Vec<Json> = groups.into_iter().map(|(_, group)| group).collect();
            let mut stream =
                json!({ "entries": entries, "last": text(&named(&about, "last-generated-id")?), "groups": groups });
            // Servers know these since 7.0.
            for (name, is_id) in [("entries-added", false), ("max-deleted-entry-id", true)] {
                if let Some(found) = field(&about, name) {
                    stream[name] = if is_id { text(&raw(found)?) } else { number(found) };
                }
            }
            Some(stream)
        }
    })
}

/// The commands that make a key.
///
/// # Errors
/// `LYX-BUNDLE` for what is no value of the type.
pub(super) fn writing(key: &[u8], kind: &str, json: &Json, expires: Option<i64>) -> Result<Vec<Cmd>> {
    let mut commands = Vec::new();
    let mut moments = Vec::new();
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
                    if let Some(moment) = pair[2].as_i64().filter(|_| kind == "hash") {
                        let mut expire = redis::cmd("HPEXPIREAT");
                        expire.arg(key).arg(moment).arg("FIELDS").arg(1).arg(&one);
                        moments.push(expire);
                    }
                    // The score stands first.
                    if kind == "hash" {
                        add.arg(one).arg(two)
                    } else {
                        add.arg(two).arg(one)
                    };
                }
                commands.push(add);
            }
            commands.append(&mut moments);
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
    if let (Some(added), Some(deleted)) = (json["entries-added"].as_i64(), json["max-deleted-entry-id"].as_str()) {
        set.arg("ENTRIESADDED").arg(added).arg("MAXDELETEDID").arg(deleted);
    }
    commands.push(set);
    for group in list("groups")? {
        let (name, last) = (bytes(&group[0])?, bytes(&group[1])?);
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATE").arg(key).arg(&name).arg(&last);
        if let Some(read) = group[2]["read"].as_i64() {
            create.arg("ENTRIESREAD").arg(read);
        }
        commands.push(create);
        for consumer in group[2]["consumers"].as_array().into_iter().flatten() {
            let who = bytes(&consumer[0])?;
            let mut make = redis::cmd("XGROUP");
            make.arg("CREATECONSUMER").arg(key).arg(&name).arg(&who);
            commands.push(make);
            for pending in consumer[1].as_array().into_iter().flatten() {
                let (Some(time), Some(count)) = (pending[1].as_i64(), pending[2].as_i64()) else {
                    return Err(bad("a pending entry is expected"));
                };
                let mut claim = redis::cmd("XCLAIM");
                claim.arg(key).arg(&name).arg(&who).arg(0).arg(bytes(&pending[0])?);
                claim.arg("TIME").arg(time).arg("RETRYCOUNT").arg(count).arg("FORCE").arg("JUSTID");
                commands.push(claim);
            }
        }
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
fn field(reply: &Value, name: &str) -> Option<Value> {
    let mut items = items(reply.clone()).ok()?.into_iter();
    while let (Some(field), Some(value)) = (items.next(), items.next()) {
        if raw(field).is_ok_and(|field| field == name.as_bytes()) {
            return Some(value);
        }
    }
    None
}

fn named(reply: &Value, name: &str) -> Result<Vec<u8>> {
    raw(field(reply, name).ok_or_else(|| Error::bug(format!("a reply lacks `{name}`")))?)
}

fn number(reply: Value) -> Json {
    match reply {
        Value::Int(number) => Json::from(number),
        _ => Json::Null,
    }
}

/// A consumer group: its name, the last entry that it was given, and what its consumers have not acknowledged, each with the
/// moment and the count of its delivery. What is pending and not in the stream any more can be given to nobody.
fn group_of(group: &Value, there: &BTreeSet<String>) -> Result<Json> {
    let mut consumers = Vec::new();
    for consumer in items(field(group, "consumers").unwrap_or(Value::Nil))? {
        let mut pending = Vec::new();
        for entry in items(field(&consumer, "pel").or_else(|| field(&consumer, "pending")).unwrap_or(Value::Nil))? {
            let mut words = items(entry)?.into_iter();
            let mut next = || words.next().unwrap_or(Value::Nil);
            let (id, time, count) = (raw(next())?, number(next()), number(next()));
            if there.contains(String::from_utf8_lossy(&id).as_ref()) {
                pending.push(json!([text(&id), time, count]));
            }
        }
        consumers.push((named(&consumer, "name")?, pending));
    }
    consumers.sort_by(|one, other| one.0.cmp(&other.0));
    let consumers: Vec<Json> = consumers.iter().map(|(name, pending)| json!([text(name), pending])).collect();
    let mut more = json!({ "consumers": consumers });
    if let Some(read @ Value::Int(_)) = field(group, "entries-read") {
        more["read"] = number(read);
    }
    Ok(json!([text(&named(group, "name")?), text(&named(group, "last-delivered-id")?), more]))
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
