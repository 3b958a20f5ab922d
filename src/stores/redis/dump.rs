//! The schema of a Redis as the commands that make it: the form of a migration. Libraries stand in files of
//! their own; the keys that migrations set are set as they set them, not as they are now: that is data.

use std::collections::BTreeSet;

use redis::{RedisResult, Value};

use super::catalog;
use super::ledger::Books;
use super::probe::code;
use crate::engine::dump::Dump;
use crate::engine::ledger::{Row, State};
use crate::project::words::split;

/// Writes the dump.
///
/// # Errors
/// The driver's.
pub async fn dump(books: &mut Books, project: &str, rows: &[Row]) -> RedisResult<Dump> {
    let mut dump = Dump::default();
    let mut commands: Vec<String> = Vec::new();
    let mut keys = BTreeSet::new();
    for (kind, name) in books.owned().await? {
        match kind.as_str() {
            "function" => {
                let Some(code) = code(&mut books.link, &name).await? else { continue };
                let file = format!("redis.{name}.lua");
                commands.push(format!("FUNCTION LOAD REPLACE @{file}"));
                dump.beside.push((file, String::from_utf8_lossy(&code).into_owned()));
            }
            "user" => {
                if let Some(rules) = user(books, &name).await? {
                    commands.push(rules);
                    dump.left_out.push(format!("the passwords of user {name}"));
                }
            }
            "key" => {
                keys.insert(name);
            }
            _ => {}
        }
    }
    let names: Vec<String> = keys.into_iter().collect();
    let there: BTreeSet<String> = catalog::types(books, &names).await?.into_iter().map(|(name, _)| name).collect();
    let mut set = BTreeSet::new();
    let mut applied: Vec<&Row> = rows.iter().filter(|row| row.state == State::Applied).collect();
    applied.sort_by(|a, b| a.version.cmp(&b.version));
    for row in applied {
        let Some(text) = books.text(&row.version).await? else { continue };
        commands.extend(text.lines().filter_map(|line| sets(line, &books.keys.prefix, &there, &mut set)));
    }
    let unset: Vec<&String> = there.difference(&set).collect();
    if !unset.is_empty() {
        dump.left_out.push(format!(
            "{} that migrations set with files, variables or scripts: {}",
            crate::report::plural(unset.len(), "key"),
            unset.iter().take(5).map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        ));
    }
    dump.statements = commands.len();
    dump.text = format!(
        "# The schema of {} as `lyrox db dump` writes it; no data is in it.\n# Into an empty prefix: as a migration, with the .lua files beside it.\n{}",
        project.replace(['\n', '\r'], " "),
        commands.iter().map(|command| format!("{command}\n")).collect::<String>()
    );
    Ok(dump)
}

/// The line of a migration, where it sets a key that is there still.
fn sets(line: &str, prefix: &str, there: &BTreeSet<String>, set: &mut BTreeSet<String>) -> Option<String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') || line.contains("${") {
        return None;
    }
    let words = split(line).ok()?;
    let text = |at: usize| words.get(at).map(|word| String::from_utf8_lossy(&word.bytes).into_owned());
    let has_file =
        words.iter().any(|word| word.is_bare && word.bytes.starts_with(b"@") && !word.bytes.starts_with(b"@@"));
    let name = text(0)?.to_ascii_uppercase();
    let writes = ["SET", "SETNX", "APPEND", "SETRANGE", "SETBIT", "INCR", "INCRBY", "DECR", "DECRBY", "INCRBYFLOAT"]
        .into_iter()
        .chain(["HSET", "HMSET", "HSETNX", "HINCRBY", "HDEL", "SADD", "SREM", "ZADD", "ZINCRBY", "ZREM"])
        .chain(["LPUSH", "RPUSH", "LREM", "LTRIM", "XADD", "GEOADD", "PFADD", "PERSIST", "BITFIELD"]);
    if has_file || !writes.into_iter().any(|known| known == name) {
        return None;
    }
    let key = text(1)?.replace("{{prefix}}", prefix);
    let key = key.strip_prefix(prefix)?;
    there.contains(key).then(|| {
        set.insert(key.to_owned());
        line.to_owned()
    })
}

/// The command that makes a user as it is, but for its passwords.
async fn user(books: &mut Books, name: &str) -> RedisResult<Option<String>> {
    let mut get = redis::cmd("ACL");
    get.arg("GETUSER").arg(name);
    let found: Value = get.query_async(&mut books.link).await?;
    let Some(rules) = catalog::rules_of(&found)? else { return Ok(None) };
    let mut words = vec!["ACL".to_owned(), "SETUSER".into(), quoted(name), "reset".into()];
    let prefix = &books.keys.prefix;
    let filled = |rule: &String| if prefix.is_empty() { rule.clone() } else { rule.replace(prefix, "{{prefix}}") };
    words.extend(rules.iter().map(|rule| quoted(&filled(rule))));
    Ok(Some(words.join(" ")))
}

/// A word as a line of a migration holds it.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty()
        && !word.starts_with('@')
        && word.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '#' | '$'));
    if is_plain {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_set_what_is_there_are_taken_as_they_are() {
        let there: BTreeSet<String> = ["theme", "tags"].map(str::to_owned).into();
        let mut set = BTreeSet::new();
        let mut taken = |line: &str| sets(line, "app:", &there, &mut set);
        assert_eq!(taken(" SET {{prefix}}theme light").as_deref(), Some("SET {{prefix}}theme light"));
        assert_eq!(taken("sadd 'app:tags' a b").as_deref(), Some("sadd 'app:tags' a b"));
        for line in [
            "SET {{prefix}}gone 1",
            "DEL {{prefix}}theme",
            "SET {{prefix}}theme @f.txt",
            "# SET {{prefix}}theme x",
            "SET {{prefix}}theme ${X}",
            "GET {{prefix}}theme",
        ] {
            assert_eq!(taken(line), None, "{line}");
        }
        assert_eq!(set, there);
    }

    #[test]
    fn words_read_back_as_they_were() {
        for word in ["plain", "~app:*", "two words", "quo\"te", "back\\slash", "@all", "", "#x", "a\nb"] {
            let line = format!("X {}", quoted(word));
            let found = split(&line).expect("words");
            assert_eq!(found[1].bytes, word.as_bytes(), "{line}");
            assert!(!word.starts_with('@') || !found[1].is_bare);
        }
    }
}
