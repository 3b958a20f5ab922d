//! One run over the stores: everything fitted to what the stores say, then group after group looked for
//! and written, committed, and told.

mod files;
mod generate;
mod group;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::bulk::{self, FileSource};
use super::ids::Origin;
use super::order;
use super::references::Reference;
use super::sheet::{Line, Sheet, refuse_missing, unknown_field};
use super::{Options, Seeded, referred};
use crate::engine::migrate::Work;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::seed::{Bulk, Mode, Script, Set};
use crate::report::{Change, Item};
use crate::stores::load::{
    AnyLoader, Batch, BulkDone, BulkLoad, Counts, Fields, Loader as _, Probe, Record, Shape, Terms, Written,
};
use crate::stores::source::RowSource;

/// The state of a run.
pub struct Run<'a> {
    work: Work<'a>,
    loaders: Vec<AnyLoader<'a>>,
    sheets: Vec<Sheet<'a>>,
    bulks: Vec<Heap>,
    scripts: Vec<&'a Script>,
    order: Vec<Vec<(StoreKind, String)>>,
    terms: Terms,
    tenant: Option<String>,
    is_dry: bool,
    items: BTreeMap<StoreKind, Vec<Item>>,
    done: usize,
}

/// Many rows of one target, and what is known of them.
struct Heap {
    store: StoreKind,
    target: String,
    source: Box<dyn RowSource>,
    shape: Shape,
    key: Vec<String>,
}

/// What the ids of a sheet's rows follow from.
pub fn origin<'a>(work: Work<'a>, options: &'a Options, sheet: &Sheet<'a>) -> Origin<'a> {
    Origin {
        project: &work.config.settings.project.name,
        tenant: options.tenant.as_deref().unwrap_or(""),
        store: sheet.table.store,
        target: &sheet.table.target,
    }
}

/// A scalar as text: how tenants are told apart.
pub fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        Json::Object(table) => table.values().next().and_then(plain),
        Json::Null | Json::Array(_) => None,
    }
}

/// Whether two scalars are one, however they are written.
fn is_same(a: &Json, b: &Json) -> bool {
    match (plain(a), plain(b)) {
        (Some(a), Some(b)) => {
            a == b || matches!((uuid::Uuid::parse_str(&a), uuid::Uuid::parse_str(&b)), (Ok(a), Ok(b)) if a == b)
        }
        (a, b) => a == b,
    }
}

impl<'a> Run<'a> {
    /// A run that knows nothing of the stores yet.
    pub fn new(
        work: Work<'a>,
        loaders: Vec<AnyLoader<'a>>,
        sheets: Vec<Sheet<'a>>,
        terms: Terms,
        options: &Options,
    ) -> Self {
        Self {
            work,
            loaders,
            sheets,
            bulks: Vec::new(),
            scripts: Vec::new(),
            order: Vec::new(),
            terms,
            tenant: options.tenant.clone(),
            is_dry: options.is_dry,
            items: BTreeMap::new(),
            done: 0,
        }
    }

    /// Checks every file against what the stores say, and finds the order. Writes nothing.
    ///
    /// # Errors
    /// `LYX-SEED-FILE` with the place.
    pub async fn fit(&mut self, set: &'a Set, sources: Vec<FileSource>) -> Result<()> {
        let kinds: Vec<StoreKind> = self.loaders.iter().map(AnyLoader::kind).collect();
        let options = Options { tenant: self.tenant.clone(), ..Options::default() };
        let mut bulks: Vec<(&Bulk, FileSource)> =
            set.bulks.iter().zip(sources).filter(|(file, _)| kinds.contains(&file.store)).collect();
        for loader in &mut self.loaders {
            let kind = loader.kind();
            let mut targets: Vec<String> = self
                .sheets
                .iter()
                .filter(|sheet| sheet.table.store == kind)
                .map(|sheet| sheet.table.target.clone())
                .collect();
            targets.extend(bulks.iter().filter(|(file, _)| file.store == kind).map(|(file, _)| file.target.clone()));
            targets.dedup();
            let shapes = loader.describe(&targets).await?;
            let shape = |target: &str| {
                shapes
                    .iter()
                    .find(|shape| shape.target == target)
                    .cloned()
                    .ok_or_else(|| Error::bug("a target without a shape"))
            };
            for sheet in self.sheets.iter_mut().filter(|sheet| sheet.table.store == kind) {
                let origin = origin(self.work, &options, sheet);
                sheet.fit(shape(&sheet.table.target)?, &origin)?;
                if sheet.mode == Mode::Once {
                    sheet.is_spent = loader.applied(&sheet.table.source.shown).await?.is_some();
                }
            }
            for (file, source) in bulks.extract_if(.., |(file, _)| file.store == kind) {
                let shape = shape(&file.target)?;
                refuse_missing(kind, &shape, &Place::file(&file.shown))?;
                if shape.fields.is_some() && kind == StoreKind::Postgres {
                    for column in source.columns() {
                        let place = Place { line: 1, ..Place::file(&file.shown) };
                        match shape.field(column) {
                            None => return Err(unknown_field(&shape, column, place)),
                            Some(field) if field.is_computed => {
                                return Err(Error::new(
                                    Code::SeedFile,
                                    format!("`{column}` of `{}` is computed by the server", file.target),
                                )
                                .at(place)
                                .data("nothing was changed")
                                .hint("take the column out of the file"));
                            }
                            Some(_) => {}
                        }
                    }
                }
                let key = bulk::key(&shape, source.columns());
                let (store, target) = (file.store, file.target.clone());
                self.bulks.push(Heap { store, target, source: Box::new(source), shape, key });
            }
        }
        for script in set.scripts.iter().filter(|script| kinds.contains(&script.store)) {
            if let Some(loader) = self.loaders.iter().find(|loader| loader.kind() == script.store) {
                loader.check_script(script)?;
            }
            self.scripts.push(script);
        }
        for at in 0..self.sheets.len() {
            let (store, target) = (self.sheets[at].table.store, self.sheets[at].table.target.clone());
            let referred = referred(&self.sheets, store, &target);
            self.sheets[at].want(self.terms.tenant_column.as_deref(), referred.into_iter());
        }
        self.order = self.find_order();
        Ok(())
    }

    fn find_order(&self) -> Vec<Vec<(StoreKind, String)>> {
        let mut nodes: Vec<(StoreKind, String)> = self
            .sheets
            .iter()
            .map(|sheet| (sheet.table.store, sheet.table.target.clone()))
            .chain(self.bulks.iter().map(|heap| (heap.store, heap.target.clone())))
            .collect();
        nodes.sort();
        nodes.dedup();
        let index = |store: StoreKind, target: &str| nodes.iter().position(|node| node.0 == store && node.1 == target);
        let mut needs = vec![Vec::new(); nodes.len()];
        let mut need = |node: Option<usize>, needed: Option<usize>| {
            if let (Some(node), Some(needed)) = (node, needed) {
                needs[node].push(needed);
            }
        };
        let shapes = self
            .sheets
            .iter()
            .map(|sheet| (sheet.table.store, &sheet.shape))
            .chain(self.bulks.iter().map(|heap| (heap.store, &heap.shape)));
        for (store, shape) in shapes {
            for (_, other) in &shape.references {
                need(index(store, &shape.target), index(store, other));
            }
        }
        for sheet in &self.sheets {
            let node = index(sheet.table.store, &sheet.table.target);
            for reference in sheet.lines.iter().flat_map(Line::references) {
                need(node, index(reference.store, &reference.target));
            }
        }
        let groups = order::groups(&needs);
        groups.into_iter().map(|group| group.into_iter().map(|node| nodes[node].clone()).collect()).collect()
    }

    /// Undoes what is not committed.
    pub async fn abandon(&mut self) {
        for loader in &mut self.loaders {
            loader.abandon().await;
        }
    }

    /// Writes everything. A failure is told as an item; what was committed before it is told too.
    pub async fn write(mut self) -> Seeded {
        let mut failure = self.rows().await;
        if failure.is_ok() {
            failure = self.commit().await;
        }
        if failure.is_ok() {
            failure = self.rest().await;
        }
        let has_failed = failure.is_err();
        if let Err((id, title, store, error)) = failure {
            self.abandon().await;
            let kept = self.done > 0;
            let error = error.data_if_none(if kept {
                "rolled back; the targets listed above are as the set wants them"
            } else {
                "rolled back; nothing was changed"
            });
            self.work.events.item(Item::fail(id, title, &error).store(store));
        }
        Seeded { done: self.done, has_failed }
    }

    /// Rows of every store, and what else belongs into PostgreSQL's transaction.
    async fn rows(&mut self) -> Result<(), Failure> {
        let mut written: Vec<usize> = Vec::with_capacity(self.sheets.len());
        for group in self.order.clone() {
            if self.work.events.is_cancelled() {
                let (store, target) = group.first().cloned().unwrap_or((StoreKind::Postgres, String::new()));
                let error = Error::new(Code::SeedFailed, "cut short by a signal");
                return Err((format!("{store}.{target}"), target, store, error));
            }
            let members: Vec<usize> = (0..self.sheets.len())
                .filter(|at| {
                    let table = self.sheets[*at].table;
                    group.iter().any(|(store, target)| *store == table.store && *target == table.target)
                })
                .collect();
            if !members.is_empty() {
                self.group(&members).await?;
                written.extend(&members);
            }
            for &at in &members {
                let table = self.sheets[at].table;
                if table.generate.is_some() && table.store == StoreKind::Postgres {
                    self.generate(at).await?;
                }
            }
            for at in 0..self.bulks.len() {
                let heap = &self.bulks[at];
                if heap.store == StoreKind::Postgres
                    && group.iter().any(|(store, target)| *store == heap.store && *target == heap.target)
                {
                    self.bulk(at).await?;
                }
            }
        }
        // What refers to other rows goes before them.
        for &at in written.iter().rev() {
            if self.sheets[at].mode == Mode::Replace {
                self.replace(at).await.map_err(|error| self.failed(at, error))?;
            }
        }
        for at in 0..self.scripts.len() {
            if self.scripts[at].store == StoreKind::Postgres {
                self.script(at).await?;
            }
        }
        self.remember_once(StoreKind::Postgres).await?;
        // Rows are told before the files that were written with them.
        let mut items: BTreeMap<StoreKind, Vec<Item>> = BTreeMap::new();
        for at in written {
            let sheet = &self.sheets[at];
            let note = sheet.is_spent.then(|| "applied once before".to_owned());
            let item = Item::pass(sheet.item_id(), &sheet.table.target).store(sheet.table.store);
            let item = told(item, sheet.counts, note, sheet.elapsed, self.is_dry);
            items.entry(sheet.table.store).or_default().push(item);
        }
        for (store, more) in std::mem::replace(&mut self.items, items) {
            self.items.entry(store).or_default().extend(more);
        }
        Ok(())
    }

    /// Remembers the files of mode `once`: with the rows where they share a transaction, else after them.
    async fn remember_once(&mut self, kind: StoreKind) -> Result<(), Failure> {
        for at in 0..self.sheets.len() {
            let sheet = &self.sheets[at];
            if sheet.table.store != kind || sheet.mode != Mode::Once || sheet.is_spent || self.is_dry {
                continue;
            }
            let shown = sheet.table.source.shown.clone();
            let checksum = crate::project::text::sha256(sheet.table.source.text.as_bytes());
            let remembered = self.loader(kind).remember(&shown, &checksum).await;
            remembered.map_err(|error| self.failed(at, error))?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        for at in 0..self.loaders.len() {
            let kind = self.loaders[at].kind();
            if let Err(error) = self.loaders[at].flush().await {
                return Err((format!("{kind}.seeds"), format!("seeds of {kind}"), kind, error));
            }
        }
        for at in 0..self.loaders.len() {
            let kind = self.loaders[at].kind();
            if let Err(error) = self.loaders[at].commit().await {
                return Err((format!("{kind}.seeds"), format!("seeds of {kind}"), kind, error));
            }
            if kind != StoreKind::Postgres {
                self.remember_once(kind).await?;
            }
            self.tell(kind);
        }
        Ok(())
    }

    fn tell(&mut self, kind: StoreKind) {
        for item in self.items.remove(&kind).unwrap_or_default() {
            self.done += 1;
            self.work.events.item(item);
        }
    }

    /// Bulk files and scripts of stores whose transactions are not made for them.
    async fn rest(&mut self) -> Result<(), Failure> {
        for kind in [StoreKind::Mongodb, StoreKind::Redis] {
            for at in 0..self.sheets.len() {
                let table = self.sheets[at].table;
                if table.store == kind && table.generate.is_some() {
                    self.generate(at).await?;
                    self.tell(kind);
                }
            }
            for at in 0..self.bulks.len() {
                if self.bulks[at].store == kind {
                    self.bulk(at).await?;
                    self.tell(kind);
                }
            }
            for at in 0..self.scripts.len() {
                if self.scripts[at].store == kind {
                    self.script(at).await?;
                    self.tell(kind);
                }
            }
        }
        Ok(())
    }

    fn loader(&mut self, kind: StoreKind) -> &mut AnyLoader<'a> {
        // A sheet, bulk file or script is kept only where its store has a loader.
        let at = self.loaders.iter().position(|loader| loader.kind() == kind).unwrap_or_default();
        &mut self.loaders[at]
    }

    fn failed(&self, at: usize, error: Error) -> Failure {
        let sheet = &self.sheets[at];
        let place = Place::file(&sheet.table.source.shown);
        let error = if error.place().is_some() { error } else { error.at(place) };
        (sheet.item_id(), sheet.table.target.clone(), sheet.table.store, error)
    }

    async fn replace(&mut self, at: usize) -> Result<()> {
        let keep = (0..self.sheets[at].lines.len())
            .map(|line| self.probe(at, line)?.ok_or_else(|| Error::bug("a written row without a key")))
            .collect::<Result<Vec<_>>>()?;
        let sheet = &mut self.sheets[at];
        let kind = sheet.table.store;
        let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == kind) else { return Ok(()) };
        sheet.counts.deleted = loader.remove_others(&sheet.shape, &sheet.key, &keep).await?;
        Ok(())
    }
}

/// The id and title of what failed, its store, and why.
type Failure = (String, String, StoreKind, Error);

fn told(item: Item, counts: Counts, note: Option<String>, elapsed: Duration, is_dry: bool) -> Item {
    let Counts { created, updated, unchanged, deleted } = counts;
    let mut parts = Vec::new();
    let words = if is_dry { ["to create", "to update", "to delete"] } else { ["created", "updated", "deleted"] };
    for (count, word) in [(created, words[0]), (updated, words[1]), (deleted, words[2]), (unchanged, "unchanged")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if parts.is_empty() {
        parts.push("no rows".into());
    }
    let mut detail = parts.join(", ");
    if let Some(note) = note {
        detail = format!("{detail}; {note}");
    }
    let change = match (is_dry, created, updated + deleted) {
        (true, ..) => Change::Planned,
        (_, 0, 0) => Change::Unchanged,
        (_, 1.., 0) => Change::Created,
        _ => Change::Updated,
    };
    item.change(change).detail(detail).elapsed(elapsed)
}
