//! Many documents into MongoDB: into an empty collection batch after batch over two connections, the text
//! of a row straight into BSON; else compared with what is there. What is written is journaled, so that a run
//! that was cut short goes on.

#[path = "load_batches.rs"]
mod batches;
#[path = "load_bson.rs"]
pub mod encode;

use std::hash::Hasher as _;

use bson::{Bson, Document, doc};
use siphasher::sip::SipHasher24;

use self::batches::{Batch, Sender};
use super::{BATCH, LEDGER, MongodbLoader, What, Write, at, bson, document, is_same};
use crate::engine::event::{Event, Events};
use crate::engine::seed::ids::Origin;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::stores::load::{BulkDone, BulkLoad, Counts, Fields, Probe, Written, cut_short, expected, so_far};
use crate::stores::mongodb::error::Refusal;
use crate::stores::rejects::reason;
use crate::stores::source::{Cell, Form, Row, RowReader};

/// How much text of documents goes into one batch that is compared.
const BYTES: usize = 8 << 20;

/// A document to be compared, as it was read.
struct Read {
    place: Place,
    fields: Fields,
    row: Row,
}

/// The rolling hash of rows.
pub fn feed(hasher: &mut SipHasher24, row: &Row) {
    if let Some(object) = row.whole() {
        hasher.write(object.as_bytes());
    }
    for cell in row.cells() {
        match cell {
            Cell::Null => hasher.write_u8(0),
            Cell::Text(text) | Cell::Json(text) => {
                hasher.write_u8(1);
                hasher.write(text.as_bytes());
            }
        }
    }
    hasher.write_u8(2);
}

impl MongodbLoader<'_> {
    pub(super) async fn load_bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        let collection = self.store.connected().database.collection::<Document>(&load.shape.target);
        let first = collection.find_one(doc! {}).await;
        let is_empty = first.map_err(|error| self.failed(&format!("read `{}`", load.shape.target), &error))?.is_none();
        let done = if is_empty && !self.terms.is_dry {
            self.insert_all(load, events).await?
        } else {
            self.compare_all(load, is_empty, events).await?
        };
        if let Some(rejects) = &load.how.rejects {
            rejects.finish()?;
        }
        if !self.terms.is_dry {
            self.settle(load).await?;
        }
        Ok(done)
    }

    /// What every document of a source without a key is told apart by.
    fn origin<'a>(&self, load: &'a BulkLoad<'_>) -> Origin<'a> {
        // Ids follow from the content and the number of the row: a run that was cut short goes on.
        Origin { project: load.checksum, tenant: "", store: StoreKind::Mongodb, target: &load.shape.target }
    }

    /// Into an empty collection.
    async fn insert_all(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        let database = self.store.connected().database.clone();
        let mut sender = Sender::new(database, &load.shape.target);
        let mut rows = load.source.open(Form::Whole)?;
        let (mut row, mut seen, mut done) = (Row::default(), 0_u64, BulkDone::default());
        let mut hasher = SipHasher24::new();
        let mut batch = Batch::new(&load.shape.target, 1);
        let mut more = true;
        while more {
            more = match rows.read(&mut row) {
                Ok(more) => more,
                Err(error) => {
                    seen += 1;
                    self.pass_over(load, rows.as_ref(), (!row.is_empty()).then_some(&row), error, &done.counts)?;
                    continue;
                }
            };
            if more {
                seen += 1;
                feed(&mut hasher, &row);
                if let Err(error) = self.add(load, &mut batch, &row, seen, rows.as_ref()) {
                    self.pass_over(load, rows.as_ref(), Some(&row), error, &done.counts)?;
                } else if load.how.rejects.is_some() {
                    batch.keep(&row, rows.place());
                }
            }
            if batch.is_full() || (!more && batch.rows() > 0) {
                if events.is_cancelled() {
                    sender.finish().await;
                    return Err(cut_short(load, &done.counts));
                }
                let full = std::mem::replace(&mut batch, Batch::new(&load.shape.target, seen + 1));
                for sent in sender.send(full, seen, hasher.finish()).await {
                    self.take(load, sent, &mut done.counts)?;
                }
                if let Some((rows, hash)) = sender.journal() {
                    self.journal(load, rows, hash).await?;
                }
                self.tell(load, events, seen, rows.as_ref());
            }
        }
        for sent in sender.finish().await {
            self.take(load, sent, &mut done.counts)?;
        }
        Ok(done)
    }

    /// Adds a row to a batch.
    fn add(&self, load: &BulkLoad<'_>, batch: &mut Batch, row: &Row, number: u64, rows: &dyn RowReader) -> Result<()> {
        let mut found = vec![false; load.key.len()];
        let has_id = std::cell::Cell::new(false);
        let mut see = |name: &str| {
            has_id.set(has_id.get() || name == "_id");
            for (key, found) in load.key.iter().zip(&mut found) {
                *found |= key == name;
            }
        };
        let added = batch.add(|out| {
            match row.whole() {
                Some(object) => encode::fields(object, out, &mut see).map_err(|error| rows.not_json(&error))?,
                None => {
                    for (name, cell) in load.source.columns().iter().zip(row.cells()) {
                        match cell {
                            Cell::Null => continue,
                            Cell::Text(text) => encode::text(name, text, out),
                            Cell::Json(json) => encode::json(name, json, out).map_err(|error| rows.not_json(&error))?,
                        }
                        see(name);
                    }
                }
            }
            if load.key.is_empty() && !has_id.get() {
                let id = bson(&self.origin(load).object_id(&number.to_string()), &Place::file(load.source.shown()))?;
                encode::value("_id", id, out)
                    .map_err(|error| Error::bug("an id that is none").why(error.to_string()))?;
            }
            Ok(())
        });
        added?;
        if let Some(at) = found.iter().position(|found| !found) {
            batch.take_back();
            return Err(lacks(load, &load.key[at], rows.place()));
        }
        Ok(())
    }

    /// A row that cannot be sent: set aside, or the end.
    fn pass_over(
        &self,
        load: &BulkLoad<'_>,
        rows: &dyn RowReader,
        row: Option<&Row>,
        error: Error,
        counts: &Counts,
    ) -> Result<()> {
        match &load.how.rejects {
            Some(rejects) if row.is_some() || rows.may_go_on() => {
                let is_whole = row.is_some_and(|row| row.whole().is_some_and(|object| !is_object(object)));
                rejects.add(load.source, row.filter(|_| !is_whole), rows.text(), &reason(&error))
            }
            _ => Err(self.partly(load, error, counts)),
        }
    }

    fn partly(&self, load: &BulkLoad<'_>, error: Error, counts: &Counts) -> Error {
        error.data_if_none(format!(
            "batches before this one are written ({}); running it again goes on",
            so_far(load, counts)
        ))
    }

    /// Counts what a batch came to, and deals with what was refused in it.
    fn take(&self, load: &BulkLoad<'_>, sent: batches::Sent, counts: &mut Counts) -> Result<()> {
        let refused = match sent.outcome {
            Ok(refused) => refused,
            Err(error) => return Err(self.partly(load, self.failed("write documents", &error), counts)),
        };
        counts.created += sent.batch.rows() - refused.len() as u64;
        for (at, refusal) in refused {
            let kept = sent.batch.kept(at);
            let place = kept.map(|(_, place)| place.clone());
            let place = place.unwrap_or_else(|| place_of(load, sent.batch.number(at)));
            let error = refused_document(load, &refusal, place);
            match (&load.how.rejects, kept) {
                (Some(rejects), Some((row, _))) => rejects.add(load.source, Some(row), "", &reason(&error))?,
                _ => return Err(self.partly(load, error, counts)),
            }
        }
        Ok(())
    }

    /// Remembers how far everything is written.
    async fn journal(&self, load: &BulkLoad<'_>, rows: u64, hash: u64) -> Result<()> {
        let collection = self.store.connected().database.collection::<Document>(LEDGER);
        let loading = doc! { "rows": i64::try_from(rows).unwrap_or(i64::MAX), "hash": format!("{hash:016x}") };
        let update = doc! { "$set": { "loading": loading } };
        let done = collection.update_one(doc! { "_id": self.ledger_id(load.name) }, update).upsert(true).await;
        done.map(|_| ()).map_err(|error| self.failed("write the ledger of seeds", &error))
    }

    /// How far an earlier run came.
    async fn journaled(&self, load: &BulkLoad<'_>) -> Result<Option<(u64, String)>> {
        let collection = self.store.connected().database.collection::<Document>(LEDGER);
        let found = collection.find_one(doc! { "_id": self.ledger_id(load.name) }).await;
        let found = found.map_err(|error| self.failed("read the ledger of seeds", &error))?;
        Ok(found.and_then(|row| {
            let loading = row.get_document("loading").ok()?;
            let rows = u64::try_from(loading.get_i64("rows").ok()?).ok()?;
            Some((rows, loading.get_str("hash").ok()?.to_owned()))
        }))
    }

    /// Waits until what was written is on a majority of the members; the journal is not needed any more.
    async fn settle(&self, load: &BulkLoad<'_>) -> Result<()> {
        let collection = self.store.connected().database.collection::<Document>(LEDGER);
        let id = doc! { "_id": self.ledger_id(load.name) };
        let keyless = doc! { "_id": self.ledger_id(load.name), "checksum": { "$exists": false } };
        let done = collection.update_one(id, doc! { "$unset": { "loading": "" } }).await;
        let done = match done {
            Ok(_) => collection.delete_one(keyless).await.map(|_| ()),
            Err(error) => Err(error),
        };
        done.map_err(|error| self.failed("write the ledger of seeds", &error))
    }

    /// Rows that an earlier run has written for certain; the reader stands behind them.
    async fn skip_written<'s>(&self, load: &'s BulkLoad<'_>) -> Result<(Box<dyn RowReader + 's>, u64)> {
        let mut rows = load.source.open(Form::Whole)?;
        let Some((count, hash)) = self.journaled(load).await? else { return Ok((rows, 0)) };
        let (mut row, mut hasher) = (Row::default(), SipHasher24::new());
        for _ in 0..count {
            match rows.read(&mut row) {
                Ok(true) => feed(&mut hasher, &row),
                Ok(false) | Err(_) => break,
            }
        }
        if format!("{:016x}", hasher.finish()) == hash {
            return Ok((rows, count));
        }
        // Another file, or one that was mended: everything is looked at.
        Ok((load.source.open(Form::Whole)?, 0))
    }

    /// Into a collection that holds documents: what is there is compared.
    async fn compare_all(&mut self, load: &BulkLoad<'_>, is_empty: bool, events: &dyn Events) -> Result<BulkDone> {
        let is_keyless = load.key.is_empty();
        let own = ["_id".to_owned()];
        let key: &[String] = if is_keyless { &own } else { load.key };
        let (mut rows, mut seen) = self.skip_written(load).await?;
        let mut done = BulkDone::default();
        done.counts.unchanged = seen;
        let (mut row, mut is_first) = (Row::default(), seen == 0);
        while !events.is_cancelled() {
            let mut batch: Vec<Read> = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH * 10 && bytes < BYTES {
                match rows.read(&mut row) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        seen += 1;
                        self.pass_over(load, rows.as_ref(), (!row.is_empty()).then_some(&row), error, &done.counts)?;
                        continue;
                    }
                }
                seen += 1;
                let place = rows.place();
                let mut fields = match row.fields(load.source.columns()) {
                    Ok(fields) => fields,
                    Err(error) => {
                        self.pass_over(load, rows.as_ref(), Some(&row), rows.not_json(&error), &done.counts)?;
                        continue;
                    }
                };
                if is_keyless && !fields.contains_key("_id") {
                    fields.shift_insert(0, "_id".into(), self.origin(load).object_id(&seen.to_string()));
                }
                if let Some(name) = key.iter().find(|name| !fields.contains_key(*name)) {
                    self.pass_over(load, rows.as_ref(), Some(&row), lacks(load, name, place), &done.counts)?;
                    continue;
                }
                if let Some(error) = key.iter().find_map(|name| bson(&fields[name.as_str()], &place).err()) {
                    self.pass_over(load, rows.as_ref(), Some(&row), error, &done.counts)?;
                    continue;
                }
                bytes += row.size() + 64;
                batch.push(Read { place, fields, row: row.clone() });
            }
            if batch.is_empty() {
                return Ok(done);
            }
            if !is_empty && is_first && is_keyless {
                self.refuse_mixed(load, &batch[0]).await?;
            }
            is_first = false;
            let counts = self.load_batch(load, key, batch, is_empty).await;
            let counts = counts.map_err(|error| self.partly(load, error, &done.counts))?;
            done.counts.created += counts.created;
            done.counts.updated += counts.updated;
            done.counts.unchanged += counts.unchanged;
            self.tell(load, events, seen, rows.as_ref());
        }
        Err(cut_short(load, &done.counts))
    }

    fn tell(&self, load: &BulkLoad<'_>, events: &dyn Events, seen: u64, rows: &dyn RowReader) {
        events.event(Event::Progress {
            task: load.source.shown().to_owned(),
            store: Some(StoreKind::Mongodb),
            done: seen,
            total: expected(load, seen, rows.progress()),
            unit: "documents",
        });
    }

    /// Documents of another origin cannot be told from those of a source without a key.
    async fn refuse_mixed(&mut self, load: &BulkLoad<'_>, first: &Read) -> Result<()> {
        let probe = Probe { key: vec![first.fields["_id"].clone()], tenant: None, place: first.place.clone() };
        if self.read(load.shape, &["_id".to_owned()], &[probe]).await?.first().is_some_and(Option::is_some) {
            return Ok(());
        }
        Err(Error::new(
            Code::SeedFile,
            format!("`{}` has no key and `{}` is not empty", load.source.shown(), load.shape.target),
        )
        .why("without `_id` or one unique index in its fields, new documents cannot be told from stored ones")
        .at(Place::file(load.source.shown()))
        .hint("give the documents an `_id`, or make a unique index in a migration"))
    }

    async fn load_batch(
        &mut self,
        load: &BulkLoad<'_>,
        key: &[String],
        batch: Vec<Read>,
        is_empty: bool,
    ) -> Result<Counts> {
        let mut counts = Counts::default();
        let stored = if is_empty {
            vec![None; batch.len()]
        } else {
            let probes = batch.iter().map(|read| {
                let key = key.iter().filter_map(|name| read.fields.get(name).cloned()).collect();
                Probe { key, tenant: None, place: read.place.clone() }
            });
            let probes: Vec<Probe> = probes.collect();
            self.read(load.shape, key, &probes).await?
        };
        let mut writes = Vec::with_capacity(batch.len());
        for (read, stored) in batch.iter().zip(stored) {
            match self.compared(read, key, stored) {
                Ok((written, Some(what))) => {
                    counts.add(written);
                    let collection = load.shape.target.clone();
                    writes.push((Write { collection, place: read.place.clone(), what }, read, written));
                }
                Ok((written, None)) => counts.add(written),
                Err(error) => match &load.how.rejects {
                    Some(rejects) => rejects.add(load.source, Some(&read.row), "", &reason(&error))?,
                    None => return Err(error),
                },
            }
        }
        if self.terms.is_dry || writes.is_empty() {
            return Ok(counts);
        }
        let Some(rejects) = &load.how.rejects else {
            let writes: Vec<Write> = writes.into_iter().map(|(write, ..)| write).collect();
            let sent = self.send(&writes, None).await;
            return sent.map(|()| counts).map_err(|sent| self.told(sent));
        };
        for (write, read, written) in writes {
            // One by one where rows may be set aside: each refusal belongs to its row.
            match self.send(std::slice::from_ref(&write), None).await {
                Ok(()) => {}
                Err(super::Sent::Refused(error)) => {
                    match written {
                        Written::Created => counts.created -= 1,
                        _ => counts.updated -= 1,
                    }
                    rejects.add(load.source, Some(&read.row), "", &reason(&error))?;
                }
                Err(sent) => return Err(self.told(sent)),
            }
        }
        Ok(counts)
    }

    /// What a document comes to, and the write that it needs.
    fn compared(&self, read: &Read, key: &[String], stored: Option<Document>) -> Result<(Written, Option<What>)> {
        let Some(stored) = stored else {
            return Ok((Written::Created, Some(What::Insert(document(&read.fields, &read.place)?))));
        };
        let mut changed = Document::new();
        for (name, value) in read.fields.iter().filter(|(name, _)| !key.contains(name) && *name != "_id") {
            let value = bson(value, &read.place)?;
            if !at(&stored, name).is_some_and(|old| is_same(old, &value)) {
                changed.insert(name, value);
            }
        }
        if changed.is_empty() {
            return Ok((Written::Unchanged, None));
        }
        let id = doc! { "_id": stored.get("_id").cloned().unwrap_or(Bson::Null) };
        Ok((Written::Updated, Some(What::Update(id, changed))))
    }
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Fields>(text).is_ok()
}

fn lacks(load: &BulkLoad<'_>, name: &str, place: Place) -> Error {
    Error::new(Code::SeedFailed, format!("a row of `{}` lacks `{name}`", load.source.shown()))
        .why("it is part of the key, by which the document is found again")
        .at(place)
}

/// The place of a row, counted from one: the source is read again up to it.
fn place_of(load: &BulkLoad<'_>, number: u64) -> Place {
    let find = || {
        let mut rows = load.source.open(Form::Whole)?;
        let mut row = Row::default();
        for _ in 0..number {
            rows.read(&mut row)?;
        }
        Ok::<_, Error>(rows.place())
    };
    find().unwrap_or_else(|_| Place::file(load.source.shown()))
}

fn refused_document(load: &BulkLoad<'_>, refusal: &Refusal, place: Place) -> Error {
    let what = format!("MongoDB refused a document of `{}`", load.shape.target);
    let error = Error::new(Code::SeedFailed, what).why(refusal.shown()).at(place);
    match refusal.code {
        121 => error.hint("the collection's validator wants it otherwise: mend the row"),
        11000 => error.hint("another document has this value: make it part of the key, or give another"),
        _ => error,
    }
}
