//! Repairing a store that has lost its ledger: it was emptied, evicted, or restored from an older backup.

use std::collections::BTreeMap;

use super::ledger::{Ledger, Row, State};
use super::lock::with_lock;
use super::migrate::{self, Outcome, Work, close};
use super::plan::{Action, Goal, Step};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, label};
use crate::report::{Change, Item};
use crate::stores::{AnyStore, Store as _};

/// What is true of the store that lacks rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Its data is gone as well: run its migrations again.
    Replay(StoreKind),
    /// Its data is there: write the rows, run nothing.
    Record(StoreKind),
}

/// Brings a store's ledger and PostgreSQL's copy of it together again.
///
/// # Errors
/// Nothing is lost, a file is missing, or what kept it from starting.
pub async fn repair(work: Work<'_>, files: &[Migration], repair: Repair) -> Result<Outcome> {
    let mut stores = work.open().await?;
    let result = with_lock(&mut stores, work.wait, work.events, async |stores| {
        let ledgers = migrate::ledgers(stores, files).await?;
        super::guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
        let store = match repair {
            Repair::Replay(store) | Repair::Record(store) => store,
        };
        let lost = lost(&ledgers, store);
        if lost.is_empty() {
            return Err(Error::new(Code::Usage, format!("{store} lacks nothing that PostgreSQL recorded for it"))
                .data("nothing was changed")
                .hint("lyrox db status shows where things stand"));
        }
        match repair {
            Repair::Replay(_) => replay(work, stores, files, lost).await,
            Repair::Record(_) => record(work, stores, files, &ledgers, lost).await,
        }
    })
    .await;
    close(stores).await;
    result
}

/// Rows that PostgreSQL recorded for a store and the store itself does not have.
fn lost(ledgers: &[(StoreKind, Ledger)], store: StoreKind) -> Vec<Row> {
    let own =
        ledgers.iter().find(|(kind, _)| *kind == store).map(|(_, ledger)| ledger.rows.as_slice()).unwrap_or_default();
    // Another tool's history that is gone is written from the ledger.
    let is_gone = |ledger: &Ledger| ledger.foreign.as_ref().is_some_and(|records| !records.exists);
    if ledgers.iter().any(|(kind, ledger)| *kind == store && is_gone(ledger)) {
        return own.iter().filter(|row| row.state == State::Applied).cloned().collect();
    }
    let copies = ledgers.iter().flat_map(|(_, ledger)| &ledger.copies);
    copies
        .filter(|copy| copy.store == store && copy.state == State::Applied)
        .filter(|copy| !own.iter().any(|row| row.version == copy.version))
        .cloned()
        .collect()
}

async fn replay(work: Work<'_>, stores: &mut [AnyStore], files: &[Migration], mut lost: Vec<Row>) -> Result<Outcome> {
    for row in &mut lost {
        row.state = State::Reverted;
    }
    if let Some(postgres) = stores.iter_mut().find(|store| store.kind() == StoreKind::Postgres) {
        postgres.copy_rows(&lost).await?;
    }
    let ledgers = migrate::ledgers(stores, files).await?;
    migrate::run(work, stores, files, ledgers, &Goal::Latest, None).await
}

async fn record(
    work: Work<'_>,
    stores: &mut [AnyStore],
    files: &[Migration],
    ledgers: &[(StoreKind, Ledger)],
    lost: Vec<Row>,
) -> Result<Outcome> {
    let parts: BTreeMap<_, _> = files.iter().map(|file| (&file.version, file)).collect();
    let mut steps = Vec::new();
    for row in &lost {
        let part = parts.get(&row.version).and_then(|file| file.parts.get(&row.store));
        let part = part.filter(|part| part.up.checksum == row.checksum).ok_or_else(|| {
            Error::new(
                Code::DriftEdited,
                format!("the file of {} is not the one that was applied", label(&row.version, &row.name)),
            )
            .data("nothing was changed")
            .hint("bring the file back (git checkout), then run it again")
        })?;
        steps.push(Step {
            store: row.store,
            version: row.version.clone(),
            name: row.name.clone(),
            action: Action::Record,
            script: part.up.clone(),
            up: part.up.clone(),
            resume_from: 0,
        });
    }
    let Some(kind) = steps.first().map(|step| step.store) else { return Ok(Outcome::default()) };
    let mark = work.mark();
    let mut outcome = Outcome::default();
    let options = ledgers.iter().find(|(store, _)| *store == kind).map(|(_, ledger)| work.options(ledger));
    let (Some(store), Some(options)) = (stores.iter_mut().find(|store| store.kind() == kind), options) else {
        return Err(Error::bug(format!("{kind} is not part of the run")));
    };
    store.prepare(&mark).await?;
    let applied = store.apply(&steps, &options, &super::event::Silent).await;
    outcome.done = applied.done.len();
    for done in &applied.done {
        let title = label(&done.row.version, &done.row.name);
        let item = Item::pass(format!("{kind}.{}", done.row.version), title).store(kind).change(Change::Recorded);
        work.events.item(item.elapsed(done.elapsed));
    }
    if let Some((index, error)) = applied.failure {
        let step = &steps[index.min(steps.len() - 1)];
        work.events.item(Item::fail(migrate::item_id(step), step.label(), &error).store(kind));
        outcome.has_failed = true;
    }
    migrate::settle(work, stores).await?;
    Ok(outcome)
}
