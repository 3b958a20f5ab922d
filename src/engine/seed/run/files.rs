//! Bulk files and scripts of a run.

use std::time::Instant;

use super::{BulkDone, BulkLoad, Change, Counts, Error, Failure, Heap, Item, Place, Run, ledger_name, told};
use crate::engine::seed::Options;
use crate::error::{Code, Result};
use crate::kind::StoreKind;
use crate::project::seed::{Bulk, Set};
use crate::stores::load::Loader as _;
use crate::stores::rejects::Rejects;

impl Run<'_> {
    pub(super) async fn bulk(&mut self, at: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        let events = self.work.events;
        let is_dry = self.is_dry;
        let Heap { store, target, source, shape, key, how, .. } = &self.bulks[at];
        let (store, shown) = (*store, source.shown());
        let title = format!("{target} ({})", ending(shown));
        let twins = self.bulks.iter().filter(|other| other.store == store && other.target == *target);
        let id = match twins.filter(|other| ending(other.source.shown()) == ending(shown)).count() {
            1 => format!("{store}.{target}.{}", ending(shown)),
            // The set and the one it extends both have the file.
            _ => format!("{store}.{shown}"),
        };
        let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == store) else { return Ok(()) };
        // Only what has no key is remembered by its content.
        let checksum = if key.is_empty() { source.checksum() } else { Ok(String::new()) };
        let checksum = checksum.map_err(|error| (id.clone(), title.clone(), store, error))?;
        let remembered = ledger_name(&self.terms, shown);
        let load = BulkLoad { source: source.as_ref(), shape, key, checksum: &checksum, name: &remembered, how };
        let outcome = async {
            if key.is_empty() {
                let applied = loader.applied(&remembered).await?;
                if applied.as_deref() == Some(checksum.as_str()) {
                    let counts = Counts { unchanged: source.rows().unwrap_or(0), ..Counts::default() };
                    return Ok(BulkDone { counts, note: Some("no key: loaded once, and the file is the same".into()) });
                }
            }
            let done = loader.bulk(&load, events).await?;
            if key.is_empty() && !is_dry {
                loader.remember(&remembered, &checksum).await?;
            }
            Ok(done)
        }
        .await;
        let done = outcome.map_err(|error: Error| {
            let error = if error.place().is_some() { error } else { error.at(Place::file(shown)) };
            (id.clone(), title.clone(), store, error)
        })?;
        let aside = how.rejects.as_ref().filter(|rejects| rejects.rows() > 0);
        let aside = aside.map(|rejects| refused(&id, &title, store, target, rejects));
        let item = told(Item::pass(id, title), done.counts, done.note, begun.elapsed(), is_dry).store(store);
        let items = self.items.entry(store).or_default();
        items.push(item);
        items.extend(aside);
        Ok(())
    }

    pub(super) async fn script(&mut self, at: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        let script = self.scripts[at];
        let is_dry = self.is_dry;
        let twins = self.scripts.iter().filter(|other| other.store == script.store && other.target == script.target);
        let id = match twins.count() {
            1 => format!("{}.{}.{}", script.store, script.target, script.store.extension()),
            _ => format!("{}.{}", script.store, script.shown),
        };
        let title = format!("{}.{}", script.target, script.store.extension());
        let remembered = ledger_name(&self.terms, &script.shown);
        let loader = self.loader(script.store);
        let outcome = async {
            let applied = loader.applied(&remembered).await?;
            let item = Item::pass(id.clone(), title.clone()).store(script.store);
            if applied.as_deref() == Some(script.checksum.as_str()) {
                return Ok(item.change(Change::Unchanged).detail("applied before"));
            }
            let (change, detail) = match (applied.is_some(), is_dry) {
                (true, true) => (Change::Planned, "changed since it was applied: would be applied again"),
                (false, true) => (Change::Planned, "would be applied"),
                (true, false) => (Change::Updated, "changed since it was applied: applied again"),
                (false, false) => (Change::Created, "applied"),
            };
            if !is_dry {
                loader.script(script, &remembered).await?;
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
}

/// The item of rows that were set aside: the others are loaded, and the run is no success.
fn refused(id: &str, title: &str, store: StoreKind, target: &str, rejects: &Rejects) -> Item {
    let (rows, shown) = (rejects.rows(), rejects.shown());
    let what = format!("{rows} row{} set aside in `{shown}`", if rows == 1 { " is" } else { "s are" });
    let error = Error::new(Code::SeedRejected, what)
        .why("the store refused them; the column `lyrox_reason` says why")
        .data("all other rows are loaded")
        .hint(format!("mend them, then: lyrox db seed --from {shown} --into {store}.{target}"));
    Item::fail(format!("{id}.rejected"), title, &error).store(store)
}

/// Where the rows of a file go that a store refuses. Of several files each has one of its own.
pub(super) fn rejects(options: &Options, set: &Set, file: &Bulk) -> Result<Option<Rejects>> {
    let Some((path, shown)) = &options.reject else { return Ok(None) };
    if set.bulks.len() == 1 {
        return Rejects::new(path.clone(), shown.clone()).map(Some);
    }
    let part = format!("{}.{}", file.store, file.target).replace('/', "_");
    let own = |name: &str| match name.rsplit_once('.') {
        Some((stem, ending)) if !ending.contains('/') => format!("{stem}.{part}.{ending}"),
        _ => format!("{name}.{part}"),
    };
    Rejects::new(own(&path.to_string_lossy()).into(), own(shown)).map(Some)
}

fn ending(shown: &str) -> &str {
    let (name, ending) = shown.rsplit_once('.').unwrap_or(("", shown));
    match ending {
        "gz" | "zst" => &shown[name.rsplit_once('.').map_or(0, |(stem, _)| stem.len() + 1)..],
        _ => ending,
    }
}
