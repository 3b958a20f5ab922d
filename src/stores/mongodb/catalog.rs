//! The live schema of a MongoDB database in canonical form: collections, views, validators, indexes.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use futures_util::{StreamExt as _, TryStreamExt as _};
use mongodb::Database;
use mongodb::error::Result;
use serde_json::Value;

use super::foreign::History;
use crate::engine::snapshot::Snapshot;
use crate::kind::StoreKind;

/// How many collections are asked at once.
const AT_ONCE: usize = 4;

/// Whether a collection is lyrox's own or the server's.
pub fn is_own(name: &str) -> bool {
    name.starts_with("lyrox_") || name.starts_with("system.")
}

/// One collection or view as the server lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// It has no documents of its own.
    pub is_view: bool,
    /// As it was created.
    pub options: Document,
}

/// Lists the user's collections and views, in order of their names; another tool's history is not the user's.
///
/// # Errors
/// The driver's.
pub async fn list(database: &Database, history: Option<&History>) -> Result<Vec<Listed>> {
    let mut found: Vec<Listed> = database
        .run_cursor_command(doc! { "listCollections": 1 })
        .await?
        .try_filter_map(|entry| async move {
            let name = entry.get_str("name").unwrap_or_default().to_owned();
            let options = entry.get_document("options").cloned().unwrap_or_default();
            let is_view = entry.get_str("type").is_ok_and(|kind| kind == "view");
            let is_own = is_own(&name) || history.is_some_and(|history| history.has(&name));
            Ok((!is_own).then_some(Listed { name, is_view, options }))
        })
        .try_collect()
        .await?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Reads the schema.
///
/// # Errors
/// The driver's.
pub async fn snapshot(database: &Database, history: Option<&History>) -> Result<Snapshot> {
    let listed = list(database, history).await?;
    let indexes: Vec<(String, Vec<Document>)> =
        futures_util::stream::iter(listed.iter().filter(|listed| !listed.is_view).map(|listed| listed.name.clone()))
            .map(|name| async move {
                let found = indexes(database, &name).await?;
                Ok::<_, mongodb::error::Error>((name, found))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
    let mut snapshot = Snapshot::new(StoreKind::Mongodb);
    for listed in listed {
        let kind = if listed.is_view { "view" } else { "collection" };
        snapshot.objects.insert(format!("{kind} {}", listed.name), canonical(&listed.options).to_string());
    }
    for (collection, indexes) in indexes {
        for index in indexes {
            let name = index.get_str("name").unwrap_or_default();
            // The index on _id comes with every collection and cannot be dropped.
            if name != "_id_" {
                snapshot.objects.insert(format!("index {collection}.{name}"), canonical_index(&index).to_string());
            }
        }
    }
    Ok(snapshot)
}

/// The indexes of a collection; none where it went away meanwhile.
///
/// # Errors
/// The driver's.
pub async fn indexes(database: &Database, collection: &str) -> Result<Vec<Document>> {
    match database.run_cursor_command(doc! { "listIndexes": collection }).await {
        Ok(cursor) => cursor.try_collect().await,
        Err(error) if super::error::refusal(&error).is_some_and(|refusal| refusal.code == 26) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Options with their keys sorted, except where the order of keys has a meaning.
pub fn canonical(options: &Document) -> Value {
    // What a server fills in by itself as soon as one of them is changed says nothing: it is how every
    // collection without them is.
    let is_usual = |key: &str, value: &Bson| match (key, value) {
        ("validationLevel", Bson::String(level)) => level == "strict",
        ("validationAction", Bson::String(action)) => action == "error",
        ("validator", Bson::Document(validator)) => validator.is_empty(),
        ("capped" | "autoIndexId", Bson::Boolean(is_on)) => *is_on == (key == "autoIndexId"),
        // Its key is fixed and its version the server's.
        ("idIndex" | "uuid", _) => true,
        _ => false,
    };
    let fields: BTreeMap<String, Value> = options
        .iter()
        .filter(|(key, value)| !is_usual(key, value))
        .map(|(key, value)| (key.clone(), canonical_option(key, value)))
        .collect();
    Value::Object(fields.into_iter().collect())
}

fn canonical_option(key: &str, value: &Bson) -> Value {
    let value = value.clone().into_relaxed_extjson();
    // In a pipeline `{ $sort: { a: 1, b: 1 } }` differs from `{ $sort: { b: 1, a: 1 } }`.
    if key == "pipeline" { value } else { sorted(without_versions(key, value)) }
}

/// What a server adds by its own version or by another value of the same document.
fn without_versions(key: &str, mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        if key == "collation" {
            fields.shift_remove("version");
        }
        if key == "timeseries" && fields.contains_key("granularity") {
            fields.shift_remove("bucketMaxSpanSeconds");
        }
    }
    value
}

/// An index without its name and what its server says of itself, keys sorted except where their order counts.
pub fn canonical_index(index: &Document) -> Value {
    let fields: BTreeMap<String, Value> = index
        .iter()
        .filter(|(key, _)| !["v", "ns", "name"].contains(&key.as_str()))
        .map(|(key, value)| {
            let value = value.clone().into_relaxed_extjson();
            (key.clone(), if key == "key" { value } else { sorted(without_versions(key, value)) })
        })
        .collect();
    Value::Object(fields.into_iter().collect())
}

/// Sorts the keys of every object in a value.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<String, Value> = fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Whether a live collection is what a `create` command asks for: every option asked for is there with
/// the same value, and nothing else but what servers add by themselves.
pub fn is_as_created(command: &Document, live: &Listed) -> bool {
    const NOT_KEPT: [&str; 4] = ["create", "writeConcern", "comment", "autoIndexId"];
    const ADDED: [&str; 5] = ["validationLevel", "validationAction", "uuid", "idIndex", "collation"];
    let is_asked = |key: &str| command.contains_key(key);
    let has_all = command.iter().filter(|(key, _)| !NOT_KEPT.contains(&key.as_str())).all(|(key, asked)| {
        match live.options.get(key) {
            Some(found) => covers(&canonical_option(key, found), &canonical_option(key, asked)),
            None => matches!(asked, Bson::Boolean(false)),
        }
    });
    has_all && live.options.keys().all(|key| is_asked(key) || ADDED.contains(&key.as_str()))
}

/// Whether `found` holds all of `asked`: servers complete collations and time series with defaults.
fn covers(found: &Value, asked: &Value) -> bool {
    match (found, asked) {
        (Value::Object(found), Value::Object(asked)) => {
            asked.iter().all(|(key, asked)| found.get(key).is_some_and(|found| covers(found, asked)))
        }
        (Value::Array(found), Value::Array(asked)) => {
            found.len() == asked.len() && found.iter().zip(asked).all(|(found, asked)| covers(found, asked))
        }
        (Value::Number(found), Value::Number(asked)) => found.as_f64() == asked.as_f64(),
        (found, asked) => found == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_keys_counts_only_where_it_has_a_meaning() {
        let one = doc! { "validator": { "a": 1, "b": 2 }, "capped": true };
        let other = doc! { "capped": true, "validator": { "b": 2, "a": 1 } };
        assert_eq!(canonical(&one).to_string(), canonical(&other).to_string());
        let one = doc! { "key": { "a": 1, "b": 1 }, "v": 2, "name": "x" };
        let other = doc! { "key": { "b": 1, "a": 1 }, "v": 2, "name": "x" };
        assert_ne!(canonical_index(&one).to_string(), canonical_index(&other).to_string());
        assert!(!canonical_index(&one).to_string().contains("\"v\""));
    }

    #[test]
    fn a_collection_is_compared_with_the_command_that_creates_it() {
        let command = doc! { "create": "c", "capped": true, "size": 4096, "collation": { "locale": "de" } };
        let live = |options: Document| Listed { name: "c".into(), is_view: false, options };
        let full = doc! { "capped": true, "size": 4096_i64, "collation": { "locale": "de", "strength": 3 } };
        assert!(is_as_created(&command, &live(full.clone())));
        let mut other = full.clone();
        other.insert("size", 8192);
        assert!(!is_as_created(&command, &live(other)));
        let mut other = full;
        other.insert("validator", doc! { "a": 1 });
        assert!(!is_as_created(&command, &live(other)));
        assert!(is_as_created(&doc! { "create": "c" }, &live(doc! {})));
    }
}
