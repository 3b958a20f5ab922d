//! Rehearsing: what is pending is tried where it can do no harm, and what it did is told. Live, PostgreSQL alone in one
//! transaction that is rolled back; else on scratch stores that stand as the live ones' migrations left them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Event;
use super::guard;
use super::ledger::{Ledger, Row};
use super::lock::with_lock;
use super::migrate::{self, Work, close, item_id};
use super::plan::{Goal, Plan, Step};
use super::trial::Trial;
use crate::error::{Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::report::Item;
use crate::stores::{AnyStore, ApplyOptions, Store as _};

/// What was tried, in order; it ends with the first step that failed.
pub type Tried = Vec<(Step, Trial)>;

/// Tries what is pending on the live PostgreSQL, each statement within the limit, and rolls it back.
///
/// # Errors
/// A protected environment, a file that no transaction can take back, or what kept it from starting.
pub async fn live(work: Work<'_>, files: &[Migration], goal: &Goal, limit: Duration) -> Result<Tried> {
    guard::refuse_protected(work.config, &[], "rehearsing on the live database")?;
    let mut stores = work.open().await?;
    let result = with_lock(&mut stores, work.wait, work.events, async |stores| {
        let ledgers = migrate::ledgers(stores, files).await?;
        guard::refuse_protected(work.config, &migrate::marks(&ledgers), "rehearsing on the live database")?;
        let Some(plan) = pending(work, files, stores, &ledgers, goal).await? else { return Ok(Tried::new()) };
        let (steps, others): (Vec<Step>, Vec<Step>) =
            plan.steps.into_iter().partition(|step| step.store == StoreKind::Postgres);
        let mut tried = Tried::new();
        if !steps.is_empty() {
            let postgres = find(stores, StoreKind::Postgres)?;
            let options = options(work, &ledgers, StoreKind::Postgres);
            let mut trials = postgres.rehearse(&steps, &options, Some(limit), work.events).await?;
            postgres.look_at(&mut trials).await?;
            tried.extend(steps.into_iter().zip(trials));
            tell(work, &tried);
        }
        for step in others {
            let item = Item::skip(item_id(&step), step.label()).store(step.store);
            work.events.item(item.detail("it cannot be taken back: rehearse it without --live"));
        }
        Ok(tried)
    })
    .await;
    close(stores).await;
    result
}

/// What is pending on the live stores, and the rows that are applied; reads only. None where files and ledgers
/// disagree: that was told.
///
/// # Errors
/// A store that cannot be read, or carries another mark.
pub async fn ahead(
    work: Work<'_>,
    stores: &mut [AnyStore],
    files: &[Migration],
    goal: &Goal,
) -> Result<Option<(Plan, BTreeMap<StoreKind, Vec<Row>>)>> {
    let ledgers = migrate::ledgers(stores, files).await?;
    let plan = pending(work, files, stores, &ledgers, goal).await?;
    Ok(plan.map(|plan| (plan, migrate::rows(&ledgers))))
}

/// Tries a plan on scratch stores that stand where the live ones stand, then asks the live ones, reading only, about what
/// was locked.
///
/// # Errors
/// A store that cannot be reached. A step that fails is in its trial.
pub async fn on_scratch(work: Work<'_>, scratch: &mut [AnyStore], plan: &Plan) -> Result<Tried> {
    let mut tried =
        with_lock(scratch, work.wait, work.events, async |scratch| try_plan(work, scratch, plan).await).await?;
    look_at_live(work, &mut tried).await?;
    tell(work, &tried);
    Ok(tried)
}

async fn try_plan(work: Work<'_>, scratch: &mut [AnyStore], plan: &Plan) -> Result<Tried> {
    let ledgers = migrate::states(scratch).await?;
    let mut tried = Tried::new();
    for batch in plan.batches() {
        if work.events.is_cancelled() {
            break;
        }
        let kind = batch[0].store;
        let options = ApplyOptions { is_empty: false, ..options(work, &ledgers, kind) };
        let trials = find(scratch, kind)?.rehearse(batch, &options, None, work.events).await?;
        let has_failed = trials.len() < batch.len() || trials.iter().any(|trial| trial.failure.is_some());
        tried.extend(batch.iter().cloned().zip(trials));
        if has_failed {
            break;
        }
    }
    Ok(tried)
}

async fn look_at_live(work: Work<'_>, tried: &mut Tried) -> Result<()> {
    let Some(target) = work.targets.get(StoreKind::Postgres) else { return Ok(()) };
    if tried.iter().all(|(_, trial)| trial.locks.is_empty()) {
        return Ok(());
    }
    let mut store = AnyStore::open(work.config, target).await?;
    let mut trials: Vec<Trial> = tried.iter_mut().map(|(_, trial)| std::mem::take(trial)).collect();
    let result = store.look_at(&mut trials).await;
    for ((_, place), trial) in tried.iter_mut().zip(trials) {
        *place = trial;
    }
    store.close().await;
    result
}

async fn pending(
    work: Work<'_>,
    files: &[Migration],
    stores: &mut [AnyStore],
    ledgers: &[(StoreKind, Ledger)],
    goal: &Goal,
) -> Result<Option<Plan>> {
    guard::refuse_other_mark(work.config, &migrate::marks(ledgers))?;
    match migrate::planned(files, ledgers, goal) {
        Ok(plan) => {
            work.events.event(Event::Heading(migrate::heading(work.config, &plan, goal)));
            Ok(Some(plan))
        }
        Err(drift) => {
            migrate::tell_drift(work.events, &migrate::with_texts(stores, drift).await);
            Ok(None)
        }
    }
}

fn tell(work: Work<'_>, tried: &Tried) {
    for (step, trial) in tried {
        let (id, label) = (item_id(step), step.label());
        let item = match &trial.failure {
            Some(error) => Item::fail(id, label, error),
            None if !trial.rewrites.is_empty() || trial.waits() => Item::warn(id, label).detail(trial.words()),
            None => Item::pass(id, label).detail(trial.words()),
        };
        work.events.item(item.store(step.store).elapsed(trial.elapsed));
    }
}

fn options(work: Work<'_>, ledgers: &[(StoreKind, Ledger)], kind: StoreKind) -> ApplyOptions {
    let ledger = ledgers.iter().find(|(store, _)| *store == kind).map(|(_, ledger)| ledger.clone());
    work.options(&ledger.unwrap_or_default())
}

fn find(stores: &mut [AnyStore], kind: StoreKind) -> Result<&mut AnyStore> {
    let found = stores.iter_mut().find(|store| store.kind() == kind);
    found.ok_or_else(|| Error::bug(format!("{kind} is not part of the rehearsal")))
}
