//! PostgreSQL: the rooms below, and the store that they make together.

mod apply;
mod catalog;
pub mod check;
pub mod connect;
mod direct;
pub mod error;
mod failure;
mod grant;
mod holdings;
pub mod ident;
mod index;
mod journal;
mod ledger;
pub mod load;
pub mod lock;
mod message;
pub mod pooler;
pub mod query;
mod script;
pub mod smoke;
pub mod splitter;
mod transaction;
mod wipe;

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _};

use self::connect::{Facts, Settings};
use crate::config::{Config, Target};
use crate::engine::event::Events;
use crate::engine::guard::Permit;
use crate::engine::ledger::{Ledger, Mark, Row, actor};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::project::migration::Version;
use crate::stores::{Applied, ApplyOptions, Holding, LockAnswer, Preview, Store, StoreKind, trips};

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
    /// No transaction pooler is in the way: found by trying.
    is_direct: bool,
    /// The ledger is there, and the mark in it.
    is_prepared: bool,
    /// Extensions made by this run and not yet told.
    made_extensions: Vec<String>,
    /// Texts that were split before.
    known: script::Known,
}

impl PostgresStore {
    /// Connects through the direct URL and sets the session up.
    ///
    /// # Errors
    /// `LYX-CONNECT-*`, `LYX-TLS`, `LYX-AUTH-POSTGRES`, `LYX-DATABASE-MISSING`, each with a hint.
    pub async fn open(config: &Config, target: &Target) -> Result<Self> {
        let settings = Settings::of(config)?;
        let (connection, facts) = connect::open(config, target).await?;
        Ok(Self {
            connection,
            facts,
            settings,
            project: config.settings.project.name.clone(),
            config: config.clone(),
            target: target.clone(),
            actor: actor(),
            is_locked: false,
            is_direct: false,
            is_prepared: false,
            made_extensions: Vec::new(),
            known: script::Known::default(),
        })
    }

    /// Connects anew after the connection was lost, and takes the lock again where it was held: once
    /// that is obtained, the old session is known to be gone, and its transaction with it.
    ///
    /// # Errors
    /// As [`PostgresStore::open`]; `LYX-LOCK-LOST` where the lock is not free within ten seconds.
    async fn reconnect(&mut self) -> Result<()> {
        let was_locked = std::mem::take(&mut self.is_locked);
        (self.connection, self.facts) = connect::open(&self.config, &self.target).await?;
        let until = Instant::now() + Duration::from_secs(10);
        while was_locked && !self.is_locked {
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

impl Store for PostgresStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Postgres
    }
    async fn try_lock(&mut self) -> Result<LockAnswer> {
        self.take_lock().await
    }
    async fn unlock(&mut self) -> Result<()> {
        self.release_lock().await
    }
    async fn ledger(&mut self) -> Result<Ledger> {
        self.read_ledger().await
    }
    async fn applied_text(&mut self, version: &Version) -> Result<Option<String>> {
        self.read_text(version).await
    }
    async fn prepare(&mut self, mark: &Mark) -> Result<()> {
        self.make_ledger(mark).await?;
        self.make_extensions().await
    }
    fn preview(&self, steps: &[Step], options: &ApplyOptions) -> Result<Vec<Preview>> {
        script::preview(steps, options, &self.known)
    }
    async fn apply(&mut self, steps: &[Step], options: &ApplyOptions, events: &dyn Events) -> Applied {
        self.run_steps(steps, options, events).await
    }
    async fn copy_rows(&mut self, rows: &[Row]) -> Result<()> {
        self.write_copies(rows).await
    }
    async fn snapshot(&mut self) -> Result<Snapshot> {
        self.read_schema().await
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
    async fn grant(&mut self, events: &dyn Events) -> Result<()> {
        self.mend_grants(events).await
    }
    async fn set_mark(&mut self, mark: &Mark, _permit: &Permit) -> Result<()> {
        self.write_mark(mark).await
    }
    async fn holdings(&mut self, _include_foreign: bool) -> Result<Vec<Holding>> {
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
        let _ = self.connection.close().await;
    }
}

/// Sends statements as one simple-query message: one round trip, no prepared statement, no transaction
/// but the message's own. Answers the rows of all of them.
async fn run(connection: &mut PgConnection, sql: String) -> Result<Vec<PgRow>, sqlx::Error> {
    trips::count(StoreKind::Postgres);
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await
}
