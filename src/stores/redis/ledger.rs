//! The ledger in Redis: lyrox's own keys below the project's prefix. Reading creates nothing. It knows
//! nothing of how a migration is run.

use std::collections::BTreeMap;

use redis::{RedisError, Value};
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::link::Link;
use crate::engine::ledger::{Kept, LAYOUT, Ledger, Mark, Row, State, actor};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Version;
use crate::stores::packed;

/// A row as it is stored: a field of the hash, whose name is the version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub checksum: String,
    pub state: State,
    pub steps_done: u32,
    pub steps_total: u32,
    pub started_ms: i64,
    pub actor: String,
    pub lyrox: String,
    pub error_code: Option<String>,
    #[serde(default)]
    pub run: Option<String>,
    #[serde(default)]
    pub has_down: bool,
    /// Last, so that a script of the server can write its own time there.
    pub finished_ms: Option<i64>,
}

/// What the field of a way back's text has behind the version.
pub const DOWN: &str = ":down";

/// How far an unfinished migration is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journal {
    /// `up` or `down`.
    pub way: String,
    /// The hash of the command that was begun and whose end is not known.
    pub doing: Option<String>,
    /// What the commands that are in effect were, as one hash.
    pub chain: String,
    /// How many commands are in effect. Last, as a script of the server writes it.
    pub done: usize,
}

/// The ledger of one project on a server.
#[derive(Clone)]
pub struct Books {
    pub keys: Keys,
    pub link: Link,
}

/// What went wrong while reading or writing: the driver's error, or what the ledger holds.
#[derive(Debug)]
pub enum Trouble {
    /// The server.
    Driver(RedisError),
    /// The ledger.
    Ledger(Error),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Driver(error)
    }
}

impl From<redis::ParsingError> for Trouble {
    fn from(error: redis::ParsingError) -> Self {
        Self::Driver(error.into())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ledger(error)
    }
}

#[derive(Serialize, Deserialize)]
struct StoredMark {
    environment: String,
    protected: bool,
}

impl Books {
    /// Reads everything in one round trip, and one more where there is no row.
    ///
    /// # Errors
    /// The driver's, `LYX-LEDGER-NEWER` or `LYX-LEDGER-DAMAGED`.
    pub async fn read(&mut self) -> Result<Ledger, Trouble> {
        let keys = &self.keys;
        let mut all = redis::pipe();
        all.cmd("HGETALL").arg(keys.migrations()).cmd("HGETALL").arg(keys.journal());
        all.cmd("GET").arg(keys.environment()).cmd("GET").arg(keys.layout());
        all.cmd("EXISTS").arg(keys.resetting()).cmd("HGET").arg(keys.snapshot()).arg("head");
        type Answer =
            (BTreeMap<String, String>, BTreeMap<String, String>, Option<String>, Option<String>, bool, Option<String>);
        let (rows, journals, mark, layout, is_resetting, snapshot_head): Answer =
            all.query_async(&mut self.link).await?;
        if let Some(layout) = layout {
            let layout: i32 = layout.parse().map_err(|_| damaged("the layout"))?;
            if layout > LAYOUT {
                return Err(newer(layout).into());
            }
        }
        let mark = mark.map(|json| serde_json::from_str::<StoredMark>(&json).map_err(|_| damaged("the mark")));
        let mark = mark.transpose()?.map(|mark| Mark { environment: mark.environment, is_protected: mark.protected });
        let mut ledger = Ledger { mark, is_resetting, snapshot_head, ..Ledger::default() };
        for (version, json) in &rows {
            let journal = journals.get(version).map(|json| journal(version, json)).transpose()?;
            ledger.rows.push(row(version, &entry(version, json)?, journal.as_ref()));
        }
        ledger.rows.sort_by(|a, b| a.version.cmp(&b.version));
        ledger.is_empty = ledger.rows.is_empty() && self.has_no_key().await?;
        Ok(ledger)
    }

    /// Whether surely no key is below the prefix but lyrox's own; a server too big to tell soon has some.
    async fn has_no_key(&mut self) -> Result<bool, RedisError> {
        let mut scan = redis::cmd("SCAN");
        let pattern = self.keys.pattern();
        scan.arg(0).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
        for (node, reply) in self.link.each_master(&scan).await? {
            let (mut cursor, mut found): (u64, Vec<Vec<u8>>) = redis::from_redis_value(reply)?;
            for _ in 0..20 {
                if found.iter().any(|key| self.keys.is_ours(key) && !self.keys.is_own(key)) {
                    return Ok(false);
                }
                if cursor == 0 {
                    break;
                }
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
                (cursor, found) = redis::from_redis_value(self.link.at(&node, &scan).await?)?;
            }
            if cursor != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The text that was applied under a version.
    ///
    /// # Errors
    /// The driver's.
    pub async fn text(&mut self, version: &Version) -> Result<Option<String>, RedisError> {
        let packed: Option<String> =
            redis::cmd("HGET").arg(self.keys.texts()).arg(version.as_str()).query_async(&mut self.link).await?;
        Ok(packed.and_then(|packed| packed::unpack_base64(&packed)))
    }

    /// The texts that are kept of versions.
    ///
    /// # Errors
    /// The driver's.
    pub async fn kept_texts(&mut self, versions: &[Version]) -> Result<BTreeMap<Version, Kept>, RedisError> {
        if versions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut get = redis::cmd("HMGET");
        get.arg(self.keys.texts());
        for version in versions {
            get.arg(version.as_str()).arg(format!("{version}{DOWN}"));
        }
        let found: Vec<Option<String>> = get.query_async(&mut self.link).await?;
        let text = |at: usize| packed::unpack_base64(found.get(at)?.as_deref()?);
        let kept = |at: usize| Kept { up: text(2 * at), down: text(2 * at + 1) };
        Ok(versions.iter().enumerate().map(|(at, version)| (version.clone(), kept(at))).collect())
    }

    /// Writes layout and mark where there are none.
    ///
    /// # Errors
    /// The driver's.
    pub async fn prepare(&mut self, mark: &Mark) -> Result<(), Trouble> {
        let mut both = redis::pipe();
        both.cmd("SETNX").arg(self.keys.layout()).arg(LAYOUT);
        both.cmd("SETNX").arg(self.keys.environment()).arg(mark_json(mark)?);
        let _: (i64, i64) = both.query_async(&mut self.link).await?;
        Ok(())
    }

    /// Writes another mark.
    ///
    /// # Errors
    /// The driver's.
    pub async fn set_mark(&mut self, mark: &Mark) -> Result<(), Trouble> {
        let mut set = redis::cmd("SET");
        set.arg(self.keys.environment()).arg(mark_json(mark)?).exec_async(&mut self.link).await?;
        Ok(())
    }

    /// Keeps a snapshot.
    ///
    /// # Errors
    /// The driver's.
    pub async fn keep(&mut self, snapshot: &Snapshot) -> Result<(), Trouble> {
        let json = serde_json::to_string(snapshot).map_err(|_| Error::bug("a snapshot is no JSON"))?;
        let mut set = redis::cmd("HSET");
        set.arg(self.keys.snapshot()).arg("head").arg(&snapshot.head).arg("snapshot").arg(json);
        set.exec_async(&mut self.link).await?;
        Ok(())
    }

    /// The snapshot kept last.
    ///
    /// # Errors
    /// The driver's, or `LYX-LEDGER-DAMAGED`.
    pub async fn kept(&mut self) -> Result<Option<Snapshot>, Trouble> {
        let json: Option<String> =
            redis::cmd("HGET").arg(self.keys.snapshot()).arg("snapshot").query_async(&mut self.link).await?;
        Ok(json.map(|json| serde_json::from_str(&json).map_err(|_| damaged("the snapshot"))).transpose()?)
    }

    /// What migrations made, by its kind and name: `function app`, `user app_reader`, `key settings`.
    ///
    /// # Errors
    /// The driver's.
    pub async fn owned(&mut self) -> Result<Vec<(String, String)>, RedisError> {
        let names: Vec<String> = redis::cmd("HKEYS").arg(self.keys.owned()).query_async(&mut self.link).await?;
        let split = |name: String| name.split_once(' ').map(|(kind, name)| (kind.to_owned(), name.to_owned()));
        let mut owned: Vec<(String, String)> = names.into_iter().filter_map(split).collect();
        owned.sort();
        Ok(owned)
    }

    /// Every key below the prefix, in batches, from every node; each batch with the node it is on.
    ///
    /// # Errors
    /// The driver's, or the work's.
    pub async fn scan<E: From<RedisError>>(
        &mut self,
        mut work: impl AsyncFnMut(&mut Link, Vec<Vec<u8>>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pattern = self.keys.pattern();
        let scan = |cursor: u64| {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(2000);
            scan
        };
        for (node, reply) in self.link.each_master(&scan(0)).await? {
            let mut reply: Value = reply;
            loop {
                let (cursor, mut found): (u64, Vec<Vec<u8>>) =
                    redis::from_redis_value(reply).map_err(RedisError::from)?;
                // The pattern is escaped; that a key is the project's is nevertheless looked at, each time.
                found.retain(|key| self.keys.is_ours(key));
                if !found.is_empty() {
                    work(&mut self.link, found).await?;
                }
                if cursor == 0 {
                    break;
                }
                reply = self.link.at(&node, &scan(cursor)).await?;
            }
        }
        Ok(())
    }
}

fn mark_json(mark: &Mark) -> Result<String> {
    let stored = StoredMark { environment: mark.environment.clone(), protected: mark.is_protected };
    serde_json::to_string(&stored).map_err(|_| Error::bug("a mark is no JSON"))
}

/// Reads a stored row.
///
/// # Errors
/// `LYX-LEDGER-DAMAGED`.
pub fn entry(version: &str, json: &str) -> Result<Entry> {
    serde_json::from_str(json).map_err(|_| damaged(&format!("the row of version {version}")))
}

/// Reads a stored journal.
///
/// # Errors
/// `LYX-LEDGER-DAMAGED`.
pub fn journal(version: &str, json: &str) -> Result<Journal> {
    serde_json::from_str(json).map_err(|_| damaged(&format!("the journal of version {version}")))
}

/// A stored row as the engine sees it; what is unfinished is as far as its journal says.
pub fn row(version: &str, entry: &Entry, journal: Option<&Journal>) -> Row {
    let is_open = matches!(entry.state, State::Started | State::Failed);
    let done = journal.filter(|journal| is_open && journal.way == "up").map(|journal| journal.done);
    Row {
        store: StoreKind::Redis,
        version: Version::new(version),
        name: entry.name.clone(),
        checksum: entry.checksum.clone(),
        text: None,
        state: entry.state,
        steps_done: done.map_or(entry.steps_done, |done| u32::try_from(done).unwrap_or(u32::MAX)),
        steps_total: entry.steps_total,
        started_at: time(entry.started_ms),
        finished_at: entry.finished_ms.map(time),
        actor: entry.actor.clone(),
        lyrox: entry.lyrox.clone(),
        error_code: entry.error_code.clone(),
        run: entry.run.clone(),
        has_down: entry.has_down,
        down_text: None,
        undone: journal
            .filter(|journal| entry.state == State::Applied && journal.way == "down")
            .map(|journal| u32::try_from(journal.done).unwrap_or(u32::MAX)),
    }
}

/// Milliseconds of the server's clock as RFC 3339.
pub fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}

/// One event; the server writes its time at the end.
#[derive(Serialize)]
pub struct Event<'a> {
    event: &'a str,
    version: &'a str,
    name: &'a str,
    actor: String,
    lyrox: &'a str,
    step: Option<usize>,
    error_code: Option<&'a str>,
    at_ms: Option<i64>,
}

impl<'a> Event<'a> {
    /// What happened to a step.
    pub fn new(event: &'a str, step: &'a Step) -> Self {
        Self {
            event,
            version: step.version.as_str(),
            name: &step.name,
            actor: actor(),
            lyrox: env!("CARGO_PKG_VERSION"),
            step: None,
            error_code: None,
            at_ms: None,
        }
    }

    /// With the command that failed, counted from 1, and the server's word for why.
    pub fn failed(self, step: usize, error_code: &'a str) -> Self {
        Self { step: Some(step), error_code: Some(error_code), ..self }
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never in practice.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|_| Error::bug("an event is no JSON"))
    }
}

fn damaged(what: &str) -> Error {
    Error::new(Code::LedgerDamaged, "the ledger in Redis cannot be read")
        .why(format!("{what} is not as lyrox wrote it"))
        .data("nothing was changed")
        .hint("restore the keys `<prefix>lyrox:*` from a backup, or delete them and run lyrox db repair --record redis")
}

fn newer(layout: i32) -> Error {
    Error::new(Code::LedgerNewer, "the ledger in Redis was written by a newer lyrox")
        .why(format!("its layout is {layout}, and this lyrox knows {LAYOUT}"))
        .data("nothing was changed")
        .hint("use the newer lyrox")
}
