//! What a reset would remove and keep, and the removing.

use std::collections::BTreeSet;

use bson::{Document, doc};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::catalog::{self, Listed};
use super::ledger::{Books, EVENTS, LOCK, META, MIGRATIONS, Trouble};
use super::lock::Held;
use crate::engine::event::{Event, Events};
use crate::error::Error;
use crate::kind::StoreKind;
use crate::stores::{Holding, lease};

/// How many collections are asked at once.
const AT_ONCE: usize = 4;

/// Lists what a reset would remove and what it would keep.
///
/// # Errors
/// The driver's, or a damaged ledger.
pub async fn holdings(books: &Books) -> Result<Vec<Holding>, Trouble> {
    let owned = owned(books).await?;
    let listed = catalog::list(&books.database, books.history.as_ref()).await?;
    let mut holdings: Vec<Holding> = futures_util::stream::iter(listed.into_iter().map(|listed| {
        let kind = if listed.is_view { "view" } else { "collection" };
        let is_owned = owned.contains(&format!("{kind} {}", listed.name));
        (listed, kind, is_owned)
    }))
    .map(|(listed, kind, is_owned)| async move {
        let (rows, bytes) = if listed.is_view { (None, None) } else { size(books, &listed).await };
        Holding { kind, name: listed.name, rows, bytes, is_owned }
    })
    .buffered(AT_ONCE)
    .collect()
    .await;
    for (kind, name) in logins(&owned) {
        holdings.push(Holding { kind, name, rows: None, bytes: None, is_owned: true });
    }
    Ok(holdings)
}

/// Counts from the catalog, not by reading the documents; nothing where the server does not tell.
async fn size(books: &Books, listed: &Listed) -> (Option<u64>, Option<u64>) {
    let pipeline = vec![
        doc! { "$collStats": { "storageStats": {} } },
        doc! { "$group": {
            "_id": null,
            "rows": { "$sum": { "$toLong": "$storageStats.count" } },
            "bytes": { "$sum": { "$toLong": "$storageStats.size" } },
        } },
    ];
    let found = async {
        let cursor = books.collection(&listed.name).aggregate(pipeline).await?;
        cursor.try_collect::<Vec<Document>>().await
    };
    let found = found.await.unwrap_or_default();
    let number = |field: &str| {
        found.first().and_then(|sizes| sizes.get_i64(field).ok()).and_then(|number| u64::try_from(number).ok())
    };
    (number("rows"), number("bytes"))
}

/// What the kept snapshot lists, and what unfinished migrations made.
async fn owned(books: &Books) -> Result<BTreeSet<String>, Trouble> {
    let mut owned: BTreeSet<String> = books.owned().await?.into_iter().collect();
    owned.extend(books.kept().await?.map(|snapshot| snapshot.objects).unwrap_or_default().into_keys());
    Ok(owned)
}

/// The users and roles that migrations made.
fn logins(owned: &BTreeSet<String>) -> impl Iterator<Item = (&'static str, String)> {
    owned.iter().filter_map(|object| match object.split_once(' ') {
        Some(("user", name)) => Some(("user", name.to_owned())),
        Some(("role", name)) => Some(("role", name.to_owned())),
        _ => None,
    })
}

/// Writes the resetting state.
///
/// # Errors
/// The driver's.
pub async fn begin(books: &Books) -> mongodb::error::Result<()> {
    let resetting = doc! { "$currentDate": { "since": true } };
    books.collection(META).update_one(doc! { "_id": "resetting" }, resetting).upsert(true).await.map(|_| ())
}

/// Removes what the project owns, then its rows and snapshot; mark, events and lock stay. Running it
/// again finishes it. Answers how many objects were removed.
///
/// # Errors
/// The driver's, or `LYX-LOCK-LOST`.
pub async fn wipe(books: &Books, lock: &Held, include_foreign: bool, events: &dyn Events) -> Result<u64, Trouble> {
    begin(books).await?;
    let owned = owned(books).await?;
    let mut doomed: Vec<Listed> = catalog::list(&books.database, books.history.as_ref()).await?;
    doomed.retain(|listed| {
        let kind = if listed.is_view { "view" } else { "collection" };
        include_foreign || owned.contains(&format!("{kind} {}", listed.name))
    });
    // Views before what they show.
    doomed.sort_by_key(|listed| !listed.is_view);
    let total = u64::try_from(doomed.len()).ok();
    let mut removed = 0;
    for batch in doomed.chunks(50) {
        still_ours(lock).await?;
        for listed in batch {
            books.collection(&listed.name).drop().await?;
            removed += 1;
        }
        events.event(Event::Progress {
            task: "dropping".into(),
            store: Some(StoreKind::Mongodb),
            done: removed,
            total,
            unit: "collections",
        });
    }
    for (kind, name) in logins(&owned) {
        let command = if kind == "user" {
            doc! { "dropUser": name }
        } else {
            doc! { "dropRole": name }
        };
        match books.database.run_command(command).await {
            Ok(_) => removed += 1,
            // UserNotFound, RoleNotFound: gone already.
            Err(error) if super::error::refusal(&error).is_some_and(|refusal| [11, 31].contains(&refusal.code)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    still_ours(lock).await?;
    // Last: until here the rows and the snapshot say what is owned.
    let kept = [META, EVENTS, LOCK, MIGRATIONS, super::tenant::TENANTS];
    for name in books.database.list_collection_names().await? {
        if name.starts_with("lyrox_") && !kept.contains(&name.as_str()) {
            books.collection(&name).drop().await?;
        }
    }
    if let Some(history) = &books.history {
        history.drop(&books.database).await?;
    }
    // Tenants of shared collections go with them.
    let tenants = doc! { "_id.project": books.project.as_str(), "model": "row" };
    books.collection(super::tenant::TENANTS).delete_many(tenants).await?;
    let rows = doc! { "_id.project": books.project.as_str(), "_id.tenant": books.tenant.as_str() };
    books.collection(MIGRATIONS).delete_many(rows).await?;
    books.collection(META).delete_one(doc! { "_id": books.snapshot_id() }).await?;
    Ok(removed)
}

/// Clears the resetting state.
///
/// # Errors
/// The driver's.
pub async fn finish(books: &Books) -> mongodb::error::Result<()> {
    books.collection(META).delete_one(doc! { "_id": "resetting" }).await.map(|_| ())
}

async fn still_ours(lock: &Held) -> Result<(), Trouble> {
    match lock.check().await? {
        Some(_) => Ok(()),
        None => {
            let error: Error = lease::lost(StoreKind::Mongodb);
            Err(error.data("some of it is removed; the store stays marked as resetting").into())
        }
    }
}
