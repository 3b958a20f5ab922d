//! What commands make and refer to: collections and views. Pure.

use bson::{Bson, Document};

use super::script::read;
use crate::config::Variables;
use crate::project::migration::Script;
use crate::stores::names::Names;

/// The names in a script.
pub fn of(script: &Script) -> Names {
    let mut names = Names::default();
    for command in read(script, &Variables::default()).unwrap_or_default() {
        let Some(target) = command.target() else { continue };
        let into = match command.name() {
            "create" => &mut names.makes,
            _ => &mut names.needs,
        };
        into.insert(target.to_owned());
        if let Ok(on) = command.document.get_str("viewOn") {
            names.needs.insert(on.to_owned());
        }
        walk(&command.document, &mut names);
    }
    let made = names.makes.clone();
    names.needs.retain(|name| !made.contains(name));
    names
}

/// Stages that read other collections: `$lookup`, `$graphLookup`, `$unionWith`.
fn walk(document: &Document, names: &mut Names) {
    for (key, value) in document {
        match (key.as_str(), value) {
            ("$unionWith", Bson::String(name)) => {
                names.needs.insert(name.clone());
            }
            ("$lookup" | "$graphLookup" | "$unionWith", Bson::Document(stage)) => {
                for name in ["from", "coll"].into_iter().filter_map(|key| stage.get_str(key).ok()) {
                    names.needs.insert(name.to_owned());
                }
                walk(stage, names);
            }
            (_, Bson::Document(inner)) => walk(inner, names),
            (_, Bson::Array(items)) => {
                for item in items.iter().filter_map(Bson::as_document) {
                    walk(item, names);
                }
            }
            _ => {}
        }
    }
}
