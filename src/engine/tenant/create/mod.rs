//! Making tenants: a state machine whose every step is written down and may be done again.
//!
//! registered (the registry says `pending`: from here on the names are this tenant's) -> its place in each store ->
//! its migrations -> its seeds -> its passwords handed out -> `active`. A kill at any moment leaves a pending record, and
//! the next run goes on; what cannot go on is taken back, and its record says `failed` and why (`pending` where something of it
//! could not be taken back). Nothing is served before
//! `active`, which is the last thing that is written.

mod fill;
mod place;
mod settle;
mod tell;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::future::{join_all, try_join_all};

use self::fill::recording;
use super::Tenant;
use super::credentials::{Keeper, Login};
use super::placement::Places;
use super::plan::{Wanted, taken, twice};
use super::registry::{Record, State};
use super::shard::Placement;
use super::shard::fleet::Fleet;
use super::{inside, template, terms};
use crate::config::file::TenancyModel;
use crate::engine::lock::with_lock;
use crate::engine::migrate::Work;
use crate::engine::{guard, migrate};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Version};
use crate::project::seed::Set;
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::{AnyStore, Store as _};

/// So many tenants of shared tables are one batch: a statement each for the registry and the rows, a pipeline of users.
const BATCH: usize = 500;
/// So many where each has a schema or a database to make.
const SMALL_BATCH: usize = 16;

/// A step that is done, as the registry remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The record is there.
    Registered,
    /// Every store has its place.
    Placed,
    /// Its migrations are applied.
    Migrated,
    /// Its seeds are in.
    Seeded,
    /// Its passwords are handed out.
    Handed,
}

impl Step {
    /// The word in the registry.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Placed => "placed",
            Self::Migrated => "migrated",
            Self::Seeded => "seeded",
            Self::Handed => "handed",
        }
    }
}

/// What is asked for.
pub struct Request<'a> {
    /// The tenants, read as they are needed.
    pub wanted: Box<dyn Iterator<Item = Result<Wanted>> + 'a>,
    /// How many of them there are, where that is known.
    pub total: Option<u64>,
    /// So many connections per store work side by side.
    pub jobs: usize,
    /// Look, change nothing.
    pub is_dry: bool,
    /// One of many: only failures and the sum are told.
    pub is_brief: bool,
    /// Take in what the application made, instead of making it.
    pub takes_in: bool,
    /// Who takes the passwords.
    pub keeper: &'a dyn Keeper,
    /// With `takes_in`: the newest version that the application's schemas and databases are at; none: the newest there is.
    pub to: Option<Version>,
    /// The seeds of a new tenant.
    pub seeds: Option<&'a Set>,
    /// `--shard`: where new tenants are placed; none: where the policy says.
    pub placement: Option<Placement>,
}

/// What it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Created {
    /// Tenants that are complete now and were not before.
    pub made: usize,
    /// Tenants that were complete already.
    pub unchanged: usize,
    /// Tenants that failed.
    pub failed: usize,
    /// Tenants that a dry run would make.
    pub planned: usize,
}

/// What all batches share.
struct Run<'a> {
    work: Work<'a>,
    request: &'a Request<'a>,
    terms: Terms,
    files: Vec<Migration>,
    places: RefCell<Places>,
    created: RefCell<Created>,
    /// What is being made at this moment, side by side: keys, and slugs with the keys that take them.
    busy: RefCell<(BTreeSet<String>, BTreeMap<String, String>)>,
    started: Instant,
}

/// A tenant of a batch.
struct Unit {
    record: Record,
    fields: Vec<(String, String)>,
    is_new: bool,
    started: Instant,
}

impl Unit {
    /// Whether nothing of it can be there that is its own: what is, is somebody else's.
    fn was_free(&self) -> bool {
        self.is_new || self.record.state == State::Failed
    }
}

/// Makes tenants.
///
/// # Errors
/// What concerns all of them: nothing more is done, and records that are pending go on with the next run. What
/// concerns one is an item.
pub async fn create(work: Work<'_>, mut request: Request<'_>) -> Result<Created> {
    let terms = terms(work.config)?;
    let files = inside::files(work)?;
    let mut stores = work.open().await?;
    if stores.is_empty() {
        return Err(Error::new(Code::Tenancy, "the project has no store").data("nothing was changed"));
    }
    let ledgers = migrate::states(&mut stores).await?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    if let Some((kind, _)) = ledgers.iter().find(|(_, ledger)| ledger.is_resetting) {
        return Err(Error::new(Code::ResetUnfinished, format!("a reset of {kind} was cut short"))
            .data("nothing was changed")
            .hint("lyrox db migrate finishes it"));
    }
    let wanted: Box<dyn Iterator<Item = Result<Wanted>> + '_> =
        std::mem::replace(&mut request.wanted, Box::new(std::iter::empty()));
    let wanted = RefCell::new(wanted);
    let mut run = Run {
        work,
        request: &request,
        terms,
        files,
        places: RefCell::new(Places::new(&work.config.settings)),
        created: RefCell::default(),
        busy: RefCell::default(),
        started: Instant::now(),
    };
    let outcome = if request.is_dry {
        run.count(&mut stores).await?;
        let mut fleet = Fleet::new(work, &mut stores);
        let outcome = run.batches(&mut fleet, &wanted).await;
        fleet.close().await;
        outcome
    } else {
        with_lock(&mut stores, work.wait, work.events, async |stores| {
            let mark = work.mark();
            try_join_all(stores.iter_mut().map(|store| store.prepare(&mark))).await?;
            for store in stores.iter_mut() {
                store.prepare_tenants().await?;
            }
            if run.terms.model() == TenancyModel::Database
                && let Some(store) = stores.iter_mut().find(|store| store.kind() == StoreKind::Postgres)
            {
                run.terms.template = Some(template::ensure(work, store, &run.files).await?);
            }
            run.count(stores).await?;
            let result = run.side_by_side(stores, &wanted).await;
            // Whatever stopped it: what was made shall last.
            let kept = run.keep(stores).await;
            result.and(kept)
        })
        .await
    };
    migrate::close(stores).await;
    let created = *run.created.borrow();
    outcome.map(|()| created).map_err(|error| {
        error
            .data_if_none(format!("{} tenants are complete; those that were begun are pending", created.made))
            .hint_if_none("run it again: it goes on where it stopped")
    })
}

impl Run<'_> {
    /// Works with so many sets of connections as jobs are wanted; the first is the one that holds the locks.
    async fn side_by_side(
        &self,
        stores: &mut [AnyStore],
        wanted: &RefCell<Box<dyn Iterator<Item = Result<Wanted>> + '_>>,
    ) -> Result<()> {
        let more = self.request.jobs.max(1) - 1;
        let mut others = try_join_all((0..more).map(|_| self.work.open())).await?;
        let each = async |stores: &mut [AnyStore]| {
            let mut fleet = Fleet::new(self.work, stores);
            let result = self.batches(&mut fleet, wanted).await;
            fleet.close().await;
            result
        };
        let rest = try_join_all(others.iter_mut().map(|stores| each(stores)));
        let (first, rest) = futures_util::future::join(each(stores), rest).await;
        join_all(others.into_iter().map(migrate::close)).await;
        first.and(rest.map(drop))
    }

    /// Takes batch after batch until none is left.
    async fn batches(
        &self,
        fleet: &mut Fleet<'_>,
        wanted: &RefCell<Box<dyn Iterator<Item = Result<Wanted>> + '_>>,
    ) -> Result<()> {
        let size = if self.terms.model() == TenancyModel::Row { BATCH } else { SMALL_BATCH };
        while !self.work.events.is_cancelled() {
            let batch: Vec<Wanted> = wanted.borrow_mut().by_ref().take(size).collect::<Result<_>>()?;
            if batch.is_empty() {
                break;
            }
            let (batch, names) = self.claimed(batch);
            let done = self.batch(fleet, batch).await;
            self.released(names);
            done?;
            self.progress();
        }
        Ok(())
    }

    /// Takes the names of a batch for it, and leaves out what another batch is at: neither would see the other's in the
    /// registry.
    fn claimed(&self, batch: Vec<Wanted>) -> (Vec<Wanted>, Vec<Tenant>) {
        let (mut kept, mut names): (Vec<Wanted>, Vec<Tenant>) = (Vec::with_capacity(batch.len()), Vec::new());
        for wanted in batch {
            // A name that cannot be one is told with the others.
            let Ok(tenant) = Tenant::new(&wanted.key, wanted.slug.as_deref()) else {
                kept.push(wanted);
                continue;
            };
            let (is_twice, other) = {
                let (keys, slugs) = &*self.busy.borrow();
                (keys.contains(tenant.key()), slugs.get(tenant.slug()).cloned())
            };
            match (is_twice, other) {
                (true, _) => self.tell_failed(&wanted.key, wanted.line, &twice(&wanted.key)),
                (false, Some(other)) => self.tell_failed(&wanted.key, wanted.line, &taken(&tenant, &other)),
                (false, None) => {
                    kept.push(wanted);
                    names.push(tenant);
                }
            }
        }
        let (keys, slugs) = &mut *self.busy.borrow_mut();
        for tenant in &names {
            keys.insert(tenant.key().to_owned());
            slugs.insert(tenant.slug().to_owned(), tenant.key().to_owned());
        }
        (kept, names)
    }

    fn released(&self, names: Vec<Tenant>) {
        let (keys, slugs) = &mut *self.busy.borrow_mut();
        for tenant in names {
            keys.remove(tenant.key());
            slugs.remove(tenant.slug());
        }
    }

    async fn batch(&self, fleet: &mut Fleet<'_>, batch: Vec<Wanted>) -> Result<()> {
        let mut groups: BTreeMap<Placement, Vec<Unit>> = BTreeMap::new();
        for unit in self.settled(fleet, batch).await? {
            groups.entry(unit.record.placement()?).or_default().push(unit);
        }
        for (placement, units) in groups {
            self.group(fleet, &placement, units).await?;
        }
        Ok(())
    }

    /// Makes tenants of one place.
    async fn group(&self, fleet: &mut Fleet<'_>, placement: &Placement, units: Vec<Unit>) -> Result<()> {
        self.reach(fleet, placement).await?;
        let units = self.without_clashes(fleet, placement, units).await?;
        if units.is_empty() {
            return Ok(());
        }
        if self.request.is_dry {
            self.tell_planned(&units);
            return Ok(());
        }
        let mut units = units;
        for unit in &mut units {
            unit.record.state = State::Pending;
            if recording(&unit.record.step).is_none() {
                unit.record.step = Step::Registered.word().into();
            }
            unit.record.error = None;
            unit.record.is_adopted |= self.request.takes_in;
        }
        self.write(fleet, &units).await?;
        pass("registered");
        let logins = self.place(fleet, placement, &mut units).await?;
        self.fill(fleet, placement, &mut units).await?;
        let logins: Vec<Login> =
            logins.into_iter().filter(|login| units.iter().any(|unit| unit.record.tenant == login.tenant)).collect();
        if !logins.is_empty() {
            self.request.keeper.keep(&logins)?;
        }
        pass("handed");
        for unit in &mut units {
            unit.record.state = State::Active;
            unit.record.step = String::new();
        }
        self.write(fleet, &units).await?;
        pass("active");
        self.tell_made(&units);
        Ok(())
    }

    /// Writes records to the registry: one round trip.
    async fn write(&self, fleet: &mut Fleet<'_>, units: &[Unit]) -> Result<()> {
        let records: Vec<Record> = units.iter().map(|unit| unit.record.clone()).collect();
        fleet.registry()?.write_tenants(&records).await
    }
}

/// A point at which a test may have the process killed: `LYROX_TEST_KILL` names it. Not in releases.
#[cfg(debug_assertions)]
pub(super) fn pass(point: &str) {
    if std::env::var_os("LYROX_TEST_KILL").is_some_and(|wanted| wanted == point) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(debug_assertions))]
pub(super) fn pass(_point: &str) {}
