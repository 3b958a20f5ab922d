//! The contract of a store, and the closed set of those there are.
//!
//! How to add a store: a variant of [`StoreKind`], a folder here with a type that implements
//! [`Store`], an arm in [`AnyStore`], a section in the configuration, and the conformance tests of
//! `tests/it/conformance.rs` green for it. Drivers are named only below this folder.

pub mod expand;
pub mod lease;
pub mod load;
pub mod mongodb;
pub mod names;
pub mod packed;
pub mod postgres;
pub mod probe;
pub mod query;
pub mod reach;
pub mod redis;
pub mod rejects;
pub mod scratch;
pub mod smoke;
pub mod source;
pub mod squash;
pub mod srv;
pub mod stages;
pub mod support;
pub mod tenant;
pub mod tenant_bundle;
pub mod tenant_reach;
pub mod tenant_run;
pub mod tenant_verify;
pub mod told;
pub mod trips;
pub mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Config, Target};
use crate::engine::dump::Dump;
use crate::engine::event::{Events, Silent};
use crate::engine::guard::Permit;
use crate::engine::ledger::{Amendment, Kept, Ledger, Row};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::engine::trial::Trial;
use crate::error::{Error, Result};
pub use crate::kind::StoreKind;
use crate::project::migration::Version;

/// What one run of steps did. A failure still tells what was done before it.
#[derive(Debug, Default)]
pub struct Applied {
    /// The steps that are in effect, in order.
    pub done: Vec<Done>,
    /// What stopped it: the index into the steps, and the error that says what happened to the data.
    pub failure: Option<(usize, Error)>,
}

/// One step that is in effect.
#[derive(Clone, Debug)]
pub struct Done {
    /// The ledger row as it is now.
    pub row: Row,
    /// How long it took.
    pub elapsed: Duration,
}

/// How steps are to be run.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// The store holds nothing of the user's and no ledger row: files may share transactions.
    pub is_empty: bool,
    /// `[migrations] transaction`.
    pub transaction: crate::config::file::Transaction,
    /// Values for `${VAR}` in files that ask for it.
    pub variables: crate::config::Variables,
    /// The id of the run, written to the rows of what it applies.
    pub run: String,
}

/// What a dry run shows of one step: the transaction it belongs to and its statements.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Steps with the same number share a transaction; none: outside a transaction.
    pub transaction: Option<usize>,
    /// How many statements or commands there are.
    pub count: usize,
    /// One line each; of long files only the first thousand.
    pub statements: Vec<String>,
}

/// Whether the lock was obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    /// It is ours until `unlock`, or until the session or lease ends.
    Obtained,
    /// Another holds it; the text says who: application, pid, since when.
    Held(String),
}

/// Who holds a store's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// In words: application or user, process, since when.
    pub who: String,
    /// It has certainly ended: a process of this machine that is gone, a lease that ran out.
    pub has_ended: bool,
    /// How the store tells this holder from any other.
    pub token: String,
}

/// Something that a reset would remove, or keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// `table`, `collection`, `keys`, `function`, `role`, ...
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Rows, documents or keys; none where that means nothing.
    pub rows: Option<u64>,
    /// Size on disk or in memory, in bytes; none where unknown.
    pub bytes: Option<u64>,
    /// The project's: a reset removes it. Else it is listed and kept.
    pub is_owned: bool,
}

/// One server of a project, connected. Every method may be called only after `open`.
///
/// Methods that read change nothing, not even the ledger's own tables. Errors carry lyrox's codes and
/// never a connection string; `apply` says what happened to the data.
#[allow(async_fn_in_trait, reason = "used through AnyStore only, never spawned")]
pub trait Store {
    /// The kind of store.
    fn kind(&self) -> StoreKind;

    /// What the server says it is: `PostgreSQL 15.18`, `MongoDB 6.0.5`, `Valkey 9.1.2`.
    async fn product(&mut self) -> Result<String>;

    /// Takes the project's lock if it is free; never waits inside the server. The session (or lease)
    /// that runs the steps is the one that holds it.
    async fn try_lock(&mut self) -> Result<LockAnswer>;

    /// Gives the lock back. Never releases a lock that has become another's.
    async fn unlock(&mut self) -> Result<()>;

    /// Watches the server while the run is at work; none for a store whose every request has a limit of its own.
    fn watch(&self) -> Option<watch::Watch>;

    /// Who holds the lock now. Changes nothing.
    async fn lock_holder(&mut self) -> Result<Option<Holder>>;

    /// Takes the lock away from exactly this holder: ends the session or the lease that it is. One that has
    /// not ended needs a permit. Answers whether it was still that holder's.
    async fn end_lock(&mut self, holder: &Holder, permit: Option<&Permit>) -> Result<bool>;

    /// Corrects the row of a step as a person decided, with an event; answers the row. `step.up` is the file as
    /// it is now; its text is empty where there is none.
    async fn amend(&mut self, step: &Step, amendment: Amendment, options: &ApplyOptions) -> Result<Row>;

    /// Reads ledger, mark and state. A store without a ledger answers an empty one.
    async fn ledger(&mut self) -> Result<Ledger>;

    /// The text that was applied under a version, for a store whose `ledger` leaves texts out: they are
    /// wanted only where an edit is to be shown, and reading a thousand of them would slow every run.
    async fn applied_text(&mut self, version: &Version) -> Result<Option<String>> {
        let _ = version;
        Ok(None)
    }

    /// The texts that the ledger keeps of versions; those it does not know are left out.
    async fn kept_texts(&mut self, versions: &[Version]) -> Result<BTreeMap<Version, Kept>>;

    /// Makes the ledger and writes the mark where there is none. Only under the lock.
    async fn prepare(&mut self, mark: &crate::engine::ledger::Mark) -> Result<()>;

    /// Checks every step without touching data: parse, forbidden statements. Nothing is sent that writes.
    fn preview(&self, steps: &[Step], options: &ApplyOptions) -> Result<Vec<Preview>>;

    /// Runs the steps in order, fast and safely, each with its ledger row. Stops at the first failure.
    /// Each finished step is told as an item.
    async fn apply(&mut self, steps: &[Step], options: &ApplyOptions, events: &dyn Events) -> Applied;

    /// Tries the steps in order until one fails, and tells what each did. `live`: nothing is kept, and each statement
    /// ends within this limit; else the store is a scratch one. A store that cannot look into its own work
    /// runs the steps and tells the time.
    ///
    /// # Errors
    /// What kept it from trying. A step that fails is in its trial.
    async fn rehearse(
        &mut self,
        steps: &[Step],
        options: &ApplyOptions,
        live: Option<Duration>,
        events: &dyn Events,
    ) -> Result<Vec<Trial>> {
        let _ = (live, events);
        let applied = self.apply(steps, options, &Silent).await;
        let mut trials: Vec<Trial> =
            applied.done.iter().map(|done| Trial { elapsed: done.elapsed, ..Trial::default() }).collect();
        trials.extend(applied.failure.map(|(_, error)| Trial { failure: Some(error), ..Trial::default() }));
        Ok(trials)
    }

    /// Adds to trials what this store, the live one, says of what they locked. Reads only.
    async fn look_at(&mut self, trials: &mut [Trial]) -> Result<()> {
        let _ = trials;
        Ok(())
    }

    /// Writes copies of other stores' rows: only asked of the store that bears witness for the others.
    async fn copy_rows(&mut self, rows: &[Row]) -> Result<()>;

    /// From now on, what these rows made is the project's as well: another tool's history says that they are applied, and
    /// the ledger does not say so yet.
    fn assume(&mut self, rows: &[Row]) {
        let _ = rows;
    }

    /// Writes own rows that follow from another tool's history. Stores that keep none in step are never asked.
    async fn take_over(&mut self, rows: &[Row]) -> Result<()> {
        let _ = rows;
        Err(Error::bug("this store keeps no other tool's history"))
    }

    /// Reads the live schema in canonical form, lyrox's own objects left out.
    async fn snapshot(&mut self) -> Result<Snapshot>;

    /// Writes the live schema as a script that makes it anew, lyrox's own objects left out. Reads only.
    async fn dump(&mut self) -> Result<Dump>;

    /// Keeps a snapshot beside the ledger.
    async fn keep_snapshot(&mut self, snapshot: &Snapshot) -> Result<()>;

    /// The snapshot that was kept last.
    async fn kept_snapshot(&mut self) -> Result<Option<Snapshot>>;

    /// Whether [`Store::grant`] would find nothing to do. Reads only.
    async fn is_granted(&mut self) -> Result<bool> {
        Ok(true)
    }

    /// After a migrate: extensions, the application's role and its grants. Tells what it changed, as items. What the
    /// configuration names and is not there is a mistake, unless a migration that `has_pending` speaks of may make it.
    async fn grant(&mut self, has_pending: &dyn Fn() -> bool, events: &dyn Events) -> Result<()>;

    /// Writes another mark.
    async fn set_mark(&mut self, mark: &crate::engine::ledger::Mark, permit: &Permit) -> Result<()>;

    /// Lists what a reset would remove and what it would keep. Reads only.
    async fn holdings(&mut self, include_foreign: bool) -> Result<Vec<Holding>>;

    /// Writes `resetting`: every store of a reset is marked before anything is removed from any of them.
    async fn begin_reset(&mut self, permit: &Permit) -> Result<()>;

    /// Removes what the project owns (or, with `include_foreign`, all that `holdings` lists) and the ledger's
    /// rows; `resetting`, the mark and the event log stay. Stays within the server's lock budget. Running it again finishes it.
    async fn wipe(&mut self, permit: &Permit, include_foreign: bool, events: &dyn Events) -> Result<u64>;

    /// Clears the `resetting` state: the last act of a reset.
    async fn finish_reset(&mut self) -> Result<()>;

    /// Closes the connection politely.
    async fn close(self);
}

/// Any of the stores.
#[allow(clippy::large_enum_variant, reason = "there are at most three of them in a run")]
pub enum AnyStore {
    /// PostgreSQL.
    Postgres(postgres::PostgresStore),
    /// MongoDB.
    Mongodb(mongodb::MongodbStore),
    /// Redis.
    Redis(redis::RedisStore),
}

macro_rules! forward {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            AnyStore::Postgres($store) => $call,
            AnyStore::Mongodb($store) => $call,
            AnyStore::Redis($store) => $call,
        }
    };
}

impl AnyStore {
    /// Connects to a target for work that changes it: PostgreSQL through its direct URL.
    ///
    /// # Errors
    /// `LYX-CONNECT-*`, `LYX-TLS`, `LYX-AUTH-*`, `LYX-DATABASE-MISSING`, each with a hint.
    pub async fn open(config: &Config, target: &Target) -> Result<Self> {
        Ok(match target.kind {
            StoreKind::Postgres => Self::Postgres(postgres::PostgresStore::open(config, target).await?),
            StoreKind::Mongodb => Self::Mongodb(mongodb::MongodbStore::open(config, target).await?),
            StoreKind::Redis => Self::Redis(redis::RedisStore::open(config, target).await?),
        })
    }
}

impl Store for AnyStore {
    fn kind(&self) -> StoreKind {
        forward!(self, store => store.kind())
    }
    async fn product(&mut self) -> Result<String> {
        forward!(self, store => store.product().await)
    }
    async fn try_lock(&mut self) -> Result<LockAnswer> {
        forward!(self, store => store.try_lock().await)
    }
    async fn unlock(&mut self) -> Result<()> {
        forward!(self, store => store.unlock().await)
    }
    fn watch(&self) -> Option<watch::Watch> {
        forward!(self, store => store.watch())
    }
    async fn lock_holder(&mut self) -> Result<Option<Holder>> {
        forward!(self, store => store.lock_holder().await)
    }
    async fn end_lock(&mut self, holder: &Holder, permit: Option<&Permit>) -> Result<bool> {
        forward!(self, store => store.end_lock(holder, permit).await)
    }
    async fn amend(&mut self, step: &Step, amendment: Amendment, options: &ApplyOptions) -> Result<Row> {
        forward!(self, store => store.amend(step, amendment, options).await)
    }
    async fn ledger(&mut self) -> Result<Ledger> {
        forward!(self, store => store.ledger().await)
    }
    async fn applied_text(&mut self, version: &Version) -> Result<Option<String>> {
        forward!(self, store => store.applied_text(version).await)
    }
    async fn kept_texts(&mut self, versions: &[Version]) -> Result<BTreeMap<Version, Kept>> {
        forward!(self, store => store.kept_texts(versions).await)
    }
    async fn prepare(&mut self, mark: &crate::engine::ledger::Mark) -> Result<()> {
        forward!(self, store => store.prepare(mark).await)
    }
    fn preview(&self, steps: &[Step], options: &ApplyOptions) -> Result<Vec<Preview>> {
        forward!(self, store => store.preview(steps, options))
    }
    async fn apply(&mut self, steps: &[Step], options: &ApplyOptions, events: &dyn Events) -> Applied {
        forward!(self, store => store.apply(steps, options, events).await)
    }
    async fn rehearse(
        &mut self,
        steps: &[Step],
        options: &ApplyOptions,
        live: Option<Duration>,
        events: &dyn Events,
    ) -> Result<Vec<Trial>> {
        forward!(self, store => store.rehearse(steps, options, live, events).await)
    }
    async fn look_at(&mut self, trials: &mut [Trial]) -> Result<()> {
        forward!(self, store => store.look_at(trials).await)
    }
    async fn copy_rows(&mut self, rows: &[Row]) -> Result<()> {
        forward!(self, store => store.copy_rows(rows).await)
    }
    fn assume(&mut self, rows: &[Row]) {
        forward!(self, store => store.assume(rows));
    }
    async fn take_over(&mut self, rows: &[Row]) -> Result<()> {
        forward!(self, store => store.take_over(rows).await)
    }
    async fn snapshot(&mut self) -> Result<Snapshot> {
        forward!(self, store => store.snapshot().await)
    }
    async fn dump(&mut self) -> Result<Dump> {
        forward!(self, store => store.dump().await)
    }
    async fn keep_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        forward!(self, store => store.keep_snapshot(snapshot).await)
    }
    async fn kept_snapshot(&mut self) -> Result<Option<Snapshot>> {
        forward!(self, store => store.kept_snapshot().await)
    }
    async fn is_granted(&mut self) -> Result<bool> {
        forward!(self, store => store.is_granted().await)
    }
    async fn grant(&mut self, has_pending: &dyn Fn() -> bool, events: &dyn Events) -> Result<()> {
        forward!(self, store => store.grant(has_pending, events).await)
    }
    async fn set_mark(&mut self, mark: &crate::engine::ledger::Mark, permit: &Permit) -> Result<()> {
        forward!(self, store => store.set_mark(mark, permit).await)
    }
    async fn holdings(&mut self, include_foreign: bool) -> Result<Vec<Holding>> {
        forward!(self, store => store.holdings(include_foreign).await)
    }
    async fn begin_reset(&mut self, permit: &Permit) -> Result<()> {
        forward!(self, store => store.begin_reset(permit).await)
    }
    async fn wipe(&mut self, permit: &Permit, include_foreign: bool, events: &dyn Events) -> Result<u64> {
        forward!(self, store => store.wipe(permit, include_foreign, events).await)
    }
    async fn finish_reset(&mut self) -> Result<()> {
        forward!(self, store => store.finish_reset().await)
    }
    async fn close(self) {
        forward!(self, store => store.close().await)
    }
}
