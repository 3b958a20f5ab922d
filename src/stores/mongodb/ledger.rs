//! The ledger in MongoDB: `lyrox_migrations` (one document per project, tenant and version),
//! `lyrox_events` (append-only) and `lyrox_meta` (environment, layout, snapshot, resetting). Reading
//! creates nothing. It knows nothing of how a migration is run.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, doc};
use futures_util::TryStreamExt as _;
use mongodb::{ClientSession, Collection, Database};

use super::catalog;
use std::collections::BTreeMap;

use super::foreign::History;
use crate::engine::ledger::{Kept, LAYOUT, Ledger, Mark, Row, State, actor};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Version;
use crate::stores::packed;

/// The collection of rows.
pub const MIGRATIONS: &str = "lyrox_migrations";
/// The collection of what happened.
pub const EVENTS: &str = "lyrox_events";
/// The collection of mark, layout, snapshot and the resetting state.
pub const META: &str = "lyrox_meta";
/// The collection of other stores' rows, where the project has no PostgreSQL to keep them.
pub const COPIES: &str = "lyrox_copies";
/// The collection of the lock.
pub const LOCK: &str = "lyrox_lock";

/// The ledger of one project (and tenant) in a database.
#[derive(Clone, Debug)]
pub struct Books {
    /// The database.
    pub database: Database,
    /// The project's name.
    pub project: String,
    /// The tenant's key; empty without one.
    pub tenant: String,
    /// Another tool's history that is kept in step.
    pub history: Option<History>,
}

/// What went wrong while reading: the driver's error, or what the ledger holds.
#[derive(Debug)]
pub enum Trouble {
    /// The server.
    Driver(mongodb::error::Error),
    /// The ledger.
    Ledger(Error),
}

impl From<mongodb::error::Error> for Trouble {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ledger(error)
    }
}

impl Books {
    /// Whether a collection is lyrox's, the server's, or the history that is kept in step.
    pub fn is_own(&self, name: &str) -> bool {
        catalog::is_own(name) || self.history.as_ref().is_some_and(|history| history.has(name))
    }

    /// A collection of the ledger.
    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// The `_id` of a version's row.
    pub fn id(&self, version: &Version) -> Document {
        doc! { "project": self.project.as_str(), "tenant": self.tenant.as_str(), "version": version.as_str() }
    }

    /// Reads everything in two round trips.
    ///
    /// # Errors
    /// The driver's, `LYX-LEDGER-NEWER` or `LYX-LEDGER-DAMAGED`.
    pub async fn read(&self) -> Result<Ledger, Trouble> {
        let pipeline = vec![
            doc! { "$match": { "_id": { "$in": ["environment", "layout", "resetting", self.snapshot_id()] } } },
            doc! { "$unionWith": { "coll": MIGRATIONS, "pipeline": [
                { "$match": { "_id.project": self.project.as_str(), "_id.tenant": self.tenant.as_str() } },
            ] } },
            doc! { "$unionWith": { "coll": COPIES, "pipeline": [
                { "$match": { "_id.project": self.project.as_str(), "_id.tenant": self.tenant.as_str() } },
            ] } },
            // Only `kept` and `text` want these, and they may be long.
            doc! { "$project": { "snapshot": 0, "text": 0, "down_text": 0 } },
        ];
        let found: Vec<Document> = self.collection(META).aggregate(pipeline).await?.try_collect().await?;
        let mut ledger = Ledger::default();
        for document in &found {
            match document.get("_id") {
                Some(Bson::String(id)) if id == "environment" => {
                    let environment =
                        document.get_str("environment").map_err(|_| damaged("the mark", "environment"))?;
                    ledger.mark = Some(Mark {
                        environment: environment.to_owned(),
                        is_protected: document.get_bool("protected").unwrap_or(false),
                    });
                }
                Some(Bson::String(id)) if id == "layout" => {
                    let layout = document.get_i32("version").map_err(|_| damaged("the layout", "version"))?;
                    if layout > LAYOUT {
                        return Err(newer(layout).into());
                    }
                }
                Some(Bson::String(id)) if id == "resetting" => ledger.is_resetting = true,
                Some(Bson::Document(id)) if id.contains_key("snapshot") => {
                    ledger.snapshot_head = document.get_str("head").ok().map(str::to_owned);
                }
                Some(Bson::Document(id)) if id.contains_key("store") => ledger.copies.push(copy(id, document)?),
                _ => ledger.rows.push(row(document)?),
            }
        }
        ledger.rows.sort_by(|a, b| a.version.cmp(&b.version));
        ledger.is_empty =
            ledger.rows.is_empty() && self.database.list_collection_names().await?.iter().all(|name| self.is_own(name));
        if let Some(history) = &self.history {
            ledger.foreign = Some(history.read(&self.database).await?);
        }
        Ok(ledger)
    }

    /// Writes copies of other stores' rows: what they are held against when such a store was emptied.
    ///
    /// # Errors
    /// The driver's.
    pub async fn keep_copies(&self, rows: &[Row]) -> mongodb::error::Result<()> {
        for row in rows {
            let mut id = self.id(&row.version);
            id.insert("store", row.store.name());
            let fields = doc! {
                "name": &row.name, "checksum": &row.checksum, "state": row.state.word(),
                "steps_done": i64::from(row.steps_done), "steps_total": i64::from(row.steps_total),
                "started_at": &row.started_at, "finished_at": row.finished_at.as_deref(),
                "actor": &row.actor, "lyrox": &row.lyrox, "error_code": row.error_code.as_deref(),
                "run": row.run.as_deref(),
            };
            self.collection(COPIES).replace_one(doc! { "_id": id }, fields).upsert(true).await?;
        }
        Ok(())
    }

    /// The text that was applied under a version.
    ///
    /// # Errors
    /// The driver's.
    pub async fn text(&self, version: &Version) -> mongodb::error::Result<Option<String>> {
        let row = self.collection(MIGRATIONS).find_one(doc! { "_id": self.id(version) }).await?;
        Ok(row.and_then(|row| packed::unpack(row.get_binary_generic("text").ok()?)))
    }

    /// The texts that are kept of versions.
    ///
    /// # Errors
    /// The driver's.
    pub async fn kept_texts(&self, versions: &[Version]) -> mongodb::error::Result<BTreeMap<Version, Kept>> {
        let ids: Vec<Document> = versions.iter().map(|version| self.id(version)).collect();
        let rows = self.collection(MIGRATIONS);
        let found = rows.find(doc! { "_id": { "$in": ids } });
        let rows: Vec<Document> = found.projection(doc! { "text": 1, "down_text": 1 }).await?.try_collect().await?;
        let text = |row: &Document, field: &str| packed::unpack(row.get_binary_generic(field).ok()?);
        let kept = |row: &Document| {
            let version = row.get_document("_id").ok()?.get_str("version").ok()?.to_owned();
            Some((Version::new(version), Kept { up: text(row, "text"), down: text(row, "down_text") }))
        };
        Ok(rows.iter().filter_map(kept).collect())
    }

    /// Makes the ledger's collections and writes the mark where there is none.
    ///
    /// # Errors
    /// The driver's.
    pub async fn prepare(&self, mark: &Mark) -> mongodb::error::Result<()> {
        let meta = self.collection(META);
        if meta.find_one(doc! { "_id": "environment" }).await?.is_some() {
            return Ok(());
        }
        // A transaction must not have to make them.
        if let Some(history) = &self.history {
            history.make(&self.database).await?;
        }
        for name in [MIGRATIONS, EVENTS] {
            match self.database.create_collection(name).await {
                Err(error) if super::error::refusal(&error).is_none_or(|refusal| refusal.code != 48) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        let layout = doc! { "$setOnInsert": { "version": LAYOUT } };
        meta.update_one(doc! { "_id": "layout" }, layout).upsert(true).await?;
        // The mark comes last: where it is, everything else is.
        let words = doc! { "environment": mark.environment.as_str(), "protected": mark.is_protected };
        let update = doc! { "$setOnInsert": words, "$currentDate": { "since": true } };
        meta.update_one(doc! { "_id": "environment" }, update).upsert(true).await?;
        Ok(())
    }

    /// The number of the newest applied version below one; -1 where there is none.
    ///
    /// # Errors
    /// The driver's.
    pub async fn newest_below(&self, version: &Version, session: &mut ClientSession) -> mongodb::error::Result<i64> {
        let filter = doc! {
            "_id.project": self.project.as_str(), "_id.tenant": self.tenant.as_str(), "state": State::Applied.word(),
        };
        let mut rows =
            self.collection(MIGRATIONS).find(filter).projection(doc! { "_id": 1 }).session(&mut *session).await?;
        let mut newest: Option<Version> = None;
        while let Some(row) = rows.next(session).await.transpose()? {
            let found = row.get_document("_id").ok().and_then(|id| id.get_str("version").ok()).map(Version::new);
            newest = newest.max(found.filter(|found| found < version && !found.is_repeatable()));
        }
        Ok(newest.and_then(|version| version.as_str().parse().ok()).unwrap_or(-1))
    }

    /// Writes rows that follow from another tool's history, and that they do.
    ///
    /// # Errors
    /// The driver's.
    pub async fn take_over(&self, rows: &[Row]) -> mongodb::error::Result<()> {
        let now = DateTime::now();
        for rows in rows.chunks(500) {
            let update = |row: &Row| {
                let text = row.text.as_deref().map_or(Bson::Null, packed_text);
                let time = |at: Option<&str>| at.and_then(|at| DateTime::parse_rfc3339_str(at).ok()).unwrap_or(now);
                let set = doc! {
                    "name": row.name.as_str(), "checksum": row.checksum.as_str(), "text": text, "state": row.state.word(),
                    "steps_done": i32::try_from(row.steps_done).unwrap_or(i32::MAX),
                    "steps_total": i32::try_from(row.steps_total).unwrap_or(i32::MAX),
                    "started_at": time(Some(&row.started_at)), "finished_at": time(row.finished_at.as_deref()),
                    "actor": row.actor.as_str(), "lyrox": row.lyrox.as_str(), "error_code": Bson::Null,
                };
                let unset = doc! { "reverting": "", "doing": "", "doing_hash": "", "hashes": "" };
                doc! { "q": { "_id": self.id(&row.version) }, "u": { "$set": set, "$unset": unset }, "upsert": true }
            };
            let updates: Vec<Bson> = rows.iter().map(|row| Bson::Document(update(row))).collect();
            let reply = self.database.run_command(doc! { "update": MIGRATIONS, "updates": updates }).await?;
            if let Some(refusal) = super::error::refusal_in_reply(&reply) {
                return Err(mongodb::error::Error::custom(refusal.shown()));
            }
            let events = rows.iter().map(|row| {
                let word = if row.state == State::Applied { "taken over" } else { "undone elsewhere" };
                doc! {
                    "at": now, "event": word, "project": self.project.as_str(), "tenant": self.tenant.as_str(),
                    "version": row.version.as_str(), "name": row.name.as_str(), "actor": actor(),
                    "lyrox": env!("CARGO_PKG_VERSION"),
                }
            });
            self.collection(EVENTS).insert_many(events).await?;
        }
        Ok(())
    }

    /// Writes another mark.
    ///
    /// # Errors
    /// The driver's.
    pub async fn set_mark(&self, mark: &Mark) -> mongodb::error::Result<()> {
        let words = doc! { "environment": mark.environment.as_str(), "protected": mark.is_protected };
        let update = doc! { "$set": words, "$currentDate": { "since": true } };
        self.collection(META).update_one(doc! { "_id": "environment" }, update).upsert(true).await?;
        Ok(())
    }

    /// Keeps a snapshot.
    ///
    /// # Errors
    /// The driver's.
    pub async fn keep(&self, snapshot: &Snapshot) -> Result<(), Trouble> {
        let json = serde_json::to_string(snapshot).map_err(|_| Error::bug("a snapshot is no JSON"))?;
        let update =
            doc! { "$set": { "snapshot": json, "head": snapshot.head.as_str() }, "$currentDate": { "since": true } };
        self.collection(META).update_one(doc! { "_id": self.snapshot_id() }, update).upsert(true).await?;
        Ok(())
    }

    /// The snapshot kept last.
    ///
    /// # Errors
    /// The driver's, or `LYX-LEDGER-DAMAGED`.
    pub async fn kept(&self) -> Result<Option<Snapshot>, Trouble> {
        let Some(found) = self.collection(META).find_one(doc! { "_id": self.snapshot_id() }).await? else {
            return Ok(None);
        };
        let json = found.get_str("snapshot").map_err(|_| damaged("the snapshot", "snapshot"))?;
        Ok(Some(serde_json::from_str(json).map_err(|_| damaged("the snapshot", "snapshot"))?))
    }

    /// The `_id` of the project's snapshot.
    pub fn snapshot_id(&self) -> Document {
        doc! { "snapshot": self.project.as_str(), "tenant": self.tenant.as_str() }
    }

    /// What this project's migrations made, as their rows recorded it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn owned(&self) -> mongodb::error::Result<Vec<String>> {
        let filter = doc! { "_id.project": self.project.as_str(), "_id.tenant": self.tenant.as_str() };
        let values = self.collection(MIGRATIONS).distinct("owns", filter).await?;
        Ok(values.into_iter().filter_map(|value| value.as_str().map(str::to_owned)).collect())
    }

    /// The statement that writes one event, on the server's clock.
    pub fn event(&self, word: &str, step: &Step, more: Document) -> (Document, Vec<Document>) {
        let mut event = doc! {
            "_id": "$_id",
            "at": "$$NOW",
            "event": word,
            "project": literal(&self.project),
            "tenant": literal(&self.tenant),
            "version": literal(step.version.as_str()),
            "name": literal(&step.name),
            "actor": literal(&actor()),
            "lyrox": env!("CARGO_PKG_VERSION"),
        };
        event.extend(more);
        (doc! { "_id": bson::oid::ObjectId::new() }, vec![doc! { "$replaceWith": event }])
    }

    /// The fields of a row that come from its migration; its state and times are added by the caller.
    pub fn fields(&self, step: &Step, total: usize, run: &str) -> Document {
        let down = step.down.as_ref().and_then(|down| down.kept()).map_or(Bson::Null, |down| packed_text(&down));
        doc! {
            "name": literal(&step.name),
            "checksum": step.up.checksum.as_str(),
            "text": packed_text(&step.up.text),
            "has_down": down != Bson::Null,
            "down_text": down,
            "run": if run.is_empty() { Bson::Null } else { run.into() },
            "steps_total": i32::try_from(total).unwrap_or(i32::MAX),
            "actor": literal(&actor()),
            "lyrox": env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A migration's text as a row keeps it; null where it is too long.
pub fn packed_text(text: &str) -> Bson {
    packed::pack(text).map_or(Bson::Null, |bytes| Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes }))
}

/// A text as it is: in a pipeline a leading `$` would name a field.
pub fn literal(text: &str) -> Document {
    doc! { "$literal": text }
}

/// Reads a row.
///
/// # Errors
/// `LYX-LEDGER-DAMAGED` naming the field.
pub fn row(document: &Document) -> Result<Row> {
    let version = document.get_document("_id").and_then(|id| id.get_str("version"));
    let version = version.map_err(|_| damaged("a row", "_id"))?.to_owned();
    let what = format!("the row of version {version}");
    let text = |field: &str| document.get_str(field).map(str::to_owned).map_err(|_| damaged(&what, field));
    let count = |field: &str| -> Result<u32> {
        let found = document.get(field).and_then(|value| match value {
            Bson::Int32(number) => u32::try_from(*number).ok(),
            Bson::Int64(number) => u32::try_from(*number).ok(),
            _ => None,
        });
        found.ok_or_else(|| damaged(&what, field))
    };
    // Always with three digits, so that times sort as text does.
    let time = |field: &str| {
        let millis = document.get_datetime(field).ok()?.timestamp_millis();
        jiff::Timestamp::from_millisecond(millis).ok().map(|time| format!("{time:.3}"))
    };
    Ok(Row {
        store: StoreKind::Mongodb,
        name: text("name")?,
        checksum: text("checksum")?,
        text: None,
        state: document.get_str("state").ok().and_then(State::parse).ok_or_else(|| damaged(&what, "state"))?,
        steps_done: count("steps_done")?,
        steps_total: count("steps_total")?,
        started_at: time("started_at").ok_or_else(|| damaged(&what, "started_at"))?,
        finished_at: time("finished_at"),
        actor: text("actor")?,
        lyrox: text("lyrox")?,
        error_code: document.get_str("error_code").ok().map(str::to_owned),
        run: document.get_str("run").ok().map(str::to_owned),
        has_down: document.get_bool("has_down").unwrap_or(false),
        down_text: None,
        undone: document.get_document("reverting").ok().map(|reverting| {
            reverting.get_i32("steps_done").ok().and_then(|done| u32::try_from(done).ok()).unwrap_or(0)
        }),
        version: Version::new(version),
    })
}

/// Reads the copy of another store's row.
fn copy(id: &Document, document: &Document) -> Result<Row> {
    let version = id.get_str("version").unwrap_or_default().to_owned();
    let what = format!("the copy of version {version}");
    let word = |field: &str| document.get_str(field).map(str::to_owned).map_err(|_| damaged(&what, field));
    let count = |field: &str| document.get_i64(field).ok().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    Ok(Row {
        store: id.get_str("store").ok().and_then(|store| store.parse().ok()).ok_or_else(|| damaged(&what, "store"))?,
        name: word("name")?,
        checksum: word("checksum")?,
        text: None,
        state: State::parse(&word("state")?).ok_or_else(|| damaged(&what, "state"))?,
        steps_done: count("steps_done"),
        steps_total: count("steps_total"),
        started_at: word("started_at")?,
        finished_at: document.get_str("finished_at").ok().map(str::to_owned),
        actor: word("actor")?,
        lyrox: word("lyrox")?,
        error_code: document.get_str("error_code").ok().map(str::to_owned),
        run: document.get_str("run").ok().map(str::to_owned),
        has_down: false,
        down_text: None,
        undone: None,
        version: Version::new(version),
    })
}

fn damaged(what: &str, field: &str) -> Error {
    Error::new(Code::LedgerDamaged, "the ledger in MongoDB cannot be read")
        .why(format!("`{field}` of {what} is missing or of a wrong type"))
        .data("nothing was changed")
        .hint(format!("restore the collections `{MIGRATIONS}` and `{META}` from a backup"))
}

fn newer(layout: i32) -> Error {
    Error::new(Code::LedgerNewer, "the ledger in MongoDB was written by a newer lyrox")
        .why(format!("its layout is {layout}, and this lyrox knows {LAYOUT}"))
        .data("nothing was changed")
        .hint("use the newer lyrox")
}
