//! Migrating: lock, read the ledgers, plan, check every file, apply in one order across the stores,
//! grant, keep snapshots. Forward and back are the same road.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join_all, select, try_join_all};

use super::event::{Event, Events};
use super::guard::{self, Permit};
use super::ledger::{Ledger, Mark, Row, State, head};
use super::lock::with_lock;
use super::plan::{Drift, Goal, Plan, Step, plan};
use crate::config::{Config, Targets};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, label};
use crate::report::{Change, Item};
use crate::stores::{AnyStore, ApplyOptions, Preview, Store};

/// What all operations on the stores of a project need.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The servers.
    pub targets: &'a Targets,
    /// Who listens.
    pub events: &'a dyn Events,
    /// How long to wait for the lock.
    pub wait: Duration,
}

impl Work<'_> {
    /// The environment as the stores remember it.
    pub fn mark(&self) -> Mark {
        Mark { environment: self.config.environment.clone(), is_protected: self.config.is_protected }
    }

    /// Connects to every store, side by side.
    ///
    /// # Errors
    /// The first store, in order, that cannot be reached; nothing was changed.
    pub async fn open(&self) -> Result<Vec<AnyStore>> {
        let opened = join_all(self.targets.stores.iter().map(|target| AnyStore::open(self.config, target))).await;
        opened.into_iter().collect::<Result<Vec<_>>>().map_err(|error| error.data_if_none("nothing was changed"))
    }

    /// Connects to every store and reads its ledger, without a lock, while `read` reads the files, which takes
    /// about as long.
    ///
    /// # Errors
    /// What is wrong with a file, before what is wrong with a server.
    pub async fn open_reading<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<(Opened, T)> {
        let opening = async {
            let mut stores = self.open().await?;
            let ledgers = ledgers(&mut stores).await?;
            Ok(Opened { stores, ledgers })
        };
        let reading = async { tokio::task::spawn_blocking(read).await.map_err(|error| Error::bug(error.to_string()))? };
        let (mut opening, mut reading) = (pin!(opening), pin!(reading));
        match select(&mut opening, &mut reading).await {
            Either::Left((opened, reading)) => {
                let read = reading.await?;
                Ok((opened?, read))
            }
            Either::Right((read, opening)) => {
                let read = read?;
                Ok((opening.await?, read))
            }
        }
    }

    /// How steps are to be run against a store with this ledger.
    pub(super) fn options(&self, ledger: &Ledger) -> ApplyOptions {
        ApplyOptions {
            is_empty: ledger.is_empty,
            transaction: self.config.settings.migrations.transaction,
            variables: self.config.variables.clone(),
        }
    }
}

/// The stores of a run, and their ledgers as they were before any lock was taken.
pub struct Opened {
    /// The stores, in order.
    pub stores: Vec<AnyStore>,
    /// The ledger of each.
    pub ledgers: Vec<(StoreKind, Ledger)>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that were done.
    pub done: usize,
    /// Whether something failed; its item is in the report.
    pub has_failed: bool,
}

/// Reads every ledger, side by side.
///
/// # Errors
/// A ledger that cannot be read, or was written by a newer lyrox.
pub async fn ledgers<S: Store>(stores: &mut [S]) -> Result<Vec<(StoreKind, Ledger)>> {
    try_join_all(stores.iter_mut().map(async |store| Ok((store.kind(), store.ledger().await?)))).await
}

/// The marks of the ledgers, as the guard wants them.
pub fn marks(ledgers: &[(StoreKind, Ledger)]) -> Vec<(StoreKind, Option<Mark>)> {
    ledgers.iter().map(|(store, ledger)| (*store, ledger.mark.clone())).collect()
}

/// The own rows of every ledger, as the planner wants them.
pub fn rows(ledgers: &[(StoreKind, Ledger)]) -> BTreeMap<StoreKind, Vec<Row>> {
    ledgers.iter().map(|(store, ledger)| (*store, ledger.rows.clone())).collect()
}

/// Applies what is pending up to the goal.
///
/// # Errors
/// What kept the run from starting: nothing was changed. A migration that fails is an item, not an error.
pub async fn migrate(work: Work<'_>, files: &[Migration], goal: &Goal) -> Result<Outcome> {
    let mut stores = work.open().await?;
    let ledgers = ledgers(&mut stores).await?;
    migrate_open(work, Opened { stores, ledgers }, files, goal).await
}

/// The same over stores that are already open.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_open(work: Work<'_>, opened: Opened, files: &[Migration], goal: &Goal) -> Result<Outcome> {
    let Opened { mut stores, ledgers } = opened;
    let result = if is_settled(work, &mut stores, &ledgers, files, goal).await? {
        Ok(Outcome::default())
    } else {
        with_lock(&mut stores, work.wait, work.events, async |stores| {
            let ledgers = current(work, stores).await?;
            run(work, stores, files, ledgers, goal, None).await
        })
        .await
    };
    close(stores).await;
    result
}

/// Looks, without a lock and without changing anything, whether there is nothing to do: then nobody has to
/// wait for another run. Whatever is not as it should be is left to the run under the lock.
async fn is_settled(
    work: Work<'_>,
    stores: &mut [AnyStore],
    ledgers: &[(StoreKind, Ledger)],
    files: &[Migration],
    goal: &Goal,
) -> Result<bool> {
    let is_whole = |ledger: &Ledger| {
        ledger.mark.is_some() && !ledger.is_resetting && ledger.snapshot_head == Some(head(&ledger.rows))
    };
    if !ledgers.iter().all(|(_, ledger)| is_whole(ledger)) {
        return Ok(false);
    }
    guard::refuse_other_mark(work.config, &marks(ledgers))?;
    refuse_lost_rows(ledgers)?;
    let Ok(plan) = plan(files, &rows(ledgers), goal) else { return Ok(false) };
    if !plan.steps.is_empty() || !missing_copies(ledgers).is_empty() {
        return Ok(false);
    }
    let granted = try_join_all(stores.iter_mut().map(Store::is_granted)).await?;
    let is_settled = granted.into_iter().all(|is_granted| is_granted);
    if is_settled {
        work.events.event(Event::Heading(heading(work.config, &plan, goal)));
    }
    Ok(is_settled)
}

/// Reads the ledgers under the lock, refuses what must be refused, finishes a reset that was cut short.
async fn current(work: Work<'_>, stores: &mut [AnyStore]) -> Result<Vec<(StoreKind, Ledger)>> {
    let ledgers = ledgers(stores).await?;
    guard::refuse_other_mark(work.config, &marks(&ledgers))?;
    let mut has_finished = false;
    for (store, (kind, ledger)) in stores.iter_mut().zip(&ledgers) {
        let permit = guard::permit_resume(work.config, ledger.mark.as_ref(), ledger.is_resetting)?;
        if let Some(permit) = permit {
            work.events.note(format!("{kind}: a reset was cut short here; finishing it first"));
            store.wipe(&permit, false, work.events).await?;
            store.finish_reset().await?;
            has_finished = true;
        }
    }
    if has_finished { self::ledgers(stores).await } else { Ok(ledgers) }
}

/// Plans and applies under a lock that is already held.
pub(super) async fn run(
    work: Work<'_>,
    stores: &mut [AnyStore],
    files: &[Migration],
    ledgers: Vec<(StoreKind, Ledger)>,
    goal: &Goal,
    permit: Option<&Permit>,
) -> Result<Outcome> {
    refuse_lost_rows(&ledgers)?;
    let mut outcome = Outcome::default();
    let plan = match plan(files, &rows(&ledgers), goal) {
        Ok(plan) => plan,
        Err(drift) => {
            tell_drift(work.events, &with_texts(stores, drift).await);
            outcome.has_failed = true;
            return Ok(outcome);
        }
    };
    if plan.steps.iter().any(|step| step.action == super::plan::Action::Revert) && permit.is_none() {
        return Err(Error::bug("a revert without a permit"));
    }
    work.events.event(Event::Heading(heading(work.config, &plan, goal)));
    let options: BTreeMap<StoreKind, ApplyOptions> =
        ledgers.iter().map(|(store, ledger)| (*store, work.options(ledger))).collect();
    preview(stores, &plan, &options)?;

    let has_work = !plan.steps.is_empty();
    if has_work || ledgers.iter().any(|(_, ledger)| ledger.mark.is_none()) {
        let mark = work.mark();
        try_join_all(stores.iter_mut().map(|store| store.prepare(&mark))).await?;
    }
    copy(stores, missing_copies(&ledgers)).await?;
    for batch in plan.batches() {
        if work.events.is_cancelled() {
            break;
        }
        let kind = batch[0].store;
        let (Some(store), Some(options)) = (stores.iter_mut().find(|store| store.kind() == kind), options.get(&kind))
        else {
            return Err(Error::bug(format!("a step for {kind}, which is not part of the run")));
        };
        let applied = store.apply(batch, options, work.events).await;
        outcome.done += applied.done.len();
        if kind != StoreKind::Postgres {
            copy(stores, applied.done.iter().map(|done| done.row.clone()).collect()).await?;
        }
        if let Some((index, error)) = applied.failure {
            let step = batch.get(index).unwrap_or(&batch[0]);
            work.events.item(Item::fail(item_id(step), step.label(), &error).store(kind));
            outcome.has_failed = true;
            break;
        }
    }
    settle(work, stores).await?;
    Ok(outcome)
}

/// The id of a step's item.
pub fn item_id(step: &Step) -> String {
    format!("{}.{}", step.store, step.version)
}

/// Fetches the applied texts that the drift wants to show, where the ledgers left them out.
pub async fn with_texts(stores: &mut [AnyStore], mut drift: Vec<Drift>) -> Vec<Drift> {
    for drift in &mut drift {
        let Drift::Edited { row, .. } = drift else { continue };
        if let Some(store) = stores.iter_mut().find(|store| store.kind() == row.store && row.text.is_none()) {
            // The edit is told with or without its difference.
            row.text = store.applied_text(&row.version).await.unwrap_or_default();
        }
    }
    drift
}

fn tell_drift(events: &dyn Events, drift: &[Drift]) {
    for drift in drift {
        let (store, subject) = drift.subject();
        events.item(Item::fail(format!("{store}.{subject}"), subject, &drift.error()).store(store));
    }
}

fn heading(config: &Config, plan: &Plan, goal: &Goal) -> String {
    let is_back = matches!(goal, Goal::Back(_) | Goal::BackTo(_));
    let counts: Vec<String> = plan.counts().iter().map(|(store, count)| format!("{count} on {store}")).collect();
    let what = match (counts.is_empty(), is_back) {
        (true, false) => "nothing pending".to_owned(),
        (true, true) => "nothing to roll back".to_owned(),
        (false, false) => format!("pending: {}", counts.join(", ")),
        (false, true) => format!("rolling back: {}", counts.join(", ")),
    };
    format!("{} ({}): {what}", config.settings.project.name, config.environment)
}

/// Checks every file of the plan before anything is sent.
fn preview(stores: &[AnyStore], plan: &Plan, options: &BTreeMap<StoreKind, ApplyOptions>) -> Result<Vec<Preview>> {
    let mut shown: Vec<Option<Preview>> = vec![None; plan.steps.len()];
    for store in stores {
        let Some(options) = options.get(&store.kind()) else { continue };
        let indices: Vec<usize> =
            (0..plan.steps.len()).filter(|index| plan.steps[*index].store == store.kind()).collect();
        let steps: Vec<Step> = indices.iter().map(|index| plan.steps[*index].clone()).collect();
        let previews = store.preview(&steps, options).map_err(|error| error.data_if_none("nothing was changed"))?;
        for (index, preview) in indices.into_iter().zip(previews) {
            shown[index] = Some(preview);
        }
    }
    Ok(shown.into_iter().flatten().collect())
}

/// A store whose ledger lacks rows that PostgreSQL recorded for it was emptied behind our back.
fn refuse_lost_rows(ledgers: &[(StoreKind, Ledger)]) -> Result<()> {
    let copies = ledgers.iter().flat_map(|(_, ledger)| &ledger.copies);
    for copy in copies.filter(|copy| copy.state == State::Applied) {
        let Some((_, own)) = ledgers.iter().find(|(store, _)| *store == copy.store) else { continue };
        if !own.rows.iter().any(|row| row.version == copy.version) {
            return Err(Error::new(
                Code::LedgerBehind,
                format!("{} has lost {}, which was applied to it", copy.store, label(&copy.version, &copy.name)),
            )
            .why(format!(
                "PostgreSQL recorded it on {}; the store was emptied, evicted or restored since",
                copy.started_at
            ))
            .data("nothing was changed")
            .hint(format!(
                "lyrox db repair --replay {0} to run its migrations again, --record {0} if its data is there",
                copy.store
            )));
        }
    }
    Ok(())
}

/// Rows of other stores that PostgreSQL does not have, or has otherwise.
fn missing_copies(ledgers: &[(StoreKind, Ledger)]) -> Vec<Row> {
    let Some((_, postgres)) = ledgers.iter().find(|(store, _)| *store == StoreKind::Postgres) else {
        return Vec::new();
    };
    let others = ledgers.iter().filter(|(store, _)| *store != StoreKind::Postgres);
    let rows = others.flat_map(|(_, ledger)| &ledger.rows);
    let copies: HashMap<_, _> = postgres.copies.iter().map(|copy| ((copy.store, &copy.version), copy)).collect();
    let is_copied = |row: &&Row| {
        let copy = copies.get(&(row.store, &row.version));
        copy.is_some_and(|copy| copy.checksum == row.checksum && copy.state == row.state)
    };
    rows.filter(|row| !is_copied(row)).cloned().collect()
}

async fn copy(stores: &mut [AnyStore], rows: Vec<Row>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    match stores.iter_mut().find(|store| store.kind() == StoreKind::Postgres) {
        Some(postgres) => postgres.copy_rows(&rows).await,
        None => Ok(()),
    }
}

/// After the steps: grants, and a snapshot of every store whose kept one is not of its head.
pub(super) async fn settle(work: Work<'_>, stores: &mut [AnyStore]) -> Result<()> {
    try_join_all(stores.iter_mut().map(async |store| {
        store.grant(work.events).await?;
        let ledger = store.ledger().await?;
        let head = head(&ledger.rows);
        if ledger.mark.is_some() && ledger.snapshot_head.as_ref() != Some(&head) {
            let mut snapshot = store.snapshot().await?;
            snapshot.head = head;
            store.keep_snapshot(&snapshot).await?;
        }
        Ok::<(), Error>(())
    }))
    .await?;
    Ok(())
}

/// Closes every connection politely.
pub async fn close(stores: Vec<AnyStore>) {
    join_all(stores.into_iter().map(Store::close)).await;
}

/// What a dry run shows: each step and its preview.
#[derive(Debug, Default)]
pub struct DryRun {
    /// The steps with their transaction and statements.
    pub steps: Vec<(Step, Preview)>,
}

/// Plans without changing anything: no lock, no ledger is made.
///
/// # Errors
/// As [`migrate`], for what kept it from planning.
pub async fn dry_run(work: Work<'_>, opened: Opened, files: &[Migration], goal: &Goal) -> Result<DryRun> {
    let Opened { mut stores, ledgers } = opened;
    guard::refuse_other_mark(work.config, &marks(&ledgers))?;
    refuse_lost_rows(&ledgers)?;
    let plan = match plan(files, &rows(&ledgers), goal) {
        Ok(plan) => plan,
        Err(drift) => {
            tell_drift(work.events, &with_texts(&mut stores, drift).await);
            return Ok(DryRun::default());
        }
    };
    work.events.event(Event::Heading(heading(work.config, &plan, goal)));
    let options = ledgers.iter().map(|(store, ledger)| (*store, work.options(ledger))).collect();
    let previews = preview(&stores, &plan, &options)?;
    close(stores).await;
    for (step, preview) in plan.steps.iter().zip(&previews) {
        let count = preview.count as u64;
        let boundary =
            preview.transaction.map_or_else(|| "no transaction".to_owned(), |number| format!("transaction {number}"));
        let detail = format!("{count} {}, {boundary}", step.store.step_word(count));
        work.events
            .item(Item::pass(item_id(step), step.label()).store(step.store).change(Change::Planned).detail(detail));
    }
    Ok(DryRun { steps: plan.steps.into_iter().zip(previews).collect() })
}

/// What a rollback would undo: read without a lock, for the question.
///
/// # Errors
/// Drift, a step without a `.down` file, or a store that cannot be read.
pub async fn plan_back(
    work: Work<'_>,
    files: &[Migration],
    goal: &Goal,
) -> Result<(Plan, Vec<(StoreKind, Option<Mark>)>)> {
    let mut stores = work.open().await?;
    let ledgers = ledgers(&mut stores).await?;
    guard::refuse_other_mark(work.config, &marks(&ledgers))?;
    let planned = match plan(files, &rows(&ledgers), goal) {
        Ok(plan) => Ok(plan),
        Err(drift) => Err(with_texts(&mut stores, drift).await),
    };
    close(stores).await;
    let plan = planned.map_err(|drift| match drift.first() {
        Some(drift) => drift.error(),
        None => Error::bug("drift without a reason"),
    })?;
    refuse_irreversible(&plan)?;
    Ok((plan, marks(&ledgers)))
}

fn refuse_irreversible(plan: &Plan) -> Result<()> {
    match plan.steps.iter().find(|step| std::sync::Arc::ptr_eq(&step.script, &step.up)) {
        None => Ok(()),
        Some(step) => {
            let down = step.up.path.replace(".up.", ".down.");
            Err(Error::new(Code::Irreversible, format!("{} on {} has no way back", step.label(), step.store))
                .data("nothing was changed")
                .hint(format!("write `{down}`, or undo it with a new migration: lyrox db new NAME")))
        }
    }
}

/// Undoes what was agreed on.
///
/// # Errors
/// The plan changed since the question, or what kept the run from starting: nothing was changed.
pub async fn rollback(
    work: Work<'_>,
    files: &[Migration],
    goal: &Goal,
    agreed: &Plan,
    permit: &Permit,
) -> Result<Outcome> {
    let mut stores = work.open().await?;
    let result = with_lock(&mut stores, work.wait, work.events, async |stores| {
        let ledgers = current(work, stores).await?;
        if let Ok(now) = plan(files, &rows(&ledgers), goal) {
            let labels = |plan: &Plan| plan.steps.iter().map(|step| (step.store, step.label())).collect::<Vec<_>>();
            if labels(&now) != labels(agreed) {
                return Err(Error::new(Code::Unfinished, "another run changed what there is to roll back")
                    .data("nothing was changed")
                    .hint("lyrox db status shows where things stand"));
            }
            refuse_irreversible(&now)?;
        }
        run(work, stores, files, ledgers, goal, Some(permit)).await
    })
    .await;
    close(stores).await;
    result
}
