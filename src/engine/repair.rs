//! Repairing what no run can settle by itself: a store that has lost its ledger, and rows that only a person
//! can judge.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ledger::{Amendment, Ledger, Row, State};
use super::lock::with_lock;
use super::migrate::{self, Outcome, Work, close};
use super::plan::{Action, Goal, Step};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Part, Script, label};
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

/// Brings a store's ledger and the copy that another keeps of it together again.
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
            return Err(Error::new(Code::Usage, format!("{store} lacks nothing that another store recorded for it"))
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

/// Rows that another recorded for a store and the store itself does not have.
fn lost(ledgers: &[(StoreKind, Ledger)], store: StoreKind) -> Vec<Row> {
    let own =
        ledgers.iter().find(|(kind, _)| *kind == store).map(|(_, ledger)| ledger.rows.as_slice()).unwrap_or_default();
    // Another tool's history that is gone is written from the ledger.
    let is_gone = |ledger: &Ledger| ledger.foreign.as_ref().is_some_and(|records| !records.exists);
    if ledgers.iter().any(|(kind, ledger)| *kind == store && is_gone(ledger)) {
        return own.iter().filter(|row| row.state == State::Applied).cloned().collect();
    }
    let copies = migrate::copies(ledgers).map(|(_, copies)| copies).unwrap_or_default();
    copies
        .iter()
        .filter(|copy| copy.store == store && copy.state == State::Applied)
        .filter(|copy| !own.iter().any(|row| row.version == copy.version))
        .cloned()
        .collect()
}

/// A row that an amendment would change: what the question names.
#[derive(Clone, Debug)]
pub struct Affected {
    /// The row as it is.
    pub row: Row,
    /// The step it belongs to, with the file as it is now.
    step: Step,
}

impl Affected {
    /// `VERSION_name on STORE`.
    pub fn label(&self) -> String {
        format!("{} on {}", label(&self.row.version, &self.row.name), self.row.store)
    }
}

/// Reads which rows an amendment of a typed version would change; no lock, nothing is written.
///
/// # Errors
/// No such version, nothing to amend, or a store that cannot be read.
pub async fn affected(work: Work<'_>, files: &[Migration], typed: &str, what: Amendment) -> Result<Vec<Affected>> {
    let mut stores = work.open().await?;
    let ledgers = migrate::ledgers(&mut stores, files).await;
    close(stores).await;
    let ledgers = ledgers?;
    super::guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    rows_to_amend(files, &ledgers, typed, what)
}

/// Corrects rows as a person decided, under the lock.
///
/// # Errors
/// As [`affected`].
pub async fn amend(work: Work<'_>, files: &[Migration], typed: &str, what: Amendment) -> Result<Outcome> {
    let mut stores = work.open().await?;
    let result = with_lock(&mut stores, work.wait, work.events, async |stores| {
        let ledgers = migrate::ledgers(stores, files).await?;
        super::guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
        let mut outcome = Outcome::default();
        let mut amended = Vec::new();
        let rows = rows_to_amend(files, &ledgers, typed, what)?;
        take_in(work, stores, &rows).await?;
        for affected in rows {
            let kind = affected.row.store;
            let options = ledgers.iter().find(|(store, _)| *store == kind).map(|(_, ledger)| work.options(ledger));
            let store = stores.iter_mut().find(|store| store.kind() == kind);
            let (Some(store), Some(options)) = (store, options) else {
                return Err(Error::bug(format!("{kind} is not part of the run")));
            };
            let row = store.amend(&affected.step, what, &options).await?;
            let title = label(&row.version, &row.name);
            let item = Item::pass(format!("{kind}.{}", row.version), title).store(kind).change(Change::Updated);
            work.events.item(item.detail(told(what, &row)));
            amended.push(row);
            outcome.done += 1;
        }
        migrate::copy(stores, amended).await?;
        let ledgers = migrate::ledgers(stores, files).await?;
        migrate::settle(work, stores, files, &ledgers).await?;
        Ok(outcome)
    })
    .await;
    close(stores).await;
    result
}

/// What only another tool's history has gets its own row first: that is the one to correct.
async fn take_in(work: Work<'_>, stores: &mut [AnyStore], rows: &[Affected]) -> Result<()> {
    let own = migrate::states(stores).await?;
    for (store, (kind, ledger)) in stores.iter_mut().zip(&own) {
        let is_lacking = |row: &&Row| row.store == *kind && !ledger.rows.iter().any(|own| own.version == row.version);
        let lacking: Vec<Row> = rows.iter().map(|affected| &affected.row).filter(is_lacking).cloned().collect();
        if !lacking.is_empty() {
            store.prepare(&work.mark()).await?;
            store.take_over(&lacking).await?;
        }
    }
    Ok(())
}

fn told(what: Amendment, row: &Row) -> String {
    match what {
        Amendment::Done => format!("{} of {} in effect", row.steps_done, row.steps_total),
        Amendment::NotDone => format!("step {} of {} runs again", row.steps_done + 1, row.steps_total),
        Amendment::Accept => "the file counts as applied".into(),
        Amendment::Forget => "out of the ledger".into(),
    }
}

/// The rows that an amendment of a typed version concerns.
fn rows_to_amend(
    files: &[Migration],
    ledgers: &[(StoreKind, Ledger)],
    typed: &str,
    what: Amendment,
) -> Result<Vec<Affected>> {
    let rows = || ledgers.iter().flat_map(|(_, ledger)| &ledger.rows);
    let is_exact = |row: &&Row| row.version.as_str() == typed || label(&row.version, &row.name) == typed;
    let mut found: Vec<&Row> = rows().filter(is_exact).collect();
    if found.is_empty() {
        found = rows().filter(|row| row.version.as_str().starts_with(typed)).collect();
    }
    let none = |what: String| {
        Error::new(Code::Usage, what).data("nothing was changed").hint("lyrox db status shows where things stand")
    };
    let Some(first) = found.first() else { return Err(none(format!("no store has version `{typed}` in its ledger"))) };
    let version = first.version.clone();
    if found.iter().any(|row| row.version != version) {
        return Err(none(format!("several versions begin with `{typed}`")));
    }
    let file = files.iter().find(|file| file.version == version);
    let part = |row: &Row| file.and_then(|file| file.parts.get(&row.store));
    let is_unfinished = |row: &Row| matches!(row.state, State::Started | State::Failed);
    let concerns = |row: &&&Row| match what {
        // Only the store knows whether a step of a way back is in doubt.
        Amendment::Done | Amendment::NotDone => row.state != State::Reverted,
        Amendment::Accept => part(row).is_some_and(|part| {
            row.state != State::Reverted
                && (file.is_some_and(|file| file.name != row.name)
                    || row.state == State::Applied && part.up.checksum != row.checksum)
        }),
        Amendment::Forget => row.state != State::Reverted && (part(row).is_none() || is_unfinished(row)),
    };
    let mut concerned: Vec<&Row> = found.iter().filter(concerns).copied().collect();
    if matches!(what, Amendment::Done | Amendment::NotDone) && concerned.iter().any(|row| is_unfinished(row)) {
        concerned.retain(|row| is_unfinished(row));
    }
    let title = label(&version, &first.name);
    if concerned.is_empty() {
        return Err(match what {
            Amendment::Done | Amendment::NotDone => none(format!("{title} has no step in doubt")),
            Amendment::Accept => none(format!("the files of {title} are what was applied")),
            Amendment::Forget => none(format!("{title} is applied and has its files"))
                .hint(format!("undo it with lyrox db rollback, or delete the files of {title} first")),
        });
    }
    if concerned.len() > 1 && matches!(what, Amendment::Done | Amendment::NotDone) {
        let stores: Vec<&str> = concerned.iter().map(|row| row.store.name()).collect();
        return Err(none(format!("{title} is on several stores: {}", stores.join(", ")))
            .hint(format!("say which with --only {}", stores[0])));
    }
    Ok(concerned.into_iter().map(|row| affected_row(row, file, part(row))).collect())
}

fn affected_row(row: &Row, file: Option<&Migration>, part: Option<&Part>) -> Affected {
    let nothing = || Arc::new(Script { checksum: row.checksum.clone(), ..Script::default() });
    let up = part.map_or_else(nothing, |part| part.up.clone());
    let down = part.and_then(|part| part.down.clone());
    let step = Step {
        store: row.store,
        version: row.version.clone(),
        name: file.map_or_else(|| row.name.clone(), |file| file.name.clone()),
        action: Action::Record,
        script: down.clone().unwrap_or_else(|| up.clone()),
        up,
        down,
        resume_from: row.steps_done,
    };
    Affected { row: row.clone(), step }
}

async fn replay(work: Work<'_>, stores: &mut [AnyStore], files: &[Migration], mut lost: Vec<Row>) -> Result<Outcome> {
    for row in &mut lost {
        row.state = State::Reverted;
    }
    migrate::copy(stores, lost).await?;
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
            version: row.version.clone(),
            name: row.name.clone(),
            script: part.up.clone(),
            up: part.up.clone(),
            down: part.down.clone(),
            store: row.store,
            action: Action::Record,
            resume_from: 0,
        });
    }
    let mut outcome = Outcome::default();
    let kind = steps.first().map(|step| step.store);
    if let Some((_, ledger)) = ledgers.iter().find(|(store, _)| Some(*store) == kind) {
        super::baseline::record(work, stores, &steps, ledger, &mut outcome).await?;
    }
    let ledgers = migrate::ledgers(stores, files).await?;
    migrate::settle(work, stores, files, &ledgers).await?;
    Ok(outcome)
}
