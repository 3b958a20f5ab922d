//! Whether every tenant can be reached, and how long each takes. What one question tells of all of them is asked once a
//! server: the registry, and which places are there. Then a few workers go from tenant to tenant, each with one connection a
//! server. Reads only.

mod tell;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::fanout::kinds;
use super::registry::{Record, State, Which, heads};
use super::run::Selection;
use super::unit::settled_heads;
use super::{inside, shard, terms, unknown};
use crate::config::{Endpoint, Targets};
use crate::engine::event::Event;
use crate::engine::ledger::head_of;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::AnyStore;
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::tenant_reach::{Aim, ReachStore as _, Way};
use crate::stores::tenant_verify::VerifyStore as _;
pub use tell::tell;

/// How long one store of one tenant may take.
const LIMIT: Duration = Duration::from_secs(10);
/// So many tenants are asked about in one question.
const AT_ONCE: usize = 1000;

/// A user's own URL, by key of the tenant and store.
pub type Logins = BTreeMap<(String, StoreKind), Endpoint>;

/// What is asked for.
pub struct Ask {
    /// Which tenants.
    pub selection: Selection,
    /// So many at a time.
    pub jobs: usize,
    /// Those whose passwords are known are reached as themselves.
    pub logins: Logins,
    /// When all of it has to be done.
    pub until: Option<Instant>,
}

/// One tenant that was looked at.
#[derive(Debug)]
pub struct Look {
    /// Its record.
    pub record: Record,
    /// How long all of it took.
    pub elapsed: Duration,
    /// Each of its stores: how it was reached, and how long that took.
    pub each: Vec<(StoreKind, Way, Duration)>,
    /// What is wrong: in which store, and what.
    pub trouble: Option<(StoreKind, Error)>,
    /// It lacks migrations, by the registry.
    pub is_behind: bool,
    /// Its ledgers say something else than the registry.
    pub differs: bool,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Looked {
    /// The tenants, the slowest first.
    pub looks: Vec<Look>,
    /// Tenants that are not complete: nothing is there to be reached.
    pub incomplete: Vec<Record>,
    /// Servers that could not be connected to, and how many of the tenants are there.
    pub away: Vec<(StoreKind, String, Error, usize)>,
    /// Tenants that the time did not last for.
    pub left: usize,
    /// How many were looked at at a time.
    pub jobs: usize,
}

/// A server: the shard's name; empty: the project's own.
type Site = (StoreKind, String);

/// Looks at tenants.
///
/// # Errors
/// What concerns all of them: a project without tenants, a server of its own that is not there, a name that no tenant has.
pub async fn look(work: Work<'_>, ask: &Ask) -> Result<Looked> {
    let terms = terms(work.config)?;
    let files = inside::files(work)?;
    let mut home: BTreeMap<Site, AnyStore> = BTreeMap::new();
    for store in work.open().await? {
        home.insert((crate::stores::Store::kind(&store), String::new()), store);
    }
    let records = chosen(&mut home, &ask.selection).await?;
    let kinds = kinds(work, &files);
    let settled = (!files.is_empty()).then(|| settled_heads(&files, &kinds, &Goal::Latest));
    let (complete, incomplete): (Vec<Record>, Vec<Record>) = records
        .into_iter()
        .partition(|record| matches!(record.state, State::Active | State::Suspended) && record.model == terms.model());
    let mut looked = Looked { incomplete, ..Looked::default() };
    let mut groups: BTreeMap<Site, Vec<usize>> = BTreeMap::new();
    for (index, record) in complete.iter().enumerate() {
        let placement = record.placement()?;
        for target in &work.targets.stores {
            let site = (target.kind, placement.of(target.kind).unwrap_or_default().to_owned());
            groups.entry(site).or_default().push(index);
        }
    }
    // What one question tells of all tenants of a server.
    let mut found: BTreeMap<usize, (StoreKind, Error)> = BTreeMap::new();
    let mut lost: std::collections::BTreeSet<usize> = std::collections::BTreeSet::new();
    for (site, indexes) in &groups {
        if !home.contains_key(site) {
            match open(work, site).await {
                Ok(store) => {
                    home.insert(site.clone(), store);
                }
                Err(error) => {
                    lost.extend(indexes);
                    looked.away.push((site.0, site.1.clone(), error, indexes.len()));
                    continue;
                }
            }
        }
        let Some(store) = home.get_mut(site) else { continue };
        for chunk in indexes.chunks(AT_ONCE) {
            let tenants: Vec<_> = chunk.iter().map(|index| complete[*index].tenant.clone()).collect();
            for (at, what) in store.tenants_without_place(&tenants, &terms).await? {
                let key = super::plan::quoted(tenants[at].key());
                let error = Error::new(Code::TenantAstray, format!("{what} is not there"))
                    .why(format!("the registry says that the tenant is {}", complete[chunk[at]].state.word()))
                    .hint(format!("lyrox tenant verify {key}"));
                found.entry(chunk[at]).or_insert((site.0, error));
            }
        }
    }
    let jobs = ask.jobs.clamp(1, complete.len().max(1));
    let task = Task {
        work,
        ask,
        terms: &terms,
        kinds: &kinds,
        settled: settled.as_deref(),
        todo: (0..complete.len()).filter(|index| !lost.contains(index)).collect(),
        records: &complete,
        found: RefCell::new(found),
        next: Cell::new(0),
        back: RefCell::default(),
        looks: RefCell::new(Vec::with_capacity(complete.len())),
        started: Instant::now(),
    };
    // The first worker goes on with the connections that are there.
    let mut hands = vec![home];
    hands.resize_with(jobs, BTreeMap::new);
    join_all(hands.into_iter().enumerate().map(|(number, hands)| task.worker(number, hands))).await;
    if !task.back.borrow().is_empty() {
        task.worker(0, BTreeMap::new()).await;
    }
    looked.left = task.todo.len() - task.looks.borrow().len();
    looked.looks = task.looks.into_inner();
    looked.looks.sort_by_key(|look| std::cmp::Reverse(look.elapsed));
    looked.jobs = jobs;
    Ok(looked)
}

/// The records that are meant.
async fn chosen(home: &mut BTreeMap<Site, AnyStore>, selection: &Selection) -> Result<Vec<Record>> {
    let none = || Error::new(Code::Tenancy, "the project has no store").data("nothing was changed");
    let registry = home.values_mut().next().ok_or_else(none)?;
    let Selection::Named(names) = selection else { return registry.read_tenants(&Which::All).await };
    let [name] = names.as_slice() else {
        let all = registry.read_tenants(&Which::All).await?;
        let mut chosen: Vec<Record> = Vec::with_capacity(names.len());
        for name in names {
            let of = |record: &&Record| record.tenant.key() == name || record.tenant.slug() == name;
            let by_key = all.iter().find(|record| record.tenant.key() == name);
            let record = by_key.or_else(|| all.iter().find(of)).ok_or_else(|| unknown(name))?;
            if !chosen.contains(record) {
                chosen.push(record.clone());
            }
        }
        return Ok(chosen);
    };
    let found = registry.read_tenants(&Which::Named(name.clone())).await?;
    if found.is_empty() { Err(unknown(name)) } else { Ok(found) }
}

async fn open(work: Work<'_>, (kind, name): &Site) -> Result<AnyStore> {
    let home = || work.targets.get(*kind).cloned().ok_or_else(|| Error::bug("a store that is not of the run"));
    let target = if name.is_empty() { home()? } else { crate::config::shards::target(work.config, *kind, name)? };
    AnyStore::open(work.config, &target).await
}

/// What the workers share.
struct Task<'a> {
    work: Work<'a>,
    ask: &'a Ask,
    terms: &'a Terms,
    /// The stores that the tenants' migrations have a part for.
    kinds: &'a [StoreKind],
    settled: Option<&'a [String]>,
    records: &'a [Record],
    todo: Vec<usize>,
    found: RefCell<BTreeMap<usize, (StoreKind, Error)>>,
    next: Cell<usize>,
    /// Tenants that a worker without a connection gave back.
    back: RefCell<Vec<usize>>,
    looks: RefCell<Vec<Look>>,
    started: Instant,
}

impl Task<'_> {
    async fn worker(&self, number: usize, mut hands: BTreeMap<Site, AnyStore>) {
        loop {
            let is_late = self.ask.until.is_some_and(|until| Instant::now() >= until);
            if is_late || self.work.events.is_cancelled() {
                break;
            }
            let Some(index) = self.take() else { break };
            // What is not there cannot be reached; the question about all of them has found it.
            let known = self.found.borrow_mut().remove(&index);
            let Some(look) = self.one(&self.records[index], known, number > 0, &mut hands).await else {
                // The server has no connection left for this worker: another takes the tenant.
                self.back.borrow_mut().push(index);
                break;
            };
            self.looks.borrow_mut().push(look);
            if self.started.elapsed().as_millis() > 200 {
                let (done, total) = (self.looks.borrow().len() as u64, Some(self.todo.len() as u64));
                let task = "tenants".to_owned();
                self.work.events.event(Event::Progress { task, store: None, done, total, unit: "tenants" });
            }
        }
        migrate::close(hands.into_values().collect()).await;
    }

    fn take(&self) -> Option<usize> {
        if let Some(index) = self.back.borrow_mut().pop() {
            return Some(index);
        }
        let index = self.todo.get(self.next.get()).copied()?;
        self.next.set(self.next.get() + 1);
        Some(index)
    }

    /// Looks at one tenant; none where a worker that may be spared got no connection.
    async fn one(
        &self,
        record: &Record,
        known: Option<(StoreKind, Error)>,
        may_leave: bool,
        hands: &mut BTreeMap<Site, AnyStore>,
    ) -> Option<Look> {
        // What a worker's own connection takes is nobody's time.
        let (begun, mut opening) = (Instant::now(), Duration::ZERO);
        let is_behind =
            self.settled.is_some_and(|settled| record.head.as_ref().is_none_or(|head| !settled.contains(head)));
        let mut look = Look {
            record: record.clone(),
            elapsed: Duration::ZERO,
            each: Vec::new(),
            trouble: known,
            is_behind,
            differs: false,
        };
        let Ok((config, targets)) = self.targets(record).inspect_err(|error| {
            look.trouble.get_or_insert((StoreKind::Postgres, error.clone()));
        }) else {
            return Some(look);
        };
        let placement = record.placement().unwrap_or_default();
        let mut said: BTreeMap<StoreKind, String> = BTreeMap::new();
        for target in &targets.stores {
            let kind = target.kind;
            if look.trouble.as_ref().is_some_and(|(at, _)| *at == kind) {
                continue;
            }
            let site = (kind, placement.of(kind).unwrap_or_default().to_owned());
            if !hands.contains_key(&site) {
                let asked = Instant::now();
                let opened = open(self.work, &site).await;
                opening += asked.elapsed();
                match opened {
                    Ok(store) => {
                        hands.insert(site.clone(), store);
                    }
                    Err(error) if may_leave && error.code() == Code::ConnectLimit => return None,
                    Err(error) => {
                        look.trouble.get_or_insert((kind, error));
                        continue;
                    }
                }
            }
            let Some(store) = hands.get_mut(&site) else { continue };
            let aim = Aim {
                tenant: &record.tenant,
                terms: self.terms,
                target,
                login: self.ask.logins.get(&(record.tenant.key().to_owned(), kind)),
                app_role: config.settings.postgres.as_ref().and_then(|section| section.app_role.as_deref()),
                has_ledger: self.kinds.contains(&kind),
            };
            let asked = Instant::now();
            let limit = self.ask.until.map_or(LIMIT, |until| LIMIT.min(until.saturating_duration_since(asked)));
            let answer = tokio::time::timeout(limit, store.reach_tenant(&aim)).await.unwrap_or_else(|_| {
                let what = format!("no answer within {:.1} s", limit.as_secs_f32());
                Err(Error::new(Code::ConnectTimeout, what).why(format!("{} hangs, or is very busy", kind.title())))
            });
            match answer {
                Ok(None) => {}
                Ok(Some(reached)) => {
                    look.each.push((kind, reached.way, asked.elapsed()));
                    if let Some(applied) = reached.applied {
                        said.insert(kind, head_of(applied.iter().map(|(version, sum)| (version, sum.as_str()))));
                    }
                }
                Err(error) => {
                    // What a failure left in the session is not the next tenant's.
                    if let Some(store) = hands.remove(&site) {
                        let closing = migrate::close(vec![store]);
                        let _ = tokio::time::timeout(Duration::from_millis(500), closing).await;
                    }
                    look.trouble.get_or_insert((kind, error));
                }
            }
        }
        if !self.kinds.is_empty() && said.len() == self.kinds.len() {
            let live = heads(&self.kinds.iter().filter_map(|kind| said.remove(kind)).collect::<Vec<_>>());
            look.differs = record.head.as_ref().is_some_and(|head| *head != live);
        }
        look.elapsed = begun.elapsed().saturating_sub(opening);
        Some(look)
    }

    fn targets(&self, record: &Record) -> Result<(crate::config::Config, Targets)> {
        let placed = shard::targets(self.work.config, self.work.targets, &record.placement()?)?;
        // The application's role is the project's own: a tenant's is told by the terms.
        let (_, targets) = record.tenant.migrating(self.work.config, &placed);
        Ok((self.work.config.clone(), targets))
    }
}
