//! Tenancy in MongoDB: there is no row-level security, so every index begins with the tenant's field and the
//! validator requires it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::json::Node;
use crate::engine::lint::{File, Hit, Parsed};

/// A collection as the files leave it.
#[derive(Default)]
struct Collection {
    /// Where it was made, and whether its validator requires the tenant.
    made: Option<(usize, Range<usize>, usize)>,
    requires: bool,
    /// Where its indexes were made, by their names.
    indexes: BTreeMap<String, (usize, Hit)>,
}

/// Judges the collections of the whole series.
pub fn judge(files: &[File<'_>], parsed: &[Parsed], field: &str, global: &[String], hits: &mut [Vec<Hit>]) {
    let mut collections: BTreeMap<String, Collection> = BTreeMap::new();
    for (number, (file, parsed)) in files.iter().zip(parsed).enumerate() {
        let Parsed::Json(Ok(commands)) = parsed else { continue };
        if file.is_down {
            continue;
        }
        for command in commands {
            read(number, command, field, &mut collections);
        }
    }
    for (name, collection) in collections.into_iter().filter(|(name, _)| !global.contains(name)) {
        for (number, hit) in collection.indexes.into_values() {
            hits[number].push(hit);
        }
        if let Some((number, at, statement)) = collection.made.filter(|_| !collection.requires) {
            let message = format!("no validator requires `{field}` in `{name}`: a document may be nobody's");
            hits[number].push(
                Hit::new("tenant-mongodb-validator", at, message)
                    .hint(format!("\"validator\": {{ \"$jsonSchema\": {{ \"required\": [\"{field}\", ...] }} }}"))
                    .statement(statement),
            );
        }
    }
}

fn read(number: usize, command: &Node, field: &str, collections: &mut BTreeMap<String, Collection>) {
    let Some((key, first)) = command.command() else { return };
    let Some(name) = first.text() else { return };
    match key.name.as_str() {
        "create" if command.get("viewOn").is_none() => {
            let collection = collections.entry(name.to_owned()).or_default();
            collection.made = Some((number, key.at.start..first.at.end, command.at.start));
            collection.requires = requires(command, field).unwrap_or(false);
        }
        "collMod" => {
            let collection = collections.entry(name.to_owned()).or_default();
            collection.requires = requires(command, field).unwrap_or(collection.requires);
        }
        "createIndexes" => {
            let collection = collections.entry(name.to_owned()).or_default();
            for index in command.get("indexes").map(Node::items).unwrap_or_default() {
                let title = index.get("name").and_then(Node::text).unwrap_or_default().to_owned();
                if let Some(hit) = judge_index(name, index, field) {
                    collection.indexes.insert(title, (number, hit.statement(command.at.start)));
                }
            }
        }
        "dropIndexes" | "deleteIndexes" => {
            let Some(collection) = collections.get_mut(name) else { return };
            match command.get("index") {
                Some(index) if index.text() == Some("*") => collection.indexes.clear(),
                Some(index) => {
                    let names = index.text().into_iter().chain(index.items().iter().filter_map(Node::text));
                    for title in names {
                        collection.indexes.remove(title);
                    }
                }
                None => {}
            }
        }
        "drop" => {
            collections.remove(name);
        }
        "renameCollection" => {
            let bare = |name: &str| name.split_once('.').map_or(name, |(_, name)| name).to_owned();
            if let Some(collection) = collections.remove(&bare(name))
                && let Some(to) = command.get("to").and_then(Node::text)
            {
                collections.insert(bare(to), collection);
            }
        }
        _ => {}
    }
}

/// Whether a command's validator requires the field; none where the command has no validator.
fn requires(command: &Node, field: &str) -> Option<bool> {
    let validator = command.get("validator")?;
    let schema = validator.get("$jsonSchema");
    let listed = schema.and_then(|schema| schema.get("required")).map(Node::items).unwrap_or_default();
    let in_schema = listed.iter().any(|name| name.text() == Some(field));
    let exists = validator.get(field).and_then(|it| it.get("$exists")).is_some_and(Node::is_true);
    Some(in_schema || exists)
}

fn judge_index(collection: &str, index: &Node, field: &str) -> Option<Hit> {
    let key = index.get("key")?;
    let names: Vec<&str> = key.entries().iter().map(|(key, _)| key.name.as_str()).collect();
    let leads = names.first().is_some_and(|first| *first == field);
    // Text, geo, hashed and wildcard indexes are led by what they are for, a TTL index has one field.
    let is_special = key.entries().iter().any(|(_, kind)| kind.text().is_some())
        || names.iter().any(|name| name.contains("$**"))
        || index.get("expireAfterSeconds").is_some();
    if leads || is_special || names.is_empty() {
        return None;
    }
    let shown = names.join(", ");
    let rest: Vec<&str> = names.iter().copied().filter(|name| *name != field).collect();
    let better = format!("{{ \"{field}\": 1, \"{}\": 1 }}", rest.join("\": 1, \""));
    if index.get("unique").is_some_and(Node::is_true) {
        let message = format!(
            "the unique index ({shown}) of `{collection}` is not led by `{field}`: it tells a tenant what others have"
        );
        return Some(Hit::new("tenant-mongodb-unique", key.at.clone(), message).hint(better));
    }
    let message =
        format!("the index ({shown}) of `{collection}` is not led by `{field}`, by which every query filters");
    Some(Hit::new("tenant-mongodb-index", key.at.clone(), message).hint(better))
}
