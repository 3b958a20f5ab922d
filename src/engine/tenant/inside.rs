//! Work inside one tenant: its migrations and its seeds, with the items told as that tenant's.

use std::sync::Mutex;

use super::registry::{Record, heads};
use super::{Tenant, shard};
use crate::config::Targets;
use crate::config::file::TenancyModel;
use crate::engine::baseline;
use crate::engine::event::{Event, Events};
use crate::engine::ledger::{State, head};
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::engine::seed;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{self, Migration, Version};
use crate::project::seed::Set;
use crate::report::{Item, Outcome};
use crate::stores::{AnyStore, Store as _};

/// Passes what is told inside a tenant on, with the tenant's name on it. Failures are kept for the caller as well.
pub struct Inside<'a> {
    events: &'a dyn Events,
    tenant: &'a Tenant,
    /// Only what failed is told: one of many tenants.
    is_brief: bool,
    failure: Mutex<Option<Item>>,
}

impl<'a> Inside<'a> {
    /// Listens for a tenant.
    pub fn new(events: &'a dyn Events, tenant: &'a Tenant, is_brief: bool) -> Self {
        Self { events, tenant, is_brief, failure: Mutex::new(None) }
    }

    /// The first item that failed.
    pub fn failure(&self) -> Option<Item> {
        self.failure.lock().ok()?.clone()
    }

    fn named(&self, mut item: Item) -> Item {
        item.id = format!("{}.{}", self.tenant.slug(), item.id);
        item.tenant = Some(self.tenant.key().to_owned());
        item
    }
}

impl Events for Inside<'_> {
    fn event(&self, event: Event) {
        match event {
            Event::Item(item) => {
                if item.outcome == Outcome::Fail
                    && let Ok(mut failure) = self.failure.lock()
                {
                    failure.get_or_insert_with(|| (*item).clone());
                }
                if !self.is_brief || item.outcome != Outcome::Pass {
                    self.events.item(self.named(*item));
                }
            }
            Event::Folded { line, items } if !self.is_brief => {
                let items = items.into_iter().map(|item| self.named(item)).collect();
                self.events.event(Event::Folded { line: Box::new(self.named(*line)), items });
            }
            Event::Note(text) if !self.is_brief => self.events.note(format!("{}: {text}", self.tenant.shown())),
            Event::Folded { .. } | Event::Note(_) | Event::Heading(_) | Event::Progress { .. } => {}
        }
    }

    fn is_cancelled(&self) -> bool {
        self.events.is_cancelled()
    }
}

/// The migrations that each tenant gets; none in the model `row`, and where there is no folder.
///
/// # Errors
/// As [`migration::read_all`].
pub fn files(work: Work<'_>) -> Result<Vec<Migration>> {
    let Some(tenancy) = &work.config.settings.tenancy else { return Ok(Vec::new()) };
    if tenancy.model == TenancyModel::Row || !work.config.root.join(&tenancy.migrations).is_dir() {
        return Ok(Vec::new());
    }
    let files = migration::read_all(&work.config.root, &tenancy.migrations)?;
    crate::engine::repeatables::check(&files)?;
    Ok(files)
}

/// The stores that a tenant's migrations have a part for.
pub fn stores(files: &[Migration]) -> Vec<StoreKind> {
    let has = |kind: &StoreKind| files.iter().any(|file| file.parts.contains_key(kind));
    StoreKind::ALL.into_iter().filter(has).collect()
}

/// Applies what is pending of a tenant's own migrations, at the shard where it is, and notes in its record where it is now.
///
/// # Errors
/// What kept it from starting, and what failed.
pub async fn migrate(work: Work<'_>, record: &mut Record, files: &[Migration], is_brief: bool) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let tenant = record.tenant.clone();
    let placed = shard::targets(work.config, work.targets, &record.placement()?)?;
    let (config, targets) = tenant.migrating(work.config, &placed);
    let wanted = stores(files);
    let targets = Targets {
        stores: targets.stores.into_iter().filter(|target| wanted.contains(&target.kind)).collect(),
        absent: targets.absent,
    };
    let inside = Inside::new(work.events, &tenant, is_brief);
    let work = Work { config: &config, targets: &targets, events: &inside, wait: work.wait };
    let mut stores = work.open().await?;
    let done = with_lock(&mut stores, work.wait, &inside, async |stores: &mut [AnyStore]| {
        let ledgers = migrate::current(work, stores, files).await?;
        let (outcome, ledgers) = migrate::advance(work, stores, files, ledgers, &Goal::Latest, None).await?;
        if let Some(ledgers) = &ledgers {
            migrate::settle(work, stores, files, ledgers).await?;
        }
        Ok((outcome, ledgers))
    })
    .await;
    migrate::close(stores).await;
    match done? {
        (outcome, Some(ledgers)) if !outcome.has_failed => stand(record, &ledgers),
        _ => return Err(stopped(&inside, "a migration")),
    }
    Ok(())
}

/// Records the migrations as applied to what the application made, and applies them to stores that hold nothing of the
/// tenant yet. `recording` are the stores that are recorded; none: it is found out, and told to `decided` before anything is
/// written, so that a kill in between does not make a half-recorded store look like one that lacks migrations.
///
/// # Errors
/// As [`migrate`]; `LYX-BASELINE`.
pub async fn take_in(
    work: Work<'_>,
    record: &mut Record,
    files: &[Migration],
    to: Option<&Version>,
    is_brief: bool,
    recording: Option<Vec<StoreKind>>,
    decided: impl AsyncFnOnce(&[StoreKind]) -> Result<()>,
) -> Result<()> {
    let tenant = record.tenant.clone();
    let placed = shard::targets(work.config, work.targets, &record.placement()?)?;
    let (config, targets) = tenant.migrating(work.config, &placed);
    let wanted = stores(files);
    let only = |kinds: &[StoreKind]| Targets {
        stores: targets.stores.iter().filter(|target| kinds.contains(&target.kind)).cloned().collect(),
        absent: Vec::new(),
    };
    let inside = Inside::new(work.events, &tenant, is_brief);
    let all = only(&wanted);
    let work = Work { config: &config, targets: &all, events: &inside, wait: work.wait };
    let kinds = match recording {
        Some(kinds) => kinds,
        None => {
            let mut stores = work.open().await?;
            let ledgers = migrate::ledgers(&mut stores, files).await?;
            migrate::close(stores).await;
            let there = ledgers.iter().filter(|(_, ledger)| !ledger.is_empty && ledger.rows.is_empty());
            let kinds: Vec<StoreKind> = there.map(|(kind, _)| *kind).collect();
            decided(&kinds).await?;
            kinds
        }
    };
    if !kinds.is_empty() {
        let these = only(&kinds);
        let outcome = baseline::baseline(Work { targets: &these, ..work }, files, to).await?;
        if outcome.has_failed {
            return Err(stopped(&inside, "the record of a migration"));
        }
    }
    let goal = to.map_or(Goal::Latest, |to| Goal::To(to.clone()));
    if migrate::migrate(work, files, &goal).await?.has_failed {
        return Err(stopped(&inside, "a migration"));
    }
    let mut stores = work.open().await?;
    let ledgers = migrate::ledgers(&mut stores, files).await?;
    migrate::close(stores).await;
    stand(record, &ledgers);
    Ok(())
}

/// The record of a tenant as its ledgers say it is, at the shard where it is, read with connections that go from tenant to
/// tenant. Reads only.
///
/// # Errors
/// A store of the tenant that cannot be reached or read.
pub async fn live(
    work: Work<'_>,
    connected: &mut Vec<AnyStore>,
    record: &Record,
    files: &[Migration],
) -> Result<Record> {
    let placed = shard::targets(work.config, work.targets, &record.placement()?)?;
    let (config, targets) = record.tenant.migrating(work.config, &placed);
    super::unit::enter(connected, &config, &targets).await?;
    let wanted = stores(files);
    let (mut own, others): (Vec<AnyStore>, Vec<AnyStore>) =
        std::mem::take(connected).into_iter().partition(|store| wanted.contains(&store.kind()));
    let ledgers = migrate::ledgers(&mut own, files).await;
    own.extend(others);
    own.sort_by_key(AnyStore::kind);
    *connected = own;
    let mut live = record.clone();
    stand(&mut live, &ledgers?);
    Ok(live)
}

/// Notes where a tenant's ledgers are.
pub fn stand(record: &mut Record, ledgers: &[(StoreKind, crate::engine::ledger::Ledger)]) {
    let rows = || ledgers.iter().flat_map(|(_, ledger)| &ledger.rows).filter(|row| row.state == State::Applied);
    record.version =
        rows().map(|row| &row.version).filter(|version| !version.is_repeatable()).max().map(ToString::to_string);
    let each: Vec<String> = ledgers.iter().map(|(_, ledger)| head(&ledger.rows)).collect();
    record.head = Some(heads(&each));
}

/// Applies a seed set to a tenant, at the shard where it is.
///
/// # Errors
/// What kept it from starting, and what failed.
pub async fn seed(work: Work<'_>, record: &Record, set: &Set, is_brief: bool) -> Result<()> {
    let tenant = &record.tenant;
    let placed = shard::targets(work.config, work.targets, &record.placement()?)?;
    let (config, targets) = tenant.within(work.config, &placed);
    let inside = Inside::new(work.events, tenant, is_brief);
    let work = Work { config: &config, targets: &targets, events: &inside, wait: work.wait };
    let options = seed::Options { tenant: Some(tenant.clone()), is_part: true, ..seed::Options::default() };
    let seeded = seed::seed(work, set, &options).await?;
    if seeded.has_failed { Err(stopped(&inside, "a seed")) } else { Ok(()) }
}

/// What failed inside a tenant, as the reason why its making stopped.
fn stopped(inside: &Inside<'_>, what: &str) -> Error {
    let failure = inside.failure();
    let error = Error::new(Code::TenantFailed, format!("{what} of tenant `{}` failed", inside.tenant.shown()));
    let why = failure
        .map(|item| [Some(item.title), item.detail, item.why].into_iter().flatten().collect::<Vec<_>>().join(": "));
    match why {
        Some(why) => error.why(why),
        None => error,
    }
}
