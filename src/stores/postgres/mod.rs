//! PostgreSQL: the rooms below, and the store that they make together.

pub mod connect;
pub mod error;
pub mod ident;
pub mod splitter;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use self::connect::{Facts, Settings};
use crate::config::{Config, Target};
use crate::engine::event::Events;
use crate::engine::guard::Permit;
use crate::engine::ledger::{Ledger, Mark, Row};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::error::Result;
use crate::stores::{Applied, ApplyOptions, Holding, LockAnswer, Preview, Store, StoreKind};

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
        })
    }
}

impl Store for PostgresStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Postgres
    }
    async fn try_lock(&mut self) -> Result<LockAnswer> {
        todo!()
    }
    async fn unlock(&mut self) -> Result<()> {
        todo!()
    }
    async fn ledger(&mut self) -> Result<Ledger> {
        todo!()
    }
    async fn prepare(&mut self, _mark: &Mark) -> Result<()> {
        todo!()
    }
    fn preview(&self, _steps: &[Step], _options: &ApplyOptions) -> Result<Vec<Preview>> {
        todo!()
    }
    async fn apply(&mut self, _steps: &[Step], _options: &ApplyOptions, _events: &dyn Events) -> Applied {
        todo!()
    }
    async fn copy_rows(&mut self, _rows: &[Row]) -> Result<()> {
        todo!()
    }
    async fn snapshot(&mut self) -> Result<Snapshot> {
        todo!()
    }
    async fn keep_snapshot(&mut self, _snapshot: &Snapshot) -> Result<()> {
        todo!()
    }
    async fn kept_snapshot(&mut self) -> Result<Option<Snapshot>> {
        todo!()
    }
    async fn grant(&mut self, _events: &dyn Events) -> Result<()> {
        todo!()
    }
    async fn set_mark(&mut self, _mark: &Mark, _permit: &Permit) -> Result<()> {
        todo!()
    }
    async fn holdings(&mut self, _include_foreign: bool) -> Result<Vec<Holding>> {
        todo!()
    }
    async fn begin_reset(&mut self, _permit: &Permit) -> Result<()> {
        todo!()
    }
    async fn wipe(&mut self, _permit: &Permit, _include_foreign: bool, _events: &dyn Events) -> Result<u64> {
        todo!()
    }
    async fn finish_reset(&mut self) -> Result<()> {
        todo!()
    }
    async fn close(self) {
        let _ = self.connection.close().await;
    }
}
