//! Migrating: lock, read the ledgers, plan, check every file, apply in one order across the stores,
//! grant, keep snapshots. Forward and back are the same road.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, join_all, select, try_join_all};

use super::adopt::adopt;
use super::back::{origin, undone};
use super::event::{Event, Events};
use super::guard::{self, Permit};
use super::ledger::{Ledger, Mark, Row, State, head, next_run, witness};
use super::lock::with_lock;
use super::plan::{Action, Drift, Goal, Plan, Step, plan};
use super::repeatables;
use crate::config::{Config, Origin, Targets};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::hooks;
use crate::project::migration::{Migration, Version, label};
use crate::report::{Change, Item, plural};
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
        self.events.contact(self.targets);
        for target in &self.targets.stores {
            if let Origin::Derived(_) = target.direct.origin {
                let place = target.direct.url.authority();
                self.events.note(format!("{}: `direct_url` is not set; past the pooler, through {place}", target.kind));
            }
        }
        let opened = join_all(self.targets.stores.iter().map(|target| AnyStore::open(self.config, target))).await;
        opened.into_iter().collect::<Result<Vec<_>>>().map_err(|error| error.data_if_none("nothing was changed"))
    }

    /// Connects to every store and reads its ledger, without a lock, while `read` reads the files, which takes
    /// about as long.
    ///
    /// # Errors
    /// What is wrong with a file, before what is wrong with a server.
    pub async fn open_reading(
        &self,
        read: impl FnOnce() -> Result<Vec<Migration>> + Send + 'static,
    ) -> Result<(Opened, Vec<Migration>)> {
        let opening = async {
            let mut stores = self.open().await?;
            let ledgers = states(&mut stores).await?;
            Ok(Opened { stores, ledgers })
        };
        let reading = async { tokio::task::spawn_blocking(read).await.map_err(|error| Error::bug(error.to_string()))? };
        let (mut opening, mut reading) = (pin!(opening), pin!(reading));
        let (mut opened, files): (Opened, Vec<Migration>) = match select(&mut opening, &mut reading).await {
            Either::Left((opened, reading)) => {
                let files = reading.await?;
                (opened?, files)
            }
            Either::Right((files, opening)) => {
                let files = files?;
                (opening.await?, files)
            }
        };
        for (store, ledger) in &mut opened.ledgers {
            adopt(&files, *store, ledger);
        }
        Ok((opened, files))
    }

    /// How steps are to be run against a store with this ledger.
    pub(super) fn options(&self, ledger: &Ledger) -> ApplyOptions {
        ApplyOptions {
            run: String::new(),
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

/// Reads marks and states, side by side; the rows are not those in force where another tool's history is kept.
///
/// # Errors
/// As [`ledgers`].
pub async fn states<S: Store>(stores: &mut [S]) -> Result<Vec<(StoreKind, Ledger)>> {
    try_join_all(stores.iter_mut().map(async |store| Ok((store.kind(), store.ledger().await?)))).await
}

/// Reads every ledger, side by side; with another tool's history, what that says is in force.
///
/// # Errors
/// A ledger that cannot be read, or was written by a newer lyrox.
pub async fn ledgers<S: Store>(stores: &mut [S], files: &[Migration]) -> Result<Vec<(StoreKind, Ledger)>> {
    let read = stores.iter_mut().map(async |store| {
        let mut ledger = store.ledger().await?;
        adopt(files, store.kind(), &mut ledger);
        Ok((store.kind(), ledger))
    });
    try_join_all(read).await
}

/// Plans from ledgers as [`ledgers`] read them.
///
/// # Errors
/// As [`plan`]; what another tool's history says against it.
pub fn planned(files: &[Migration], ledgers: &[(StoreKind, Ledger)], goal: &Goal) -> Result<Plan, Vec<Drift>> {
    let mut drift: Vec<Drift> = ledgers.iter().flat_map(|(_, ledger)| ledger.drift.clone()).collect();
    match plan(files, &rows(ledgers), goal) {
        Ok(plan) if drift.is_empty() => Ok(plan),
        Ok(_) => Err(drift),
        Err(more) => {
            drift.extend(more);
            Err(drift)
        }
    }
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
    let ledgers = ledgers(&mut stores, files).await?;
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
            let ledgers = current(work, stores, files).await?;
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
    if goal.is_back() {
        return Ok(false);
    }
    let is_whole = |ledger: &Ledger| {
        let has_snapshot = ledger.snapshot_head == Some(head(&ledger.rows));
        ledger.mark.is_some() && !ledger.is_resetting && ledger.rebuild.is_empty() && has_snapshot
    };
    if !ledgers.iter().all(|(_, ledger)| is_whole(ledger)) {
        return Ok(false);
    }
    guard::refuse_other_mark(work.config, &marks(ledgers))?;
    refuse_lost_rows(ledgers)?;
    let Ok(plan) = planned(files, ledgers, goal) else { return Ok(false) };
    if !plan.steps.is_empty() || !missing_copies(ledgers).is_empty() {
        return Ok(false);
    }
    let granted = try_join_all(stores.iter_mut().map(Store::is_granted)).await?;
    let is_settled = granted.into_iter().all(|is_granted| is_granted);
    if is_settled {
        work.events.event(Event::Heading(heading(work.config, &plan, goal)));
        tell_orphans(work.events, files, &rows(ledgers), goal);
    }
    Ok(is_settled)
}

/// Reads the ledgers under the lock, refuses what must be refused, finishes a reset that was cut short.
pub(super) async fn current(
    work: Work<'_>,
    stores: &mut [AnyStore],
    files: &[Migration],
) -> Result<Vec<(StoreKind, Ledger)>> {
    let ledgers = ledgers(stores, files).await?;
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
    if has_finished { self::ledgers(stores, files).await } else { Ok(ledgers) }
}

/// Plans and applies under a lock that is already held; then grants and snapshots.
pub(super) async fn run(
    work: Work<'_>,
    stores: &mut [AnyStore],
    files: &[Migration],
    ledgers: Vec<(StoreKind, Ledger)>,
    goal: &Goal,
    permit: Option<&Permit>,
) -> Result<Outcome> {
    let (outcome, ledgers) = advance(work, stores, files, ledgers, goal, permit).await?;
    if let Some(ledgers) = ledgers {
        settle(work, stores, files, &ledgers).await?;
    }
    Ok(outcome)
}

/// Plans and applies under a lock that is already held, and answers the ledgers as they are now; none where the files
/// and the ledgers disagree, which is told.
pub(super) async fn advance(
    work: Work<'_>,
    stores: &mut [AnyStore],
    files: &[Migration],
    ledgers: Vec<(StoreKind, Ledger)>,
    goal: &Goal,
    permit: Option<&Permit>,
) -> Result<(Outcome, Option<Vec<(StoreKind, Ledger)>>)> {
    refuse_lost_rows(&ledgers)?;
    let mut outcome = Outcome::default();
    let hooks = hooks::read(&work.config.root, &work.config.settings.migrations.dir)?;
    let kinds: Vec<StoreKind> = stores.iter().map(Store::kind).collect();
    let mut ledgers = with_kept(stores, files, ledgers, goal).await?;
    let known = rows(&ledgers);
    let plan = match planned(files, &ledgers, goal) {
        Ok(plan) => plan.with_hooks(&hooks, &kinds),
        Err(drift) => {
            tell_drift(work.events, &with_texts(stores, drift).await);
            outcome.has_failed = true;
            return Ok((outcome, None));
        }
    };
    if plan.steps.iter().any(|step| step.action == Action::Revert) && permit.is_none() {
        return Err(Error::bug("a revert without a permit"));
    }
    work.events.event(Event::Heading(heading(work.config, &plan, goal)));
    tell_orphans(work.events, files, &known, goal);
    let run_id = next_run(ledgers.iter().flat_map(|(_, ledger)| ledger.rows.iter().chain(&ledger.copies)));
    let options = |ledger: &Ledger| ApplyOptions { run: run_id.clone(), ..work.options(ledger) };
    let options: BTreeMap<StoreKind, ApplyOptions> =
        ledgers.iter().map(|(store, ledger)| (*store, options(ledger))).collect();
    preview(stores, &plan, &options)?;

    let has_work = !plan.steps.is_empty() || ledgers.iter().any(|(_, ledger)| !ledger.rebuild.is_empty());
    if has_work || ledgers.iter().any(|(_, ledger)| ledger.mark.is_none()) {
        let mark = work.mark();
        try_join_all(stores.iter_mut().map(|store| store.prepare(&mark))).await?;
    }
    take_over(work, stores, &ledgers).await?;
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
        copy(stores, applied.done.iter().map(|done| done.row.clone()).collect()).await?;
        if let Some((_, ledger)) = ledgers.iter_mut().find(|(store, _)| *store == kind) {
            let versions: HashSet<&Version> = applied.done.iter().map(|done| &done.row.version).collect();
            ledger.rows.retain(|row| !versions.contains(&row.version));
            ledger.rows.extend(applied.done.into_iter().map(|done| done.row));
        }
        if let Some((index, error)) = applied.failure {
            let step = batch.get(index).unwrap_or(&batch[0]);
            let error = if step.is_hook() { error.data_if_none("nothing of the hook is in effect") } else { error };
            work.events.item(Item::fail(item_id(step), step.label(), &error).store(kind));
            outcome.has_failed = true;
            break;
        }
    }
    tell_forgotten(work.events, &plan, goal);
    Ok((outcome, Some(ledgers)))
}

/// The id of a step's item.
pub fn item_id(step: &Step) -> String {
    match step.action {
        Action::Hook(moment) if step.version.as_str().is_empty() => format!("{}.{}", step.store, moment.word()),
        Action::Hook(moment) => format!("{}.{}.{}", step.store, step.version, moment.word()),
        _ => format!("{}.{}", step.store, step.version),
    }
}

/// Fetches the ways back that the ledgers keep of what the goal undoes.
async fn with_kept(
    stores: &mut [AnyStore],
    files: &[Migration],
    mut ledgers: Vec<(StoreKind, Ledger)>,
    goal: &Goal,
) -> Result<Vec<(StoreKind, Ledger)>> {
    let mut wanted: BTreeMap<StoreKind, Vec<Version>> = BTreeMap::new();
    if goal.is_back() {
        for row in undone(files, &rows(&ledgers), goal).into_iter().filter(|row| row.has_down) {
            wanted.entry(row.store).or_default().push(row.version.clone());
        }
    }
    for (kind, versions) in wanted {
        let Some(store) = stores.iter_mut().find(|store| store.kind() == kind) else { continue };
        let mut kept = store.kept_texts(&versions).await?;
        for row in ledgers.iter_mut().filter(|(store, _)| *store == kind).flat_map(|(_, ledger)| &mut ledger.rows) {
            row.down_text = kept.remove(&row.version).and_then(|kept| kept.down);
        }
    }
    Ok(ledgers)
}

/// A repeatable whose file is gone is no error: what it made is the user's to drop.
fn tell_orphans(events: &dyn Events, files: &[Migration], rows: &BTreeMap<StoreKind, Vec<Row>>, goal: &Goal) {
    if goal.is_back() {
        return;
    }
    for row in repeatables::orphans(files, rows) {
        events.note(format!("{} on {} has no file any more; what it made is still there", row.version, row.store));
    }
}

/// Says what else follows from a plan that only the ledger shows.
fn tell_forgotten(events: &dyn Events, plan: &Plan, goal: &Goal) {
    let count = plan.steps.iter().filter(|step| step.action == Action::Forget).count();
    if goal.is_back() && count > 0 {
        events.note(format!(
            "{} by the next lyrox db migrate",
            plural(count, "repeatable migration") + " will run again"
        ));
    }
}

/// Fetches the applied texts that the drift wants to show, where the ledgers left them out.
pub async fn with_texts(stores: &mut [AnyStore], mut drift: Vec<Drift>) -> Vec<Drift> {
    for drift in &mut drift {
        let (Drift::Edited { row, .. } | Drift::Missing { row }) = drift else { continue };
        if let Some(store) = stores.iter_mut().find(|store| store.kind() == row.store && row.text.is_none()) {
            // The edit is told with or without its difference.
            row.text = store.applied_text(&row.version).await.unwrap_or_default();
        }
    }
    drift.into_iter().map(Drift::refined).collect()
}

pub(super) fn tell_drift(events: &dyn Events, drift: &[Drift]) {
    for drift in drift {
        let (store, subject) = drift.subject();
        events.item(Item::fail(format!("{store}.{subject}"), subject, &drift.error()).store(store));
    }
}

pub(super) fn heading(config: &Config, plan: &Plan, goal: &Goal) -> String {
    let is_back = goal.is_back();
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

/// A store whose ledger lacks rows that another recorded for it was emptied behind our back.
fn refuse_lost_rows(ledgers: &[(StoreKind, Ledger)]) -> Result<()> {
    let Some((witness, copies)) = copies(ledgers) else { return Ok(()) };
    for copy in copies.iter().filter(|copy| copy.state == State::Applied) {
        let Some((_, own)) = ledgers.iter().find(|(store, _)| *store == copy.store) else { continue };
        if !own.rows.iter().any(|row| row.version == copy.version) {
            return Err(Error::new(
                Code::LedgerBehind,
                format!("{} has lost {}, which was applied to it", copy.store, label(&copy.version, &copy.name)),
            )
            .why(format!(
                "{} recorded it on {}; the store was emptied, evicted or restored since",
                witness.title(),
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

/// What the witness of a run recorded for the others.
pub(super) fn copies(ledgers: &[(StoreKind, Ledger)]) -> Option<(StoreKind, &[Row])> {
    let witness = witness(ledgers.iter().map(|(store, _)| *store))?;
    let (_, ledger) = ledgers.iter().find(|(store, _)| *store == witness)?;
    Some((witness, &ledger.copies))
}

/// Rows of other stores that the witness does not have, or has otherwise.
fn missing_copies(ledgers: &[(StoreKind, Ledger)]) -> Vec<Row> {
    let Some((witness, copies)) = copies(ledgers) else { return Vec::new() };
    let others = ledgers.iter().filter(|(store, _)| *store != witness);
    let rows = others.flat_map(|(_, ledger)| &ledger.rows);
    let copies: HashMap<_, _> = copies.iter().map(|copy| ((copy.store, &copy.version), copy)).collect();
    let is_copied = |row: &&Row| {
        let copy = copies.get(&(row.store, &row.version));
        copy.is_some_and(|copy| copy.checksum == row.checksum && copy.state == row.state)
    };
    rows.filter(|row| !is_copied(row)).cloned().collect()
}

/// Writes what another tool's history says into the ledger beside it.
async fn take_over(work: Work<'_>, stores: &mut [AnyStore], ledgers: &[(StoreKind, Ledger)]) -> Result<()> {
    for (kind, ledger) in ledgers.iter().filter(|(_, ledger)| !ledger.rebuild.is_empty()) {
        let (Some(store), Some(records)) =
            (stores.iter_mut().find(|store| store.kind() == *kind), ledger.foreign.as_ref())
        else {
            return Err(Error::bug(format!("rows of {kind} without a history")));
        };
        store.take_over(&ledger.rebuild).await?;
        let undone = ledger.rebuild.iter().filter(|row| row.state == State::Reverted).count();
        let applied = ledger.rebuild.len() - undone;
        let counts = [(applied, "applied"), (undone, "undone")].into_iter().filter(|(count, _)| *count > 0);
        let words: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        let item = Item::pass(format!("{kind}.history"), &records.table).store(*kind).change(Change::Recorded);
        work.events.item(item.detail(format!("{} by {}", words.join(", "), records.tool)));
    }
    Ok(())
}

/// Lets the witness keep copies of other stores' rows.
pub(super) async fn copy(stores: &mut [AnyStore], mut rows: Vec<Row>) -> Result<()> {
    let Some(witness) = witness(stores.iter().map(Store::kind)) else { return Ok(()) };
    rows.retain(|row| row.store != witness);
    match stores.iter_mut().find(|store| store.kind() == witness) {
        Some(store) if !rows.is_empty() => store.copy_rows(&rows).await,
        _ => Ok(()),
    }
}

/// After the steps: grants, and a snapshot of every store whose kept one is not of its head. `ledgers` are as the steps left
/// them.
pub(super) async fn settle(
    work: Work<'_>,
    stores: &mut [AnyStore],
    files: &[Migration],
    ledgers: &[(StoreKind, Ledger)],
) -> Result<()> {
    try_join_all(stores.iter_mut().map(async |store| {
        let kind = store.kind();
        // Where files and ledgers disagree, something is still to come.
        let has_pending = || {
            planned(files, ledgers, &Goal::Latest).map_or(true, |plan| plan.steps.iter().any(|step| step.store == kind))
        };
        store.grant(&has_pending, work.events).await?;
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
pub async fn dry_run(work: Work<'_>, files: &[Migration], goal: &Goal) -> Result<DryRun> {
    let mut stores = work.open().await?;
    let ledgers = ledgers(&mut stores, files).await?;
    dry_run_open(work, Opened { stores, ledgers }, files, goal).await
}

/// The same over stores that are already open.
///
/// # Errors
/// As [`dry_run`].
pub async fn dry_run_open(work: Work<'_>, opened: Opened, files: &[Migration], goal: &Goal) -> Result<DryRun> {
    let hooks = hooks::read(&work.config.root, &work.config.settings.migrations.dir)?;
    let Opened { mut stores, ledgers } = opened;
    guard::refuse_other_mark(work.config, &marks(&ledgers))?;
    refuse_lost_rows(&ledgers)?;
    let kinds: Vec<StoreKind> = stores.iter().map(Store::kind).collect();
    let ledgers = with_kept(&mut stores, files, ledgers, goal).await?;
    let known = rows(&ledgers);
    refuse_unknown(files, &known, goal)?;
    let plan = match planned(files, &ledgers, goal) {
        Ok(plan) => plan.with_hooks(&hooks, &kinds),
        Err(drift) => {
            tell_drift(work.events, &with_texts(&mut stores, drift).await);
            return Ok(DryRun::default());
        }
    };
    work.events.event(Event::Heading(heading(work.config, &plan, goal)));
    tell_orphans(work.events, files, &known, goal);
    let options = ledgers.iter().map(|(store, ledger)| (*store, work.options(ledger))).collect();
    // What cannot be undone has no text to look at.
    let (lost, runs): (Vec<Step>, Vec<Step>) = plan.steps.into_iter().partition(Step::is_irreversible);
    let plan = Plan { steps: runs };
    let previews = preview(&stores, &plan, &options)?;
    close(stores).await;
    for step in &lost {
        work.events.item(Item::fail(item_id(step), step.label(), &irreversible(step)).store(step.store));
    }
    for (step, preview) in plan.steps.iter().zip(&previews) {
        if step.action == Action::Forget {
            continue;
        }
        let count = preview.count as u64;
        let boundary =
            preview.transaction.map_or_else(|| "no transaction".to_owned(), |number| format!("transaction {number}"));
        let detail = match step.action {
            Action::Record => "only recorded".to_owned(),
            _ => format!("{count} {}, {boundary}", step.store.step_word(count)),
        };
        let remark = remark(step, &known);
        let detail = if remark.is_empty() { detail } else { format!("{detail}, {remark}") };
        work.events
            .item(Item::pass(item_id(step), step.label()).store(step.store).change(Change::Planned).detail(detail));
    }
    Ok(DryRun { steps: plan.steps.into_iter().zip(previews).collect() })
}

/// What a person should know of a step before it runs: that there is no way back, or whose way back it is.
pub fn remark(step: &Step, rows: &BTreeMap<StoreKind, Vec<Row>>) -> &'static str {
    if step.will_be_irreversible() {
        return "irreversible";
    }
    if step.action != Action::Revert {
        return "";
    }
    let row = rows.get(&step.store).and_then(|rows| rows.iter().find(|row| row.version == step.version));
    origin(step, row.and_then(|row| row.down_text.as_deref()))
}

/// What a rollback is asked about.
#[derive(Debug)]
pub struct Agreement {
    /// What would be undone.
    pub plan: Plan,
    /// The marks of the stores.
    pub marks: Vec<(StoreKind, Option<Mark>)>,
    /// For each step of the plan, what a person should know of it; empty where there is nothing.
    pub remarks: Vec<&'static str>,
}

/// What a rollback would undo: read without a lock, for the question.
///
/// # Errors
/// Drift, a step without a way back, or a store that cannot be read.
pub async fn plan_back(work: Work<'_>, files: &[Migration], goal: &Goal) -> Result<Agreement> {
    let mut stores = work.open().await?;
    let ledgers = ledgers(&mut stores, files).await?;
    guard::refuse_other_mark(work.config, &marks(&ledgers))?;
    let ledgers = with_kept(&mut stores, files, ledgers, goal).await?;
    let known = rows(&ledgers);
    refuse_unknown(files, &known, goal)?;
    let planned = match planned(files, &ledgers, goal) {
        Ok(plan) => Ok(plan),
        Err(drift) => Err(with_texts(&mut stores, drift).await),
    };
    close(stores).await;
    let plan = planned.map_err(|drift| match drift.first() {
        Some(drift) => drift.error(),
        None => Error::bug("drift without a reason"),
    })?;
    refuse_irreversible(&plan)?;
    let remarks = plan.steps.iter().map(|step| remark(step, &known)).collect();
    Ok(Agreement { plan, marks: marks(&ledgers), remarks })
}

/// A version that neither a file nor a ledger has is a typing error.
fn refuse_unknown(files: &[Migration], rows: &BTreeMap<StoreKind, Vec<Row>>, goal: &Goal) -> Result<()> {
    let (Goal::BackTo(version) | Goal::BackOne(version)) = goal else { return Ok(()) };
    let is_known = version.as_str() == "0"
        || files.iter().any(|file| file.version == *version)
        || rows.values().flatten().any(|row| row.version == *version);
    if is_known {
        return Ok(());
    }
    Err(Error::new(Code::Usage, format!("there is no version `{version}`"))
        .data("nothing was changed")
        .hint("lyrox db status lists them"))
}

fn refuse_irreversible(plan: &Plan) -> Result<()> {
    plan.steps.iter().find(|step| step.is_irreversible()).map_or(Ok(()), |step| Err(irreversible(step)))
}

fn irreversible(step: &Step) -> Error {
    let error = Error::new(Code::Irreversible, format!("{} on {} has no way back", step.label(), step.store))
        .data("nothing was changed");
    let down = step.up.path.replace(".up.", ".down.");
    match step.up.path.rsplit_once('.') {
        _ if step.up.foreign.is_some() && down == step.up.path => {
            error.hint("undo it with a new migration: lyrox db new NAME")
        }
        Some((stem, ending)) if step.up.path.contains('/') => {
            let stem = stem.strip_suffix(".up").unwrap_or(stem);
            error.hint(format!("write `{stem}.down.{ending}`, or undo it with a new migration: lyrox db new NAME"))
        }
        _ => error
            .why("its file is gone, and the ledger keeps no way back for it")
            .hint("bring its file back (git checkout)"),
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
        let ledgers = current(work, stores, files).await?;
        let ledgers = with_kept(stores, files, ledgers, goal).await?;
        if let Ok(now) = planned(files, &ledgers, goal) {
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
