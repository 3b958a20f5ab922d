//! MongoDB as a store: a database, its collections, and lyrox's own collections `lyrox_*` in it.

mod amend;
mod apply;
mod catalog;
pub mod check;
pub mod connect;
mod document;
mod dump;
pub mod error;
mod foreign;
mod journal;
mod ledger;
pub mod load;
mod lock;
pub mod names;
mod probe;
pub mod query;
mod run;
pub mod scratch;
pub mod script;
mod sharding;
pub mod smoke;
pub mod squash;
pub mod tenant;
mod wipe;

use std::collections::BTreeMap;

use crate::config::{Config, Endpoint, Target};
use crate::engine::dump::Dump;
use crate::engine::event::Events;
use crate::engine::guard::Permit;
use crate::engine::ledger::{Amendment, Kept, Ledger, Mark, Row};
use crate::engine::plan::{Action, Step};
use crate::engine::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::project::migration::Version;
use crate::stores::watch::{Watch, watch};
use crate::stores::{Applied, ApplyOptions, Done, Holder, Holding, LockAnswer, Preview, Store, StoreKind, told};
use ledger::{Books, Trouble};
use script::Kind;

/// A connected MongoDB.
pub struct MongodbStore {
    connected: connect::Connected,
    endpoint: Endpoint,
    books: Books,
    lock: Option<lock::Held>,
}

impl MongodbStore {
    /// Connects.
    ///
    /// # Errors
    /// As [`connect::connect`].
    pub async fn open(config: &Config, target: &Target) -> Result<Self> {
        let endpoint = target.direct.clone();
        let connected = connect::connect(&endpoint, target.ca_file.as_deref(), &target.namespace).await?;
        let books = Books {
            database: connected.database.clone(),
            project: config.settings.project.name.clone(),
            tenant: String::new(),
            history: foreign::History::of(config)?,
        };
        Ok(Self { connected, endpoint, books, lock: None })
    }

    /// The connection, for seeds, smoke tests and queries.
    pub fn connected(&self) -> &connect::Connected {
        &self.connected
    }

    /// Where it is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn failed<'a>(&'a self, doing: &'a str) -> impl Fn(mongodb::error::Error) -> Error + 'a {
        move |error| error::work_error(&self.endpoint, doing, &error)
    }

    fn troubled<'a>(&'a self, doing: &'a str) -> impl Fn(Trouble) -> Error + 'a {
        move |trouble| match trouble {
            Trouble::Driver(error) => error::work_error(&self.endpoint, doing, &error),
            Trouble::Ledger(error) => error,
        }
    }

    fn held(&self) -> Result<&lock::Held> {
        self.lock.as_ref().ok_or_else(|| Error::bug("MongoDB is written to without its lock"))
    }
}

/// The commands of a step; none where only the ledger is written about what has no text any more.
/// `router`: the database, where the server spreads collections.
fn commands(step: &Step, options: &ApplyOptions, router: Option<&str>) -> Result<Vec<script::Command>> {
    if step.action == Action::Forget {
        return Ok(Vec::new());
    }
    let mut commands = script::read(&step.script, &options.variables)?;
    if let Some(database) = router {
        commands.extend(sharding::commands(&step.script, database));
    }
    Ok(commands)
}

impl Store for MongodbStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Mongodb
    }

    async fn product(&mut self) -> Result<String> {
        let build = self.books.database.run_command(bson::doc! { "buildInfo": 1 }).await;
        let build = build.map_err(self.failed("ask for the version"))?;
        Ok(format!("MongoDB {}", build.get_str("version").unwrap_or("of unknown version")))
    }

    async fn try_lock(&mut self) -> Result<LockAnswer> {
        let collection = self.books.collection(ledger::LOCK);
        let (answer, held) = lock::try_lock(&self.connected.client, &collection, &self.books.project)
            .await
            .map_err(self.failed("take the lock"))?;
        self.lock = held;
        let Some(history) = self.books.history.clone().filter(|_| self.lock.is_some()) else { return Ok(answer) };
        let taken = history.lock(&self.books.database).await.map_err(self.failed("take golang-migrate's lock"));
        match taken {
            Ok(None) => Ok(answer),
            // What is not had whole is not kept.
            taken => {
                if let Some(held) = self.lock.take() {
                    held.release().await.map_err(self.failed("give the lock back"))?;
                }
                taken.map(|holder| LockAnswer::Held(holder.unwrap_or_default()))
            }
        }
    }

    async fn unlock(&mut self) -> Result<()> {
        if let Some(history) = self.books.history.as_ref().filter(|_| self.lock.is_some()) {
            history.unlock(&self.books.database).await.map_err(self.failed("give golang-migrate's lock back"))?;
        }
        match self.lock.take() {
            Some(held) => held.release().await.map_err(self.failed("give the lock back")),
            None => Ok(()),
        }
    }

    fn watch(&self) -> Option<Watch> {
        let (client, place) = (self.connected.client.clone(), self.endpoint.url.authority());
        Some(Box::pin(async move {
            let admin = client.database("admin");
            watch(StoreKind::Mongodb, place, async || {
                match admin.run_command(bson::doc! { "ping": 1 }).await {
                    Ok(_) => true,
                    // A server that refuses is there.
                    Err(error) => error::refusal(&error).is_some(),
                }
            })
            .await
        }))
    }

    async fn lock_holder(&mut self) -> Result<Option<Holder>> {
        lock::holder_of(&self.books.collection(ledger::LOCK)).await.map_err(self.failed("look at the lock"))
    }

    async fn end_lock(&mut self, holder: &Holder, permit: Option<&Permit>) -> Result<bool> {
        if !holder.has_ended && permit.is_none() {
            return Err(Error::bug("a lease is ended without a permit"));
        }
        let collection = self.books.collection(ledger::LOCK);
        let ended = lock::end(&self.connected.client, &collection, &holder.token).await;
        let ended = ended.map_err(self.failed("end the lock"))?;
        if let Some(history) = self.books.history.as_ref().filter(|_| ended) {
            history.unlock(&self.books.database).await.map_err(self.failed("end golang-migrate's lock"))?;
        }
        Ok(ended)
    }

    async fn amend(&mut self, step: &Step, amendment: Amendment, options: &ApplyOptions) -> Result<Row> {
        self.held()?;
        amend::amend(&self.books, step, amendment, options).await.map_err(self.troubled("write the ledger"))
    }

    async fn ledger(&mut self) -> Result<Ledger> {
        self.books.read().await.map_err(self.troubled("read the ledger"))
    }

    async fn applied_text(&mut self, version: &Version) -> Result<Option<String>> {
        self.books.text(version).await.map_err(self.failed("read the ledger"))
    }

    async fn kept_texts(&mut self, versions: &[Version]) -> Result<BTreeMap<Version, Kept>> {
        self.books.kept_texts(versions).await.map_err(self.failed("read the ledger"))
    }

    async fn prepare(&mut self, mark: &Mark) -> Result<()> {
        self.books.prepare(mark).await.map_err(self.failed("make the ledger"))
    }

    fn preview(&self, steps: &[Step], options: &ApplyOptions) -> Result<Vec<Preview>> {
        let with_transactions = self.connected.has_transactions();
        let mut number = 0;
        let mut previews = Vec::with_capacity(steps.len());
        for step in steps {
            let commands = commands(step, options, self.connected.router())?;
            told::refuse_shortened(step, commands.len())?;
            let done = step.resume_from as usize;
            let groups = apply::groups(&commands, done, with_transactions && !step.script.header.no_transaction);
            // The number stands for the file as a whole: only then do all its commands share it.
            let transaction = matches!(groups[..], [apply::Group::Together(0, _)]).then(|| {
                number += 1;
                number
            });
            let statements: Vec<String> = commands.into_iter().skip(done).map(|command| command.shown).collect();
            previews.push(Preview { transaction, count: statements.len(), statements });
        }
        Ok(previews)
    }

    async fn apply(&mut self, steps: &[Step], options: &ApplyOptions, events: &dyn Events) -> Applied {
        let mut applied = Applied::default();
        let mut scripts = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            match commands(step, options, self.connected.router()) {
                Ok(commands) => scripts.push(commands),
                Err(error) => return Applied { failure: Some((index, error)), ..applied },
            }
        }
        let lock = match self.held() {
            Ok(lock) => lock,
            Err(error) => return Applied { failure: Some((0, error)), ..applied },
        };
        let runner = apply::Runner {
            books: &self.books,
            client: &self.connected.client,
            endpoint: &self.endpoint,
            lock,
            has_transactions: self.connected.has_transactions(),
            run: &options.run,
            events,
        };
        let has_data = scripts.iter().flatten().any(|command| command.kind == Kind::Data);
        if has_data && !runner.has_transactions {
            events.note("mongodb is a stand-alone server without transactions: each command is journaled".into());
        }
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
        applied
    }

    async fn copy_rows(&mut self, rows: &[Row]) -> Result<()> {
        self.books.keep_copies(rows).await.map_err(self.failed("write the ledger"))
    }

    async fn take_over(&mut self, rows: &[Row]) -> Result<()> {
        self.held()?;
        self.books.take_over(rows).await.map_err(self.failed("write what the history says to the ledger"))
    }

    async fn snapshot(&mut self) -> Result<Snapshot> {
        catalog::snapshot(&self.books.database, self.books.history.as_ref())
            .await
            .map_err(self.failed("read the schema"))
    }

    async fn dump(&mut self) -> Result<Dump> {
        dump::dump(&self.books.database, self.books.history.as_ref(), &self.books.project)
            .await
            .map_err(self.failed("read the schema"))
    }

    async fn keep_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.books.keep(snapshot).await.map_err(self.troubled("keep the snapshot"))
    }

    async fn kept_snapshot(&mut self) -> Result<Option<Snapshot>> {
        self.books.kept().await.map_err(self.troubled("read the snapshot"))
    }

    async fn grant(&mut self, _has_pending: &dyn Fn() -> bool, _events: &dyn Events) -> Result<()> {
        Ok(())
    }

    async fn set_mark(&mut self, mark: &Mark, _permit: &Permit) -> Result<()> {
        self.books.set_mark(mark).await.map_err(self.failed("write the mark"))
    }

    async fn holdings(&mut self, _include_foreign: bool) -> Result<Vec<Holding>> {
        wipe::holdings(&self.books).await.map_err(self.troubled("list what a reset would remove"))
    }

    async fn begin_reset(&mut self, _permit: &Permit) -> Result<()> {
        wipe::begin(&self.books).await.map_err(self.failed("begin the reset"))
    }

    async fn wipe(&mut self, _permit: &Permit, include_foreign: bool, events: &dyn Events) -> Result<u64> {
        let wiped = wipe::wipe(&self.books, self.held()?, include_foreign, events).await;
        if let Ok(removed) = &wiped {
            told::wiped(StoreKind::Mongodb, self.books.database.name(), *removed)
                .into_iter()
                .for_each(|item| events.item(item));
        }
        wiped.map_err(self.troubled("remove what the project owns")).map_err(|error| {
            error
                .data_if_none("some of it may be removed; the store stays marked as resetting")
                .hint_if_none("run it again")
        })
    }

    async fn finish_reset(&mut self) -> Result<()> {
        wipe::finish(&self.books).await.map_err(self.failed("end the reset"))
    }

    async fn close(self) {
        drop(self.lock);
        self.connected.client.shutdown().immediate(true).await;
    }
}
