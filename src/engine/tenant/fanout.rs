//! Work over many tenants: each is a unit of its own that stands or falls alone. Who is behind is asked in one query; the
//! run is written down, so that a kill loses nothing and other processes take part; workers go from tenant to tenant with
//! their connections. How one tenant is worked in is [`unit`](super::unit)'s.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select, try_join_all};
use rand::RngExt as _;
use tokio::sync::Mutex;

use super::plan::quoted;
use super::registry::{Record, State, Which};
use super::run::{Begun, Ended, Failure, How, Overview, RENEWAL, Selection, Summary, Turn, Unit, WHOLE, Want, What};
use super::unit::{Became, Task, settled_heads, work_in};
use super::verify::{self, Verdict};
use super::wave::{self, OwnRun};
use super::{inside, shown, terms, unknown};
use crate::config::file::TenancyModel;
use crate::engine::event::Event;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::engine::{guard, ledger};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::project::text::sha256;
use crate::report::{Change, Item, plural};
use crate::stores::tenant::TenantStore as _;
use crate::stores::tenant_run::{Enter as _, RunStore as _};
use crate::stores::{AnyStore, Store as _};

/// So many tenants are told one by one; of more, only failures and sums.
const FEW: u64 = 20;
/// So many tenants are one line.
const FOLD: usize = 500;
/// A worker takes about this much work at a time: little enough that the end is shared evenly.
const SHARE: Duration = Duration::from_millis(300);
/// A worker takes at most so many tenants at a time.
const MOST: usize = 16;
/// At most so many are verified together.
const TOGETHER: usize = 50;
/// So many tenants that are not complete are named.
const NAMED: usize = 20;

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

/// Where the run is written down.
enum Book<'a> {
    /// In PostgreSQL, for all processes.
    Kept { store: &'a mut AnyStore, id: String, owner: String },
    /// In the memory of this process, which holds the project's lock alone.
    Own { store: &'a mut AnyStore, run: OwnRun },
}

impl Book<'_> {
    async fn turn(&mut self, ended: &[Ended], limit: usize) -> Result<Turn> {
        match self {
            Self::Kept { store, id, owner } => store.turn(id, owner, ended, limit).await,
            Self::Own { store, run } => {
                let records: Vec<Record> = ended.iter().filter_map(|end| end.record.clone()).collect();
                if !records.is_empty() {
                    store.write_tenants(&records).await?;
                }
                Ok(run.turn(ended, limit))
            }
        }
    }

    async fn renew(&mut self) -> Result<()> {
        match self {
            Self::Kept { store, id, owner } => store.renew(id, owner).await,
            Self::Own { .. } => Ok(()),
        }
    }

    async fn release(&mut self) -> Result<()> {
        match self {
            Self::Kept { store, id, owner } => store.release(id, owner).await,
            Self::Own { .. } => Ok(()),
        }
    }

    async fn end(&mut self, closes: bool) -> Result<Summary> {
        match self {
            Self::Kept { store, id, owner } => store.end_run(id, owner, closes).await,
            Self::Own { run, .. } => Ok(run.summary()),
        }
    }
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

async fn overview(registry: &mut AnyStore, want: &Want, is_kept: bool) -> Result<Overview> {
    if is_kept {
        return registry.overview(want).await;
    }
    Ok(wave::overview(want, &registry.read_tenants(&Which::All).await?))
}

fn heading(work: Work<'_>, request: &Request<'_>, seen: &Overview) -> Option<String> {
    let project = &work.config.settings.project.name;
    let what = match request.task {
        Task::Migrate(..) if seen.behind == 0 => "up to date".to_owned(),
        Task::Migrate(..) => format!("{} behind", seen.behind),
        Task::Seed(set) => format!("seeds `{}`", set.name),
        Task::Verify(_) => return None,
    };
    let total = usize::try_from(seen.total).unwrap_or(usize::MAX);
    Some(format!("{project} ({}): {}, {what}", work.config.environment, plural(total, "tenant")))
}

async fn tell_incomplete(work: Work<'_>, registry: &mut AnyStore, want: &Want, is_kept: bool) -> Result<()> {
    let records = if is_kept {
        registry.incomplete(want, NAMED).await?
    } else {
        wave::incomplete(want, &registry.read_tenants(&Which::All).await?, NAMED)
    };
    for record in records {
        let (why, command) = why_not(&record, want.model);
        work.events.item(item(&record).detail(why).hint(command));
    }
    return Ok(());

    fn item(record: &Record) -> Item {
        let mut item = Item::skip(format!("tenant.{}", record.tenant.shown()), record.tenant.shown());
        item.tenant = Some(record.tenant.key().to_owned());
        item
    }
}

/// Why a tenant is none to work in, and the command that settles it.
pub(super) fn why_not(record: &Record, model: TenancyModel) -> (String, String) {
    let key = quoted(record.tenant.key());
    match record.state {
        State::Deleting => ("is being removed".into(), format!("lyrox tenant delete {key}")),
        State::Pending | State::Failed => {
            (format!("is {}: not made yet", record.state.word()), format!("lyrox tenant create {key}"))
        }
        State::Active | State::Suspended => (
            format!("was made in the model `{}`, and [tenancy] says `{}`", record.model.name(), model.name()),
            format!("lyrox tenant show {key}"),
        ),
    }
}

async fn tell_planned(work: Work<'_>, registry: &mut AnyStore, want: &Want, is_kept: bool) -> Result<()> {
    let records = if is_kept {
        registry.behind(want, 1000).await?
    } else {
        wave::behind(want, &registry.read_tenants(&Which::All).await?, 1000)
    };
    for record in records {
        let mut item = Item::pass(format!("tenant.{}", record.tenant.shown()), record.tenant.shown());
        item.tenant = Some(record.tenant.key().to_owned());
        let at = record.version.map_or_else(|| "no version".to_owned(), |version| format!("at {version}"));
        work.events.item(item.change(Change::Planned).detail(at));
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

/// What another process of the run found.
fn of_another(task: Task<'_>, failure: &Failure) -> Item {
    // What a proof found is what it is, whoever found it.
    let code: Option<Code> = if matches!(task, Task::Verify(_)) { failure.code.parse().ok() } else { None };
    let error = Error::new(code.unwrap_or(Code::TenantsFailed), failure.error.clone())
        .why(format!("another process of this run tried it: {}", failure.code));
    if failure.key.is_empty() {
        return Item::fail("tenants.whole", "what is no single tenant's", &error).detail(failure.error.clone());
    }
    let mut item = Item::fail(format!("tenant.{}", shown(&failure.key)), shown(&failure.key), &error);
    if code.is_some() {
        item.detail = Some(failure.error.clone());
    }
    item.tenant = Some(failure.key.clone());
    item
}

async fn begin<'a>(store: &'a mut AnyStore, want: &Want, is_kept: bool) -> Result<(Book<'a>, Begun)> {
    if !is_kept {
        let (run, begun) = OwnRun::begin(want, &store.read_tenants(&Which::All).await?);
        return Ok((Book::Own { store, run }, begun));
    }
    store.prepare_tenants().await?;
    let begun = store.begin_run(want).await?;
    let owner = format!("{} {} {}", ledger::actor(), std::process::id(), uuid::Uuid::new_v4().simple());
    Ok((Book::Kept { store, id: begun.id.clone(), owner }, begun))
}

/// The workers of one process.
struct Fan<'a> {
    work: Work<'a>,
    task: Task<'a>,
    model: TenancyModel,
    /// The run may end by one failure more: no worker begins several tenants at once.
    counts_failures: bool,
    book: Mutex<Book<'a>>,
    /// How many are at work: fewer where a server has no connection left.
    workers: Cell<usize>,
    /// How long a tenant takes, about.
    pace: Cell<Option<Duration>>,
    told: RefCell<Told>,
    started: Instant,
}

/// What was told, and what is still to be told in one line.
#[derive(Default)]
struct Told {
    is_short: bool,
    total: u64,
    done: u64,
    ended: u64,
    items: RefCell<Vec<Item>>,
}

/// How a worker ended.
enum End {
    /// Nothing is left to do, or to be begun.
    Over,
    /// The user wants the run to end.
    Cancelled,
    /// A server has no connection left for it.
    Dismissed,
}

impl Fan<'_> {
    /// Lets so many workers work, and renews their leases. Answers whether the run is over.
    async fn all(&self, jobs: usize) -> Result<bool> {
        let workers = try_join_all((0..jobs).map(|_| self.worker()));
        let ends = match select(Box::pin(workers), Box::pin(self.beat())).await {
            Either::Left((ends, _)) => ends?,
            Either::Right((error, _)) => return Err(error),
        };
        Ok(!ends.iter().any(|end| matches!(end, End::Cancelled)))
    }

    async fn beat(&self) -> Error {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = self.book.lock().await.renew().await {
                return error;
            }
        }
    }

    /// Takes tenants, works in them, says how they ended, until none is left.
    async fn worker(&self) -> Result<End> {
        let mut stores: Vec<AnyStore> = Vec::new();
        let mut ended: Vec<Ended> = Vec::new();
        let mut full_since: Option<Instant> = None;
        let end = loop {
            let is_cancelled = self.work.events.is_cancelled();
            let limit = if is_cancelled { 0 } else { self.share() };
            let turn = self.book.lock().await.turn(&ended, limit).await?;
            ended.clear();
            if is_cancelled {
                break End::Cancelled;
            }
            if turn.is_over() {
                break End::Over;
            }
            if turn.units.is_empty() {
                // Others are at work, or a wave is to end.
                let jitter = rand::rng().random_range(0.5..1.5);
                tokio::time::sleep(Duration::from_millis(100).mul_f64(jitter)).await;
                continue;
            }
            let full = match self.task {
                Task::Verify(verification) => self.prove(verification, &mut stores, turn.units, &mut ended).await?,
                Task::Migrate(..) | Task::Seed(_) => self.each(&mut stores, turn.units, &mut ended).await,
            };
            if !ended.iter().all(|end| matches!(end.how, How::Back(_))) {
                full_since = None;
            }
            if let Some(error) = full {
                migrate::close(std::mem::take(&mut stores)).await;
                let since = *full_since.get_or_insert_with(Instant::now);
                if self.workers.get() > 1 {
                    self.workers.set(self.workers.get() - 1);
                    self.work.events.note(format!(
                        "{}; going on with {}",
                        error.what(),
                        plural(self.workers.get(), "worker")
                    ));
                    self.book.lock().await.turn(&ended, 0).await?;
                    return Ok(End::Dismissed);
                }
                if since.elapsed() > self.work.wait {
                    return Err(error);
                }
                let pause = Duration::from_millis(500).mul_f64(rand::rng().random_range(0.5..1.5));
                tokio::time::sleep(pause).await;
            }
        };
        migrate::close(stores).await;
        Ok(end)
    }

    /// Works in one tenant after the other. Answers the error of a server that has no connection left.
    async fn each(&self, stores: &mut Vec<AnyStore>, units: Vec<Unit>, ended: &mut Vec<Ended>) -> Option<Error> {
        let (mut full, mut has_failed) = (None, false);
        for unit in units {
            // After a failure the book says whether any further one is begun.
            if full.is_some() || has_failed || self.work.events.is_cancelled() {
                ended.push(Ended::new(unit.place, How::Back(Duration::ZERO), None, Duration::ZERO));
                continue;
            }
            match self.one(stores, unit).await {
                Ok(end) => {
                    has_failed = matches!(end.how, How::Failed(..));
                    ended.push(end);
                }
                Err((end, error)) => {
                    ended.push(end);
                    full = Some(error);
                }
            }
        }
        full
    }

    /// Proves that several tenants are apart, or looks at the whole. The answer is the error of a server that has no
    /// connection left.
    async fn prove(
        &self,
        verification: &verify::Verification,
        stores: &mut Vec<AnyStore>,
        units: Vec<Unit>,
        ended: &mut Vec<Ended>,
    ) -> Result<Option<Error>> {
        let started = Instant::now();
        let (mut batch, mut records) = (Vec::new(), Vec::new());
        for unit in units {
            if unit.place == WHOLE {
                match verification.whole(self.work, stores).await {
                    Ok(whole) => {
                        let how = whole.failure.map_or(How::Done, |(code, sentence)| How::Failed(code, sentence));
                        let end = Ended::new(unit.place, how, None, started.elapsed());
                        ended.push(Ended { marks: whole.marks, ..end });
                    }
                    Err(error) if error.code() == Code::ConnectLimit => {
                        ended.push(Ended::new(unit.place, How::Back(Duration::ZERO), None, Duration::ZERO));
                        return Ok(Some(error));
                    }
                    Err(error) => return Err(error),
                }
                continue;
            }
            let is_complete = |record: &Record| {
                matches!(record.state, State::Active | State::Suspended) && record.model == self.model
            };
            match unit.record {
                Some(record) if is_complete(&record) => {
                    batch.push((unit.place, unit.found));
                    records.push(record);
                }
                _ => {
                    let how = How::Skipped("it is not complete any more, or gone".into());
                    ended.push(Ended::new(unit.place, how, None, Duration::ZERO));
                    self.told.borrow_mut().ended += 1;
                }
            }
        }
        if records.is_empty() {
            return Ok(None);
        }
        let verdicts = verification.tenants(self.work, stores, &records.iter().collect::<Vec<_>>()).await;
        let elapsed = started.elapsed() / u32::try_from(records.len()).unwrap_or(u32::MAX);
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                migrate::close(std::mem::take(stores)).await;
                if error.code() != Code::ConnectLimit {
                    return Err(error);
                }
                let back = |place| Ended::new(place, How::Back(Duration::ZERO), None, Duration::ZERO);
                ended.extend(batch.into_iter().map(|(place, _)| back(place)));
                return Ok(Some(error));
            }
        };
        self.pace.set(Some(self.pace.get().map_or(elapsed, |pace| (pace * 7 + elapsed) / 8)));
        let mut told = self.told.borrow_mut();
        for (((place, found), verdict), record) in batch.into_iter().zip(verdicts).zip(&records) {
            // What the whole says of a tenant was told by who looked at it.
            if let (Some((code, error)), false, false) =
                (&found, verification.has_whole(), matches!(verdict, Verdict::Again))
            {
                let (key, code, error) = (record.tenant.key().to_owned(), code.clone(), error.clone());
                let failure = Failure { key, code, error, is_own: false };
                self.work.events.item(of_another(self.task, &failure));
            }
            let how = match (verdict, found) {
                (Verdict::Again, _) => How::Back(Duration::from_millis(1500)),
                (Verdict::Apart, None) => {
                    told.done += 1;
                    How::Done
                }
                (Verdict::Apart, Some((code, sentence))) | (Verdict::Found(code, sentence), None) => {
                    How::Failed(code, sentence)
                }
                (Verdict::Found(code, sentence), Some((_, of_whole))) => {
                    How::Failed(code, format!("{of_whole}; {sentence}"))
                }
            };
            told.ended += u64::from(!matches!(how, How::Back(_)));
            ended.push(Ended::new(place, how, None, elapsed));
        }
        self.progress(&told);
        Ok(None)
    }

    /// How many tenants a worker takes at a time.
    fn share(&self) -> usize {
        if let Task::Verify(_) = self.task {
            // What is asked of a catalog is asked once for all of them; the end is shared evenly all the same.
            let parts = 4 * self.workers.get() as u64;
            let even = usize::try_from(self.told.borrow().total / parts.max(1)).unwrap_or(TOGETHER);
            return if self.counts_failures { 1 } else { even.clamp(1, TOGETHER) };
        }
        let Some(pace) = self.pace.get() else { return 1 };
        let count = SHARE.as_micros() / pace.as_micros().max(1);
        usize::try_from(count).unwrap_or(MOST).clamp(1, MOST)
    }

    /// Works in one tenant. The error is that a server has no connection left: the tenant was not touched.
    async fn one(&self, stores: &mut Vec<AnyStore>, unit: Unit) -> Result<Ended, (Ended, Error)> {
        let started = Instant::now();
        let end = |how, record, elapsed| Ended::new(unit.place, how, record, elapsed);
        let Some(mut record) = unit.record else {
            self.told.borrow_mut().ended += 1;
            return Ok(end(How::Skipped("it was removed".into()), None, Duration::ZERO));
        };
        let is_complete = matches!(record.state, State::Active | State::Suspended) && record.model == self.model;
        if !is_complete {
            let (why, command) = why_not(&record, self.model);
            let mut item = Item::skip(format!("tenant.{}", record.tenant.shown()), record.tenant.shown());
            item.tenant = Some(record.tenant.key().to_owned());
            self.work.events.item(item.detail(why.clone()).hint(command));
            self.told.borrow_mut().ended += 1;
            return Ok(end(How::Skipped(why), None, Duration::ZERO));
        }
        let became = work_in(self.work, stores, &mut record, self.task).await;
        let elapsed = started.elapsed();
        let item = match became {
            Ok(Became::Done(count)) => {
                let pace = self.pace.get().map_or(elapsed, |pace| (pace * 7 + elapsed) / 8);
                self.pace.set(Some(pace));
                self.tell_done(&record, count, elapsed);
                return Ok(end(How::Done, Some(record), elapsed));
            }
            Ok(Became::Busy) => {
                let item = How::Back(Duration::from_millis(500));
                return Ok(end(item, None, elapsed));
            }
            Ok(Became::Failed(item)) => *item,
            Err(error) if error.code() == Code::ConnectLimit => {
                return Err((end(How::Back(Duration::ZERO), None, elapsed), error));
            }
            Err(error) => Item::fail("", "", &error),
        };
        // What a failure left in the session is not the next tenant's.
        migrate::close(std::mem::take(stores)).await;
        let code = item.code.clone().unwrap_or_default();
        let error = self.tell_failed(&record, item, elapsed);
        Ok(end(How::Failed(code, error), Some(record), elapsed))
    }

    fn tell_done(&self, record: &Record, count: usize, elapsed: Duration) {
        let mut item = Item::pass(format!("tenant.{}", record.tenant.shown()), record.tenant.shown()).elapsed(elapsed);
        item.tenant = Some(record.tenant.key().to_owned());
        item = match self.task {
            Task::Migrate(..) => {
                let at = record.version.as_deref().map_or_else(String::new, |version| format!(", now at {version}"));
                let change = if count > 0 { Change::Applied } else { Change::Unchanged };
                item.change(change).detail(format!("{}{at}", plural(count, "migration")))
            }
            Task::Seed(set) => {
                item.change(Change::Applied).detail(format!("seeds `{}`, {}", set.name, plural(count, "target")))
            }
            // It is told by what was found, and by what held.
            Task::Verify(_) => return,
        };
        let mut told = self.told.borrow_mut();
        told.done += 1;
        told.ended += 1;
        if !told.is_short {
            drop(told);
            return self.work.events.item(item);
        }
        told.items.borrow_mut().push(item);
        if told.items.borrow().len() >= FOLD {
            told.flush(self.work);
        }
        self.progress(&told);
    }

    /// Tells a failure as the tenant's, and answers it as a sentence.
    fn tell_failed(&self, record: &Record, mut item: Item, elapsed: Duration) -> String {
        let words: Vec<String> = [Some(item.title.clone()), item.detail.clone()]
            .into_iter()
            .flatten()
            .filter(|word| !word.is_empty())
            .collect();
        let sentence = words.join(": ");
        item.id = format!("tenant.{}", record.tenant.shown());
        item.title = record.tenant.shown();
        item.tenant = Some(record.tenant.key().to_owned());
        item.detail = Some(sentence.clone());
        if let (Task::Migrate(..), Some(hint)) = (self.task, &mut item.hint) {
            let own = format!("lyrox db migrate --tenant {}", quoted(record.tenant.key()));
            *hint = hint.replace("lyrox db migrate", &own);
        }
        item.exit = Some(Exit::Tenants);
        self.work.events.item(item.elapsed(elapsed));
        let mut told = self.told.borrow_mut();
        told.ended += 1;
        self.progress(&told);
        sentence
    }

    fn progress(&self, told: &Told) {
        if told.is_short && self.started.elapsed().as_millis() > 200 {
            let (done, total) = (told.ended, Some(told.total));
            self.work.events.event(Event::Progress {
                task: "tenants".into(),
                store: None,
                done,
                total,
                unit: "tenants",
            });
        }
    }
}

impl Told {
    /// Tells in one line what waits to be told.
    fn flush(&self, work: Work<'_>) {
        let items = std::mem::take(&mut *self.items.borrow_mut());
        if items.is_empty() {
            return;
        }
        let line = Item::pass("tenants", plural(items.len(), "tenant")).change(Change::Applied);
        work.events.event(Event::Folded { line: Box::new(line), items });
    }
}
