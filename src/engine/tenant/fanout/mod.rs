//! Work over many tenants: each is a unit of its own that stands or falls alone. Who is behind is asked in one query; the
//! run is written down, so that a kill loses nothing and other processes take part; workers go from tenant to tenant with
//! their connections. How one tenant is worked in is [`unit`](super::unit)'s.

mod announce;
mod book;
mod told;
mod worker;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::run::{Selection, Want, What};
use super::unit::{Task, settled_heads};
use super::verify;
use super::{inside, terms, unknown};
use crate::config::file::TenancyModel;
use crate::engine::event::Event;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::engine::{guard, ledger};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::project::text::sha256;
use crate::report::Item;
use crate::stores::tenant_run::Enter as _;
use crate::stores::{AnyStore, Store as _};

use self::announce::{heading, overview, tell_incomplete, tell_planned};
use self::book::begin;
use self::told::{Told, of_another};
use self::worker::Fan;

pub(super) use self::announce::why_not;

/// So many tenants are told one by one; of more, only failures and sums.
const FEW: u64 = 20;

/// What is asked for.
pub struct Request<'a> {
    /// What is done in each tenant.
    pub task: Task<'a>,
    /// In which tenants.
    pub selection: Selection,
    /// So many tenants at a time, each with one connection to each of its servers.
    pub jobs: usize,
    /// So many tenants go first.
    pub canary: u32,
    /// So many tenants begin at a time.
    pub wave: u32,
    /// With more failures nothing further is begun.
    pub max_failures: Option<u32>,
    /// Only those that failed last time.
    pub only_failed: bool,
    /// Tell what would be done; change nothing.
    pub is_dry: bool,
}

/// What it came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fanned {
    /// The run's id; none where nothing was to be done.
    pub run: Option<String>,
    /// Tenants that are meant.
    pub total: u64,
    /// Of these: with nothing to do from the beginning.
    pub settled: u64,
    /// Of these: not complete, and left alone.
    pub incomplete: u64,
    /// Units that are as they should be, whoever did them.
    pub done: u64,
    /// Units that this process did.
    pub done_here: u64,
    /// Units that failed, whoever tried them.
    pub failed: u64,
    /// Units whose tenants went away.
    pub skipped: u64,
    /// Units that were not begun, or in a dry run would be.
    pub left: u64,
}

/// Works over tenants.
///
/// # Errors
/// What keeps it from starting, and what concerns all tenants: a server that is gone, a run of others. What concerns one
/// tenant is an item.
pub async fn fan_out(work: Work<'_>, request: &Request<'_>) -> Result<Fanned> {
    let terms = terms(work.config)?;
    if let Task::Migrate(..) = request.task
        && terms.model() == TenancyModel::Row
    {
        work.events.item(Item::skip("tenants", "tenants").detail("they share the project's tables: lyrox db migrate"));
        return Ok(Fanned::default());
    }
    let want = want(work, terms.model(), request);
    let (stores, ledgers) = opened(work).await?;
    refuse(work, request, &ledgers)?;
    over(work, stores, &want, request).await
}

/// Verifies tenants: the whole first, then each of them. `request` has no task yet: what the units share is read here.
///
/// # Errors
/// As [`fan_out`].
pub async fn verify(
    work: Work<'_>,
    what: &verify::Request,
    request: impl for<'v> FnOnce(Task<'v>) -> Request<'v>,
) -> Result<(Fanned, verify::Verified)> {
    let terms = terms(work.config)?;
    let (mut stores, ledgers) = opened(work).await?;
    let marks = migrate::marks(&ledgers);
    let Some(registry) = stores.first_mut() else {
        return Err(Error::new(Code::Tenancy, "the project has no store").data("nothing was changed"));
    };
    let verification = verify::Verification::begin(work, what, registry, &marks).await?;
    let request = request(Task::Verify(&verification));
    refuse(work, &request, &ledgers)?;
    let want = want(work, terms.model(), &request);
    let fanned = over(work, stores, &want, &request).await;
    let verified = verification.finish(work);
    fanned.map(|fanned| (fanned, verified))
}

async fn opened(work: Work<'_>) -> Result<(Vec<AnyStore>, Vec<(StoreKind, ledger::Ledger)>)> {
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    Ok((stores, ledgers))
}

/// Whether the run is written down, for others to take part in: by what may not write, it is not.
fn is_kept(registry: &AnyStore, request: &Request<'_>) -> bool {
    let may_write = !matches!(request.task, Task::Verify(verification) if !verification.may_write());
    registry.kind() == StoreKind::Postgres && may_write
}

/// Works over the tenants that are meant, with the project's stores as they were opened.
async fn over(work: Work<'_>, mut stores: Vec<AnyStore>, want: &Want, request: &Request<'_>) -> Result<Fanned> {
    let is_proof = matches!(request.task, Task::Verify(_));
    // The registry is the first store's; workers have connections of their own.
    let rest = stores.split_off(stores.len().min(1));
    migrate::close(rest).await;
    let Some(registry) = stores.first_mut() else {
        return Err(Error::new(Code::Tenancy, "the project has no store").data("nothing was changed"));
    };
    registry.share_lock();
    let is_kept = is_kept(registry, request);
    let seen = overview(registry, want, is_kept).await?;
    if let Some(name) = seen.unknown.first() {
        return Err(unknown(name));
    }
    let mut fanned = Fanned {
        total: seen.total,
        settled: seen.settled,
        incomplete: seen.total - seen.settled - seen.behind,
        left: seen.behind,
        ..Fanned::default()
    };
    if let Some(heading) = heading(work, request, &seen) {
        work.events.event(Event::Heading(heading));
    }
    // What is not complete is a finding of a proof.
    if fanned.incomplete > 0 && !is_proof {
        tell_incomplete(work, registry, want, is_kept).await?;
    }
    if request.is_dry {
        tell_planned(work, registry, want, is_kept).await?;
    } else if seen.behind > 0 || seen.has_run || is_proof {
        let may_lock = !matches!(request.task, Task::Verify(verification) if !verification.may_write());
        let outcome = if may_lock {
            with_lock(&mut stores, work.wait, work.events, async |stores: &mut [AnyStore]| {
                run(work, stores, want, request, &mut fanned).await
            })
            .await
        } else {
            run(work, &mut stores, want, request, &mut fanned).await
        };
        migrate::close(stores).await;
        if is_proof {
            return outcome.map(|()| fanned);
        }
        return outcome.map(|()| fanned).map_err(|error| {
            error
                .data_if_none("each tenant is as it was, or done: a tenant is one transaction or its own journal")
                .hint_if_none("run it again: it goes on where it stopped")
        });
    }
    migrate::close(stores).await;
    Ok(fanned)
}

/// The stores of the project that tenants' migrations have a part for.
pub(super) fn kinds(work: Work<'_>, files: &[Migration]) -> Vec<StoreKind> {
    let own = work.config.stores();
    inside::stores(files).into_iter().filter(|kind| own.contains(kind)).collect()
}

pub(super) fn want(work: Work<'_>, model: TenancyModel, request: &Request<'_>) -> Want {
    let (what, settled, goal) = match request.task {
        Task::Migrate(files, goal) => {
            (What::Migrate, Some(settled_heads(files, &kinds(work, files), goal)), format!("{goal:?}"))
        }
        Task::Seed(set) => (What::Seed, None, set.name.clone()),
        Task::Verify(verification) => (What::Verify, None, verification.words()),
    };
    let kinds: Vec<&str> = work.targets.stores.iter().map(|target| target.kind.name()).collect();
    let digest = sha256(
        format!("{:?}\n{goal}\n{settled:?}\n{:?}\n{kinds:?}\n{}", what, request.selection, request.only_failed)
            .as_bytes(),
    );
    Want {
        what,
        selection: request.selection.clone(),
        settled,
        digest,
        model,
        canary: request.canary,
        wave: request.wave,
        max_failures: request.max_failures,
        only_failed: request.only_failed,
    }
}

/// Refuses what must not be begun.
fn refuse(work: Work<'_>, request: &Request<'_>, ledgers: &[(StoreKind, ledger::Ledger)]) -> Result<()> {
    let marks = migrate::marks(ledgers);
    guard::refuse_other_mark(work.config, &marks)?;
    if let Task::Seed(set) = request.task {
        guard::permit_seeds(work.config, work.targets, &marks, &set.name)
            .map_err(|error| error.data("nothing was sent"))?;
    }
    if let Some((kind, _)) = ledgers.iter().find(|(_, ledger)| ledger.is_resetting) {
        return Err(Error::new(Code::ResetUnfinished, format!("a reset of {kind} was cut short"))
            .data("nothing was changed")
            .hint("lyrox db migrate finishes it"));
    }
    let is_beside_postgres = work.targets.stores.first().is_some_and(|target| target.kind != StoreKind::Postgres);
    if let Task::Verify(verification) = request.task
        && request.only_failed
        && !verification.may_write()
    {
        return Err(Error::new(Code::Usage, "--only-failed needs the record of the last run")
            .why("the environment is protected: a verification writes nothing there, its record neither")
            .data("nothing was changed")
            .hint("add --write"));
    }
    if request.only_failed && is_beside_postgres {
        return Err(Error::new(Code::Usage, "--only-failed needs the record of the last run")
            .why("it is kept in PostgreSQL, which is not part of this run")
            .data("nothing was changed")
            .hint("leave it out: tenants that are up to date are not opened"));
    }
    Ok(())
}

/// Runs under the project's lock, shared with others who do the same.
async fn run(
    work: Work<'_>,
    stores: &mut [AnyStore],
    want: &Want,
    request: &Request<'_>,
    fanned: &mut Fanned,
) -> Result<()> {
    let Some(store) = stores.first_mut() else { return Ok(()) };
    let is_kept = is_kept(store, request);
    let (book, begun) = begin(store, want, is_kept).await?;
    if begun.is_joined {
        work.events.note(format!(
            "going on with a run that was begun before: {} of {} {} are left",
            begun.open,
            begun.units,
            if want.what.has_whole() { "units" } else { "tenants" }
        ));
    }
    let jobs = request.jobs.clamp(1, usize::try_from(begun.open.max(1)).unwrap_or(1));
    let fan = Fan {
        work,
        task: request.task,
        model: want.model,
        counts_failures: want.max_failures.is_some(),
        book: Mutex::new(book),
        workers: Cell::new(jobs),
        pace: Cell::new(None),
        told: RefCell::new(Told { is_short: begun.units > FEW, total: begun.open, ..Told::default() }),
        started: Instant::now(),
    };
    let outcome = fan.all(jobs).await;
    let is_over = matches!(outcome, Ok(true));
    let mut book = fan.book.into_inner();
    if !is_over {
        let _ = tokio::time::timeout(Duration::from_secs(2), book.release()).await;
    }
    let told = fan.told.into_inner();
    told.flush(work);
    fanned.done_here = told.done;
    fanned.run = Some(begun.id.clone()).filter(|id| !id.is_empty());
    outcome?;
    let summary = book.end(is_over).await?;
    (fanned.done, fanned.failed, fanned.skipped) = (summary.done, summary.failed, summary.skipped);
    fanned.left = summary.left;
    for failure in summary.failures.iter().filter(|failure| !failure.is_own) {
        work.events.item(of_another(request.task, failure));
    }
    Ok(())
}
