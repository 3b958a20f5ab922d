//! A baseline: files are recorded as applied to stores that already hold what they would make. Nothing of
//! them is run.

use std::collections::BTreeMap;

use super::guard;
use super::ledger::{Ledger, State};
use super::lock::with_lock;
use super::migrate::{self, Outcome, Work, close, item_id};
use super::plan::{Action, Step, Timeline};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Version, label};
use crate::report::{Change, Item};
use crate::stores::{AnyStore, Store as _};

/// What a baseline would record, in timeline order.
///
/// # Errors
/// `LYX-BASELINE`: rows that are newer, unfinished or of another text, or a PostgreSQL that holds nothing.
pub fn plan(files: &[Migration], ledgers: &[(StoreKind, Ledger)], to: Option<&Version>) -> Result<Vec<Step>> {
    if let Some(drift) = ledgers.iter().find_map(|(_, ledger)| ledger.drift.first()) {
        return Err(drift.error());
    }
    let mut steps = Vec::new();
    let timeline = Timeline::new(files);
    let last = to.map_or(usize::MAX, |to| timeline.place(to));
    // A repeatable may run as often as it likes: it is left to the next migrate.
    let versioned = files.iter().filter(|file| !file.version.is_repeatable());
    for file in versioned.filter(|file| timeline.place(&file.version) <= last) {
        for (store, ledger) in ledgers {
            let Some(part) = file.parts.get(store) else { continue };
            let row = ledger.rows.iter().find(|row| row.version == file.version);
            match row.map(|row| row.state) {
                Some(State::Applied) if row.is_some_and(|row| row.checksum == part.up.checksum) => continue,
                Some(State::Applied) => {
                    return Err(refused(format!("{} is in the ledger of {store} with another text", file.label()))
                        .hint(format!("lyrox db repair --accept {} --only {store}", file.version)));
                }
                Some(State::Started | State::Failed) => {
                    return Err(refused(format!("{} is unfinished on {store}", file.label()))
                        .hint("lyrox db migrate goes on where it stopped"));
                }
                Some(State::Reverted) | None => {}
            }
            let newest = ledger.rows.iter().filter(|row| row.state == State::Applied && !row.version.is_repeatable());
            let newest = newest.max_by_key(|row| timeline.place(&row.version));
            if let Some(newest) =
                newest.filter(|newest| timeline.place(&newest.version) > timeline.place(&file.version))
            {
                let newest = label(&newest.version, &newest.name);
                return Err(refused(format!("{newest}, newer than {}, is applied to {store} already", file.label()))
                    .why("lyrox itself has run migrations there: what is older and has no row did not run")
                    .hint(format!(
                        "apply it with `lyrox: allow out-of-order` at the top of `{}`, then lyrox db migrate",
                        part.up.path
                    )));
            }
            if *store == StoreKind::Postgres && ledger.is_empty {
                return Err(refused(format!("{store} is empty: nothing of {} is there", file.label()))
                    .why("a baseline says that the files have been applied already; it runs nothing")
                    .hint("lyrox db migrate"));
            }
            steps.push(Step::forward(*store, file, part, Action::Record));
        }
    }
    Ok(steps)
}

fn refused(what: String) -> Error {
    Error::new(Code::Baseline, what).data("nothing was changed")
}

/// Reads what a baseline would record; no lock, nothing is written.
///
/// # Errors
/// As [`plan`], or a store that cannot be read.
pub async fn preview(work: Work<'_>, files: &[Migration], to: Option<&Version>) -> Result<Vec<Step>> {
    let mut stores = work.open().await?;
    let ledgers = migrate::ledgers(&mut stores, files).await;
    close(stores).await;
    let ledgers = ledgers?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    plan(files, &ledgers, to)
}

/// Tells what a baseline would record.
pub fn tell(work: Work<'_>, steps: &[Step]) {
    for step in steps {
        let item = Item::pass(item_id(step), step.label()).store(step.store).change(Change::Planned);
        work.events.item(item.detail("recorded, not run"));
    }
}

/// Records the files under the lock and keeps snapshots.
///
/// # Errors
/// As [`preview`]; what fails while rows are written is an item.
pub async fn baseline(work: Work<'_>, files: &[Migration], to: Option<&Version>) -> Result<Outcome> {
    let mut stores = work.open().await?;
    let result = with_lock(&mut stores, work.wait, work.events, async |stores| {
        let ledgers = migrate::ledgers(stores, files).await?;
        guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
        let mut by_store: BTreeMap<StoreKind, Vec<Step>> = BTreeMap::new();
        for step in plan(files, &ledgers, to)? {
            by_store.entry(step.store).or_default().push(step);
        }
        let mut outcome = Outcome::default();
        for (kind, steps) in by_store {
            let ledger = ledgers.iter().find(|(store, _)| *store == kind).map(|(_, ledger)| ledger);
            if let Some(ledger) = ledger {
                record(work, stores, &steps, ledger, &mut outcome).await?;
            }
        }
        let ledgers = migrate::ledgers(stores, files).await?;
        migrate::settle(work, stores, files, &ledgers).await?;
        Ok(outcome)
    })
    .await;
    close(stores).await;
    result
}

/// Writes the rows of one store, and the copies that another keeps of them.
pub(super) async fn record(
    work: Work<'_>,
    stores: &mut [AnyStore],
    steps: &[Step],
    ledger: &Ledger,
    outcome: &mut Outcome,
) -> Result<()> {
    let Some(kind) = steps.first().map(|step| step.store) else { return Ok(()) };
    let Some(store) = stores.iter_mut().find(|store| store.kind() == kind) else {
        return Err(Error::bug(format!("{kind} is not part of the run")));
    };
    store.prepare(&work.mark()).await?;
    let applied = store.apply(steps, &work.options(ledger), &super::event::Silent).await;
    outcome.done += applied.done.len();
    for done in &applied.done {
        let title = label(&done.row.version, &done.row.name);
        let item = Item::pass(format!("{kind}.{}", done.row.version), title).store(kind).change(Change::Recorded);
        work.events.item(item.detail("not run").elapsed(done.elapsed));
    }
    migrate::copy(stores, applied.done.iter().map(|done| done.row.clone()).collect()).await?;
    if let Some((index, error)) = applied.failure {
        let step = &steps[index.min(steps.len() - 1)];
        work.events.item(Item::fail(item_id(step), step.label(), &error).store(kind));
        outcome.has_failed = true;
    }
    Ok(())
}
