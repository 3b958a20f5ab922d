//! MongoDB's files: builds of indexes and validators that hurt or do nothing, and what takes data away.

use std::collections::{BTreeMap, BTreeSet};

use super::json::{Key, Node, Value};
use super::{File, Hit, Parsed};

/// Names of commands that have two.
fn canonical(name: &str) -> &str {
    match name {
        "deleteIndexes" => "dropIndexes",
        "findandmodify" => "findAndModify",
        other => other,
    }
}

/// Judges every MongoDB file; which collections are in use is known from the files before it.
pub fn judge(files: &[File<'_>], parsed: &[Parsed], hits: &mut [Vec<Hit>]) {
    let mut in_use: BTreeSet<String> = BTreeSet::new();
    for ((file, parsed), hits) in files.iter().zip(parsed).zip(hits) {
        let Parsed::Json(Ok(commands)) = parsed else { continue };
        let mut here = Here::default();
        for command in commands {
            let found = here.command(command, &in_use);
            hits.extend(found.into_iter().map(|hit| hit.statement(command.at.start)));
        }
        if !file.is_down {
            in_use.extend(here.made.into_iter().chain(here.touched));
        }
    }
}

/// What the commands of one file did so far.
#[derive(Default)]
struct Here<'a> {
    /// Collections that it makes: they are empty.
    made: BTreeSet<String>,
    /// Collections that it names otherwise: they were there before.
    touched: BTreeSet<String>,
    /// The `bsonType` of a field, by collection and field.
    types: BTreeMap<(String, String), &'a str>,
}

impl<'a> Here<'a> {
    fn command(&mut self, command: &'a Node, in_use: &BTreeSet<String>) -> Vec<Hit> {
        let Some((key, first)) = command.command() else { return Vec::new() };
        let name = canonical(&key.name);
        let collection = first.text().unwrap_or_default();
        let mut hits = Vec::new();
        hits.extend(unacknowledged(command));
        match name {
            "create" => {
                hits.extend(validator(command, None));
                if let Some((capped, _)) = command.entry("capped").filter(|(_, value)| value.is_true()) {
                    hits.push(capped_collection(capped));
                }
                self.types(collection, command);
                self.made.insert(collection.to_owned());
                return hits;
            }
            "collMod" => {
                self.types(collection, command);
                let is_new = self.made.contains(collection);
                hits.extend(validator(command, (!is_new).then_some(collection)));
            }
            "createIndexes" => {
                // A collection that no file knows is made by its first index.
                let is_old = !self.made.contains(collection) && in_use.contains(collection);
                for index in command.get("indexes").map(Node::items).unwrap_or_default() {
                    hits.extend(self.index(collection, index, is_old));
                }
            }
            "convertToCapped" => hits.push(capped_collection(key)),
            "drop" => hits.push(
                Hit::new(
                    "mongodb-drop",
                    key.at.start..first.at.end,
                    format!("`{collection}` is dropped with its documents"),
                )
                .hint("rename nothing, keep it until no release reads it, then: // lyrox: lint ignore mongodb-drop"),
            ),
            "dropDatabase" => hits.push(
                Hit::new(
                    "mongodb-drop-database",
                    key.at.clone(),
                    "the database is dropped with everything in it, lyrox's records too",
                )
                .hint("drop the collections that are meant, or use lyrox db reset"),
            ),
            "dropIndexes" => hits.extend(drop_indexes(collection, command)),
            "renameCollection" => {
                let drops = command.get("dropTarget").is_some_and(Node::is_true);
                let more = if drops { ", and what has the new name is dropped" } else { "" };
                hits.push(
                    Hit::new(
                        "mongodb-rename",
                        key.at.start..first.at.end,
                        format!("`{collection}` is renamed under the running application{more}"),
                    )
                    .hint("make the new collection, write to both, copy, then stop using the old one"),
                );
            }
            "update" | "delete" => hits.extend(empty_filter(name, collection, command)),
            _ => {}
        }
        if !self.made.contains(collection) && !collection.is_empty() {
            self.touched.insert(collection.to_owned());
        }
        hits
    }

    fn types(&mut self, collection: &str, command: &'a Node) {
        let properties =
            command.get("validator").and_then(|it| it.get("$jsonSchema")).and_then(|it| it.get("properties"));
        for (field, schema) in properties.map(Node::entries).unwrap_or_default() {
            if let Some(kind) = schema.get("bsonType").and_then(Node::text) {
                self.types.insert((collection.to_owned(), field.name.clone()), kind);
            }
        }
    }

    fn index(&self, collection: &str, index: &Node, is_old: bool) -> Vec<Hit> {
        let mut hits = Vec::new();
        let keys: Vec<&str> =
            index.get("key").map(Node::entries).unwrap_or_default().iter().map(|(key, _)| key.name.as_str()).collect();
        let shown = keys.join(", ");
        if index.get("name").is_none() {
            hits.push(
                Hit::new(
                    "mongodb-index-name",
                    index.at.clone(),
                    format!("the index on ({shown}) of `{collection}` has no name"),
                )
                .hint(format!("\"name\": \"{}\"", keys.join("_"))),
            );
        }
        if let Some((key, value)) = index.entry("background") {
            hits.push(
                Hit::new(
                    "mongodb-index-background",
                    key.at.start..value.at.end,
                    "`background` does nothing since MongoDB 4.2",
                )
                .hint("take it out: every build lets reads and writes through"),
            );
        }
        let is_partial =
            index.get("partialFilterExpression").is_some() || index.get("sparse").is_some_and(Node::is_true);
        if let Some((key, value)) = index.entry("unique").filter(|(_, value)| value.is_true())
            && is_old
            && !is_partial
        {
            hits.push(
                Hit::new(
                    "mongodb-unique-existing",
                    key.at.start..value.at.end,
                    format!(
                        "`{collection}` is in use: two documents with the same ({shown}), or without it, stop the build"
                    ),
                )
                .hint(
                    "look for duplicates first (aggregate, $group, count above 1), or give a partialFilterExpression",
                ),
            );
        }
        if let Some((key, value)) = index.entry("expireAfterSeconds") {
            hits.extend(self.ttl(collection, &keys, key, value, is_old));
        }
        hits
    }

    fn ttl(&self, collection: &str, keys: &[&str], key: &Key, value: &Node, is_old: bool) -> Vec<Hit> {
        let at = key.at.start..value.at.end;
        let wrong = |message: String, hint: &str| vec![Hit::new("mongodb-ttl-index", at.clone(), message).hint(hint)];
        let [field] = keys else {
            return wrong(
                format!("a TTL index on {} fields is refused", keys.len()),
                "give the date an index of its own",
            );
        };
        if *field == "_id" {
            return wrong("a TTL index on `_id` is refused".into(), "put the date into a field of its own");
        }
        let Some(seconds) = value.number().filter(|seconds| (0.0..=2_147_483_647.0).contains(seconds)) else {
            return wrong("`expireAfterSeconds` is no number from 0 to 2147483647".into(), "give it in seconds");
        };
        let kind = self.types.get(&(collection.to_owned(), (*field).to_owned()));
        if let Some(kind) = kind.filter(|kind| **kind != "date") {
            return wrong(
                format!("`{field}` is a {kind} by the validator: only dates expire, so nothing is ever removed"),
                "index a field of bsonType date",
            );
        }
        if is_old {
            let message = format!(
                "`{collection}` is in use: documents whose `{field}` is {seconds} s ago go within a minute of the build"
            );
            return vec![
                Hit::new("mongodb-ttl-existing", at, message)
                    .hint("begin with a long time, look, then shorten it with collMod"),
            ];
        }
        Vec::new()
    }
}

fn capped_collection(key: &Key) -> Hit {
    Hit::new(
        "mongodb-capped",
        key.at.clone(),
        "a capped collection forgets its oldest documents by size and cannot be sharded",
    )
    .hint("a TTL index forgets by age")
}

fn drop_indexes(collection: &str, command: &Node) -> Option<Hit> {
    let (key, index) = command.entry("index")?;
    let message = match &index.value {
        Value::Text(name) if name == "*" => format!("every index of `{collection}` goes at once"),
        _ => return None,
    };
    Some(
        Hit::new("mongodb-drop-all-indexes", key.at.start..index.at.end, message)
            .hint("name the indexes that are meant: queries that need the others would read everything"),
    )
}

/// A validator on a collection in use (`old`), and what holds for every validator.
fn validator(command: &Node, old: Option<&str>) -> Vec<Hit> {
    let Some((key, schema)) = command.entry("validator") else { return Vec::new() };
    let action = command.entry("validationAction");
    let only_warns = action.filter(|(_, value)| value.text() == Some("warn"));
    let mut hits = Vec::new();
    let level = command.get("validationLevel").and_then(Node::text).unwrap_or("strict");
    if let Some(collection) = old.filter(|_| level == "strict" && only_warns.is_none() && !schema.entries().is_empty())
    {
        hits.push(
            Hit::new(
                "mongodb-validator-existing",
                key.at.clone(),
                format!("`{collection}` is in use: an update of a document that does not fit is refused from now on"),
            )
            .hint("\"validationLevel\": \"moderate\" leaves such documents alone"),
        );
    }
    if let Some((key, value)) = only_warns {
        hits.push(
            Hit::new(
                "mongodb-validator-warn",
                key.at.start..value.at.end,
                "a validator that only warns keeps nothing out",
            )
            .hint("turn it to error once the log is quiet"),
        );
    }
    if let Some(json) = schema.get("$jsonSchema")
        && let Some((key, value)) =
            json.entry("additionalProperties").filter(|(_, it)| matches!(it.value, Value::Bool(false)))
        && json.get("properties").is_none_or(|properties| properties.get("_id").is_none())
    {
        hits.push(
            Hit::new(
                "mongodb-validator-id",
                key.at.start..value.at.end,
                "`additionalProperties: false` without `_id` in the properties refuses every document",
            )
            .hint("add \"_id\": {} to the properties"),
        );
    }
    hits
}

fn empty_filter(name: &str, collection: &str, command: &Node) -> Vec<Hit> {
    let (list, is_wide): (&str, fn(&Node) -> bool) = match name {
        "update" => ("updates", |entry| entry.get("multi").is_some_and(Node::is_true)),
        _ => ("deletes", |entry| entry.get("limit").and_then(Node::number) == Some(0.0)),
    };
    let entries = command.get(list).map(Node::items).unwrap_or_default().iter();
    let empty = entries.filter(|entry| is_wide(entry)).filter_map(|entry| {
        entry.entry("q").filter(|(_, filter)| matches!(&filter.value, Value::Object(fields) if fields.is_empty()))
    });
    empty
        .map(|(key, filter)| {
            Hit::new(
                "mongodb-empty-filter",
                key.at.start..filter.at.end,
                format!("the {name} reaches every document of `{collection}`"),
            )
            .hint("filter for the documents that still need it, so that it can be run again")
        })
        .collect()
}

fn unacknowledged(command: &Node) -> Option<Hit> {
    let (key, concern) = command.entry("writeConcern")?;
    let is_zero = concern.get("w").and_then(Node::number) == Some(0.0);
    is_zero.then(|| {
        Hit::new("mongodb-unacknowledged", key.at.start..concern.at.end, "with w: 0 the server's errors are never told")
            .hint("take `writeConcern` out: lyrox writes with majority")
    })
}
