//! Many rows: COPY straight into an empty table, else into a temporary table and from there merged by key.
//! What the server refuses is found again and named by its line.

mod binary;
mod copy;
mod encode;
mod few;
mod jobs;
mod late;
mod merge;
mod sift;
mod text;

use self::copy::{Copied, Copy, copy};
use self::encode::Encoder;
use self::late::Late;
use super::describe::Table;
use super::{PostgresLoader, failed, text as value};
use crate::engine::event::{Event, Events};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::stores::load::{BulkDone, BulkLoad, Counts, How, Shape};
use crate::stores::postgres::error::reported;
use crate::stores::postgres::ident::Ident;
use crate::stores::source::{Form, Row, RowSource};

/// A load with what is known of its table.
pub struct Bulk<'a> {
    load: &'a BulkLoad<'a>,
    table: Table,
    /// The columns, quoted, and as a list.
    names: Vec<Ident>,
    columns: String,
    /// Which columns are the key's.
    key: Vec<usize>,
    /// Rows may refer to rows of the same table.
    is_own_parent: bool,
}

impl<'a> Bulk<'a> {
    fn new(load: &'a BulkLoad<'a>, table: Table) -> Result<Self> {
        let names: Vec<Ident> = load.source.columns().iter().map(|name| Ident::new(name)).collect::<Result<_>>()?;
        let columns = names.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ");
        let at = |name: &String| load.source.columns().iter().position(|column| column == name);
        let key = load.key.iter().filter_map(at).collect();
        let is_own_parent = load.shape.references.iter().any(|(_, target)| *target == load.shape.target);
        Ok(Self { load, table, names, columns, key, is_own_parent })
    }

    fn target(&self) -> String {
        format!("{} ({})", self.table.name, self.columns)
    }

    fn keyless(&self, record: u64, at: usize) -> Error {
        let name = self.key.get(at).and_then(|at| self.load.source.columns().get(*at)).cloned().unwrap_or_default();
        Error::new(Code::SeedFailed, format!("a row of `{}` lacks `{name}`", self.load.source.shown()))
            .why("it is part of the key, by which the row is found again")
            .at(place(self.load.source, record))
    }
}

impl PostgresLoader<'_> {
    pub(super) async fn load_bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        let table = self.table(load.shape)?;
        if load.source.rows() == Some(0) && load.how.rejects.is_none() {
            return Ok(BulkDone::default());
        }
        let bulk = Bulk::new(load, table)?;
        if load.how.jobs > 1 && !self.is_open {
            return self.load_parts(&bulk, events).await;
        }
        if !self.terms.is_dry {
            self.restore_indexes().await?;
        }
        let is_empty = self.is_empty(&bulk.table).await?;
        if load.key.is_empty() && !is_empty && !load.shape.is_guarded {
            return Err(keyless_target(load));
        }
        let is_direct = is_empty && !load.shape.is_guarded && !has_composites(&bulk);
        if let Some(rejects) = &load.how.rejects {
            return self.sift(&bulk, rejects, is_direct, events).await;
        }
        if is_direct {
            let mut encoder = Encoder::best(&bulk.table, load.source)?;
            let mut may_wait = load.source.is_large() && !load.how.keeps_indexes && !self.terms.is_dry;
            loop {
                self.mark().await?;
                let late = if may_wait { self.drop_late(&bulk, false).await? } else { None };
                match self.fill(&bulk, &encoder, late.as_ref(), events).await? {
                    Copied::Rows(created) => {
                        self.release().await?;
                        self.note_bulk_sequences(&bulk, &bulk.table.name).await?;
                        let note = late.map(|_| "indexes made after the rows".to_owned());
                        return Ok(BulkDone { counts: Counts { created, ..Counts::default() }, note });
                    }
                    Copied::Unfit => {
                        self.rewind().await?;
                        encoder = Encoder::text(&bulk.table, load.source);
                    }
                    Copied::Keyless(record, at) => {
                        self.rewind().await?;
                        return Err(bulk.keyless(record, at));
                    }
                    Copied::Refused(error, before) => {
                        self.rewind().await?;
                        match copy_line(&error) {
                            Some(line) => {
                                return Err(self
                                    .refused(load.shape, Some(place(load.source, before + line)), &error)
                                    .await);
                            }
                            // A unique index that is made afterwards tells no line: with it in place COPY does.
                            None if late.is_some() && reported(&error).is_some() => may_wait = false,
                            // A foreign key is checked at the end, without a line: the staged way finds it.
                            None => break,
                        }
                    }
                }
            }
        }
        self.staged(&bulk, events).await
    }

    /// Copies into the table, and makes late indexes again.
    async fn fill(
        &mut self,
        bulk: &Bulk<'_>,
        encoder: &Encoder,
        late: Option<&Late>,
        events: &dyn Events,
    ) -> Result<Copied> {
        let target = bulk.target();
        let what = Copy { target: &target, encoder, key: &bulk.key, is_one: bulk.is_own_parent };
        let copied = copy(&mut self.store.connection, &what, bulk.load, events).await?;
        let (Some(late), Copied::Rows(rows)) = (late, &copied) else { return Ok(copied) };
        match self.make_late(late).await {
            Ok(()) => Ok(copied),
            Err(error) => Ok(Copied::Refused(error, *rows)),
        }
    }

    async fn make_late(&mut self, late: &Late) -> Result<(), sqlx::Error> {
        self.send(late::ROOM).await?;
        for make in &late.makes {
            self.send(make).await?;
        }
        Ok(())
    }

    /// Drops what can be made later, where nothing speaks against it.
    async fn drop_late(&mut self, bulk: &Bulk<'_>, unique_stays: bool) -> Result<Option<Late>> {
        let refused = |error: sqlx::Error| failed("the indexes cannot be looked at", &error);
        if !late::lock(&mut self.store.connection, &bulk.table).await.map_err(refused)? {
            return Ok(None);
        }
        // Whoever held it before may have written.
        if !self.is_empty(&bulk.table).await? {
            return Ok(None);
        }
        let late = late::find(&mut self.store.connection, &bulk.table, unique_stays).await.map_err(refused)?;
        let Some(late) = late.filter(|late| !late.drops.is_empty()) else { return Ok(None) };
        let sql = format!("SAVEPOINT lyrox_late; {}; RELEASE SAVEPOINT lyrox_late", late.drops.join("; "));
        match self.send(&sql).await {
            Ok(_) => Ok(Some(late)),
            Err(error) if reported(&error).is_some() => {
                let back = self.send("ROLLBACK TO SAVEPOINT lyrox_late; RELEASE SAVEPOINT lyrox_late").await;
                back.map_err(refused)?;
                Ok(None)
            }
            Err(error) => Err(refused(error)),
        }
    }

    async fn is_empty(&mut self, table: &Table) -> Result<bool> {
        let rows = self.send(&format!("SELECT NOT EXISTS (SELECT FROM {})", table.name)).await;
        let rows = rows.map_err(|error| failed("the table cannot be read", &error))?;
        Ok(rows.first().and_then(|row| value(row, 0)).as_deref() == Some("t"))
    }

    async fn mark(&mut self) -> Result<()> {
        self.send("SAVEPOINT lyrox_bulk").await.map(|_| ()).map_err(|error| failed("the load cannot begin", &error))
    }

    async fn release(&mut self) -> Result<()> {
        let done = self.send("RELEASE SAVEPOINT lyrox_bulk").await;
        done.map(|_| ()).map_err(|error| failed("the load cannot go on", &error))
    }

    async fn rewind(&mut self) -> Result<()> {
        let done = self.send("ROLLBACK TO SAVEPOINT lyrox_bulk; RELEASE SAVEPOINT lyrox_bulk").await;
        done.map(|_| ()).map_err(|error| failed("the load cannot go on", &error))
    }

    /// Streams the rows of a source as they are; the inner result is the server's.
    pub(super) async fn copy_source(
        &mut self,
        target: &str,
        source: &dyn RowSource,
        events: &dyn Events,
    ) -> Result<Result<u64, sqlx::Error>> {
        if let Some(sql) = few::insert(target, source)? {
            return Ok(self.run(&sql).await);
        }
        let shape = Shape { target: source.shown().to_owned(), ..Shape::default() };
        let how = How::default();
        let load = BulkLoad { source, shape: &shape, key: &[], checksum: "", name: "", how: &how };
        let encoder = Encoder::plain(source.columns().len());
        let what = Copy { target, encoder: &encoder, key: &[], is_one: true };
        match copy(&mut self.store.connection, &what, &load, events).await? {
            Copied::Rows(rows) => Ok(Ok(rows)),
            Copied::Refused(error, _) => Ok(Err(error)),
            Copied::Unfit | Copied::Keyless(..) => Err(Error::bug("rows of text that are none")),
        }
    }

    async fn note_bulk_sequences(&mut self, bulk: &Bulk<'_>, source: &str) -> Result<()> {
        for name in bulk.load.source.columns() {
            let Some(column) = bulk.table.columns.get(name) else { continue };
            let Some(sequence) = column.sequence.clone() else { continue };
            let rows = self.send(&format!("SELECT max(s.{}) FROM {source} s", column.name)).await;
            let rows = rows.map_err(|error| failed("the highest id cannot be read", &error))?;
            if let Some(number) = rows.first().and_then(|row| value(row, 0)?.parse().ok()) {
                self.note_sequence(sequence, number);
            }
        }
        Ok(())
    }
}

fn keyless_target(load: &BulkLoad<'_>) -> Error {
    Error::new(Code::SeedFile, format!("`{}` has no key and `{}` is not empty", load.source.shown(), load.shape.target))
        .why("without a primary key or one unique index in its columns, new rows cannot be told from stored ones")
        .at(Place::file(load.source.shown()))
        .hint("add the key's column to the file, or make a unique index in a migration")
}

/// The place of a record, counted from one: the source is read again up to it.
fn place(source: &dyn RowSource, record: u64) -> Place {
    let find = || {
        let mut rows = source.open(Form::Whole)?;
        let mut row = Row::default();
        let mut left = record;
        while left > 0 && rows.read(&mut row)? {
            left -= 1;
        }
        Ok::<_, Error>(rows.place())
    };
    find().unwrap_or_else(|_| Place::file(source.shown()))
}

/// Whether values may be tables that only the server can put into a composite type.
fn has_composites(bulk: &Bulk<'_>) -> bool {
    let is_composite = |name: &String| bulk.table.columns.get(name).is_some_and(|column| column.is_composite);
    bulk.load.source.has_json_texts() && bulk.load.source.columns().iter().any(is_composite)
}

fn progress(events: &dyn Events, load: &BulkLoad<'_>, done: u64, total: Option<u64>) {
    events.event(Event::Progress {
        task: load.source.shown().to_owned(),
        store: Some(StoreKind::Postgres),
        done,
        total,
        unit: "rows",
    });
}

/// The line that COPY speaks of: `COPY t, line 3, column price: "x"`.
fn copy_line(error: &sqlx::Error) -> Option<u64> {
    let context = reported(error)?.r#where()?;
    let rest = context.lines().find_map(|line| line.strip_prefix("COPY "))?;
    let (_, rest) = rest.split_once(", line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
