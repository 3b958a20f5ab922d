//! What counts as the schema of a Redis: the libraries and users that migrations made, the keys they set,
//! and the key spaces and channels that `lyrox.toml` declares.

use redis::{RedisResult, Value};

use super::ledger::Books;
use super::probe::{code, field};
use crate::config::file::Redis as Section;
use crate::engine::snapshot::Snapshot;
use crate::kind::StoreKind;

/// Reads the schema.
///
/// # Errors
/// The driver's.
pub async fn snapshot(books: &mut Books, section: &Section) -> RedisResult<Snapshot> {
    let mut snapshot = Snapshot::new(StoreKind::Redis);
    for (name, space) in &section.keyspaces {
        let life = space.ttl.map_or_else(String::new, |ttl| format!(" ttl {ttl}"));
        let definition = format!("{} {}{life}", space.pattern, space.kind.name());
        snapshot.objects.insert(format!("keyspace {name}"), definition);
    }
    for (group, names) in &section.channels {
        let mut names = names.clone();
        names.sort();
        snapshot.objects.insert(format!("channels {group}"), names.join(" "));
    }
    let mut keys = Vec::new();
    for (kind, name) in books.owned().await? {
        let definition = match kind.as_str() {
            "function" => code(&mut books.link, &name).await?.map(|code| String::from_utf8_lossy(&code).into_owned()),
            "user" => user(books, &name).await?,
            "key" => {
                keys.push(name);
                continue;
            }
            _ => None,
        };
        if let Some(definition) = definition {
            snapshot.objects.insert(format!("{kind} {name}"), definition);
        }
    }
    for (name, kind) in types(books, &keys).await? {
        let kind = if kind == "stream" { stream(books, &name).await? } else { kind };
        snapshot.objects.insert(format!("key {name}"), kind);
    }
    Ok(snapshot)
}

/// A stream with the consumer groups that read it: `stream, groups mail work`.
async fn stream(books: &mut Books, name: &str) -> RedisResult<String> {
    let mut info = redis::cmd("XINFO");
    info.arg("GROUPS").arg(format!("{}{name}", books.keys.prefix));
    let groups: Vec<Value> = info.query_async(&mut books.link).await?;
    let name_of = |group: &Value| field(group, "name").map(|name| String::from_utf8_lossy(&name).into_owned());
    let mut names: Vec<String> = groups.iter().filter_map(name_of).collect();
    names.sort();
    Ok(if names.is_empty() { "stream".into() } else { format!("stream, groups {}", names.join(" ")) })
}

/// A user's rules without its passwords; nothing where there is no such user.
async fn user(books: &mut Books, name: &str) -> RedisResult<Option<String>> {
    let mut get = redis::cmd("ACL");
    get.arg("GETUSER").arg(name);
    let rules: Value = get.query_async(&mut books.link).await?;
    Ok(rules_of(&rules)?.map(|rules| rules.join(" ")))
}

/// The rules of a user as `ACL SETUSER` takes them, without passwords; nothing where there is no such user.
///
/// # Errors
/// An answer that cannot be read.
pub fn rules_of(user: &Value) -> RedisResult<Option<Vec<String>>> {
    if *user == Value::Nil {
        return Ok(None);
    }
    let named = |name: &str| {
        let mut pairs = user.as_map_iter()?;
        pairs
            .find(|(key, _)| matches!(key, Value::BulkString(text) if text == name.as_bytes()))
            .map(|(_, value)| value.clone())
    };
    let mut words: Vec<String> = named("flags").map(redis::from_redis_value).transpose()?.unwrap_or_default();
    // Which flags there are differs between servers; these are what the rules say.
    words.retain(|flag| flag == "on" || flag == "off" || flag == "nopass");
    words.sort();
    for rule in ["keys", "channels", "commands"] {
        // Up to Redis 6 keys and channels come as lists, and are left out here.
        let rules = field(user, rule).map(|rule| String::from_utf8_lossy(&rule).into_owned()).unwrap_or_default();
        words.extend(rules.split_whitespace().map(str::to_owned));
    }
    if let Some(Value::Array(selectors)) = named("selectors") {
        for selector in &selectors {
            let rules: Vec<String> = ["keys", "channels", "commands"]
                .iter()
                .filter_map(|rule| field(selector, rule))
                .map(|rule| String::from_utf8_lossy(&rule).into_owned())
                .filter(|rule| !rule.is_empty())
                .collect();
            words.push(format!("({})", rules.join(" ")));
        }
    }
    Ok(Some(words))
}

/// The types of the keys that are there to stay: one with a life to live is no schema.
///
/// # Errors
/// The driver's.
pub async fn types(books: &mut Books, names: &[String]) -> RedisResult<Vec<(String, String)>> {
    let mut found = Vec::with_capacity(names.len());
    for batch in names.chunks(1000) {
        let mut answers: Vec<(String, i64)> = Vec::with_capacity(batch.len());
        let key = |name: &String| format!("{}{name}", books.keys.prefix);
        if books.link.is_cluster() {
            for name in batch {
                let kind = redis::cmd("TYPE").arg(key(name)).query_async(&mut books.link).await?;
                answers.push((kind, redis::cmd("PTTL").arg(key(name)).query_async(&mut books.link).await?));
            }
        } else {
            let mut all = redis::pipe();
            for name in batch {
                all.cmd("TYPE").arg(key(name)).cmd("PTTL").arg(key(name));
            }
            let values: Vec<Value> = all.query_async(&mut books.link).await?;
            for pair in values.chunks(2) {
                if let [kind, ttl] = pair {
                    answers.push((redis::from_redis_value_ref(kind)?, redis::from_redis_value_ref(ttl)?));
                }
            }
        }
        let kept = batch.iter().cloned().zip(answers).filter(|(_, (kind, ttl))| kind != "none" && *ttl < 0);
        found.extend(kept.map(|(name, (kind, _))| (name, kind)));
    }
    Ok(found)
}
