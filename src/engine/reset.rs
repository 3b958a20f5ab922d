//! Resetting: mark every store, remove what the project owns, migrate again. Seeding follows in the command.

use super::event::Events;
use super::guard::Permit;
use super::ledger::Mark;
use super::lock::with_lock;
use super::migrate::{self, Outcome, Work, close, ledgers, marks};
use super::plan::Goal;
use crate::error::Result;
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::stores::{AnyStore, Holding, Store};

/// What a reset would remove and keep, read with read-only statements.
#[derive(Debug)]
pub struct Preview {
    /// Every store's objects.
    pub holdings: Vec<(StoreKind, Vec<Holding>)>,
    /// What the stores remember about their environment.
    pub marks: Vec<(StoreKind, Option<Mark>)>,
}

/// Looks at what is there.
///
/// # Errors
/// A store that cannot be reached or read.
pub async fn preview(work: Work<'_>, files: &[Migration], include_foreign: bool) -> Result<Preview> {
    let mut stores = work.open().await?;
    let ledgers = ledgers(&mut stores, files).await?;
    let marks = marks(&ledgers);
    let mut holdings = Vec::new();
    for (store, (_, ledger)) in stores.iter_mut().zip(&ledgers) {
        store.assume(&ledger.rebuild);
        holdings.push((store.kind(), store.holdings(include_foreign).await?));
    }
    close(stores).await;
    Ok(Preview { holdings, marks })
}

/// Removes what the project owns from every store, then migrates. `resetting` is written to each store
/// before the first removal and cleared by [`finish`], after the caller has seeded.
///
/// # Errors
/// What could not be removed: the stores stay marked as `resetting`, and a next reset goes on.
pub async fn reset(work: Work<'_>, files: &[Migration], permit: &Permit, include_foreign: bool) -> Result<Outcome> {
    let mut stores = work.open().await?;
    let result = with_lock(&mut stores, work.wait, work.events, async |stores| {
        let mark = work.mark();
        for store in stores.iter_mut() {
            store.prepare(&mark).await?;
        }
        // What another tool applied is the project's: it goes as well.
        let ledgers = ledgers(stores, files).await?;
        for (store, (_, ledger)) in stores.iter_mut().zip(&ledgers) {
            if !ledger.rebuild.is_empty() {
                store.take_over(&ledger.rebuild).await?;
            }
            store.begin_reset(permit).await?;
        }
        wipe(stores, permit, include_foreign, work.events).await?;
        let ledgers = self::ledgers(stores, files).await?;
        migrate::run(work, stores, files, ledgers, &Goal::Latest, None).await
    })
    .await;
    close(stores).await;
    result
}

async fn wipe(stores: &mut [AnyStore], permit: &Permit, include_foreign: bool, events: &dyn Events) -> Result<()> {
    for store in stores {
        store.wipe(permit, include_foreign, events).await?;
    }
    Ok(())
}

/// Clears `resetting` in every store: the last act.
///
/// # Errors
/// A store that cannot be reached.
pub async fn finish(work: Work<'_>) -> Result<()> {
    let mut stores = work.open().await?;
    for store in &mut stores {
        store.finish_reset().await?;
    }
    close(stores).await;
    Ok(())
}
