//! PostgreSQL: the rooms below, and the store that they make together.

mod amend;
mod apply;
mod block;
mod catalog;
pub mod check;
pub mod citus;
pub mod cluster;
pub mod connect;
mod direct;
mod dump;
pub mod error;
mod extension;
mod failure;
mod fill;
mod foreign;
mod grant;
mod holdings;
pub mod ident;
mod index;
mod journal;
mod ledger;
pub mod load;
pub mod lock;
mod message;
pub mod names;
mod pooled;
mod pooled_login;
pub mod pooler;
pub mod query;
mod rehearse;
pub mod scratch;
mod script;
mod settle;
pub mod smoke;
pub mod splitter;
pub mod squash;
mod tables;
pub mod tenant;
mod transaction;
mod wipe;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _};

use self::connect::{Facts, Settings};
use crate::config::{Config, Target};
use crate::engine::dump::Dump;
use crate::engine::event::Events;
use crate::engine::guard::Permit;
use crate::engine::ledger::{Amendment, Kept, Ledger, Mark, Row, State, actor};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::engine::trial::Trial;
use crate::error::{Code, Error, Result};
use crate::project::migration::Version;
use crate::stores::watch::{Watch, watch};
use crate::stores::{Applied, ApplyOptions, Holder, Holding, LockAnswer, Preview, Store, StoreKind, trips};

/// A connected PostgreSQL: one session, which holds the lock and runs the statements.
pub struct PostgresStore {
    /// The session.
    pub connection: PgConnection,
    /// What the server said of itself at login.
    pub facts: Facts,
    /// What the session is told before it works.
    pub settings: Settings,
    /// The project's name.
    pub project: String,
    /// The configuration in force.
    pub config: Config,
    /// The server of this run.
    pub target: Target,
    /// Who runs this, for the ledger.
    actor: String,
    is_locked: bool,
    /// The lock is shared with others who work on tenants.
    shares_lock: bool,
    /// The ledger is read in the message that takes the lock: for a session that goes from place to place.
    reads_ahead: bool,
    /// What that reading answered, until it is asked for.
    ahead: Option<Vec<PgRow>>,
    /// The other tool's history that is kept in step.
    history: Option<Arc<dyn foreign::History>>,
    /// That history as it was found; none where the table is missing.
    found: Option<foreign::Found>,
    /// The texts of migrations that this history says are applied, and the ledger does not yet.
    assumed: Vec<String>,
    /// What is between this session and the server: found by trying, before the lock is taken.
    path: Path,
    /// The session has its settings.
    is_set_up: bool,
    /// The last transaction of a run has brought the session back to its settings.
    is_restored: bool,
    /// The ledger is there, and the mark in it.
    is_prepared: bool,
    /// The id of the run, for the rows of what it applies.
    run_id: String,
    /// Extensions made by this run and not yet told.
    made_extensions: Vec<String>,
    /// Texts that were split before.
    known: script::Known,
}

/// How long a lost session is waited for: it may still be at work on what it was sent last.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is between a session and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// Not looked at yet.
    Unknown,
    /// Nothing that hands out sessions.
    Direct,
    /// A pooler that hands out sessions per transaction: nothing outlives a transaction.
    Pooled,
}

impl PostgresStore {
    /// Connects through the direct URL and sets the session up.
    ///
    /// # Errors
    /// `LYX-CONNECT-*`, `LYX-TLS`, `LYX-AUTH-POSTGRES`, `LYX-DATABASE-MISSING`, each with a hint.
    pub async fn open(config: &Config, target: &Target) -> Result<Self> {
        let settings = Settings::of(config)?;
        let history = foreign::history(config)?;
        let is_set_up = !pooler::may_be_pooled(&target.direct);
        let (connection, facts) =
            if is_set_up { connect::open(config, target).await? } else { connect::open_plain(config, target).await? };
        let known = script::Known::new(facts.has_citus);
        Ok(Self {
            connection,
            facts,
            settings,
            project: config.settings.project.name.clone(),
            config: config.clone(),
            target: target.clone(),
            actor: actor(),
            is_locked: false,
            shares_lock: false,
            history,
            found: None,
            assumed: Vec::new(),
            path: Path::Unknown,
            is_set_up,
            is_restored: false,
            reads_ahead: false,
            ahead: None,
            is_prepared: false,
            run_id: String::new(),
            made_extensions: Vec::new(),
            known,
        })
    }

    /// Connects anew after the connection was lost, and takes the lock again where it was held: once
    /// that is obtained, the old session is known to be gone, and its transaction with it.
    ///
    /// # Errors
    /// As [`PostgresStore::open`]; `LYX-LOCK-LOST` where the lock is not free within ten seconds.
    async fn reconnect(&mut self) -> Result<()> {
        let was_locked = self.reopen().await?;
        if was_locked { self.retake_lock().await } else { Ok(()) }
    }

    /// Connects anew after the connection was lost. Answers whether the lock was held.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    async fn reopen(&mut self) -> Result<bool> {
        if self.path == Path::Pooled {
            (self.connection, self.facts) = connect::open_plain(&self.config, &self.target).await?;
            return Ok(false);
        }
        (self.connection, self.facts) = connect::open(&self.config, &self.target).await?;
        self.is_set_up = true;
        Ok(std::mem::take(&mut self.is_locked))
    }

    /// Takes the lock that the lost session held.
    ///
    /// # Errors
    /// `LYX-LOCK-LOST` where it is not free within ten seconds.
    async fn retake_lock(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !self.is_locked {
            if let LockAnswer::Held(holder) = self.take_lock().await? {
                if Instant::now() > until {
                    return Err(Error::new(Code::LockLost, "the lock was lost with the connection")
                        .why(format!("it is held by {holder}"))
                        .hint("lyrox db status shows what is applied"));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }
}

impl PostgresStore {
    /// Brings the session to its settings, where that was put off until it is known whose session it is.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    async fn set_up(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.is_set_up, true) {
            connect::set_up(&self.target.direct, &mut self.connection, &self.settings, &self.facts).await?;
        }
        Ok(())
    }
}

impl Store for PostgresStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Postgres
    }
    async fn product(&mut self) -> Result<String> {
        let (major, minor) = (self.facts.version / 10_000, self.facts.version % 10_000);
        Ok(format!("PostgreSQL {major}.{minor}"))
    }
    async fn try_lock(&mut self) -> Result<LockAnswer> {
        self.take_lock().await
    }
    async fn unlock(&mut self) -> Result<()> {
        self.release_lock().await
    }
    fn watch(&self) -> Option<Watch> {
        let (endpoint, ca_file) = (self.target.direct.clone(), self.target.ca_file.clone());
        Some(Box::pin(async move {
            let place = endpoint.url.authority();
            let mut kept: Option<PgConnection> = None;
            watch(StoreKind::Postgres, place, async || {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => match connect::connect(&endpoint, ca_file.as_deref(), "watch").await {
                        Ok(connection) => connection,
                        // A server that refuses is there.
                        Err(error) => return error.code() != Code::ConnectTimeout,
                    },
                };
                let is_there = run(&mut connection, "SELECT 1".into()).await.is_ok();
                kept = is_there.then_some(connection);
                is_there
            })
            .await
        }))
    }
    async fn lock_holder(&mut self) -> Result<Option<Holder>> {
        self.read_holder().await
    }
    async fn end_lock(&mut self, holder: &Holder, permit: Option<&Permit>) -> Result<bool> {
        self.end_session(holder, permit).await
    }
    async fn amend(&mut self, step: &Step, amendment: Amendment, _options: &ApplyOptions) -> Result<Row> {
        self.amend_row(step, amendment).await
    }
    async fn ledger(&mut self) -> Result<Ledger> {
        self.read_ledger().await
    }
    async fn applied_text(&mut self, version: &Version) -> Result<Option<String>> {
        self.read_text(version).await
    }
    async fn kept_texts(&mut self, versions: &[Version]) -> Result<BTreeMap<Version, Kept>> {
        self.read_kept(versions).await
    }
    async fn prepare(&mut self, mark: &Mark) -> Result<()> {
        self.make_ledger(mark).await?;
        self.make_history().await?;
        self.make_extensions().await
    }
    fn preview(&self, steps: &[Step], options: &ApplyOptions) -> Result<Vec<Preview>> {
        if self.path == Path::Pooled {
            pooled::refuse_journaled(steps, options, &self.known)?;
        }
        script::preview(steps, options, &self.known)
    }
    async fn apply(&mut self, steps: &[Step], options: &ApplyOptions, events: &dyn Events) -> Applied {
        self.run_steps(steps, options, events).await
    }
    async fn rehearse(
        &mut self,
        steps: &[Step],
        options: &ApplyOptions,
        live: Option<Duration>,
        events: &dyn Events,
    ) -> Result<Vec<Trial>> {
        self.try_steps(steps, options, live, events).await
    }
    async fn look_at(&mut self, trials: &mut [Trial]) -> Result<()> {
        self.ask_live(trials).await
    }
    async fn copy_rows(&mut self, rows: &[Row]) -> Result<()> {
        self.write_copies(rows).await
    }
    fn assume(&mut self, rows: &[Row]) {
        self.assumed =
            rows.iter().filter(|row| row.state == State::Applied).filter_map(|row| row.text.clone()).collect();
    }
    async fn take_over(&mut self, rows: &[Row]) -> Result<()> {
        self.write_taken(rows).await
    }
    async fn snapshot(&mut self) -> Result<Snapshot> {
        self.read_schema().await
    }
    async fn dump(&mut self) -> Result<Dump> {
        self.write_dump().await
    }
    async fn keep_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.write_snapshot(snapshot).await
    }
    async fn kept_snapshot(&mut self) -> Result<Option<Snapshot>> {
        self.read_snapshot().await
    }
    async fn is_granted(&mut self) -> Result<bool> {
        self.has_grants().await
    }
    async fn grant(&mut self, has_pending: &dyn Fn() -> bool, events: &dyn Events) -> Result<()> {
        self.mend_grants(has_pending, events).await
    }
    async fn set_mark(&mut self, mark: &Mark, _permit: &Permit) -> Result<()> {
        self.write_mark(mark).await
    }
    async fn holdings(&mut self, _include_foreign: bool) -> Result<Vec<Holding>> {
        self.set_up().await?;
        self.list_holdings().await
    }
    async fn begin_reset(&mut self, _permit: &Permit) -> Result<()> {
        self.mark_resetting().await
    }
    async fn wipe(&mut self, _permit: &Permit, include_foreign: bool, events: &dyn Events) -> Result<u64> {
        self.drop_objects(include_foreign, events).await
    }
    async fn finish_reset(&mut self) -> Result<()> {
        self.clear_resetting().await
    }
    async fn close(self) {
        // A server that is gone takes no goodbye.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection.close()).await;
    }
}

/// Sends statements as one simple-query message: one round trip, no prepared statement, no transaction
/// but the message's own. Answers the rows of all of them.
async fn run(connection: &mut PgConnection, sql: String) -> Result<Vec<PgRow>, sqlx::Error> {
    trips::count(StoreKind::Postgres);
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await
}
