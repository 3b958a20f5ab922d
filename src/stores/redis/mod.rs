//! Redis as a store: the keys below the project's prefix, and lyrox's own keys `<prefix>lyrox:*`.

mod amend;
mod apply;
mod catalog;
pub mod check;
mod commands;
pub mod connect;
mod dump;
pub mod error;
mod journal;
pub mod keys;
mod ledger;
pub mod link;
pub mod load;
mod lock;
mod lua;
pub mod names;
mod probe;
pub mod query;
pub mod scratch;
pub mod script;
pub mod smoke;
pub mod tenant;
mod wipe;

pub use crate::project::words;

use std::collections::BTreeMap;

use crate::config::file::{Redis as Section, TenancyModel};
use crate::config::{Config, Endpoint, Target};
use crate::engine::dump::Dump;
use crate::engine::event::Events;
use crate::engine::guard::Permit;
use crate::engine::ledger::{Amendment, Kept, Ledger, Mark, Row};
use crate::engine::plan::{Action, Step};
use crate::engine::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::project::migration::Version;
use crate::stores::{Applied, ApplyOptions, Done, Holder, Holding, LockAnswer, Preview, Store, StoreKind, told};
use keys::Keys;
use ledger::{Books, Trouble};

/// A connected Redis or Valkey.
pub struct RedisStore {
    connected: connect::Connected,
    endpoint: Endpoint,
    ca_file: Option<std::path::PathBuf>,
    section: Section,
    project: String,
    books: Books,
    lock: Option<lock::Held>,
    /// Tenants have a place of their own, which a reset of the project leaves alone.
    has_places: bool,
}

impl RedisStore {
    /// Connects.
    ///
    /// # Errors
    /// As [`connect::connect`].
    pub async fn open(config: &Config, target: &Target) -> Result<Self> {
        let endpoint = target.direct.clone();
        let connected = connect::connect(&endpoint, target.ca_file.as_deref()).await?;
        let keys = Keys::new(&target.namespace, connected.link.is_cluster());
        let books = Books { keys, link: connected.link.clone() };
        let section = config.settings.redis.clone().unwrap_or_default();
        let project = config.settings.project.name.clone();
        let ca_file = target.ca_file.clone();
        let tenancy = config.settings.tenancy.as_ref();
        let has_places = tenancy.is_some_and(|tenancy| tenancy.model != TenancyModel::Row);
        Ok(Self { connected, endpoint, ca_file, section, project, books, lock: None, has_places })
    }

    /// The connection, for seeds, smoke tests and queries.
    pub fn connected(&self) -> &connect::Connected {
        &self.connected
    }

    /// Where it is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The certificate authority that the server is checked against, where it is not a public one.
    pub fn ca_file(&self) -> Option<&std::path::Path> {
        self.ca_file.as_deref()
    }

    /// What every key of the project begins with, and the names of lyrox's own.
    pub fn keys(&self) -> &Keys {
        &self.books.keys
    }

    /// What every key of the project begins with.
    pub fn prefix(&self) -> &str {
        &self.books.keys.prefix
    }

    fn failed(endpoint: &Endpoint, doing: &str) -> impl Fn(redis::RedisError) -> Error {
        move |error| error::work_error(endpoint, doing, &error)
    }

    fn troubled(endpoint: &Endpoint, doing: &str) -> impl Fn(Trouble) -> Error {
        move |trouble| match trouble {
            Trouble::Driver(error) => error::work_error(endpoint, doing, &error),
            Trouble::Ledger(error) => error,
        }
    }

    /// Waits until a replica has what was written: a failover must not lose what the report calls applied.
    async fn confirm(&mut self, events: &dyn Events) {
        if self.connected.link.is_cluster() || self.connected.replicas.is_none_or(|count| count == 0) {
            return;
        }
        let mut wait = redis::cmd("WAIT");
        wait.arg(1).arg(1000);
        if wait.query_async::<u64>(&mut self.books.link).await.is_ok_and(|confirmed| confirmed == 0) {
            events.note("redis: no replica has confirmed within a second what was applied".into());
        }
    }
}

/// The commands of a step; none where only the ledger is written about what has no text any more.
fn commands(step: &Step, prefix: &str, options: &ApplyOptions) -> Result<Vec<script::Command>> {
    if step.action == Action::Forget {
        return Ok(Vec::new());
    }
    script::read(&step.script, prefix, &options.variables)
}

impl Store for RedisStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }

    async fn product(&mut self) -> Result<String> {
        let asked = self.books.link.info().await;
        let info = asked.map_err(Self::failed(&self.endpoint, "ask for the version"))?;
        Ok(match (info.get::<String>("valkey_version"), info.get::<String>("redis_version")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, Some(version)) => format!("Redis {version}"),
            (None, None) => "Redis of unknown version".into(),
        })
    }

    async fn try_lock(&mut self) -> Result<LockAnswer> {
        let taken = lock::try_lock(&mut self.books).await;
        let (answer, held) = taken.map_err(Self::failed(&self.endpoint, "take the lock"))?;
        self.lock = held;
        Ok(answer)
    }

    async fn unlock(&mut self) -> Result<()> {
        match self.lock.take() {
            Some(held) => held.release().await.map_err(Self::failed(&self.endpoint, "give the lock back")),
            None => Ok(()),
        }
    }

    fn watch(&self) -> Option<crate::stores::watch::Watch> {
        // Every request has its limit.
        None
    }

    async fn lock_holder(&mut self) -> Result<Option<Holder>> {
        lock::holder_of(&mut self.books).await.map_err(Self::failed(&self.endpoint, "look at the lock"))
    }

    async fn end_lock(&mut self, holder: &Holder, permit: Option<&Permit>) -> Result<bool> {
        if !holder.has_ended && permit.is_none() {
            return Err(Error::bug("a lease is ended without a permit"));
        }
        lock::end(&mut self.books, &holder.token).await.map_err(Self::failed(&self.endpoint, "end the lock"))
    }

    async fn amend(&mut self, step: &Step, amendment: Amendment, options: &ApplyOptions) -> Result<Row> {
        let Some(lock) = &self.lock else {
            return Err(Error::bug("Redis is written to without its lock"));
        };
        let amended = amend::amend(&mut self.books, lock, step, amendment, options).await;
        amended.map_err(Self::troubled(&self.endpoint, "write the ledger"))
    }

    async fn ledger(&mut self) -> Result<Ledger> {
        self.books.read().await.map_err(Self::troubled(&self.endpoint, "read the ledger"))
    }

    async fn applied_text(&mut self, version: &Version) -> Result<Option<String>> {
        self.books.text(version).await.map_err(Self::failed(&self.endpoint, "read the ledger"))
    }

    async fn kept_texts(&mut self, versions: &[Version]) -> Result<BTreeMap<Version, Kept>> {
        self.books.kept_texts(versions).await.map_err(Self::failed(&self.endpoint, "read the ledger"))
    }

    async fn prepare(&mut self, mark: &Mark) -> Result<()> {
        self.books.prepare(mark).await.map_err(Self::troubled(&self.endpoint, "make the ledger"))
    }

    fn preview(&self, steps: &[Step], options: &ApplyOptions) -> Result<Vec<Preview>> {
        let read = |step: &Step| {
            let commands = commands(step, &self.books.keys.prefix, options)?;
            told::refuse_shortened(step, commands.len())?;
            let pending = commands.into_iter().skip(step.resume_from as usize);
            let statements: Vec<String> = pending.map(|command| command.shown).collect();
            Ok(Preview { transaction: None, count: statements.len(), statements })
        };
        steps.iter().map(read).collect()
    }

    async fn apply(&mut self, steps: &[Step], options: &ApplyOptions, events: &dyn Events) -> Applied {
        let mut applied = Applied::default();
        let mut scripts = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            match commands(step, &self.books.keys.prefix, options) {
                Ok(commands) => scripts.push(commands),
                Err(error) => return Applied { failure: Some((index, error)), ..applied },
            }
        }
        let Some(lock) = &self.lock else {
            let error = Error::bug("Redis is written to without its lock");
            return Applied { failure: Some((0, error)), ..applied };
        };
        let runner = apply::Runner { books: &self.books, endpoint: &self.endpoint, lock, run: &options.run, events };
        for (index, (step, commands)) in steps.iter().zip(&scripts).enumerate() {
            if events.is_cancelled() {
                break;
            }
            if step.is_hook() {
                if let Err(error) = runner.hook(step, commands).await {
                    applied.failure = Some((index, error));
                    break;
                }
                continue;
            }
            match runner.step(step, commands).await {
                Ok((row, elapsed)) => {
                    if let Some(item) = told::item(step, &row, elapsed) {
                        events.item(item);
                    }
                    applied.done.push(Done { row, elapsed });
                }
                Err(error) => {
                    applied.failure = Some((index, error));
                    break;
                }
            }
        }
        if !applied.done.is_empty() {
            self.confirm(events).await;
        }
        applied
    }

    async fn copy_rows(&mut self, _rows: &[Row]) -> Result<()> {
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Snapshot> {
        let snapshot = catalog::snapshot(&mut self.books, &self.section).await;
        snapshot.map_err(Self::failed(&self.endpoint, "read the schema"))
    }

    async fn dump(&mut self) -> Result<Dump> {
        let rows = self.ledger().await?.rows;
        let dump = dump::dump(&mut self.books, &self.project, &rows).await;
        dump.map_err(Self::failed(&self.endpoint, "read the schema"))
    }

    async fn keep_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.books.keep(snapshot).await.map_err(Self::troubled(&self.endpoint, "keep the snapshot"))
    }

    async fn kept_snapshot(&mut self) -> Result<Option<Snapshot>> {
        self.books.kept().await.map_err(Self::troubled(&self.endpoint, "read the snapshot"))
    }

    async fn grant(&mut self, _has_pending: &dyn Fn() -> bool, _events: &dyn Events) -> Result<()> {
        Ok(())
    }

    async fn set_mark(&mut self, mark: &Mark, _permit: &Permit) -> Result<()> {
        self.books.set_mark(mark).await.map_err(Self::troubled(&self.endpoint, "write the mark"))
    }

    async fn holdings(&mut self, _include_foreign: bool) -> Result<Vec<Holding>> {
        let tenants = self.tenants_that_stay().await?;
        let holdings = wipe::holdings(&mut self.books, &self.section, &tenants).await;
        holdings.map_err(Self::troubled(&self.endpoint, "list what a reset would remove"))
    }

    async fn begin_reset(&mut self, _permit: &Permit) -> Result<()> {
        wipe::begin(&mut self.books).await.map_err(Self::troubled(&self.endpoint, "begin the reset"))
    }

    async fn wipe(&mut self, _permit: &Permit, _include_foreign: bool, events: &dyn Events) -> Result<u64> {
        let tenants = self.tenants_that_stay().await?;
        let Some(lock) = &self.lock else {
            return Err(Error::bug("Redis is written to without its lock"));
        };
        let wiped = wipe::wipe(&mut self.books, lock, &tenants, events).await;
        if let Ok(removed) = &wiped {
            self.forget_rows().await?;
            told::wiped(StoreKind::Redis, self.prefix(), *removed).into_iter().for_each(|item| events.item(item));
        }
        wiped.map_err(Self::troubled(&self.endpoint, "remove what the project owns")).map_err(|error| {
            error
                .data_if_none("some of it may be removed; the store stays marked as resetting")
                .hint_if_none("run it again")
        })
    }

    async fn finish_reset(&mut self) -> Result<()> {
        wipe::finish(&mut self.books).await.map_err(Self::failed(&self.endpoint, "end the reset"))
    }

    async fn close(self) {}
}
