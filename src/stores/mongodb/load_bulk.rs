//! Bulk files into MongoDB: batches in the order of the file, compared where documents are there.

use bson::{Bson, Document, doc};

use super::{BATCH, MongodbLoader, What, Write, at, bson, document, is_same};
use crate::engine::event::{Event, Events};
use crate::engine::seed::ids::Origin;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::stores::load::{BulkDone, BulkLoad, Counts, Fields, Probe, Written, cut_short, expected, so_far};
use crate::stores::source::{Form, Row};

/// How much text of documents goes into one batch.
const BYTES: usize = 8 << 20;

impl MongodbLoader<'_> {
    pub(super) async fn load_bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        let collection = self.store.connected().database.collection::<Document>(&load.shape.target);
        let first = collection.find_one(doc! {}).await;
        let is_empty = first.map_err(|error| self.failed(&format!("read `{}`", load.shape.target), &error))?.is_none();
        // Without a key, ids follow from the file's content and the line: a run that was cut short goes on.
        let origin =
            Origin { project: load.checksum, tenant: "", store: StoreKind::Mongodb, target: &load.shape.target };
        let is_keyless = load.key.is_empty();
        let own = ["_id".to_owned()];
        let key: &[String] = if is_keyless { &own } else { load.key };
        let mut rows = load.source.open(Form::Whole)?;
        let mut row = Row::default();
        let mut done = BulkDone::default();
        let mut seen = 0_u64;
        let mut is_first = true;
        while !events.is_cancelled() {
            let mut batch: Vec<(Place, Fields)> = Vec::new();
            let mut bytes = 0;
            while batch.len() < BATCH * 10 && bytes < BYTES {
                if !rows.read(&mut row)? {
                    break;
                }
                let (place, mut fields) = (rows.place(), row.fields(load.source.columns())?);
                if is_keyless && !fields.contains_key("_id") {
                    let line = (seen + batch.len() as u64 + 1).to_string();
                    fields.shift_insert(0, "_id".into(), origin.object_id(&line));
                }
                bytes += fields.values().map(|value| value.as_str().map_or(16, str::len) + 16).sum::<usize>();
                batch.push((place, fields));
            }
            if batch.is_empty() {
                return Ok(done);
            }
            seen += batch.len() as u64;
            let is_resumed = !is_empty && is_first && is_keyless;
            if is_resumed {
                self.refuse_mixed(load, &batch[0]).await?;
            }
            is_first = false;
            let failed = |error: Error| {
                error.data_if_none(format!(
                    "batches before this one are written ({}); running it again goes on",
                    so_far(load, &done.counts)
                ))
            };
            let counts = self.load_batch(load, key, batch, is_empty).await.map_err(failed)?;
            done.counts.created += counts.created;
            done.counts.updated += counts.updated;
            done.counts.unchanged += counts.unchanged;
            events.event(Event::Progress {
                task: load.source.shown().to_owned(),
                store: Some(StoreKind::Mongodb),
                done: seen,
                total: expected(load, seen, rows.progress()),
                unit: "documents",
            });
        }
        Err(cut_short(load, &done.counts))
    }

    /// Documents of another origin cannot be told from those of a file without a key.
    async fn refuse_mixed(&mut self, load: &BulkLoad<'_>, first: &(Place, Fields)) -> Result<()> {
        let probe = Probe { key: vec![first.1["_id"].clone()], tenant: None, place: first.0.clone() };
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
        batch: Vec<(Place, Fields)>,
        is_empty: bool,
    ) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut writes = Vec::with_capacity(batch.len());
        let stored = if is_empty {
            vec![None; batch.len()]
        } else {
            let probes = batch.iter().map(|(place, fields)| {
                let key = key.iter().map(|name| {
                    fields.get(name).cloned().ok_or_else(|| {
                        Error::new(Code::SeedFailed, format!("a row of `{}` lacks `{name}`", load.source.shown()))
                            .why("it is part of the key, by which the document is found again")
                            .at(place.clone())
                    })
                });
                Ok(Probe { key: key.collect::<Result<_>>()?, tenant: None, place: place.clone() })
            });
            let probes = probes.collect::<Result<Vec<_>>>()?;
            self.read(load.shape, key, &probes).await?
        };
        for ((place, fields), stored) in batch.into_iter().zip(stored) {
            let what = match stored {
                None => {
                    counts.add(Written::Created);
                    What::Insert(document(&fields, &place)?)
                }
                Some(stored) => {
                    let mut changed = Document::new();
                    for (name, value) in fields.iter().filter(|(name, _)| !key.contains(name) && *name != "_id") {
                        let value = bson(value, &place)?;
                        if !at(&stored, name).is_some_and(|old| is_same(old, &value)) {
                            changed.insert(name, value);
                        }
                    }
                    if changed.is_empty() {
                        counts.add(Written::Unchanged);
                        continue;
                    }
                    counts.add(Written::Updated);
                    What::Update(doc! { "_id": stored.get("_id").cloned().unwrap_or(Bson::Null) }, changed)
                }
            };
            writes.push(Write { collection: load.shape.target.clone(), place, what });
        }
        if !self.terms.is_dry && !writes.is_empty() {
            let sent = self.send(&writes, None).await;
            sent.map_err(|sent| self.told(sent))?;
        }
        Ok(counts)
    }
}
