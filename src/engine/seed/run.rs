//! One run over the stores: everything fitted to what the stores say, then group after group looked for
//! and written, committed, and told.

mod files;
mod group;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::bulk::{self, FileSource};
use super::ids::Origin;
use super::order;
use super::references::Reference;
use super::row_set::RowSet;
use super::sheet::{Line, Sheet, refuse_missing, unknown_field};
use super::{Options, Seeded, referred};
use crate::config::file::Tenancy;
use crate::engine::migrate::Work;
use crate::engine::tenant::Tenant;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::seed::{Bulk, Mode, Script, Set, Table};
use crate::report::{Change, Item};
use crate::stores::load::{
    AnyLoader, Batch, BulkDone, BulkLoad, Counts, Fields, How, Loader as _, Probe, Record, Shape, Terms, Written,
};
use crate::stores::source::RowSource;

/// The state of a run.
pub struct Run<'a> {
    work: Work<'a>,
    loaders: Vec<AnyLoader<'a>>,
    sheets: Vec<Sheet<'a>>,
    bulks: Vec<Heap>,
    scripts: Vec<&'a Script>,
    order: Vec<Vec<Node>>,
    terms: Terms,
    is_dry: bool,
    items: BTreeMap<StoreKind, Vec<Item>>,
    row_sets: Vec<RowSet>,
    done: usize,
    has_changes: bool,
}

/// A target of the set; with the number of a sheet, the rows of it that the set only refers to.
type Node = (StoreKind, String, Option<usize>);

/// Many rows of one target, and what is known of them.
struct Heap {
    store: StoreKind,
    target: String,
    source: Box<dyn RowSource>,
    shape: Shape,
    key: Vec<String>,
    how: How,
    /// It is loaded after the transaction of the set, with several connections.
    is_apart: bool,
}

/// What the ids of a sheet's rows follow from.
pub fn origin<'a>(work: Work<'a>, options: &'a Options, table: &'a Table) -> Origin<'a> {
    Origin {
        project: &work.config.settings.project.name,
        // Rows of other sets were seeded for no tenant.
        tenant: options.tenant.as_ref().filter(|_| table.set.is_none()).map_or("", Tenant::key),
        store: table.store,
        target: &table.target,
    }
}

/// The name under which a ledger remembers a file: what was applied for one tenant was not for the next.
pub fn ledger_name(terms: &Terms, shown: &str) -> String {
    match &terms.tenant {
        Some(tenant) => format!("{shown} for {}", tenant.key()),
        None => shown.to_owned(),
    }
}

/// The field that carries the tenant in a sheet's rows, with the key of the run's own; none where the run
/// has none, or the target is not a tenant's.
fn owner(terms: &Terms, tenancy: &Tenancy, sheet: &Sheet<'_>, shape: &Shape) -> Option<(String, Json)> {
    let tenant = terms.tenant.as_ref().filter(|_| !sheet.is_outside)?;
    let target = &sheet.table.target;
    let name = match &terms.tenant_table {
        Some((table, key)) if table == target && sheet.table.store == StoreKind::Postgres => key,
        _ => terms.tenant_column.as_ref()?,
    };
    let has = match sheet.table.store {
        StoreKind::Postgres => shape.field(name).is_some_and(|field| !field.is_computed),
        // Documents have no declared fields: what is not global is the tenant's.
        StoreKind::Mongodb => !tenancy.global.contains(target),
        StoreKind::Redis => false,
    };
    has.then(|| (name.clone(), Json::String(tenant.key().to_owned())))
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
            is_dry: options.is_dry,
            items: BTreeMap::new(),
            row_sets: Vec::new(),
            done: 0,
            has_changes: false,
        }
    }

    /// Checks every file against what the stores say, and finds the order. Writes nothing.
    ///
    /// # Errors
    /// `LYX-SEED-FILE` with the place.
    pub async fn fit(&mut self, set: &'a Set, sources: Vec<FileSource>, wanted: &Options) -> Result<()> {
        let kinds: Vec<StoreKind> = self.loaders.iter().map(AnyLoader::kind).collect();
        let options = Options { tenant: self.terms.tenant.clone(), ..Options::default() };
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
            let tenancy = self.work.config.settings.tenancy.clone().unwrap_or_default();
            for sheet in self.sheets.iter_mut().filter(|sheet| sheet.table.store == kind) {
                let origin = origin(self.work, &options, sheet.table);
                let shape = shape(&sheet.table.target)?;
                if let Some((name, value)) = owner(&self.terms, &tenancy, sheet, &shape) {
                    sheet.fill(&name, &value);
                }
                sheet.fit(shape, &origin)?;
                if sheet.mode == Mode::Once && !sheet.is_outside {
                    let file = ledger_name(&self.terms, &sheet.table.source.shown);
                    sheet.is_spent = loader.applied(&file).await?.is_some();
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
                let how = How {
                    jobs: wanted.jobs,
                    rejects: files::rejects(wanted, set, file)?,
                    keeps_indexes: wanted.keeps_indexes,
                };
                let is_apart = false;
                self.bulks.push(Heap { store, target, source: Box::new(source), shape, key, how, is_apart });
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
        self.refuse_unknown_fields()?;
        self.order = self.find_order();
        self.set_apart();
        Ok(())
    }

    /// What several connections load cannot be part of the set's transaction: it comes after it, unless
    /// something within needs it.
    fn set_apart(&mut self) {
        let has_scripts = self.scripts.iter().any(|script| script.store == StoreKind::Postgres);
        for at in 0..self.bulks.len() {
            let heap = &self.bulks[at];
            let is_needed = self
                .sheets
                .iter()
                .map(|sheet| &sheet.shape)
                .chain(self.bulks.iter().map(|other| &other.shape).filter(|shape| shape.target != heap.target))
                .any(|shape| shape.references.iter().any(|(_, target)| *target == heap.target));
            let is_apart = heap.store == StoreKind::Postgres
                && heap.how.jobs > 1
                && heap.source.is_large()
                && !(self.is_dry || has_scripts || is_needed || heap.shape.is_guarded);
            self.bulks[at].is_apart = is_apart;
        }
    }

    /// Fields that others refer to must be columns.
    fn refuse_unknown_fields(&self) -> Result<()> {
        for line in self.sheets.iter().flat_map(|sheet| &sheet.lines) {
            for reference in line.references() {
                let (Some(field), Some((at, _))) = (&reference.field, self.row_of(reference)) else { continue };
                let shape = &self.sheets[at].shape;
                if reference.store == StoreKind::Postgres && shape.field(field).is_none() {
                    return Err(unknown_field(shape, field, line.row.place()));
                }
            }
        }
        Ok(())
    }

    fn node(&self, at: usize) -> Node {
        let sheet = &self.sheets[at];
        (sheet.table.store, sheet.table.target.clone(), sheet.is_outside.then_some(at))
    }

    fn find_order(&self) -> Vec<Vec<Node>> {
        let mut nodes: Vec<Node> = (0..self.sheets.len())
            .map(|at| self.node(at))
            .chain(self.bulks.iter().map(|heap| (heap.store, heap.target.clone(), None)))
            .collect();
        nodes.sort();
        nodes.dedup();
        let place = |wanted: &Node| nodes.iter().position(|node| node == wanted);
        let index = |store: StoreKind, target: &str| place(&(store, target.to_owned(), None));
        let mut needs = vec![Vec::new(); nodes.len()];
        let mut need = |node: Option<usize>, needed: Option<usize>| {
            if let (Some(node), Some(needed)) = (node, needed) {
                needs[node].push(needed);
            }
        };
        let shapes = self
            .sheets
            .iter()
            .filter(|sheet| !sheet.is_outside)
            .map(|sheet| (sheet.table.store, &sheet.shape))
            .chain(self.bulks.iter().map(|heap| (heap.store, &heap.shape)));
        for (store, shape) in shapes {
            for (_, other) in &shape.references {
                need(index(store, &shape.target), index(store, other));
            }
        }
        for (at, sheet) in self.sheets.iter().enumerate() {
            let node = place(&self.node(at));
            for reference in sheet.lines.iter().flat_map(Line::references) {
                need(node, self.row_of(reference).and_then(|(at, _)| place(&self.node(at))));
            }
            if sheet.is_outside {
                // A bulk file of the set may bring the row.
                need(node, index(sheet.table.store, &sheet.table.target));
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
        Seeded { done: self.done, has_failed, has_changes: self.has_changes, row_sets: self.row_sets }
    }

    /// Rows of every store, and what else belongs into PostgreSQL's transaction.
    async fn rows(&mut self) -> Result<(), Failure> {
        let mut written: Vec<usize> = Vec::with_capacity(self.sheets.len());
        for group in self.order.clone() {
            if self.work.events.is_cancelled() {
                let (store, target, _) = group.first().cloned().unwrap_or((StoreKind::Postgres, String::new(), None));
                let error = Error::new(Code::SeedFailed, "cut short by a signal");
                return Err((format!("{store}.{target}"), target, store, error));
            }
            let members: Vec<usize> = (0..self.sheets.len()).filter(|at| group.contains(&self.node(*at))).collect();
            if !members.is_empty() {
                self.group(&members).await?;
                written.extend(members.into_iter().filter(|at| !self.sheets[*at].is_outside));
            }
            for at in 0..self.bulks.len() {
                let heap = &self.bulks[at];
                if heap.store == StoreKind::Postgres
                    && !heap.is_apart
                    && group.contains(&(heap.store, heap.target.clone(), None))
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
            let mut item = told(item, sheet.counts(), note, sheet.elapsed, self.is_dry);
            let rows = RowSet::of(sheet);
            item.lines = rows.lines();
            self.row_sets.push(rows);
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
            if sheet.table.store != kind
                || sheet.mode != Mode::Once
                || sheet.is_outside
                || sheet.is_spent
                || self.is_dry
            {
                continue;
            }
            let shown = ledger_name(&self.terms, &sheet.table.source.shown);
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
        for mut item in self.items.remove(&kind).unwrap_or_default() {
            self.done += 1;
            self.has_changes |= item.change == Some(Change::Planned);
            item.tenant = self.terms.tenant.as_ref().map(|tenant| tenant.key().to_owned());
            self.work.events.item(item);
        }
    }

    /// Bulk files and scripts of stores whose transactions are not made for them.
    async fn rest(&mut self) -> Result<(), Failure> {
        for at in 0..self.bulks.len() {
            if self.bulks[at].is_apart {
                self.bulk(at).await?;
                self.tell(StoreKind::Postgres);
            }
        }
        for kind in [StoreKind::Mongodb, StoreKind::Redis] {
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
        sheet.deleted = loader.remove_others(&sheet.shape, &sheet.key, &keep).await?;
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
        (_, 0, 0) => Change::Unchanged,
        (true, ..) => Change::Planned,
        (_, 1.., 0) => Change::Created,
        _ => Change::Updated,
    };
    item.change(change).detail(detail).elapsed(elapsed)
}
