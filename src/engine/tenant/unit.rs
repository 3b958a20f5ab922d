//! One tenant of many: its migrations or its seeds, by a worker that goes from tenant to tenant with its connections.

use std::sync::Mutex;
use std::time::Duration;

use rand::RngExt as _;

use super::inside::{stand, stores as stores_of};
use super::registry::{Record, heads};
use super::shard;
use super::verify::Verification;
use crate::config::file::TenancyModel;
use crate::config::{Config, Targets};
use crate::engine::event::{Event, Events};
use crate::engine::ledger::head_of;
use crate::engine::lock::try_with_lock;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::engine::{guard, seed};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::project::seed::Set;
use crate::report::{Item, Outcome};
use crate::stores::tenant_run::Enter as _;
use crate::stores::{AnyStore, Store as _};

/// So often the seeds of a tenant in shared tables are tried.
const ATTEMPTS: u32 = 4;
/// About so long a refused one waits for whoever writes the same rows.
const PAUSE: Duration = Duration::from_millis(150);

/// What is done in each tenant.
#[derive(Clone, Copy)]
pub enum Task<'a> {
    /// Its migrations, up to a goal.
    Migrate(&'a [Migration], &'a Goal),
    /// A seed set.
    Seed(&'a Set),
    /// The proof that it is apart: tenants are taken several at a time, and the whole is a unit too.
    Verify(&'a Verification),
}

/// What became of a tenant.
pub enum Became {
    /// It is as it should be: so many steps were done, or rows of so many targets looked at.
    Done(usize),
    /// Something failed: as an item that names no tenant yet.
    Failed(Box<Item>),
    /// Another process is at work in it at this moment.
    Busy,
}

/// The digests that the records of tenants have to which all of this is applied: as one, for the goal and for everything.
pub fn settled_heads(files: &[Migration], kinds: &[StoreKind], goal: &Goal) -> Vec<String> {
    let of = |is_in: &dyn Fn(&Migration) -> bool| {
        let each = kinds.iter().map(|kind| {
            let parts = files.iter().filter(|file| is_in(file));
            head_of(parts.filter_map(|file| Some((&file.version, file.parts.get(kind)?.up.checksum.as_str()))))
        });
        heads(&each.collect::<Vec<_>>())
    };
    let mut found = vec![of(&|_| true)];
    if let Goal::To(version) = goal
        && let Some(last) = files.iter().position(|file| file.version == *version)
    {
        let until: Vec<_> = files[..=last].iter().map(|file| &file.version).collect();
        found.push(of(&|file| !file.version.is_repeatable() && until.contains(&&file.version)));
    }
    found
}

/// Keeps the first failure and tells nothing: the tenant is told as one.
#[derive(Default)]
struct Quiet<'a> {
    events: Option<&'a dyn Events>,
    failure: Mutex<Option<Item>>,
}

impl Events for Quiet<'_> {
    fn event(&self, event: Event) {
        if let Event::Item(item) = event
            && item.outcome == Outcome::Fail
            && let Ok(mut failure) = self.failure.lock()
        {
            failure.get_or_insert(*item);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.events.is_some_and(Events::is_cancelled)
    }
}

impl Quiet<'_> {
    fn has_code(&self, code: Code) -> bool {
        let failure = self.failure.lock();
        failure.is_ok_and(|item| item.as_ref().and_then(|item| item.code.as_deref()) == Some(code.to_string().as_str()))
    }

    fn failed(&self) -> Became {
        let failure = self.failure.lock().ok().and_then(|mut failure| failure.take());
        let unknown = || Item::fail("", "", &Error::bug("something failed without a word"));
        Became::Failed(Box::new(failure.unwrap_or_else(unknown)))
    }
}

/// Works in one tenant; its record is brought to where it is then.
///
/// # Errors
/// A server that cannot be reached, a ledger that cannot be read, a state that needs a human: what keeps it from starting.
pub async fn work_in(
    work: Work<'_>,
    stores: &mut Vec<AnyStore>,
    record: &mut Record,
    task: Task<'_>,
) -> Result<Became> {
    match task {
        Task::Migrate(files, goal) => migrate_in(work, stores, record, files, goal).await,
        Task::Seed(set) => seed_in(work, record, set).await,
        Task::Verify(_) => Err(Error::bug("tenants are verified several at a time")),
    }
}

async fn migrate_in(
    work: Work<'_>,
    stores: &mut Vec<AnyStore>,
    record: &mut Record,
    files: &[Migration],
    goal: &Goal,
) -> Result<Became> {
    let placed = shard::targets(work.config, work.targets, &record.placement()?)?;
    let (config, mut targets) = record.tenant.migrating(work.config, &placed);
    let wanted = stores_of(files);
    targets.stores.retain(|target| wanted.contains(&target.kind));
    enter(stores, &config, &targets).await?;
    let quiet = Quiet { events: Some(work.events), failure: Mutex::default() };
    let work = Work { config: &config, targets: &targets, events: &quiet, wait: work.wait };
    // The lease says whose the tenant is; the lock holds even where a lease ran out under a process that was stopped.
    let done = try_with_lock(stores, async |stores: &mut [AnyStore]| {
        let ledgers = migrate::ledgers(stores, files).await?;
        guard::refuse_other_mark(&config, &migrate::marks(&ledgers))?;
        if let Some((kind, _)) = ledgers.iter().find(|(_, ledger)| ledger.is_resetting) {
            return Err(Error::new(Code::ResetUnfinished, format!("a reset of {kind} was cut short"))
                .data("nothing was changed")
                .hint("lyrox db migrate finishes it"));
        }
        let (outcome, ledgers) = migrate::advance(work, stores, files, ledgers, goal, None).await?;
        let Some(ledgers) = ledgers else { return Ok(None) };
        if !outcome.has_failed {
            for store in stores.iter_mut() {
                store.grant(&|| false, &quiet).await?;
            }
        }
        Ok(Some((outcome, ledgers)))
    })
    .await?;
    let Some(done) = done else { return Ok(Became::Busy) };
    let Some((outcome, ledgers)) = done else { return Ok(quiet.failed()) };
    // A store that was left out says nothing of where the tenant is.
    if wanted.iter().all(|kind| targets.get(*kind).is_some()) {
        stand(record, &ledgers);
    }
    if outcome.has_failed { Ok(quiet.failed()) } else { Ok(Became::Done(outcome.done)) }
}

/// Brings the worker's connections to a tenant, or to the project: the same ones where the servers are the same.
///
/// # Errors
/// A server that cannot be reached.
pub(super) async fn enter(stores: &mut Vec<AnyStore>, config: &Config, targets: &Targets) -> Result<()> {
    let is_same = stores.len() == targets.stores.len()
        && stores.iter().zip(&targets.stores).all(|(store, target)| store.kind() == target.kind);
    if !is_same {
        migrate::close(std::mem::take(stores)).await;
        for target in &targets.stores {
            stores.push(AnyStore::open(config, target).await?);
        }
        return Ok(());
    }
    for (store, target) in stores.iter_mut().zip(&targets.stores) {
        store.enter(config, target).await?;
    }
    Ok(())
}

async fn seed_in(work: Work<'_>, record: &Record, set: &Set) -> Result<Became> {
    let placed = shard::targets(work.config, work.targets, &record.placement()?)?;
    let (config, targets) = record.tenant.within(work.config, &placed);
    // What is all tenants' is in the set of each: a row of it that another worker writes at this moment is refused to this
    // one, and found there the next time.
    let is_shared = config.settings.tenancy.as_ref().is_some_and(|tenancy| tenancy.model == TenancyModel::Row);
    let mut attempts = if is_shared { ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let quiet = Quiet { events: Some(work.events), failure: Mutex::default() };
        let inside = Work { config: &config, targets: &targets, events: &quiet, wait: work.wait };
        let options = seed::Options { tenant: Some(record.tenant.clone()), is_part: true, ..seed::Options::default() };
        let seeded = seed::seed(inside, set, &options).await;
        let is_refused = match &seeded {
            Ok(seeded) => seeded.has_failed && quiet.has_code(Code::SeedFailed),
            Err(error) => error.code() == Code::SeedFailed,
        };
        if is_refused && attempts > 0 && !work.events.is_cancelled() {
            tokio::time::sleep(PAUSE.mul_f64(rand::rng().random_range(0.5..1.5))).await;
            continue;
        }
        let seeded = seeded?;
        return Ok(if seeded.has_failed { quiet.failed() } else { Became::Done(seeded.done) });
    }
}
