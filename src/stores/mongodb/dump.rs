//! The schema of a MongoDB database as the commands that make it: the form of a migration.

use std::fmt::Write as _;

use bson::{Document, doc};
use mongodb::Database;
use serde_json::Value;

use super::catalog::{self, Listed};
use super::foreign::History;
use crate::engine::dump::Dump;

/// A value that fits this width stands on one line.
const WIDTH: usize = 100;

/// Reads the database and writes the dump.
///
/// # Errors
/// The driver's.
pub async fn dump(database: &Database, history: Option<&History>, project: &str) -> mongodb::error::Result<Dump> {
    let mut listed = catalog::list(database, history).await?;
    let mut dump = Dump::default();
    // A view may be made before what it looks at; people read it behind.
    listed.sort_by(|a, b| (a.is_view, &a.name).cmp(&(b.is_view, &b.name)));
    let mut commands = Vec::new();
    for collection in &listed {
        commands.push(create(collection));
        if collection.is_view {
            continue;
        }
        let indexes = catalog::indexes(database, &collection.name).await?;
        let indexes: Vec<Value> =
            indexes.iter().filter(|index| index.get_str("name").unwrap_or_default() != "_id_").map(index_of).collect();
        if !indexes.is_empty() {
            commands.push(serde_json::json!({ "createIndexes": collection.name, "indexes": indexes }));
        }
    }
    let users = database.run_command(doc! { "usersInfo": 1 }).await;
    let count = users.ok().and_then(|users| users.get_array("users").ok().map(Vec::len)).unwrap_or(0);
    if count > 0 {
        dump.left_out.push(format!("{count} users of the database"));
    }
    dump.statements = commands.len();
    dump.text = text(project, &commands);
    Ok(dump)
}

fn create(collection: &Listed) -> Value {
    let mut command = serde_json::Map::new();
    command.insert("create".into(), Value::String(collection.name.clone()));
    if let Value::Object(options) = catalog::canonical(&collection.options) {
        command.extend(options);
    }
    Value::Object(command)
}

fn index_of(index: &Document) -> Value {
    let mut fields = serde_json::Map::new();
    let name = index.get_str("name").unwrap_or_default();
    fields.insert("name".into(), Value::String(name.to_owned()));
    if let Value::Object(mut rest) = catalog::canonical_index(index) {
        // The key first: it is what people look for.
        if let Some(key) = rest.shift_remove("key") {
            fields.insert("key".into(), key);
        }
        fields.extend(rest);
    }
    Value::Object(fields)
}

fn text(project: &str, commands: &[Value]) -> String {
    let mut text = format!(
        "// The schema of {} as `lyrox db dump` writes it; no data is in it.\n// Into an empty database: as a migration.\n[",
        project.replace(['\n', '\r'], " ")
    );
    for (at, command) in commands.iter().enumerate() {
        text.push_str(if at == 0 { "\n  " } else { ",\n  " });
        pretty(&mut text, command, 2);
    }
    text.push_str(if commands.is_empty() { "]\n" } else { "\n]\n" });
    text
}

/// JSON with short values on one line.
fn pretty(text: &mut String, value: &Value, indent: usize) {
    let short = one_line(value);
    if indent + short.len() <= WIDTH {
        text.push_str(&short);
        return;
    }
    let pad = " ".repeat(indent + 2);
    match value {
        Value::Object(fields) => {
            text.push_str("{\n");
            for (at, (key, value)) in fields.iter().enumerate() {
                let _ = write!(text, "{}{pad}{}: ", if at == 0 { "" } else { ",\n" }, Value::String(key.clone()));
                pretty(text, value, indent + 2);
            }
            let _ = write!(text, "\n{}}}", " ".repeat(indent));
        }
        Value::Array(items) => {
            text.push_str("[\n");
            for (at, item) in items.iter().enumerate() {
                let _ = write!(text, "{}{pad}", if at == 0 { "" } else { ",\n" });
                pretty(text, item, indent + 2);
            }
            let _ = write!(text, "\n{}]", " ".repeat(indent));
        }
        other => text.push_str(&other.to_string()),
    }
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "{}".into(),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(key, value)| format!("{}: {}", Value::String(key.clone()), one_line(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_commands_stand_on_one_line_and_the_text_reads_back() {
        let long: Vec<u32> = (1_000_000..1_000_020).collect();
        let commands =
            [serde_json::json!({ "create": "a\"b", "capped": true }), serde_json::json!({ "z": long, "a": {} })];
        let text = text("app", &commands);
        assert!(text.contains("\n  { \"create\": \"a\\\"b\", \"capped\": true },\n"), "{text}");
        let json: String = text.lines().filter(|line| !line.starts_with("//")).collect();
        assert_eq!(serde_json::from_str::<Vec<Value>>(&json).expect("JSON"), commands);
    }
}
