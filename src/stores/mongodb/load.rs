//! MongoDB taking seeds: documents are found by key, compared by the fields that are given, and written
//! in one transaction where the server has them. Bulk files go in batches.

#[path = "load_bulk.rs"]
mod bulk;
#[path = "load_fill.rs"]
mod fill;
#[path = "load_script.rs"]
mod scripts;

use std::collections::HashMap;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;
use mongodb::ClientSession;
use serde_json::Value as Json;

use super::MongodbStore;
use super::error::{is_in_doubt, refusal, refusal_in_reply, work_error};
use crate::engine::event::Events;
use crate::error::{Code, Error, Place, Result};
use crate::project::seed::{Script, nearest};
use crate::stores::load::{
    Batch, BulkDone, BulkLoad, Fields, FillOrder, Filled, Found, Load, Loader, Probe, RowDone, Shape, Terms, several,
};

/// The collection that remembers scripts and files which are applied once per content.
const LEDGER: &str = "lyrox_seeds";
/// How many documents are looked for or written at once.
const BATCH: usize = 1000;
/// How often a transaction that met another writer is tried again.
const RETRIES: usize = 4;

/// One run's writes.
pub struct MongodbLoader<'a> {
    store: &'a mut MongodbStore,
    terms: Terms,
    session: Option<ClientSession>,
    /// Documents that were found, by collection and key.
    found: HashMap<(String, String), Document>,
    /// What is to be written, in order.
    held: Vec<Write>,
}

/// One write that waits for the transaction.
#[derive(Clone, Debug)]
struct Write {
    collection: String,
    place: Place,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Insert(Document),
    Update(Document, Document),
    Delete(Document),
}

impl What {
    const fn command(&self) -> (&'static str, &'static str) {
        match self {
            Self::Insert(_) => ("insert", "documents"),
            Self::Update(..) => ("update", "updates"),
            Self::Delete(_) => ("delete", "deletes"),
        }
    }

    fn item(&self) -> Document {
        match self {
            Self::Insert(document) => document.clone(),
            Self::Update(filter, set) => doc! { "q": filter.clone(), "u": { "$set": set.clone() } },
            Self::Delete(filter) => doc! { "q": filter.clone(), "limit": 0 },
        }
    }
}

impl Load for MongodbStore {
    type Loader<'a> = MongodbLoader<'a>;

    async fn loader(&mut self, terms: &Terms) -> Result<MongodbLoader<'_>> {
        Ok(MongodbLoader { store: self, terms: terms.clone(), session: None, found: HashMap::new(), held: Vec::new() })
    }
}

/// JSON in MongoDB's dialect as BSON.
fn bson(value: &Json, place: &Place) -> Result<Bson> {
    Bson::try_from(value.clone()).map_err(|_| {
        Error::new(Code::SeedFile, "a value is no extended JSON of MongoDB")
            .why("a table whose key begins with `$` is read as a type, such as { \"$oid\" = \"...\" }")
            .at(place.clone())
            .data("nothing was changed")
    })
}

fn document(fields: &Fields, place: &Place) -> Result<Document> {
    fields.iter().map(|(name, value)| Ok((name.clone(), bson(value, place)?))).collect()
}

/// A field of a document; dots lead into inner ones.
fn at<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    if let Some(value) = document.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    at(document.get_document(first).ok()?, rest)
}

fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        #[allow(clippy::cast_precision_loss, reason = "compared with floats only")]
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

/// Whether two values are one: numbers by value, documents whatever the order of their fields.
fn is_same(a: &Bson, b: &Bson) -> bool {
    match (a, b) {
        (Bson::Document(a), Bson::Document(b)) => {
            a.len() == b.len() && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| is_same(value, other)))
        }
        (Bson::Array(a), Bson::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Bson::Int64(a), Bson::Int64(b)) => a == b,
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        },
    }
}

fn key_text(values: &[Bson]) -> String {
    let texts = values.iter().map(|value| match number(value) {
        Some(number) => number.to_string(),
        None => value.clone().into_canonical_extjson().to_string(),
    });
    texts.collect::<Vec<_>>().join("\0")
}

impl MongodbLoader<'_> {
    fn failed(&self, doing: &str, error: &mongodb::error::Error) -> Error {
        match refusal(error) {
            Some(refusal) if refusal.code != 13 => {
                Error::new(Code::SeedFailed, format!("cannot {doing}")).why(refusal.shown())
            }
            _ => work_error(self.store.endpoint(), doing, error),
        }
    }

    /// The documents with these keys, by the text of their key.
    async fn read(&mut self, shape: &Shape, key: &[String], probes: &[Probe]) -> Result<Vec<Option<Document>>> {
        let collection = self.store.connected().database.collection::<Document>(&shape.target);
        let mut found = Vec::with_capacity(probes.len());
        for probes in probes.chunks(BATCH) {
            let mut keys = Vec::with_capacity(probes.len());
            for probe in probes {
                let values = probe.key.iter().map(|value| bson(value, &probe.place)).collect::<Result<Vec<_>>>()?;
                keys.push(values);
            }
            let filter = filter(key, &keys);
            let cursor = collection.find(filter).await;
            let mut cursor = cursor.map_err(|error| self.failed(&format!("read `{}`", shape.target), &error))?;
            let mut by_key: HashMap<String, Vec<Document>> = HashMap::new();
            while let Some(document) =
                cursor.try_next().await.map_err(|error| self.failed(&format!("read `{}`", shape.target), &error))?
            {
                let values: Vec<Bson> =
                    key.iter().map(|name| at(&document, name).cloned().unwrap_or(Bson::Null)).collect();
                by_key.entry(key_text(&values)).or_default().push(document);
            }
            for (probe, values) in probes.iter().zip(&keys) {
                let mut documents = by_key.remove(&key_text(values)).unwrap_or_default();
                if documents.len() > 1 {
                    return Err(several(shape, key, &probe.place));
                }
                found.push(documents.pop());
            }
        }
        Ok(found)
    }

    /// Sends what is held, in order, as few commands as possible.
    async fn send(&mut self, writes: &[Write], mut session: Option<&mut ClientSession>) -> Result<(), Sent> {
        let database = self.store.connected().database.clone();
        let is_one = |a: &Write, b: &Write| a.collection == b.collection && a.what.command() == b.what.command();
        for run in writes.chunk_by(is_one) {
            for part in run.chunks(BATCH) {
                let (name, items) = part[0].what.command();
                let list: Vec<Bson> = part.iter().map(|write| Bson::Document(write.what.item())).collect();
                let mut command = doc! { name: &part[0].collection, items: list, "ordered": true };
                let reply = match &mut session {
                    Some(session) => database.run_command(command).session(&mut **session).await,
                    None => {
                        command.insert("writeConcern", doc! { "w": "majority" });
                        database.run_command(command).await
                    }
                };
                let reply = reply.map_err(|error| Sent::Driver(error, part[0].place.clone()))?;
                if let Some(refused) = refusal_in_reply(&reply) {
                    let at = reply
                        .get_array("writeErrors")
                        .ok()
                        .and_then(|errors| errors.first()?.as_document()?.get_i32("index").ok());
                    let at = at.and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
                    let write = part.get(at).unwrap_or(&part[0]);
                    // The server counts items within the command; the place says more.
                    let text = refused.text.split_once(": ").filter(|(item, _)| item.starts_with("item "));
                    let refused = super::error::Refusal {
                        text: text.map_or(refused.text.clone(), |(_, text)| text.into()),
                        ..refused
                    };
                    let mut error =
                        Error::new(Code::SeedFailed, format!("MongoDB refused a document of `{}`", write.collection))
                            .why(refused.shown())
                            .at(write.place.clone());
                    if refused.code == 121 {
                        error = error.hint("the collection's validator wants it otherwise: mend the row");
                    } else if refused.code == 11000 {
                        error = error.hint("another document has this value: make it part of the key, or give another");
                    }
                    return Err(Sent::Refused(error));
                }
            }
        }
        Ok(())
    }

    /// Sends everything that is held inside a transaction, which stays open.
    async fn send_in_transaction(&mut self, writes: &[Write]) -> Result<()> {
        for attempt in 0.. {
            let client = self.store.connected().client.clone();
            let mut session = client.start_session().await.map_err(|error| self.failed("begin a session", &error))?;
            session.start_transaction().await.map_err(|error| self.failed("begin a transaction", &error))?;
            match self.send(writes, Some(&mut session)).await {
                Ok(()) => {
                    self.session = Some(session);
                    return Ok(());
                }
                Err(sent) => {
                    let _ = session.abort_transaction().await;
                    let may_retry =
                        matches!(&sent, Sent::Driver(error, _) if error.contains_label("TransientTransactionError"));
                    if may_retry && attempt < RETRIES {
                        tokio::time::sleep(std::time::Duration::from_millis(50 << attempt)).await;
                        continue;
                    }
                    return Err(self.told(sent));
                }
            }
        }
        Ok(())
    }

    fn told(&self, sent: Sent) -> Error {
        match sent {
            Sent::Refused(error) => error,
            Sent::Driver(error, place) => self.failed("write documents", &error).at(place),
        }
    }
}

/// Why a write did not go through.
enum Sent {
    Refused(Error),
    Driver(mongodb::error::Error, Place),
}

fn filter(key: &[String], keys: &[Vec<Bson>]) -> Document {
    match key {
        [name] => {
            doc! { name: { "$in": keys.iter().filter_map(|values| values.first().cloned()).collect::<Vec<_>>() } }
        }
        _ => doc! { "$or": keys.iter().map(|values| Bson::Document(exact(key, values))).collect::<Vec<_>>() },
    }
}

fn exact(key: &[String], values: &[Bson]) -> Document {
    key.iter().cloned().zip(values.iter().cloned()).collect()
}

impl Loader for MongodbLoader<'_> {
    async fn describe(&mut self, targets: &[String]) -> Result<Vec<Shape>> {
        let database = self.store.connected().database.clone();
        let names = database.list_collection_names().await;
        let names = names.map_err(|error| self.failed("list the collections", &error))?;
        let mut shapes = Vec::with_capacity(targets.len());
        for target in targets {
            let mut shape = Shape { target: target.clone(), identity: vec!["_id".into()], ..Shape::default() };
            if names.contains(target) {
                shape.exists = true;
                let indexes = database.collection::<Document>(target).list_indexes().await;
                let mut indexes = indexes.map_err(|error| self.failed("list the indexes", &error))?;
                while let Some(index) =
                    indexes.try_next().await.map_err(|error| self.failed("list the indexes", &error))?
                {
                    let options = index.options.unwrap_or_default();
                    let is_whole = options.partial_filter_expression.is_none() && options.sparse != Some(true);
                    if options.unique == Some(true) && is_whole {
                        shape.unique.push(index.keys.keys().cloned().collect());
                    }
                }
            } else {
                let known = names.iter().map(String::as_str).filter(|name| !name.starts_with("lyrox_"));
                shape.near = nearest(target, known).map(str::to_owned);
                // Without migrations of its own, the project lets the first write make collections.
                shape.exists = !self.terms.has_migrations && shape.near.is_none();
            }
            shapes.push(shape);
        }
        Ok(shapes)
    }

    async fn find(
        &mut self,
        shape: &Shape,
        key: &[String],
        wanted: &[String],
        probes: &[Probe],
    ) -> Result<Vec<Option<Found>>> {
        let documents = self.read(shape, key, probes).await?;
        let mut found = Vec::with_capacity(documents.len());
        for (probe, document) in probes.iter().zip(documents) {
            let Some(document) = document else {
                found.push(None);
                continue;
            };
            let fields = wanted.iter().filter_map(|name| {
                let value = at(&document, name)?;
                Some((name.clone(), value.clone().into_relaxed_extjson()))
            });
            found.push(Some(Found { fields: fields.collect(), tenant: None }));
            let values = probe.key.iter().map(|value| bson(value, &probe.place)).collect::<Result<Vec<_>>>()?;
            self.found.insert((shape.target.clone(), key_text(&values)), document);
        }
        Ok(found)
    }

    fn identity(&self, _: &Shape, fields: &Fields) -> Option<Json> {
        fields.get("_id").cloned()
    }

    /// Ids of documents follow from names or are given: the server makes none.
    async fn reserve(&mut self, _: &Shape, _: usize) -> Result<Vec<Json>> {
        Ok(Vec::new())
    }

    async fn write(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Vec<RowDone>>> {
        let mut written = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut rows = Vec::with_capacity(batch.rows.len());
            for row in &batch.rows {
                let document = document(&row.fields, &row.place)?;
                let values: Vec<Bson> = batch.key.iter().filter_map(|name| at(&document, name).cloned()).collect();
                let stored = self.found.get(&(batch.shape.target.clone(), key_text(&values)));
                let hold = |what| Write { collection: batch.shape.target.clone(), place: row.place.clone(), what };
                rows.push(match stored {
                    None => {
                        let mut whole = Document::new();
                        whole.extend(document.get("_id").map(|id| ("_id".to_owned(), id.clone())));
                        whole.extend(document);
                        self.held.push(hold(What::Insert(whole)));
                        RowDone::created()
                    }
                    Some(stored) => {
                        let changed: Document = document
                            .into_iter()
                            .filter(|(name, _)| !batch.key.contains(name) && !row.first.contains(name))
                            .filter(|(name, value)| !at(stored, name).is_some_and(|old| is_same(old, value)))
                            .collect();
                        let names = changed.keys().cloned().collect();
                        if !changed.is_empty() {
                            let id = stored.get("_id").cloned().unwrap_or(Bson::Null);
                            self.held.push(hold(What::Update(doc! { "_id": id }, changed)));
                        }
                        RowDone::there(names)
                    }
                });
            }
            written.push(rows);
        }
        Ok(written)
    }

    async fn remove_others(&mut self, shape: &Shape, key: &[String], keep: &[Probe]) -> Result<u64> {
        let mut keys = Vec::with_capacity(keep.len());
        for probe in keep {
            let values = probe.key.iter().map(|value| bson(value, &probe.place)).collect::<Result<Vec<_>>>()?;
            keys.push(Bson::Document(exact(key, &values)));
        }
        let others = if keys.is_empty() {
            doc! {}
        } else {
            doc! { "$nor": keys }
        };
        let collection = self.store.connected().database.collection::<Document>(&shape.target);
        let count = collection.count_documents(others.clone()).await;
        let count = count.map_err(|error| self.failed(&format!("read `{}`", shape.target), &error))?;
        if count > 0 {
            let place = keep.first().map_or_else(|| Place::file(""), |probe| probe.place.clone());
            self.held.push(Write { collection: shape.target.clone(), place, what: What::Delete(others) });
        }
        Ok(count)
    }

    async fn bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        self.load_bulk(load, events).await
    }

    async fn targets(&mut self) -> Result<u64> {
        self.count_targets().await
    }

    async fn fill(&mut self, order: &FillOrder, events: &dyn Events) -> Result<Vec<Filled>> {
        self.fill_collections(order, events).await
    }

    fn check_script(&self, script: &Script) -> Result<()> {
        scripts::check(script)
    }

    async fn script(&mut self, script: &Script, name: &str) -> Result<()> {
        self.run_script(script, name).await
    }

    async fn applied(&mut self, file: &str) -> Result<Option<String>> {
        let collection = self.store.connected().database.collection::<Document>(LEDGER);
        let found = collection.find_one(doc! { "_id": self.ledger_id(file) }).await;
        let found = found.map_err(|error| self.failed("read the ledger of seeds", &error))?;
        Ok(found.and_then(|row| row.get_str("checksum").ok().map(str::to_owned)))
    }

    async fn remember(&mut self, file: &str, checksum: &str) -> Result<()> {
        self.remember_in(file, checksum, None).await
    }

    async fn flush(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        self.found.clear();
        if held.is_empty() || self.terms.is_dry {
            return Ok(());
        }
        if self.store.connected().has_transactions() {
            return self.send_in_transaction(&held).await;
        }
        // A single server: what can be refused is refused before the other stores commit.
        let sent = self.send(&held, None).await;
        sent.map_err(|sent| {
            self.told(sent)
                .data("MongoDB has no transactions here: rows before this one stay; nothing else was changed")
        })
    }

    async fn commit(&mut self) -> Result<()> {
        self.commit_session().await
    }

    async fn abandon(&mut self) {
        self.held.clear();
        if let Some(mut session) = self.session.take() {
            let _ = session.abort_transaction().await;
        }
    }
}

impl MongodbLoader<'_> {
    /// Commits the open transaction, where there is one.
    async fn commit_session(&mut self) -> Result<()> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        for attempt in 0.. {
            match session.commit_transaction().await {
                Ok(()) => return Ok(()),
                Err(error) if error.contains_label("UnknownTransactionCommitResult") && attempt < RETRIES => {
                    tokio::time::sleep(std::time::Duration::from_millis(100 << attempt)).await;
                }
                Err(error) if is_in_doubt(&error) => {
                    return Err(Error::new(Code::InDoubt, "the connection was lost while MongoDB committed the seeds")
                        .why("no answer came")
                        .data("MongoDB has all of its rows or none of them")
                        .hint("run lyrox db seed again: it writes what is missing and nothing else"));
                }
                Err(error) => return Err(self.failed("commit the seeds", &error)),
            }
        }
        Ok(())
    }

    fn ledger_id(&self, file: &str) -> Document {
        doc! { "project": &self.terms.project, "file": file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_as_values() {
        let value = |json: Json| bson(&json, &Place::file("f")).expect("extended JSON");
        use serde_json::json;
        assert!(is_same(&value(json!(1)), &value(json!(1.0))));
        assert!(is_same(&value(json!({ "$numberLong": "1" })), &value(json!(1))));
        assert!(is_same(&value(json!({ "a": 1, "b": [2] })), &value(json!({ "b": [2.0], "a": 1 }))));
        assert!(!is_same(&value(json!({ "a": 1 })), &value(json!({ "a": 1, "b": 2 }))));
        assert!(!is_same(&value(json!("1")), &value(json!(1))));
        assert!(is_same(
            &value(json!({ "$date": "2025-11-01T09:00:00Z" })),
            &value(json!({ "$date": { "$numberLong": "1761987600000" } }))
        ));
    }
}
