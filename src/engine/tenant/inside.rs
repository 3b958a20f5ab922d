//! Work inside one tenant: its migrations and its seeds, with the items told as that tenant's.

use std::sync::Mutex;

use super::Tenant;
use super::registry::{Record, heads};
use crate::config::Targets;
use crate::config::file::TenancyModel;
use crate::engine::event::{Event, Events};
use crate::engine::ledger::{State, head};
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::engine::seed;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{self, Migration};
use crate::project::seed::Set;
use crate::report::{Item, Outcome};
use crate::stores::AnyStore;

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

/// Applies what is pending of a tenant's own migrations, and notes in its record where it is now.
///
/// # Errors
/// What kept it from starting, and what failed.
pub async fn migrate(work: Work<'_>, record: &mut Record, files: &[Migration], is_brief: bool) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let tenant = record.tenant.clone();
    let (config, targets) = tenant.migrating(work.config, work.targets);
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
        if ledgers.is_some() {
            migrate::settle(work, stores).await?;
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

/// Notes where a tenant's ledgers are.
pub fn stand(record: &mut Record, ledgers: &[(StoreKind, crate::engine::ledger::Ledger)]) {
    let rows = || ledgers.iter().flat_map(|(_, ledger)| &ledger.rows).filter(|row| row.state == State::Applied);
    record.version =
        rows().map(|row| &row.version).filter(|version| !version.is_repeatable()).max().map(ToString::to_string);
    let each: Vec<String> = ledgers.iter().map(|(_, ledger)| head(&ledger.rows)).collect();
    record.head = Some(heads(&each));
}

/// Applies a seed set to a tenant.
///
/// # Errors
/// What kept it from starting, and what failed.
pub async fn seed(work: Work<'_>, tenant: &Tenant, set: &Set, is_brief: bool) -> Result<()> {
    let (config, targets) = tenant.within(work.config, work.targets);
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
