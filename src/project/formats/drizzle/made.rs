//! What drizzle-kit makes: where it keeps it, and a further custom migration as `drizzle-kit generate --custom` makes one.

use std::path::Path;

use serde_json::{Value, json};

use super::{JOURNAL, Journal, SCRIPT, journal, moment};
use crate::config::file::Format;
use crate::error::{Code, Error, Result};
use crate::project::formats::labels::{later, variable};
use crate::project::formats::{Detected, Folder, detect as found, folders, raw, shown};

const CUSTOM: &str = "-- Custom SQL migration file, put your code below! --\n";

/// The files of a new custom migration. With a journal that is one of them, with the new entry in it.
///
/// # Errors
/// A journal or a snapshot that cannot be read.
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let is_new = !folder.root.join(folder.dir).exists();
    if !is_new && folder.root.join(folder.dir).join(JOURNAL).exists() {
        return of_journal(folder, name, now);
    }
    let names = if is_new { Vec::new() } else { folders(folder)? };
    let newest = names.iter().rfind(|name| moment(name).is_some());
    let version = later(&now.strftime("%Y%m%d%H%M%S").to_string(), newest.map(String::as_str));
    let mut files = vec![(shown(folder, &format!("{version}_{name}/{SCRIPT}")), CUSTOM.to_owned())];
    // A folder without a snapshot would break the chain that `generate` follows.
    if let Some(newest) = newest {
        let before = snapshot(folder, &format!("{newest}/snapshot.json"))?;
        let id = before.get("id").cloned().unwrap_or(Value::Null);
        let next = next_snapshot(before, "prevIds", json!([id]));
        files.push((shown(folder, &format!("{version}_{name}/snapshot.json")), pretty(&next)));
    }
    Ok(files)
}

fn of_journal(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let Journal { entries, .. } = journal(folder)?;
    let mut text: Value = serde_json::from_str(&raw(folder, JOURNAL)?)
        .map_err(|error| Error::bug(format!("a journal that was read before: {error}")))?;
    let newest = entries.last();
    let idx = newest.map_or(0, |entry| entry.idx + 1);
    // History goes by this moment alone: it must be the latest.
    let latest = entries.iter().map(|entry| entry.when).max().unwrap_or(0);
    let when = now.as_millisecond().max(latest + 1);
    let tag = match newest.map(|entry| super::digits(&entry.tag).len()) {
        None | Some(4) => format!("{idx:04}_{name}"),
        Some(0) => name.to_owned(),
        Some(10) => format!("{}_{name}", when / 1000),
        Some(_) => format!("{}_{name}", now.strftime("%Y%m%d%H%M%S")),
    };
    let mut files = vec![(shown(folder, &format!("{tag}.sql")), CUSTOM.to_owned())];
    if let Some(newest) = newest {
        let prefix = |tag: &str, idx: u64| match super::digits(tag) {
            "" => format!("{idx:04}"),
            digits => digits.to_owned(),
        };
        let before = snapshot(folder, &format!("meta/{}_snapshot.json", prefix(&newest.tag, newest.idx)))?;
        let id = before.get("id").cloned().unwrap_or(Value::Null);
        let file = shown(folder, &format!("meta/{}_snapshot.json", prefix(&tag, idx)));
        files.push((file, pretty(&next_snapshot(before, "prevId", id))));
    }
    let version = text.get("version").cloned().unwrap_or_else(|| json!("7"));
    if let Some(list) = text.get_mut("entries").and_then(Value::as_array_mut) {
        list.push(json!({ "idx": idx, "version": version, "when": when, "tag": tag, "breakpoints": true }));
    }
    files.push((shown(folder, JOURNAL), pretty(&text)));
    Ok(files)
}

fn snapshot(folder: Folder<'_>, file: &str) -> Result<Value> {
    serde_json::from_str(&raw(folder, file)?).map_err(|error| {
        Error::new(Code::FileSyntax, format!("`{}` cannot be read", shown(folder, file)))
            .why(error.to_string())
            .data("nothing was changed")
            .hint("npx drizzle-kit check")
    })
}

/// The same schema under an id of its own, with the one before it named.
fn next_snapshot(mut snapshot: Value, before: &str, id: Value) -> Value {
    let own = json!(uuid::Uuid::new_v4().to_string());
    if snapshot.get("type").is_some() {
        // A snapshot with a type may keep what changed alone: here, nothing did.
        let (version, dialect) = (&snapshot["version"], &snapshot["dialect"]);
        return json!({ "type": "diff", "version": version, "dialect": dialect, "id": own, before: id, "footprints": [], "deltas": [] });
    }
    if let Some(fields) = snapshot.as_object_mut() {
        fields.insert("id".into(), own);
        fields.insert(before.into(), id);
    }
    snapshot
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// drizzle is at home where its configuration or its journal lies.
pub fn detect(root: &Path) -> Option<Detected> {
    let endings = ["ts", "js", "mjs", "cjs", "json"];
    let files = endings.map(|ending| format!("drizzle.config.{ending}"));
    let config = files.iter().find(|file| root.join(file).exists());
    let text = config.map(|file| found::text(&root.join(file))).unwrap_or_default();
    if setting(&text, "dialect").or_else(|| setting(&text, "driver")).is_some_and(|word| !word.starts_with("p")) {
        return None;
    }
    let out = setting(&text, "out").map(|dir| dir.trim_start_matches("./").trim_end_matches('/').to_owned());
    let dirs: Vec<String> = match out {
        Some(out) => vec![out],
        None => ["drizzle", "migrations", "src/drizzle", "src/db/migrations", "drizzle/migrations"]
            .map(str::to_owned)
            .into(),
    };
    let dir = dirs.into_iter().find(|dir| is_folder(&root.join(dir), config.is_some()))?;
    let has_journal = root.join(&dir).join(JOURNAL).exists();
    let what = if has_journal { format!("{dir}/{JOURNAL}") } else { format!("{dir}/<date>_<name>/{SCRIPT}") };
    let (table, schema) = (inner(&text, "table"), inner(&text, "schema"));
    let mut settings = Vec::new();
    if table.is_some() || schema.is_some() {
        let history = format!(
            "{}.{}",
            schema.unwrap_or_else(|| "drizzle".into()),
            table.unwrap_or_else(|| "__drizzle_migrations".into())
        );
        settings.push(("history".to_owned(), format!("{history:?}")));
    }
    Some(Detected {
        format: Format::Drizzle,
        why: config.map_or_else(|| format!("`{what}`"), |config| format!("`{config}` and `{what}`")),
        dir,
        certainty: 3,
        settings,
        url_variable: variable(&text, "process.env.").or_else(|| variable(&text, "process.env[\"")),
    })
}

fn is_folder(path: &Path, is_named: bool) -> bool {
    if let Ok(text) = std::fs::read_to_string(path.join(JOURNAL)) {
        return serde_json::from_str::<Journal>(&text).is_ok_and(|journal| journal.dialect.starts_with('p'));
    }
    let names = found::names(path);
    let mut ours = names.iter().filter(|name| moment(name).is_some()).map(|name| path.join(name));
    ours.any(|path| path.join(SCRIPT).exists() && (is_named || path.join("snapshot.json").exists()))
}

/// A string of the configuration: `out: "./drizzle"`. Lines that are comments are passed over.
fn setting(text: &str, key: &str) -> Option<String> {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).find_map(|line| {
        let (before, rest) = line.split_once(key)?;
        let is_whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest =
            rest.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':').filter(|_| is_whole)?.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
        let (value, _) = rest[1..].split_once(quote)?;
        Some(value.to_owned()).filter(|value| !value.is_empty())
    })
}

/// A string of the block `migrations: { ... }`.
fn inner(text: &str, key: &str) -> Option<String> {
    let at = text.find("migrations:").or_else(|| text.find("\"migrations\":"))?;
    let block = &text[at..];
    let block = &block[block.find('{')? + 1..];
    // A block on one line is as good as one on several.
    setting(&block[..block.find('}')?].replace(',', "\n"), key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Migrations;

    const CONFIG: &str = "export default defineConfig({\n  // out: \"./old\",\n  out: './db/out/',\n  schema: \"./schema.ts\",\n  \
        dialect: \"postgresql\",\n  migrations: { table: \"log\", schema: \"public\" },\n  dbCredentials: { url: process.env.PG_URL! },\n});\n";
    const JOURNAL_TEXT: &str = r#"{"version":"7","dialect":"postgresql","entries":[
        {"idx":0,"version":"7","when":1704067200123,"tag":"0000_first","breakpoints":true}]}"#;

    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn the_configuration_names_folder_table_and_variable() {
        let root = root_with(&[("drizzle.config.ts", CONFIG), ("db/out/meta/_journal.json", JOURNAL_TEXT)]);
        let detected = detect(root.path()).expect("drizzle");
        assert_eq!((detected.dir.as_str(), detected.certainty), ("db/out", 3));
        assert_eq!(detected.settings, [("history".to_owned(), "\"public.log\"".to_owned())]);
        assert_eq!(detected.url_variable.as_deref(), Some("PG_URL"));
        let other = CONFIG.replace("postgresql", "sqlite");
        assert!(
            detect(root_with(&[("drizzle.config.ts", &other), ("db/out/meta/_journal.json", "{}")]).path()).is_none()
        );
        assert!(detect(root_with(&[("drizzle/meta/_journal.json", JOURNAL_TEXT)]).path()).is_some());
        assert!(detect(root_with(&[("migrations/1_a.sql", "SELECT 1;")]).path()).is_none());
    }

    #[test]
    fn a_new_migration_goes_into_the_journal_and_the_chain_of_snapshots() {
        let root = root_with(&[
            ("drizzle/meta/_journal.json", JOURNAL_TEXT),
            ("drizzle/0000_first.sql", "SELECT 1;"),
            ("drizzle/meta/0000_snapshot.json", r#"{"id":"one","prevId":"none","tables":{}}"#),
        ]);
        let folder = Folder { root: root.path(), dir: "drizzle", settings: &Migrations::default() };
        let now = jiff::Timestamp::from_millisecond(1_704_067_200_000).expect("a moment");
        let files = new_files(folder, "second", now).expect("files");
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["drizzle/0001_second.sql", "drizzle/meta/0001_snapshot.json", "drizzle/meta/_journal.json"]);
        assert!(files[1].1.contains(r#""prevId": "one""#), "{}", files[1].1);
        // The clock is behind the newest: one later than that.
        assert!(files[2].1.contains("1704067200124") && files[2].1.contains("0000_first"), "{}", files[2].1);
    }

    #[test]
    fn a_new_folder_of_1_0_follows_the_newest() {
        let root = root_with(&[
            ("drizzle/20240101000000_a/migration.sql", "SELECT 1;"),
            (
                "drizzle/20240101000000_a/snapshot.json",
                r#"{"type":"base","version":"9","id":"one","prevIds":["none"],"ddl":[1]}"#,
            ),
        ]);
        let folder = Folder { root: root.path(), dir: "drizzle", settings: &Migrations::default() };
        let now = jiff::Timestamp::from_millisecond(1_704_153_600_000).expect("a moment");
        let files = new_files(folder, "b", now).expect("files");
        assert_eq!(files[0].0, "drizzle/20240102000000_b/migration.sql");
        let snapshot: Value = serde_json::from_str(&files[1].1).expect("JSON");
        assert_eq!(
            (&snapshot["prevIds"], &snapshot["deltas"], &snapshot["ddl"]),
            (&json!(["one"]), &json!([]), &Value::Null)
        );
    }
}
