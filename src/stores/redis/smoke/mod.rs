//! Smoke tests of Redis. There is no transaction to roll back: what is written lies under keys of the run
//! that expire by themselves, or is journaled first and put back.

mod declared;
mod keyspace;
mod leftover;
mod streams;
mod transaction;
mod tries;

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::ConnectionLike as _;
use redis::{Cmd, RedisError, Value};

use self::keyspace::Spaces;
use super::RedisStore;
use super::connect::Connected;
use super::error::work_error;
use super::link::Link;
use crate::config::file::KeyType;
use crate::engine::smoke::difference_words;
use crate::engine::snapshot::{Difference, Snapshot};
use crate::error::{Error, Result};
use crate::kind::StoreKind;
use crate::stores::smoke::{BuiltIn, Call, Reply, Run, Smoke, Variables, Verdict};

/// What a built-in test is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// Objects of the snapshot of a kind that no test tries, such as functions, are there and unchanged.
    Objects(String),
    /// A declared key space has its type and its time to live.
    Space(String),
    /// Declared channels deliver.
    Channels(String),
    /// Streams deliver to their groups, each entry to one consumer.
    Streams,
    /// Locks exclude, expire, and are released by their holder only.
    Locks,
    /// What a transaction queues is done as a whole or not at all.
    Transaction,
    /// A user stays within its keys.
    Access,
    /// The server never evicts what must not be lost.
    Eviction,
}

impl Subject {
    fn built_in(&self) -> BuiltIn {
        let (kind, object, title, writes) = match self {
            Self::Objects(kind) => ("objects", kind.clone(), format!("Objects of kind {kind} are as migrated"), false),
            Self::Space(name) => ("keyspace", name.clone(), format!("Key space {name} holds"), true),
            Self::Channels(name) => ("channel", name.clone(), format!("Channels {name} deliver"), true),
            Self::Streams => ("stream", String::new(), "Streams deliver to their groups".into(), true),
            Self::Transaction => ("transaction", String::new(), "A transaction is done as a whole".into(), true),
            Self::Locks => ("lock", String::new(), "Locks exclude and expire".into(), true),
            Self::Access => ("access", String::new(), "A user stays within its keys".into(), true),
            Self::Eviction => ("eviction", String::new(), "Queues are never evicted".into(), false),
        };
        BuiltIn::new(StoreKind::Redis, kind, &object, title, writes)
    }
}

/// The smoke tests of a connected Redis.
pub struct RedisSmoke<'a> {
    store: &'a mut RedisStore,
    run: Run<'a>,
    spaces: Spaces,
    /// What existing keys are, read once.
    existing: Option<BTreeMap<Vec<u8>, (String, i64)>>,
    tests: Vec<Subject>,
    missing: BTreeMap<Subject, Vec<String>>,
    /// How many objects of other kinds the snapshot holds.
    objects: BTreeMap<String, usize>,
    /// The streams of the snapshot, without the prefix.
    streams: Vec<String>,
    before: Option<BTreeSet<Vec<u8>>>,
    /// Keys that this run wrote.
    written: BTreeSet<Vec<u8>>,
    is_committing: bool,
    /// The further connections of the declared test, by the names of their sessions.
    sessions: BTreeMap<String, Link>,
}

impl<'a> RedisSmoke<'a> {
    /// Borrows the store for a run.
    pub fn new(store: &'a mut RedisStore, run: Run<'a>) -> Self {
        let section = run.config.settings.redis.clone().unwrap_or_default();
        let spaces = Spaces::new(store.prefix(), &section.keyspaces);
        Self {
            store,
            run,
            spaces,
            existing: None,
            tests: Vec::new(),
            missing: BTreeMap::new(),
            objects: BTreeMap::new(),
            streams: Vec::new(),
            before: None,
            written: BTreeSet::new(),
            is_committing: false,
            sessions: BTreeMap::new(),
        }
    }

    /// A key of this run: `<prefix>lyrox:smoke:<run>:<name>`.
    fn own_key(&self, name: &str) -> String {
        format!("{}{}:{name}", self.own_prefix(), self.run.id)
    }

    /// What the keys of every run begin with.
    fn own_prefix(&self) -> String {
        format!("{}lyrox:smoke:", self.store.prefix())
    }

    /// The hash that says what was there before a declared test.
    fn journal(&self) -> String {
        format!("{}journal", self.own_prefix())
    }

    fn link(&self) -> Link {
        self.store.connected().link.clone()
    }

    /// Another connection to the same server.
    async fn connect(&self, endpoint: &crate::config::Endpoint) -> Result<Connected> {
        super::connect::connect(endpoint, self.ca_file().as_deref()).await
    }

    fn ca_file(&self) -> Option<std::path::PathBuf> {
        let section = self.run.config.settings.redis.as_ref()?;
        section.ca_file.as_ref().map(|file| self.run.config.root.join(file))
    }

    fn lost(&self, doing: &str, error: &RedisError) -> Error {
        work_error(self.store.endpoint(), doing, error)
    }

    /// One command; a refusal of the server is the inner error.
    async fn ask(&self, command: &Cmd) -> Result<Result<Value, RedisError>> {
        let mut link = self.link();
        // A reply may hold an error; `extract_error` brings it out.
        match link.req_packed_command(command).await.and_then(Value::extract_error) {
            Ok(value) => Ok(Ok(value)),
            Err(error) if super::error::refusal(&error).is_some() => Ok(Err(error)),
            Err(error) => Err(self.lost("run a smoke test", &error)),
        }
    }

    /// A command about users: every node of a cluster has its own.
    async fn ask_everywhere(&self, command: &Cmd) -> Result<Result<Value, RedisError>> {
        match self.link().everywhere(command).await {
            Ok(value) => Ok(Ok(value)),
            Err(error) if super::error::refusal(&error).is_some() => Ok(Err(error)),
            Err(error) => Err(self.lost("run a smoke test", &error)),
        }
    }

    /// Many commands in one go where their keys may lie anywhere.
    async fn ask_all(&self, commands: Vec<Cmd>) -> Result<Vec<Value>> {
        let mut link = self.link();
        let lost = |error: RedisError| self.lost("run a smoke test", &error);
        if link.is_cluster() {
            let mut replies = Vec::with_capacity(commands.len());
            for command in &commands {
                replies.push(link.req_packed_command(command).await.map_err(lost)?);
            }
            return Ok(replies);
        }
        let mut replies = Vec::with_capacity(commands.len());
        for part in commands.chunks(1000) {
            let mut pipeline = redis::pipe();
            for command in part {
                pipeline.add_command(command.clone());
            }
            replies.extend(link.req_packed_commands(&pipeline, 0, part.len()).await.map_err(lost)?);
        }
        Ok(replies)
    }

    /// The keys that match a pattern, at most so many.
    async fn scan(&self, pattern: &str, most: usize) -> Result<Vec<Vec<u8>>> {
        let command = |cursor: &str| {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
            command
        };
        let mut link = self.link();
        let lost = |error: RedisError| self.lost("look through the keys", &error);
        let mut found = Vec::new();
        for (node, mut reply) in link.each_master(&command("0")).await.map_err(lost)? {
            loop {
                let (cursor, keys): (String, Vec<Vec<u8>>) =
                    redis::from_redis_value(reply).map_err(|_| Error::bug("SCAN answered something else"))?;
                found.extend(keys);
                if cursor == "0" || found.len() >= most {
                    break;
                }
                reply = link.at(&node, &command(&cursor)).await.map_err(lost)?;
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn subjects(&self, kept: &Snapshot) -> Vec<Subject> {
        let mut subjects: BTreeSet<Subject> =
            kept.objects.iter().map(|(object, definition)| subject(object, definition)).collect();
        let section = self.run.config.settings.redis.clone().unwrap_or_default();
        subjects.extend(section.keyspaces.keys().cloned().map(Subject::Space));
        subjects.extend(section.channels.keys().cloned().map(Subject::Channels));
        if section.keyspaces.values().any(|space| space.kind == KeyType::Stream) {
            subjects.insert(Subject::Streams);
        }
        subjects.insert(Subject::Transaction);
        subjects.insert(Subject::Locks);
        subjects.insert(Subject::Access);
        if section.keyspaces.iter().any(|(name, space)| keyspace::is_queue(name, space)) {
            subjects.insert(Subject::Eviction);
        }
        subjects.into_iter().collect()
    }
}

/// The test that an object of the snapshot belongs to.
fn subject(object: &str, definition: &str) -> Subject {
    match object.split_once(' ') {
        Some(("key", _)) if definition.starts_with("stream") => Subject::Streams,
        Some(("keyspace", name)) => Subject::Space(name.to_owned()),
        Some(("channels", name)) => Subject::Channels(name.to_owned()),
        Some((kind, _)) => Subject::Objects(kind.to_owned()),
        None => Subject::Objects(object.to_owned()),
    }
}

impl Smoke for RedisSmoke<'_> {
    fn kind(&self) -> StoreKind {
        StoreKind::Redis
    }

    async fn clean_up(&mut self) -> Result<Vec<String>> {
        self.remove_dead().await
    }

    async fn tally(&mut self) -> Result<()> {
        self.count_before().await
    }

    async fn prepare(&mut self, kept: &Snapshot, live: &Snapshot) -> Result<Vec<BuiltIn>> {
        self.missing.clear();
        for difference in kept.differences(live) {
            let (Difference::Missing(object) | Difference::Changed(object, ..)) = &difference else { continue };
            let definition = kept.objects.get(object).map_or("", String::as_str);
            self.missing.entry(subject(object, definition)).or_default().push(difference_words(&difference));
        }
        self.objects.clear();
        self.streams.clear();
        for (object, definition) in &kept.objects {
            match (subject(object, definition), object.strip_prefix("key ")) {
                (Subject::Objects(kind), _) => *self.objects.entry(kind).or_insert(0) += 1,
                (Subject::Streams, Some(key)) => self.streams.push(key.to_owned()),
                _ => {}
            }
        }
        self.tests = self.subjects(kept);
        Ok(self.tests.iter().map(Subject::built_in).collect())
    }

    async fn try_out(&mut self, index: usize) -> Result<Verdict> {
        let Some(subject) = self.tests.get(index).cloned() else { return Ok(Verdict::skip("there is no such test")) };
        if let Some((first, more)) = self.missing.get(&subject).and_then(|missing| missing.split_first()) {
            return Ok(if more.is_empty() {
                Verdict::fail(first.clone())
            } else {
                Verdict::fail_because(first.clone(), more.join("\n"))
            });
        }
        match &subject {
            Subject::Objects(kind) => {
                let count = self.objects.get(kind).copied().unwrap_or(0);
                Ok(Verdict::Pass(format!("{count} object{}", if count == 1 { "" } else { "s" })))
            }
            Subject::Space(name) => self.try_space(name).await,
            Subject::Channels(name) => self.try_channels(name).await,
            Subject::Streams => self.try_streams().await,
            Subject::Transaction => self.try_transaction().await,
            Subject::Locks => self.try_locks().await,
            Subject::Access => self.try_access().await,
            Subject::Eviction => self.judge_eviction().await,
        }
    }

    async fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    async fn tenants(&mut self) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    async fn begin(&mut self, commit: bool, _tenant: Option<&str>) -> Result<Result<(), String>> {
        // Keys carry the tenant: the step itself names it.
        self.is_committing = commit;
        self.sessions.clear();
        Ok(Ok(()))
    }

    async fn step(&mut self, call: Call<'_>, variables: &Variables) -> Result<Reply> {
        self.declared_step(call, variables).await
    }

    async fn take_back(&mut self, _session: Option<&str>) -> Result<()> {
        // Redis takes nothing back; what its keys held before the test is journaled.
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        self.sessions.clear();
        if !self.run.may_write {
            return Ok(());
        }
        self.put_back().await.map(|_| ())
    }

    async fn leftovers(&mut self) -> Result<Vec<String>> {
        self.find_leftovers().await
    }
}
