//! Redis: see the rooms below.

use crate::config::{Config, Target};
use crate::engine::event::Events;
use crate::engine::guard::Permit;
use crate::engine::ledger::{Ledger, Mark, Row};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::error::Result;
use crate::stores::{Applied, ApplyOptions, Holding, LockAnswer, Preview, Store, StoreKind};

/// A connected Redis.
pub struct RedisStore {}

impl RedisStore {
    /// Connects.
    pub async fn open(config: &Config, target: &Target) -> Result<Self> {
        todo!("{config:?} {target:?}")
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
    async fn close(self) {
        todo!()
    }
}
