//! Collections filled with documents that their validators take: ids follow from the seed number, so that a
//! second run finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;

use super::{BATCH, MongodbLoader};
use crate::engine::event::{Event, Events};
use crate::engine::generate::options::{ColumnOptions, Count};
use crate::engine::generate::random::{Draw, Root};
use crate::engine::generate::schema::Column;
use crate::engine::generate::spread::value_in;
use crate::engine::generate::value::Context;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::load::{BulkDone, Counts, FillOrder, Filled, GenerateOrder, Loader as _};
use crate::stores::mongodb::catalog::{self, Listed};
use crate::stores::mongodb::document::{Believable, Source, object_id, set};

/// How many documents of a collection others refer to.
const REFERRED: u64 = 10_000;

impl MongodbLoader<'_> {
    async fn collections(&mut self) -> Result<Vec<Listed>> {
        let database = self.store.connected().database.clone();
        let listed = catalog::list(&database, None).await;
        let mut listed = listed.map_err(|error| self.failed("list the collections", &error))?;
        listed.retain(|one| !one.is_view && one.options.get("timeseries").is_none());
        Ok(listed)
    }

    pub(super) async fn count_targets(&mut self) -> Result<u64> {
        Ok(self.collections().await?.iter().filter(|one| schema(one).is_some()).count() as u64)
    }

    pub(super) async fn fill_collections(&mut self, order: &FillOrder, events: &dyn Events) -> Result<Vec<Filled>> {
        let listed = self.collections().await?;
        let open: Vec<&Listed> = listed.iter().filter(|one| schema(one).is_some()).collect();
        let shares = even(order.rows, open.len() as u64);
        let roots: BTreeMap<String, (Root, u64)> = open
            .iter()
            .zip(&shares)
            .map(|(one, share)| {
                let root = Root::new(order.seed, &[&self.terms.project, "mongodb", &one.name]);
                (one.name.clone(), (root, *share))
            })
            .collect();
        let mut filled = Vec::with_capacity(listed.len());
        for one in &listed {
            let Some((root, wanted)) = roots.get(&one.name).copied() else {
                filled.push(Filled {
                    target: one.name.clone(),
                    is_skipped: true,
                    reason: Some("it has no validator that says what its documents look like".into()),
                    ..Filled::default()
                });
                continue;
            };
            let begun = Instant::now();
            let mut done = self.fill_collection(one, root, wanted, &roots, order, events).await?;
            done.elapsed = begun.elapsed();
            filled.push(done);
        }
        Ok(filled)
    }

    async fn fill_collection(
        &mut self,
        one: &Listed,
        root: Root,
        wanted: u64,
        roots: &BTreeMap<String, (Root, u64)>,
        order: &FillOrder,
        events: &dyn Events,
    ) -> Result<Filled> {
        let database = self.store.connected().database.clone();
        let collection = database.collection::<Document>(&one.name);
        let failed = |loader: &Self, doing: &str, error: &mongodb::error::Error| {
            loader.failed(&format!("{doing} `{}`", one.name), error)
        };
        let before = collection.count_documents(doc! {}).await;
        let before = before.map_err(|error| failed(self, "count", &error))?;
        let mut done = Filled { target: one.name.clone(), wanted, before, ..Filled::default() };
        if before >= wanted {
            done.wanted = before;
            return Ok(done);
        }
        if self.terms.is_dry {
            done.added = wanted - before;
            return Ok(done);
        }
        let schema = schema(one).unwrap_or_default();
        let indexes = catalog::indexes(&database, &one.name).await;
        let unique = unique(&indexes.map_err(|error| failed(self, "read the indexes of", &error))?);
        let references = references(&schema, roots);
        let mut next = 0;
        while next < wanted && !events.is_cancelled() {
            let end = (next + BATCH as u64).min(wanted);
            let mut documents = Vec::new();
            for number in next..end {
                let what = Believable {
                    collection: one.name.clone(),
                    serial: number,
                    unique: unique.clone(),
                    references: references.clone(),
                };
                let Some(mut document) = Source::believable(what, root.row(number, 1)).document(&schema) else {
                    done.reason = Some("no document is known that its validator takes".into());
                    return Ok(done);
                };
                if matches!(document.get("_id"), Some(Bson::ObjectId(_)) | None) {
                    document.insert("_id", object_id(&mut root.row(number, 0)));
                }
                if let (Some(tenant), Some(column)) = (one_of(&order.tenants, number), &self.terms.tenant_column)
                    && document.contains_key(column)
                {
                    set(&mut document, column, tenant.into());
                }
                documents.push(document);
            }
            let ids: Vec<Bson> = documents.iter().filter_map(|document| document.get("_id").cloned()).collect();
            let there = collection.find(doc! { "_id": { "$in": ids } }).projection(doc! { "_id": 1 }).await;
            let there = there.map_err(|error| failed(self, "read", &error))?;
            let there: Vec<Document> = there.try_collect().await.map_err(|error| failed(self, "read", &error))?;
            let there: BTreeSet<String> = there.iter().filter_map(|one| Some(one.get("_id")?.to_string())).collect();
            documents.retain(|document| document.get("_id").is_none_or(|id| !there.contains(&id.to_string())));
            next = end;
            if documents.is_empty() {
                continue;
            }
            let sent = documents.len() as u64;
            let list: Vec<Bson> = documents.into_iter().map(Bson::Document).collect();
            let command =
                doc! { "insert": &one.name, "documents": list, "ordered": false, "writeConcern": { "w": "majority" } };
            let reply = database.run_command(command).await.map_err(|error| {
                failed(self, "write documents of", &error)
                    .data(format!("{} documents are written; running it again goes on", done.added))
            })?;
            let errors = reply.get_array("writeErrors").cloned().unwrap_or_default();
            done.added += sent.saturating_sub(errors.len() as u64);
            if let Some(error) = errors.first().and_then(Bson::as_document) {
                let text = error.get_str("errmsg").unwrap_or("refused");
                done.reason = Some(text.chars().filter(|c| !c.is_control()).take(160).collect());
                if done.added == 0 {
                    return Ok(done);
                }
            }
            events.event(Event::Progress {
                task: one.name.clone(),
                store: Some(StoreKind::Mongodb),
                done: next,
                total: Some(wanted),
                unit: "documents",
            });
        }
        if events.is_cancelled() {
            return Err(Error::new(Code::SeedFailed, "cut short by a signal")
                .data(format!("{} documents of `{}` are written; running it again goes on", done.added, one.name)));
        }
        Ok(done)
    }
}

impl MongodbLoader<'_> {
    /// Makes the documents of a block; those whose ids are there stay as they are, unless the block is another one.
    pub(super) async fn generate_block(&mut self, order: &GenerateOrder<'_>, events: &dyn Events) -> Result<BulkDone> {
        let name = &order.shape.target;
        let Count::Rows(wanted) = order.block.count else { return Ok(BulkDone::default()) };
        let is_known = self.applied(order.name).await?.as_deref() == Some(order.checksum);
        let database = self.store.connected().database.clone();
        let collection = database.collection::<Document>(name);
        let listed = self.collections().await?;
        let schema = listed.iter().find(|one| one.name == *name).and_then(schema).unwrap_or_default();
        let indexes = catalog::indexes(&database, name).await;
        let unique = unique(&indexes.unwrap_or_default());
        let root = Root::new(order.block.seed, &[&self.terms.project, "mongodb", name, "block"]);
        let mut counts = Counts::default();
        let mut note = None;
        let mut next = 0;
        while next < wanted {
            if events.is_cancelled() {
                return Err(Error::new(Code::SeedFailed, "cut short by a signal")
                    .data(format!("{next} of {wanted} documents are written; running it again goes on")));
            }
            let end = (next + BATCH as u64).min(wanted);
            let mut documents = Vec::new();
            for number in next..end {
                let what = Believable {
                    collection: name.clone(),
                    serial: number,
                    unique: unique.clone(),
                    ..Believable::default()
                };
                let mut draw = root.row(number, 1);
                let Some(mut document) = Source::believable(what, draw.clone()).document(&schema) else {
                    return Err(Error::new(
                        Code::SeedFailed,
                        format!("no document of `{name}` is known that its validator takes"),
                    ));
                };
                if matches!(document.get("_id"), Some(Bson::ObjectId(_)) | None) {
                    document.insert("_id", object_id(&mut root.row(number, 0)));
                }
                for (column, options) in &order.block.columns {
                    put(&mut document, &schema, column, options, number, &mut draw);
                }
                documents.push(document);
            }
            let ids: Vec<Bson> = documents.iter().filter_map(|document| document.get("_id").cloned()).collect();
            let there = collection.find(doc! { "_id": { "$in": ids } }).await;
            let there = there.map_err(|error| self.failed(&format!("read `{name}`"), &error))?;
            let there: Vec<Document> =
                there.try_collect().await.map_err(|error| self.failed(&format!("read `{name}`"), &error))?;
            let there: BTreeMap<String, Document> =
                there.into_iter().filter_map(|one| Some((one.get("_id")?.to_string(), one))).collect();
            let (mut inserts, mut updates) = (Vec::new(), Vec::new());
            for document in documents {
                let id = document.get("_id").cloned().unwrap_or(Bson::Null);
                match there.get(&id.to_string()) {
                    None => inserts.push(Bson::Document(document)),
                    Some(_) if is_known => counts.unchanged += 1,
                    Some(old) if *old == document => counts.unchanged += 1,
                    Some(_) => updates.push(Bson::Document(doc! { "q": { "_id": id }, "u": document })),
                }
            }
            if self.terms.is_dry {
                counts.created += inserts.len() as u64;
                counts.updated += updates.len() as u64;
            } else {
                for (verb, field, list) in [("insert", "documents", inserts), ("update", "updates", updates)] {
                    if list.is_empty() {
                        continue;
                    }
                    let sent = list.len() as u64;
                    let command =
                        doc! { verb: name, field: list, "ordered": false, "writeConcern": { "w": "majority" } };
                    let reply = database.run_command(command).await;
                    let reply = reply.map_err(|error| self.failed(&format!("write documents of `{name}`"), &error))?;
                    let errors = reply.get_array("writeErrors").cloned().unwrap_or_default();
                    let done = sent.saturating_sub(errors.len() as u64);
                    if verb == "insert" {
                        counts.created += done
                    } else {
                        counts.updated += done
                    }
                    if let Some(error) = errors.first().and_then(Bson::as_document) {
                        let why: String = error.get_str("errmsg").unwrap_or("refused").chars().take(160).collect();
                        if done == 0 {
                            return Err(Error::new(
                                Code::SeedFailed,
                                format!("MongoDB refused the documents of `{name}`"),
                            )
                            .why(why));
                        }
                        note = Some(format!("some were refused: {why}"));
                    }
                }
            }
            next = end;
        }
        if !self.terms.is_dry {
            self.remember(order.name, order.checksum).await?;
        }
        Ok(BulkDone { counts, note })
    }
}

/// Gives a field what its options say, in the type that the validator wants.
fn put(document: &mut Document, schema: &Document, path: &str, options: &ColumnOptions, number: u64, draw: &mut Draw) {
    if options.nulls.is_some_and(|share| draw.in_thousand(share)) {
        document.remove(path);
        return;
    }
    let of = schema.get_document("properties").ok().and_then(|all| all.get_document(path).ok());
    let kind = of.and_then(|of| of.get("bsonType")).map_or("", |kind| match kind {
        Bson::String(kind) => kind.as_str(),
        Bson::Array(kinds) => kinds.iter().filter_map(Bson::as_str).find(|kind| *kind != "null").unwrap_or(""),
        _ => "",
    });
    let base = match kind {
        "int" | "long" => "int8",
        "double" | "number" | "decimal" => "float8",
        "date" => "timestamptz",
        _ => "text",
    };
    let column = Column { name: path.to_owned(), base: base.into(), modifier: -1, ..Column::default() };
    let before = document.clone();
    let look = |name: &str| {
        before.get(name).map(|value| value.as_str().map(str::to_owned).or_else(|| Some(value.to_string())))
    };
    let Some(text) = value_in(&column, options, &Context::new("", number), &look, draw) else { return };
    let whole = text.parse::<i64>().ok();
    let value = match (kind, whole, text.parse::<f64>().ok()) {
        ("int", Some(whole), _) => i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32),
        ("long", Some(whole), _) => Bson::Int64(whole),
        ("double" | "number", _, Some(number)) => Bson::Double(number),
        ("decimal", ..) => text.parse::<bson::Decimal128>().map_or(Bson::String(text.clone()), Bson::Decimal128),
        ("bool" | "boolean", ..) => Bson::Boolean(text == "true"),
        ("date", ..) => crate::engine::generate::moment::moment(&text)
            .map_or(Bson::String(text.clone()), |micros| bson::DateTime::from_millis(micros / 1000).into()),
        ("objectId", ..) => text.parse::<ObjectId>().map_or(Bson::String(text.clone()), Bson::ObjectId),
        ("", Some(whole), _) => i32::try_from(whole).map_or(Bson::Int64(whole), Bson::Int32),
        ("", None, Some(number)) => Bson::Double(number),
        _ => Bson::String(text),
    };
    set(document, path, value);
}

fn one_of(tenants: &[String], number: u64) -> Option<String> {
    let at = number.checked_rem(tenants.len() as u64)?;
    tenants.get(usize::try_from(at).ok()?).cloned()
}

/// What a collection's validator says of its documents.
fn schema(one: &Listed) -> Option<Document> {
    let validator = one.options.get_document("validator").ok()?;
    if let Ok(schema) = validator.get_document("$jsonSchema") {
        return Some(schema.clone());
    }
    let parts = validator.get_array("$and").ok()?;
    parts.iter().find_map(|part| part.as_document()?.get_document("$jsonSchema").ok().cloned())
}

/// The fields that are unique by themselves.
fn unique(indexes: &[Document]) -> Vec<String> {
    let unique = indexes.iter().filter(|index| index.get_bool("unique").unwrap_or(false));
    let keys = unique.filter_map(|index| index.get_document("key").ok());
    keys.flat_map(|key| key.keys().cloned().collect::<Vec<_>>()).collect()
}

/// The ids that fields of a schema refer to: `companyId` to the documents of `companies` or `company`.
fn references(schema: &Document, roots: &BTreeMap<String, (Root, u64)>) -> BTreeMap<String, Vec<ObjectId>> {
    let mut found = BTreeMap::new();
    let names = schema.get_document("properties").map(|of| of.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    for name in names {
        let lower = name.to_lowercase().replace('_', "");
        let Some(stem) = lower.strip_suffix("id").filter(|stem| !stem.is_empty()) else { continue };
        let of = roots.iter().find(|(collection, _)| {
            let collection = collection.to_lowercase().replace('_', "");
            let plural = stem.strip_suffix('y').map_or_else(|| format!("{stem}s"), |stem| format!("{stem}ies"));
            collection == stem || collection == plural || collection == format!("{stem}s")
        });
        if let Some((_, (root, count))) = of {
            let ids = (0..(*count).min(REFERRED)).map(|number| object_id(&mut root.row(number, 0)));
            found.insert(name, ids.collect());
        }
    }
    found
}

/// The total in parts that differ by one at most.
fn even(total: u64, parts: u64) -> Vec<u64> {
    (0..parts).map(|at| total / parts + u64::from(at < total % parts)).collect()
}
