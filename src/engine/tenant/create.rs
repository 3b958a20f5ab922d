//! Making tenants: a state machine whose every step is written down and may be done again.
//!
//! registered (the registry says `pending`: from here on the names are this tenant's) -> its place in each store ->
//! its migrations -> its seeds -> its passwords handed out -> `active`. A kill at any moment leaves a pending record, and
//! the next run goes on; what cannot go on is taken back, and its record says `failed` and why. Nothing is served before
//! `active`, which is the last thing that is written.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use futures_util::future::{join_all, try_join_all};

use super::credentials::{self, Keeper, Login};
use super::inside;
use super::placement::Places;
use super::plan::{Act, Wanted, decide, quoted};
use super::registry::{Record, State, Which};
use super::shard::Placement;
use super::shard::fleet::{Fleet, Site};
use super::unit::settled_heads;
use super::{Tenant, shown, template, terms};
use crate::config::Targets;
use crate::config::file::TenancyModel;
use crate::engine::event::Event;
use crate::engine::guard;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Version};
use crate::project::seed::Set;
use crate::report::{Change, Item};
use crate::secret::Secret;
use crate::stores::tenant::{Clash, Place, TenantStore as _, Terms};
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
    started: Instant,
}

/// A tenant of a batch.
struct Unit {
    record: Record,
    fields: Vec<(String, String)>,
    is_new: bool,
    started: Instant,
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
    /// Counts the tenants of each shard, where the policy asks for it.
    async fn count(&self, stores: &mut [AnyStore]) -> Result<()> {
        if self.request.placement.is_some() || !self.places.borrow().counts() {
            return Ok(());
        }
        let Some(registry) = stores.first_mut() else { return Ok(()) };
        for (shard, tenants) in registry.tenants_by_shard().await? {
            self.places.borrow_mut().count(&Placement::parse(&shard)?, tenants);
        }
        Ok(())
    }

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
            let mut groups: BTreeMap<Placement, Vec<Unit>> = BTreeMap::new();
            for unit in self.settled(fleet, batch).await? {
                groups.entry(unit.record.placement()?).or_default().push(unit);
            }
            for (placement, units) in groups {
                self.group(fleet, &placement, units).await?;
            }
            self.progress();
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

    /// Connects to the shards of a place and makes them ready: the ledger, the registry's copy, the template.
    async fn reach(&self, fleet: &mut Fleet<'_>, placement: &Placement) -> Result<()> {
        let missing = fleet.missing(placement);
        fleet.connect(&missing).await?;
        if self.request.is_dry {
            return Ok(());
        }
        let targets = fleet.targets(placement)?;
        for site in &missing {
            if let Some(store) = fleet.site(site) {
                self.prepare(store, site, &targets).await?;
            }
        }
        Ok(())
    }

    /// Makes one shard ready, under its own lock: another run may be migrating it.
    async fn prepare(&self, store: &mut AnyStore, site: &Site, targets: &Targets) -> Result<()> {
        let work = Work { targets, ..self.work };
        with_lock(std::slice::from_mut(store), work.wait, work.events, async |stores| {
            for store in stores.iter_mut() {
                store.prepare(&work.mark()).await?;
                store.prepare_tenants().await?;
                if self.terms.model() == TenancyModel::Database && site.0 == StoreKind::Postgres {
                    template::ensure(work, store, &self.files).await?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Looks the tenants up in the registry and decides what is to be done for each.
    async fn settled(&self, fleet: &mut Fleet<'_>, wanted: Vec<Wanted>) -> Result<Vec<Unit>> {
        let started = Instant::now();
        let named: Vec<Tenant> =
            wanted.iter().filter_map(|wanted| Tenant::new(&wanted.key, wanted.slug.as_deref()).ok()).collect();
        let found = fleet.registry()?.read_tenants(&Which::Of(named)).await?;
        let mut units = Vec::with_capacity(wanted.len());
        for (wanted, act) in wanted.iter().zip(decide(&wanted, &found, self.terms.model())) {
            match act {
                Ok(Act::Make(tenant)) => {
                    let mut record = Record::new(tenant, self.terms.model());
                    let given = self.request.placement.clone();
                    // What the application made is where its servers are, unless it is said to be elsewhere.
                    let given = given.or_else(|| self.request.takes_in.then(Placement::home));
                    let chosen = given.unwrap_or_else(|| self.places.borrow_mut().choose(record.tenant.slug()));
                    record.shard = chosen.text();
                    units.push(Unit { record, fields: wanted.fields.clone(), is_new: true, started });
                }
                Ok(Act::Resume(mut record)) => {
                    if let Some(error) = self.elsewhere(&mut record)? {
                        self.tell_failed(&wanted.key, wanted.line, &error);
                        continue;
                    }
                    units.push(Unit { record: *record, fields: wanted.fields.clone(), is_new: false, started });
                }
                Ok(Act::Leave(mut record)) => match self.elsewhere(&mut record)? {
                    Some(error) => self.tell_failed(&wanted.key, wanted.line, &error),
                    None => self.tell_unchanged(&record),
                },
                Err(error) => self.tell_failed(&wanted.key, wanted.line, &error),
            }
        }
        Ok(units)
    }

    /// Why a tenant that has a place cannot be made at the one that was asked for. Of one that failed nothing is left: it
    /// goes where it is wanted.
    fn elsewhere(&self, record: &mut Record) -> Result<Option<Error>> {
        let Some(wanted) = &self.request.placement else { return Ok(None) };
        let there = record.placement()?;
        if there == *wanted {
            return Ok(None);
        }
        if record.state == State::Failed {
            record.shard = wanted.text();
            return Ok(None);
        }
        let what = format!("tenant `{}` is at `{there}`, not at `{wanted}`", record.tenant.shown());
        Ok(Some(Error::new(Code::TenantState, what).data("nothing was changed for it").hint("leave --shard out")))
    }

    /// Leaves out new tenants that something is in the way of; with `takes_in`, those of which nothing is there.
    async fn without_clashes(
        &self,
        fleet: &mut Fleet<'_>,
        placement: &Placement,
        units: Vec<Unit>,
    ) -> Result<Vec<Unit>> {
        let new: Vec<usize> = (0..units.len()).filter(|index| units[*index].is_new).collect();
        let tenants: Vec<Tenant> = new.iter().map(|index| units[*index].record.tenant.clone()).collect();
        if tenants.is_empty() {
            return Ok(units);
        }
        let stores = fleet.at(placement).await?;
        let asked = join_all(stores.into_iter().map(async |store| {
            let kind = store.kind();
            let asked = store.tenant_clashes(&tenants, &self.terms).await;
            // The project's own tables, where they are missing, are missing on the shard.
            asked.map_err(|error| match placement.of(kind) {
                Some(shard) if error.code() == Code::Tenancy => error.hint(format!("lyrox db migrate --shard {shard}")),
                _ => error,
            })
        }))
        .await;
        let mut clashes: HashMap<usize, Vec<Clash>> = HashMap::new();
        for clash in asked.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            clashes.entry(new[clash.index]).or_default().push(clash);
        }
        let mut clear = Vec::with_capacity(units.len());
        for (index, unit) in units.into_iter().enumerate() {
            let found = clashes.remove(&index).unwrap_or_default();
            match self.judged(&unit, &found) {
                Some(error) => self.tell_failed(unit.record.tenant.key(), None, &error),
                None => clear.push(unit),
            }
        }
        Ok(clear)
    }

    /// Why a new tenant cannot be made, or not be taken in.
    fn judged(&self, unit: &Unit, clashes: &[Clash]) -> Option<Error> {
        let tenant = &unit.record.tenant;
        let error = |clash: &Clash| {
            Error::new(Code::TenantClash, format!("something is in the way of tenant `{}`", tenant.shown()))
                .why(clash.why.clone())
                .data("nothing was changed for it")
        };
        if let Some(clash) = clashes.iter().find(|clash| !clash.is_unmanaged) {
            return Some(error(clash).hint(format!("lyrox tenant create {} --slug NAME", quoted(tenant.key()))));
        }
        let clash = clashes.first();
        match (self.request.takes_in, clash) {
            (false, Some(clash)) => Some(error(clash).hint(format!("lyrox tenant adopt {}", quoted(tenant.key())))),
            (true, None) if unit.is_new => Some(
                Error::new(Code::TenantUnknown, format!("there is nothing of tenant `{}` to take in", tenant.shown()))
                    .why("no store has a row, schema or database of this name")
                    .data("nothing was changed")
                    .hint(format!("lyrox tenant create {}", quoted(tenant.key()))),
            ),
            _ => None,
        }
    }

    /// Makes the places in every store: PostgreSQL first, where the keys of tenants are held against its rules.
    async fn place(&self, fleet: &mut Fleet<'_>, placement: &Placement, units: &mut Vec<Unit>) -> Result<Vec<Login>> {
        let targets = fleet.targets(placement)?;
        let users = credentials::stores(&self.terms.tenancy, &targets);
        let passwords: BTreeMap<(StoreKind, Tenant), Secret> = units
            .iter()
            .flat_map(|unit| users.iter().map(|kind| ((*kind, unit.record.tenant.clone()), credentials::password())))
            .collect();
        for kind in targets.stores.iter().map(|target| target.kind) {
            let places: Vec<Place> = units
                .iter()
                .map(|unit| Place {
                    tenant: unit.record.tenant.clone(),
                    fields: unit.fields.clone(),
                    password: passwords.get(&(kind, unit.record.tenant.clone())).cloned(),
                    takes_in: unit.record.is_adopted,
                })
                .collect();
            let mut stores = fleet.at(placement).await?;
            let Some(store) = stores.iter_mut().find(|store| store.kind() == kind) else { continue };
            let made = store.make_places(&places, &self.terms).await?;
            pass(kind.name());
            let mut failed: BTreeMap<usize, Error> = made.failed.into_iter().collect();
            if !failed.is_empty() {
                let mut kept = Vec::with_capacity(units.len());
                for (index, unit) in std::mem::take(units).into_iter().enumerate() {
                    match failed.remove(&index) {
                        Some(error) => self.give_up(fleet, placement, unit, error).await?,
                        None => kept.push(unit),
                    }
                }
                *units = kept;
            }
        }
        // The other stores keep copies: what they say of a tenant is that it has a place in them.
        let copies: Vec<Record> = units
            .iter()
            .map(|unit| Record { state: State::Active, step: String::new(), ..unit.record.clone() })
            .collect();
        try_join_all(fleet.copies(placement).await?.into_iter().map(|store| store.write_tenants(&copies))).await?;
        pass("copied");
        let mut logins = Vec::new();
        for target in &targets.stores {
            for unit in units.iter() {
                if let Some(password) = passwords.get(&(target.kind, unit.record.tenant.clone())) {
                    logins.push(credentials::login(&unit.record.tenant, target, &self.terms.tenancy, password.clone()));
                }
            }
        }
        if !self.request.is_brief {
            for unit in units.iter() {
                self.tell_places(fleet, placement, &unit.record.tenant).await?;
            }
        }
        Ok(logins)
    }

    /// Migrations and seeds, tenant by tenant.
    async fn fill(&self, fleet: &mut Fleet<'_>, placement: &Placement, units: &mut Vec<Unit>) -> Result<()> {
        if self.files.is_empty() && self.request.seeds.is_none() {
            return Ok(());
        }
        let mut kept = Vec::with_capacity(units.len());
        for mut unit in std::mem::take(units) {
            match self.fill_one(fleet, &mut unit).await {
                Ok(()) => kept.push(unit),
                Err(error) if error.exit() == Exit::Connect || error.exit() == Exit::Lock => return Err(error),
                Err(error) => self.give_up(fleet, placement, unit, error).await?,
            }
        }
        *units = kept;
        Ok(())
    }

    async fn fill_one(&self, fleet: &mut Fleet<'_>, unit: &mut Unit) -> Result<()> {
        if !self.files.is_empty() && unit.record.is_adopted {
            // A schema that the application made has what its migrations make.
            let (known, to) = match recording(&unit.record.step) {
                Some((kinds, to)) => (Some(kinds), to),
                None => (None, self.request.to.clone()),
            };
            let mut begun = unit.record.clone();
            let version = to.clone();
            let decided = async |kinds: &[StoreKind]| {
                begun.step = recording_step(kinds, version.as_ref());
                fleet.registry()?.write_tenants(std::slice::from_ref(&begun)).await?;
                pass("recording");
                Ok(())
            };
            let is_brief = self.request.is_brief;
            inside::take_in(self.work, &mut unit.record, &self.files, to.as_ref(), is_brief, known, decided).await?;
            unit.record.step = Step::Migrated.word().into();
            self.write(fleet, std::slice::from_ref(unit)).await?;
            pass("migrated");
        } else if !self.files.is_empty() {
            if self.is_whole_from_template() {
                unit.record.version = super::list::newest(&self.files);
                let heads = settled_heads(&self.files, &[StoreKind::Postgres], &Goal::Latest);
                unit.record.head = heads.into_iter().next();
            } else {
                inside::migrate(self.work, &mut unit.record, &self.files, self.request.is_brief).await?;
            }
            unit.record.step = Step::Migrated.word().into();
            self.write(fleet, std::slice::from_ref(unit)).await?;
            pass("migrated");
        }
        if let Some(set) = self.request.seeds {
            inside::seed(self.work, &unit.record, set, self.request.is_brief).await?;
            unit.record.step = Step::Seeded.word().into();
            self.write(fleet, std::slice::from_ref(unit)).await?;
            pass("seeded");
        }
        Ok(())
    }

    /// Whether a copy of the template is all that a tenant needs: no other store has a part of its migrations, and no
    /// user is to be given rights in it.
    fn is_whole_from_template(&self) -> bool {
        let has_role = self.work.config.settings.postgres.as_ref().is_some_and(|section| section.app_role.is_some());
        self.terms.template.is_some()
            && inside::stores(&self.files) == [StoreKind::Postgres]
            && !self.terms.tenancy.users
            && !has_role
    }

    /// Takes back what was made for a tenant that cannot go on, and says so in its record. What the application made
    /// stays.
    async fn give_up(&self, fleet: &mut Fleet<'_>, placement: &Placement, mut unit: Unit, error: Error) -> Result<()> {
        let tenant = unit.record.tenant.clone();
        let mut left = Vec::new();
        if !unit.record.is_adopted {
            for store in fleet.at(placement).await?.into_iter().rev() {
                if let Err(error) = store.take_places(std::slice::from_ref(&tenant), &self.terms).await {
                    left.push(format!("{}: {error}", store.kind().title()));
                }
            }
        }
        unit.record.state = State::Failed;
        unit.record.version = None;
        unit.record.head = None;
        unit.record.error = Some(format!("{}: {}", error.code(), error.what()));
        fleet.registry()?.write_tenants(std::slice::from_ref(&unit.record)).await?;
        let error = match (unit.record.is_adopted, left.is_empty()) {
            (true, _) => error.data("what the application made is as it was"),
            (false, true) => error.data("what was made for it was taken back; its record says `failed`"),
            (false, false) => {
                error.data(format!("its record says `failed`, and something is left: {}", left.join("; ")))
            }
        };
        self.tell_failed(
            tenant.key(),
            None,
            &error.hint_if_none(format!("lyrox tenant create {}", quoted(tenant.key()))),
        );
        Ok(())
    }

    /// Writes records to the registry: one round trip.
    async fn write(&self, fleet: &mut Fleet<'_>, units: &[Unit]) -> Result<()> {
        let records: Vec<Record> = units.iter().map(|unit| unit.record.clone()).collect();
        fleet.registry()?.write_tenants(&records).await
    }

    /// What makes users last, once for all of them: Redis is never elsewhere, and the others keep them anyway.
    async fn keep(&self, stores: &mut [AnyStore]) -> Result<()> {
        for store in stores.iter_mut() {
            if let Some(warning) = store.keep_places(&self.terms).await? {
                let kind = store.kind();
                let item = Item::warn(format!("{kind}.users"), "users of tenants").store(kind);
                self.work.events.item(item.detail(warning).code(Code::Privilege));
            }
        }
        Ok(())
    }
}

/// What is told.
impl Run<'_> {
    fn tell_failed(&self, key: &str, line: Option<u64>, error: &Error) {
        self.created.borrow_mut().failed += 1;
        let title = match line {
            Some(line) => format!("{} (line {line})", shown(key)),
            None => shown(key),
        };
        let mut item = Item::fail(format!("tenant.{}", shown(key)), title, error);
        item.tenant = Some(key.to_owned());
        item.exit = self.request.is_brief.then_some(Exit::Tenants);
        self.work.events.item(item);
    }

    fn tell_unchanged(&self, record: &Record) {
        self.created.borrow_mut().unchanged += 1;
        if !self.request.is_brief {
            let item = item(&record.tenant).change(Change::Unchanged);
            self.work.events.item(item.detail(format!(
                "{}, {}{}",
                record.state.word(),
                record.tenant.name(),
                at(record)
            )));
        }
    }

    fn tell_planned(&self, units: &[Unit]) {
        self.created.borrow_mut().planned += units.len();
        for unit in units {
            let way = match (unit.is_new, self.request.takes_in) {
                (true, true) => "would be taken in",
                (true, false) => "would be made",
                (false, _) => "would go on",
            };
            let item = item(&unit.record.tenant).change(Change::Planned);
            self.work.events.item(item.detail(format!("{way} as {}{}", unit.record.tenant.name(), at(&unit.record))));
        }
    }

    fn tell_made(&self, units: &[Unit]) {
        self.created.borrow_mut().made += units.len();
        let change = if self.request.takes_in { Change::Recorded } else { Change::Created };
        let items: Vec<Item> = units
            .iter()
            .map(|unit| {
                let item = item(&unit.record.tenant).change(change).elapsed(unit.started.elapsed());
                item.detail(format!("active, {}{}", unit.record.tenant.name(), at(&unit.record)))
            })
            .collect();
        match (self.request.is_brief, items.len()) {
            (true, 2..) => {
                let line = Item::pass("tenants", format!("{} tenants", items.len())).change(change);
                let line = line.elapsed(units.first().map(|unit| unit.started.elapsed()).unwrap_or_default());
                self.work.events.event(Event::Folded { line: Box::new(line.detail("active")), items });
            }
            _ => items.into_iter().for_each(|item| self.work.events.item(item)),
        }
    }

    async fn tell_places(&self, fleet: &mut Fleet<'_>, placement: &Placement, tenant: &Tenant) -> Result<()> {
        for store in fleet.at(placement).await? {
            let kind = store.kind();
            let found = store.look_at_tenant(tenant, &self.terms).await?;
            if found.is_empty() {
                continue;
            }
            let mut words: Vec<String> = found.iter().map(|(what, name)| format!("{what} {name}")).collect();
            words.extend(placement.of(kind).map(|name| format!("shard {name}")));
            let mut item = Item::pass(format!("{}.{kind}", tenant.slug()), "place").store(kind).change(Change::Created);
            item.tenant = Some(tenant.key().to_owned());
            self.work.events.item(item.detail(words.join(", ")));
        }
        Ok(())
    }

    fn progress(&self) {
        let created = *self.created.borrow();
        let done = (created.made + created.unchanged + created.failed + created.planned) as u64;
        if self.request.is_brief && self.started.elapsed().as_millis() > 200 {
            let (task, total) = ("tenants".to_owned(), self.request.total);
            self.work.events.event(Event::Progress { task, store: None, done, total, unit: "tenants" });
        }
    }
}

/// The step of a tenant that is taken in while its migrations are recorded: the stores that hold what the application made,
/// and the version up to which.
fn recording_step(kinds: &[StoreKind], to: Option<&Version>) -> String {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let to = to.map(|to| format!(" {to}")).unwrap_or_default();
    format!("recording {}{to}", if kinds.is_empty() { "none".into() } else { kinds.join(",") })
}

/// Reads such a step.
fn recording(step: &str) -> Option<(Vec<StoreKind>, Option<Version>)> {
    let mut words = step.strip_prefix("recording ")?.split(' ');
    let kinds = words.next()?.split(',').filter_map(|word| word.parse().ok()).collect();
    Some((kinds, words.next().map(Version::new)))
}

/// Where a tenant is, for a line that has said what it is; nothing for the project's own servers.
fn at(record: &Record) -> String {
    match record.placement() {
        Ok(placement) if !placement.is_home() => format!(", shard {placement}"),
        _ => String::new(),
    }
}

fn item(tenant: &Tenant) -> Item {
    let mut item = Item::pass(format!("tenant.{}", tenant.shown()), tenant.shown());
    item.tenant = Some(tenant.key().to_owned());
    item
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
