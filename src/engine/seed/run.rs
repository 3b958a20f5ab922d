//! One run over the stores: everything fitted to what the stores say, then group after group looked for
//! and written, committed, and told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::bulk::{self, Scan};
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

/// The state of a run.
pub struct Run<'a> {
    work: Work<'a>,
    loaders: Vec<AnyLoader<'a>>,
    sheets: Vec<Sheet<'a>>,
    bulks: Vec<Heap<'a>>,
    scripts: Vec<&'a Script>,
    order: Vec<Vec<(StoreKind, String)>>,
    terms: Terms,
    tenant: Option<String>,
    is_dry: bool,
    items: BTreeMap<StoreKind, Vec<Item>>,
    done: usize,
}

/// A bulk file and what is known of it.
struct Heap<'a> {
    file: &'a Bulk,
    scan: Scan,
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
    pub async fn fit(&mut self, set: &'a Set, scans: Vec<Scan>) -> Result<()> {
        let kinds: Vec<StoreKind> = self.loaders.iter().map(AnyLoader::kind).collect();
        let options = Options { tenant: self.tenant.clone(), is_dry: self.is_dry };
        let mut bulks: Vec<(&Bulk, Scan)> =
            set.bulks.iter().zip(scans).filter(|(file, _)| kinds.contains(&file.store)).collect();
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
            for (file, scan) in bulks.extract_if(.., |(file, _)| file.store == kind) {
                let shape = shape(&file.target)?;
                refuse_missing(kind, &shape, &Place::file(&file.shown))?;
                if shape.fields.is_some() && kind == StoreKind::Postgres {
                    for column in &scan.columns {
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
                let key = bulk::key(&shape, &scan.columns);
                self.bulks.push(Heap { file, scan, shape, key });
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
            .chain(self.bulks.iter().map(|heap| (heap.file.store, heap.file.target.clone())))
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
            .chain(self.bulks.iter().map(|heap| (heap.file.store, &heap.shape)));
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
        for group in self.order.clone() {
            let members: Vec<usize> = (0..self.sheets.len())
                .filter(|at| {
                    let table = self.sheets[*at].table;
                    group.iter().any(|(store, target)| *store == table.store && *target == table.target)
                })
                .collect();
            if !members.is_empty() {
                self.group(&members).await?;
            }
            for at in 0..self.bulks.len() {
                let file = self.bulks[at].file;
                if file.store == StoreKind::Postgres
                    && group.iter().any(|(store, target)| *store == file.store && *target == file.target)
                {
                    self.bulk(at).await?;
                }
            }
        }
        for at in (0..self.sheets.len()).rev() {
            if self.sheets[at].mode == Mode::Replace {
                self.replace(at).await.map_err(|error| self.failed(at, error))?;
            }
        }
        for at in 0..self.scripts.len() {
            if self.scripts[at].store == StoreKind::Postgres {
                self.script(at).await?;
            }
        }
        for at in 0..self.sheets.len() {
            let sheet = &self.sheets[at];
            if sheet.mode == Mode::Once && !sheet.is_spent && !self.is_dry {
                let (store, shown) = (sheet.table.store, sheet.table.source.shown.clone());
                let checksum = crate::project::text::sha256(sheet.table.source.text.as_bytes());
                let remembered = self.loader(store).remember(&shown, &checksum).await;
                remembered.map_err(|error| self.failed(at, error))?;
            }
            let sheet = &self.sheets[at];
            let title = sheet.table.target.clone();
            let note = sheet.is_spent.then(|| "applied once before".to_owned());
            let item = told(Item::pass(sheet.item_id(), title), sheet.counts, note, sheet.elapsed, self.is_dry);
            self.items.entry(sheet.table.store).or_default().push(item.store(sheet.table.store));
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
            for item in self.items.remove(&kind).unwrap_or_default() {
                self.done += 1;
                self.work.events.item(item);
            }
        }
        Ok(())
    }

    /// Bulk files and scripts of stores whose transactions are not made for them.
    async fn rest(&mut self) -> Result<(), Failure> {
        for kind in [StoreKind::Mongodb, StoreKind::Redis] {
            for at in 0..self.bulks.len() {
                if self.bulks[at].file.store == kind {
                    self.bulk(at).await?;
                }
            }
            for at in 0..self.scripts.len() {
                if self.scripts[at].store == kind {
                    self.script(at).await?;
                }
            }
            for item in self.items.remove(&kind).unwrap_or_default() {
                self.done += 1;
                self.work.events.item(item);
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

    async fn bulk(&mut self, at: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        let events = self.work.events;
        let is_dry = self.is_dry;
        let Heap { file, scan, shape, key } = &self.bulks[at];
        let (file, title) = (*file, format!("{} ({})", file.target, ending(&file.shown)));
        let id = format!("{}.{}.{}", file.store, file.target, ending(&file.shown));
        let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == file.store) else { return Ok(()) };
        let load = BulkLoad { file, shape, columns: &scan.columns, rows: scan.rows, key, checksum: &scan.checksum };
        let outcome = async {
            if key.is_empty() {
                let applied = loader.applied(&file.shown).await?;
                if applied.as_deref() == Some(scan.checksum.as_str()) {
                    let counts = Counts { unchanged: scan.rows, ..Counts::default() };
                    return Ok(BulkDone { counts, note: Some("no key: loaded once, and the file is the same".into()) });
                }
            }
            let done = loader.bulk(&load, events).await?;
            if key.is_empty() && !is_dry {
                loader.remember(&file.shown, &scan.checksum).await?;
            }
            Ok(done)
        }
        .await;
        let done = outcome.map_err(|error: Error| {
            let error = if error.place().is_some() { error } else { error.at(Place::file(&file.shown)) };
            (id.clone(), title.clone(), file.store, error)
        })?;
        let item = told(Item::pass(id, title), done.counts, done.note, begun.elapsed(), is_dry).store(file.store);
        self.items.entry(file.store).or_default().push(item);
        Ok(())
    }

    async fn script(&mut self, at: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        let script = self.scripts[at];
        let is_dry = self.is_dry;
        let id = format!("{}.{}.{}", script.store, script.target, script.store.extension());
        let title = format!("{}.{}", script.target, script.store.extension());
        let loader = self.loader(script.store);
        let outcome = async {
            let applied = loader.applied(&script.shown).await?;
            let item = Item::pass(id.clone(), title.clone()).store(script.store);
            if applied.as_deref() == Some(script.checksum.as_str()) {
                let change = if is_dry { Change::Planned } else { Change::Unchanged };
                return Ok(item.change(change).detail("applied before"));
            }
            let (change, detail) = match (applied.is_some(), is_dry) {
                (true, true) => (Change::Planned, "changed since it was applied: would be applied again"),
                (false, true) => (Change::Planned, "would be applied"),
                (true, false) => (Change::Updated, "changed since it was applied: applied again"),
                (false, false) => (Change::Created, "applied"),
            };
            if !is_dry {
                loader.script(script).await?;
                loader.remember(&script.shown, &script.checksum).await?;
            }
            Ok(item.change(change).detail(detail))
        }
        .await;
        let item: Item = outcome.map_err(|error: Error| {
            let error = if error.place().is_some() { error } else { error.at(Place::file(&script.shown)) };
            (id, title, script.store, error)
        })?;
        self.items.entry(script.store).or_default().push(item.elapsed(begun.elapsed()));
        Ok(())
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

fn ending(shown: &str) -> &str {
    shown.rsplit_once('.').map_or("", |(_, ending)| ending)
}

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

mod group;
