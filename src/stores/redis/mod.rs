//! Redis as a store: the keys below the project's prefix, and lyrox's own keys `<prefix>lyrox:*`.

pub mod check;
pub mod connect;
pub mod error;
pub mod link;
pub mod load;
pub mod smoke;

pub use crate::project::words;
pub mod query;

use crate::config::{Config, Endpoint, Target};
use crate::engine::event::Events;
use crate::engine::guard::Permit;
use crate::engine::ledger::{Ledger, Mark, Row};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::error::Result;
use crate::stores::{Applied, ApplyOptions, Holding, LockAnswer, Preview, Store, StoreKind};

/// A connected Redis or Valkey.
pub struct RedisStore {
    connected: connect::Connected,
    endpoint: Endpoint,
    prefix: String,
}

impl RedisStore {
    /// Connects.
    ///
    /// # Errors
    /// As [`connect::connect`].
    pub async fn open(_config: &Config, target: &Target) -> Result<Self> {
        let endpoint = target.direct.clone();
        let connected = connect::connect(&endpoint, target.ca_file.as_deref()).await?;
        Ok(Self { connected, endpoint, prefix: target.namespace.clone() })
    }

    /// The connection, for seeds, smoke tests and queries.
    pub fn connected(&self) -> &connect::Connected {
        &self.connected
    }

    /// Where it is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What every key of the project begins with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Store for RedisStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Redis
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
    async fn close(self) {}
}
