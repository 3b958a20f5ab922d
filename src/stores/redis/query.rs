//! Running one command line of a person's, quoted as for redis-cli. Without leave to write, only commands
//! that the server says are read-only, and a few that look at the server itself.

use redis::{FromRedisValue as _, Value as Reply};
use serde_json::Value;

use super::error::{Refusal, refusal, work_error};
use super::link::Link;
use super::words::words;
use crate::config::Endpoint;
use crate::error::{Code, Error, Place, Result};
use crate::stores::query::{Answer, Options, Shown};

/// Harmless, though the server does not call them read-only: the command, or the command and its first word.
const HARMLESS: &[&str] = &[
    "ACL CAT",
    "ACL GETUSER",
    "ACL LIST",
    "ACL USERS",
    "ACL WHOAMI",
    "CLIENT GETNAME",
    "CLIENT ID",
    "CLIENT INFO",
    "CLIENT LIST",
    "CLUSTER INFO",
    "CLUSTER KEYSLOT",
    "CLUSTER MYID",
    "CLUSTER NODES",
    "CLUSTER SHARDS",
    "CLUSTER SLOTS",
    "COMMAND",
    "CONFIG GET",
    "DBSIZE",
    "ECHO",
    "FUNCTION LIST",
    "FUNCTION STATS",
    "INFO",
    "LASTSAVE",
    "LATENCY HISTORY",
    "LATENCY LATEST",
    "MEMORY DOCTOR",
    "MEMORY STATS",
    "MEMORY USAGE",
    "MODULE LIST",
    "PING",
    "PUBSUB",
    "ROLE",
    "SCRIPT EXISTS",
    "SLOWLOG GET",
    "SLOWLOG LEN",
    "TIME",
];

/// They change what the connection is, and never answer a query.
const NEVER: &[&str] = &[
    "AUTH",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "QUIT",
    "REPLCONF",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SYNC",
    "WATCH",
];

/// Runs one command. `{{prefix}}` stands for the project's key prefix.
///
/// # Errors
/// `LYX-QUERY-FAILED` with the server's words; `LYX-USAGE` for a line that is no command, or one that writes.
pub async fn run(link: &mut Link, endpoint: &Endpoint, text: &str, options: &Options) -> Result<Answer> {
    let line = text.trim().replace("{{prefix}}", &options.prefix);
    let usage = |what: &str| {
        Error::new(Code::Usage, what.to_owned()).data("nothing was sent").hint("lyrox query redis 'GET {{prefix}}key'")
    };
    if line.contains('\n') {
        return Err(usage("the query is one command on one line"));
    }
    let words = words(&line).map_err(|error| {
        usage("the command cannot be read").why(error.why).at(Place::at_offset("query", &line, error.offset, 1))
    })?;
    let Some((name, arguments)) = words.split_first() else { return Err(usage("the query is empty")) };
    let name = String::from_utf8_lossy(name).to_uppercase();
    if NEVER.contains(&name.as_str()) {
        return Err(usage(&format!("`{}` changes the connection and answers no query", shown_name(&name))));
    }
    if !options.may_write {
        refuse_writing(link, endpoint, &name, arguments.first()).await?;
    }
    let mut command = redis::cmd(&name);
    for argument in arguments {
        command.arg(argument.as_slice());
    }
    let reply = command.query_async::<Reply>(link).await.map_err(|error| match refusal(&error) {
        Some(refusal) => failed(&refusal),
        None => work_error(endpoint, "run the query", &error),
    })?;
    let mut text = String::new();
    show(&reply, 0, &mut text);
    let value = json(&reply);
    let rows = match &value {
        Value::Null => Vec::new(),
        Value::Array(values) => vec![values.clone()],
        Value::Object(pairs) => vec![pairs.values().cloned().collect()],
        other => vec![vec![other.clone()]],
    };
    Ok(Answer { columns: Vec::new(), rows, value, shown: Shown::Text(text), is_cut: false })
}

fn failed(refusal: &Refusal) -> Error {
    let error = Error::new(Code::QueryFailed, refusal.shown());
    match refusal.advice() {
        Some(advice) => error.hint(advice),
        None => error,
    }
}

fn shown_name(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(40).collect()
}

async fn refuse_writing(link: &mut Link, endpoint: &Endpoint, name: &str, first: Option<&Vec<u8>>) -> Result<()> {
    let pair =
        format!("{name} {}", first.map_or_else(String::new, |word| String::from_utf8_lossy(word).to_uppercase()));
    if HARMLESS.iter().any(|harmless| *harmless == name || *harmless == pair) {
        return Ok(());
    }
    let shown = shown_name(name);
    let refused = |why: &str| {
        Error::new(Code::Usage, format!("`{shown}` may change data"))
            .why(why.to_owned())
            .data("nothing was sent")
            .hint("--write lets a query change data")
    };
    let answer = redis::cmd("COMMAND").arg("INFO").arg(name).query_async::<Reply>(link).await;
    let infos = match answer {
        Ok(answer) => Vec::<Reply>::from_redis_value(answer).unwrap_or_default(),
        Err(error) => {
            return Err(match refusal(&error) {
                Some(_) => refused("the server does not tell which commands only read"),
                None => work_error(endpoint, "ask what the command does", &error),
            });
        }
    };
    let Some(Reply::Array(info)) = infos.into_iter().next() else {
        return Err(Error::new(Code::Usage, format!("the server has no command `{shown}`")).data("nothing was sent"));
    };
    let flags = info.get(2).cloned().map(json);
    let has = |flag: &str| {
        flags.as_ref().and_then(Value::as_array).is_some_and(|flags| flags.iter().any(|found| found == flag))
    };
    if has("readonly") && !has("write") { Ok(()) } else { Err(refused("the server does not call it read-only")) }
}

fn json(reply: impl std::borrow::Borrow<Reply>) -> Value {
    match reply.borrow() {
        Reply::Nil => Value::Null,
        Reply::Int(number) => (*number).into(),
        Reply::BulkString(bytes) => text(bytes).into(),
        Reply::Array(values) | Reply::Set(values) => values.iter().map(json).collect(),
        Reply::SimpleString(status) => status.clone().into(),
        Reply::Okay => "OK".into(),
        Reply::Map(pairs) => Value::Object(
            pairs.iter().map(|(key, value)| (crate::stores::stages::plain(&json(key)), json(value))).collect(),
        ),
        Reply::Attribute { data, .. } => json(data.as_ref()),
        Reply::Double(number) => {
            serde_json::Number::from_f64(*number).map_or_else(|| number.to_string().into(), Value::Number)
        }
        Reply::Boolean(truth) => (*truth).into(),
        Reply::VerbatimString { text, .. } => text.clone().into(),
        Reply::BigNumber(number) => String::from_utf8_lossy(number.as_ref()).into_owned().into(),
        other => format!("{other:?}").into(),
    }
}

/// Bytes as text; those that are no UTF-8 in redis-cli's escapes.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| escaped(bytes), str::to_owned)
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => text.push_str(&format!("\\x{:02x}", c as u32)),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// A reply as redis-cli shows it.
fn show(reply: &Reply, indent: usize, out: &mut String) {
    let list = |values: Vec<&Reply>, out: &mut String| {
        if values.is_empty() {
            out.push_str("(empty array)\n");
        }
        let width = values.len().to_string().len();
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                out.push_str(&" ".repeat(indent));
            }
            out.push_str(&format!("{:>width$}) ", index + 1));
            show(value, indent + width + 2, out);
        }
    };
    match reply {
        Reply::Nil => out.push_str("(nil)\n"),
        Reply::Int(number) => out.push_str(&format!("(integer) {number}\n")),
        // INFO, CLIENT LIST and their kin are meant to be read as they are.
        Reply::BulkString(bytes) if indent == 0 && bytes.contains(&b'\n') && std::str::from_utf8(bytes).is_ok() => {
            out.push_str(&text(bytes).replace('\r', ""));
        }
        Reply::BulkString(bytes) => out.push_str(&format!("\"{}\"\n", escaped(bytes))),
        Reply::Array(values) | Reply::Set(values) => list(values.iter().collect(), out),
        Reply::Map(pairs) => list(pairs.iter().flat_map(|(key, value)| [key, value]).collect(), out),
        Reply::Attribute { data, .. } => show(data, indent, out),
        Reply::Double(number) => out.push_str(&format!("(double) {number}\n")),
        Reply::Boolean(truth) => out.push_str(if *truth { "(true)\n" } else { "(false)\n" }),
        Reply::VerbatimString { text, .. } => out.push_str(&format!("{}\n", text.trim_end())),
        other => out.push_str(&format!("{}\n", crate::stores::stages::plain(&json(other)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_look_like_those_of_redis_cli() {
        let reply = Reply::Array(vec![
            Reply::BulkString(b"a\"b\n".to_vec()),
            Reply::Int(3),
            Reply::Array(vec![Reply::Nil, Reply::BulkString(vec![0xff, b'x'])]),
        ]);
        let mut text = String::new();
        show(&reply, 0, &mut text);
        assert_eq!(text, "1) \"a\\\"b\\n\"\n2) (integer) 3\n3) 1) (nil)\n   2) \"\\xffx\"\n");
        assert_eq!(json(&reply), serde_json::json!(["a\"b\n", 3, [null, "\\xffx"]]));
    }
}
