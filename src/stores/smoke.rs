//! What a store must be able to do for smoke tests, and the closed set of those that do.
//!
//! A battery of tests borrows the connected store for the length of a run. It derives its built-in tests
//! from the kept snapshot, tries them against the live store, and carries declared steps out. Whatever it
//! writes is rolled back, or journaled first and removed; [`Smoke::leftovers`] proves it.

pub mod outcome;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{AnyStore, StoreKind, mongodb, postgres, redis};
use crate::config::Config;
use crate::engine::snapshot::Snapshot;
use crate::error::{Code, Error, Result};

/// One run of the smoke tests, as every store sees it.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    /// Eight hexadecimal digits, drawn anew for each run.
    pub id: String,
    /// The configuration in force.
    pub config: &'a Config,
    /// Tests may write. Off on protected environments, unless asked for.
    pub may_write: bool,
    /// Every server is on this machine: full counts before and after are compared.
    pub is_local: bool,
}

impl Run<'_> {
    /// What every text that this run writes holds.
    pub fn marker(&self) -> String {
        format!("{MARKER}{}", self.id)
    }
}

/// What the marker of every run begins with.
pub const MARKER: &str = "lyrox-smoke-";

/// A test that lyrox derives by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// `store.kind.object`, or `store.kind`; unique.
    pub id: String,
    /// What it proves, short.
    pub title: String,
    /// It writes, be it within a transaction that is rolled back.
    pub writes: bool,
}

impl BuiltIn {
    /// A test of an object.
    pub fn new(store: StoreKind, kind: &str, object: &str, title: impl Into<String>, writes: bool) -> Self {
        let id = if object.is_empty() { format!("{store}.{kind}") } else { format!("{store}.{kind}.{object}") };
        Self { id, title: title.into(), writes }
    }
}

/// How a test ended.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// As it should be; one line about what was seen.
    Pass(String),
    /// It works, and will hurt some day: what, and what to do.
    Warn(String, String),
    /// It could not be tried: why, and what to do about it.
    Skip(String, Option<String>),
    /// Not as it should be.
    Fail(Error),
}

impl Verdict {
    /// A failed test: what was found.
    pub fn fail(what: impl Into<String>) -> Self {
        Self::Fail(Error::new(Code::SmokeFailed, what))
    }

    /// A failed test: what was found, and why.
    pub fn fail_because(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Fail(Error::new(Code::SmokeFailed, what).why(why))
    }

    /// A test that could not be tried.
    pub fn skip(why: impl Into<String>) -> Self {
        Self::Skip(why.into(), None)
    }
}

/// What saved names stand for in a declared test.
pub type Variables = BTreeMap<String, Value>;

/// One step of a declared test, as a store gets it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What to send; `{{name}}` is still in it.
    pub text: &'a str,
    /// The session to send it in; none: the test's own.
    pub session: Option<&'a str>,
    /// Open the session anew before.
    pub reconnect: bool,
}

/// What a declared step got back.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer.
    Answer(Answer),
    /// The server said no. What the step did is undone; the test can go on.
    Refused(Refusal),
    /// The step cannot be tried: why, and what to do about it. Nothing was done.
    Untried(String, Option<String>),
}

impl Reply {
    /// The step writes, and this run may not.
    pub fn writes() -> Self {
        Self::Untried("it writes, and the environment is protected".into(), Some("--write".into()))
    }
}

/// An answer of a store.
#[derive(Clone, Debug)]
pub struct Answer {
    /// PostgreSQL: `{ "rows": [{ column: text }] }`. MongoDB: the reply as relaxed extended JSON. Redis: the reply.
    pub value: Value,
    /// The scalar that `value = ...` is compared with: first column of the first row, or the whole reply.
    pub first: Value,
    /// Rows, documents or elements.
    pub rows: u64,
    /// Redis: the time to live of the step's first key, where it has one.
    pub ttl: Option<Ttl>,
    /// How long the store took.
    pub elapsed: Duration,
}

/// The time to live of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// There is no such key.
    Missing,
    /// It never expires.
    Forever,
    /// So long.
    Left(Duration),
}

/// The server's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its codes: SQLSTATE, number, name.
    pub codes: Vec<String>,
    /// Its message, cleaned.
    pub message: String,
}

/// A store's smoke tests during one run.
#[allow(async_fn_in_trait, reason = "used through AnySmoke only, never spawned")]
pub trait Smoke {
    /// The kind of store.
    fn kind(&self) -> StoreKind;

    /// Removes what runs that died left, as their journal lists it. Only under the project's lock: then
    /// every journal that is found is a dead run's. Says what was removed.
    async fn clean_up(&mut self) -> Result<Vec<String>>;

    /// Counts everything of the project, where the run compares counts.
    async fn tally(&mut self) -> Result<()>;

    /// Derives the built-in tests from the kept snapshot. Reads only.
    async fn prepare(&mut self, kept: &Snapshot, live: &Snapshot) -> Result<Vec<BuiltIn>>;

    /// Tries one of the tests that `prepare` derived.
    ///
    /// # Errors
    /// The connection is lost; what the test itself finds is its verdict.
    async fn try_out(&mut self, index: usize) -> Result<Verdict>;

    /// Ends what the tests before left open: another store is tried next.
    ///
    /// # Errors
    /// The connection is lost.
    async fn rest(&mut self) -> Result<()>;

    /// The keys of every tenant, where this store lists them; none: it does not.
    ///
    /// # Errors
    /// The list cannot be read.
    async fn tenants(&mut self) -> Result<Option<Vec<String>>>;

    /// Begins a declared test: a transaction, or with `commit` none that spans its steps. With a tenant it
    /// acts as the application does for that tenant.
    ///
    /// # Errors
    /// It cannot begin. The inner error: it cannot be tried, and why.
    async fn begin(&mut self, commit: bool, tenant: Option<&str>) -> Result<Result<(), String>>;

    /// Carries one step out.
    ///
    /// # Errors
    /// The step cannot be sent: its text, a placeholder, the connection. Refusals of the server are replies.
    async fn step(&mut self, call: Call<'_>, variables: &Variables) -> Result<Reply>;

    /// Takes back what the last step of a session did, before it is tried again. What was committed stays
    /// journaled until the end.
    ///
    /// # Errors
    /// The connection is lost.
    async fn take_back(&mut self, session: Option<&str>) -> Result<()>;

    /// Ends a declared test: rolls back, or removes what the journal lists.
    async fn end(&mut self) -> Result<()>;

    /// What of this run is still there, in words. Compares counts where they were taken.
    async fn leftovers(&mut self) -> Result<Vec<String>>;
}

/// The smoke tests of any store.
#[allow(clippy::large_enum_variant, reason = "there are at most three of them in a run")]
pub enum AnySmoke<'a> {
    /// PostgreSQL.
    Postgres(postgres::smoke::PostgresSmoke<'a>),
    /// MongoDB.
    Mongodb(mongodb::smoke::MongodbSmoke<'a>),
    /// Redis.
    Redis(redis::smoke::RedisSmoke<'a>),
}

impl AnyStore {
    /// Borrows the store for a run of smoke tests.
    pub fn smoke<'a>(&'a mut self, run: &Run<'a>) -> AnySmoke<'a> {
        match self {
            Self::Postgres(store) => AnySmoke::Postgres(postgres::smoke::PostgresSmoke::new(store, run.clone())),
            Self::Mongodb(store) => AnySmoke::Mongodb(mongodb::smoke::MongodbSmoke::new(store, run.clone())),
            Self::Redis(store) => AnySmoke::Redis(redis::smoke::RedisSmoke::new(store, run.clone())),
        }
    }
}

macro_rules! forward {
    ($self:ident, $smoke:ident => $call:expr) => {
        match $self {
            AnySmoke::Postgres($smoke) => $call,
            AnySmoke::Mongodb($smoke) => $call,
            AnySmoke::Redis($smoke) => $call,
        }
    };
}

impl Smoke for AnySmoke<'_> {
    fn kind(&self) -> StoreKind {
        forward!(self, smoke => smoke.kind())
    }
    async fn clean_up(&mut self) -> Result<Vec<String>> {
        forward!(self, smoke => smoke.clean_up().await)
    }
    async fn tally(&mut self) -> Result<()> {
        forward!(self, smoke => smoke.tally().await)
    }
    async fn prepare(&mut self, kept: &Snapshot, live: &Snapshot) -> Result<Vec<BuiltIn>> {
        forward!(self, smoke => smoke.prepare(kept, live).await)
    }
    async fn try_out(&mut self, index: usize) -> Result<Verdict> {
        forward!(self, smoke => smoke.try_out(index).await)
    }
    async fn rest(&mut self) -> Result<()> {
        forward!(self, smoke => smoke.rest().await)
    }
    async fn tenants(&mut self) -> Result<Option<Vec<String>>> {
        forward!(self, smoke => smoke.tenants().await)
    }
    async fn begin(&mut self, commit: bool, tenant: Option<&str>) -> Result<Result<(), String>> {
        forward!(self, smoke => smoke.begin(commit, tenant).await)
    }
    async fn step(&mut self, call: Call<'_>, variables: &Variables) -> Result<Reply> {
        forward!(self, smoke => smoke.step(call, variables).await)
    }
    async fn take_back(&mut self, session: Option<&str>) -> Result<()> {
        forward!(self, smoke => smoke.take_back(session).await)
    }
    async fn end(&mut self) -> Result<()> {
        forward!(self, smoke => smoke.end().await)
    }
    async fn leftovers(&mut self) -> Result<Vec<String>> {
        forward!(self, smoke => smoke.leftovers().await)
    }
}
