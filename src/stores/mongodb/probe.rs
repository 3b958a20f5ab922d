//! A command was begun and its answer was lost: looks in the catalog whether it took effect.

use bson::doc;
use futures_util::TryStreamExt as _;
use mongodb::Database;
use mongodb::error::Result;

use super::catalog::{Listed, is_as_created};
use super::script::{Command, Kind};

/// What the catalog says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It took effect.
    Done,
    /// It did not, or may be run again without harm.
    Run,
    /// A person has to look; the text says at what.
    Unclear(String),
}

/// Looks whether a command took effect.
///
/// # Errors
/// The driver's.
pub async fn probe(database: &Database, command: &Command) -> Result<Found> {
    let target = command.target().unwrap_or_default();
    match (command.kind, command.name()) {
        (Kind::Catalog, "create") => Ok(match find(database, target).await? {
            None => Found::Run,
            Some(live) if is_as_created(&command.document, &live) => Found::Done,
            Some(_) => Found::Unclear(format!("`{target}` exists with other options than the file asks for")),
        }),
        (Kind::Catalog, "drop") => Ok(if find(database, target).await?.is_some() { Found::Run } else { Found::Done }),
        (Kind::Catalog, "renameCollection") => {
            let prefix = format!("{}.", database.name());
            let short = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
            let (from, to) = (short(target), short(command.document.get_str("to").unwrap_or_default()));
            Ok(match (find(database, &from).await?.is_some(), find(database, &to).await?.is_some()) {
                (true, false) => Found::Run,
                (false, true) => Found::Done,
                (true, true) => Found::Unclear(format!("both `{from}` and `{to}` exist")),
                (false, false) => Found::Unclear(format!("neither `{from}` nor `{to}` exists")),
            })
        }
        // The server takes the same index and the same options twice, and refuses others.
        (Kind::Catalog, _) | (Kind::Read, _) => Ok(Found::Run),
        // What is deleted by a filter can be deleted again.
        (Kind::Data, "delete") => Ok(Found::Run),
        (_, name) => Ok(Found::Unclear(format!("nothing tells whether `{name}` took effect"))),
    }
}

/// Whether a refusal of a command that is run again after a doubt means that it had taken effect.
pub fn means_done(command: &Command, code: i32) -> bool {
    // IndexNotFound, NamespaceNotFound
    matches!(command.name(), "dropIndexes" | "deleteIndexes") && code == 27
        || matches!(command.name(), "drop" | "dropIndexes" | "deleteIndexes") && code == 26
}

async fn find(database: &Database, name: &str) -> Result<Option<Listed>> {
    let cursor = database.run_cursor_command(doc! { "listCollections": 1, "filter": { "name": name } }).await?;
    let found: Vec<bson::Document> = cursor.try_collect().await?;
    Ok(found.first().map(|entry| Listed {
        name: name.to_owned(),
        is_view: entry.get_str("type").is_ok_and(|kind| kind == "view"),
        options: entry.get_document("options").cloned().unwrap_or_default(),
    }))
}
