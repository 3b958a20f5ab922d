//! MongoDB as a store: a database, its collections, and lyrox's own collections `lyrox_*` in it.

pub mod connect;
pub mod error;

use crate::config::{Config, Endpoint, Target};
use crate::engine::event::Events;
use crate::engine::guard::Permit;
use crate::engine::ledger::{Ledger, Mark, Row};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::error::Result;
use crate::stores::{Applied, ApplyOptions, Holding, LockAnswer, Preview, Store, StoreKind};

/// A connected MongoDB.
pub struct MongodbStore {
    connected: connect::Connected,
    endpoint: Endpoint,
}

impl MongodbStore {
    /// Connects.
    ///
    /// # Errors
    /// As [`connect::connect`].
    pub async fn open(_config: &Config, target: &Target) -> Result<Self> {
        let endpoint = target.direct.clone();
        let connected = connect::connect(&endpoint, target.ca_file.as_deref(), &target.namespace).await?;
        Ok(Self { connected, endpoint })
    }

    /// The connection, for seeds, smoke tests and queries.
    pub fn connected(&self) -> &connect::Connected {
        &self.connected
    }

    /// Where it is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Store for MongodbStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Mongodb
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
        self.connected.client.shutdown().immediate(true).await;
    }
}
