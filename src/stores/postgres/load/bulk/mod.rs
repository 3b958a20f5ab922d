//! Files with many rows: COPY straight into an empty table, else into a temporary table and from there
//! merged by key. What the server refuses is found again and named by its line.

mod text;

use std::collections::VecDeque;

use self::text::Kind;
use super::describe::Table;
use super::rows::differs;
use super::{PostgresLoader, failed, text as value};
use crate::engine::event::{Event, Events};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::stores::load::{BulkDone, BulkLoad, Counts, expected};
use crate::stores::postgres::error::reported;
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::source::{Form, Row, RowReader, RowSource};

/// The temporary tables, of rows and of lines of JSON, and the column that counts them.
const STAGE: &str = "pg_temp.lyrox_stage";
const RAW: &str = "pg_temp.lyrox_raw";
const LINE: &str = "lyrox_line";
/// How much is sent at once.
const CHUNK: usize = 1 << 16;
/// The statements that bring a range of staged rows into the table.
struct Merge {
    update: Option<String>,
    insert: String,
}

impl PostgresLoader<'_> {
    pub(super) async fn load_bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        let table = self.table(load.shape)?;
        if load.source.rows() == Some(0) {
            return Ok(BulkDone::default());
        }
        let names: Vec<Ident> = load.source.columns().iter().map(|name| Ident::new(name)).collect::<Result<_>>()?;
        let columns = names.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ");
        let is_empty = self.is_empty(&table).await?;
        if load.key.is_empty() && !is_empty && !load.shape.is_guarded {
            return Err(Error::new(
                Code::SeedFile,
                format!("`{}` has no key and `{}` is not empty", load.source.shown(), load.shape.target),
            )
            .why("without a primary key or one unique index in its columns, new rows cannot be told from stored ones")
            .at(Place::file(load.source.shown()))
            .hint("add the key's column to the file, or make a unique index in a migration"));
        }
        if is_empty && !load.shape.is_guarded && !has_composites(&table, load) {
            self.mark().await?;
            let sql = format!("COPY {} ({columns}) FROM STDIN", table.name);
            match self.copy_rows(&sql, &kinds(&table, load), load, events).await? {
                Ok(created) => {
                    self.release().await?;
                    self.note_bulk_sequences(&table, load, &table.name).await?;
                    return Ok(BulkDone { counts: Counts { created, ..Counts::default() }, note: None });
                }
                Err(error) => {
                    self.rewind().await?;
                    if let Some(line) = copy_line(&error) {
                        return Err(self.refused(load.shape, Some(place(load.source, line)), &error).await);
                    }
                    // A foreign key is checked at the end, without a line: the staged way finds it.
                }
            }
        }
        self.staged(&table, load, &columns, &names, events).await
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

    /// Streams the rows; the inner result is the server's.
    async fn copy_rows(
        &mut self,
        sql: &str,
        kinds: &[Kind],
        load: &BulkLoad<'_>,
        events: &dyn Events,
    ) -> Result<Result<u64, sqlx::Error>> {
        let mut rows = load.source.open(Form::Cells)?;
        let has_json_texts = load.source.has_json_texts();
        let mut copy = match self.store.connection.copy_in_raw(sql).await {
            Ok(copy) => copy,
            Err(error) => return Ok(Err(error)),
        };
        let (mut row, mut buffer) = (Row::default(), Vec::with_capacity(CHUNK + (CHUNK >> 2)));
        let (mut read, mut told) = (0_u64, 0_u64);
        loop {
            let more = match rows.read(&mut row) {
                Ok(more) => more,
                Err(error) => {
                    let _ = copy.abort("the rows cannot be read").await;
                    return Err(error);
                }
            };
            if more {
                text::encode(&row, kinds, has_json_texts, &mut buffer);
                read += 1;
            }
            if buffer.len() >= CHUNK || (!more && !buffer.is_empty()) {
                if events.is_cancelled() {
                    let _ = copy.abort("cut short by a signal").await;
                    return Err(Error::new(Code::SeedFailed, "cut short by a signal"));
                }
                if let Err(error) = copy.send(buffer.as_slice()).await {
                    return Ok(Err(error));
                }
                buffer.clear();
                if read - told >= 5000 {
                    told = read;
                    progress(events, load, read, expected(load, read, rows.progress()));
                }
            }
            if !more {
                break;
            }
        }
        let done = copy.finish().await;
        if told > 0 {
            progress(events, load, read, Some(read));
        }
        Ok(done)
    }

    async fn staged(
        &mut self,
        table: &Table,
        load: &BulkLoad<'_>,
        columns: &str,
        names: &[Ident],
        events: &dyn Events,
    ) -> Result<BulkDone> {
        let make = format!(
            "CREATE TEMP TABLE lyrox_stage ON COMMIT DROP AS SELECT {columns} FROM {} WITH NO DATA; \
             ALTER TABLE {STAGE} ADD COLUMN {LINE} pg_catalog.int8 GENERATED BY DEFAULT AS IDENTITY",
            table.name
        );
        self.send(&make).await.map_err(|error| failed("the table to stage rows in cannot be made", &error))?;
        if has_composites(table, load) {
            self.stage_objects(table, load, columns, names, events).await?;
        } else {
            let copy = format!("COPY {STAGE} ({columns}) FROM STDIN");
            self.copy_staged(&copy, &kinds(table, load), load, events).await?;
        }
        let index = format!("ALTER TABLE {STAGE} ADD PRIMARY KEY ({LINE}); ANALYZE {STAGE}");
        self.send(&index).await.map_err(|error| failed("the staged rows cannot be indexed", &error))?;

        let counts = self.merge_all(table, load, names).await?;
        self.note_bulk_sequences(table, load, STAGE).await?;
        self.send(&format!("DROP TABLE {STAGE}"))
            .await
            .map_err(|error| failed("the stage cannot be dropped", &error))?;
        let note = load.shape.is_guarded.then(|| {
            "row-level security: staged, then inserted tenant by tenant instead of COPY into the table".to_owned()
        });
        Ok(BulkDone { counts, note })
    }

    async fn copy_staged(
        &mut self,
        copy: &str,
        kinds: &[Kind],
        load: &BulkLoad<'_>,
        events: &dyn Events,
    ) -> Result<()> {
        self.mark().await?;
        if let Err(error) = self.copy_rows(copy, kinds, load, events).await? {
            self.rewind().await?;
            let place = copy_line(&error).map(|line| place(load.source, line));
            return Err(self.refused(load.shape, place, &error).await);
        }
        self.release().await
    }

    /// What only the server can put together, values of composite types, goes in as it is and is cast there.
    async fn stage_objects(
        &mut self,
        table: &Table,
        load: &BulkLoad<'_>,
        columns: &str,
        names: &[Ident],
        events: &dyn Events,
    ) -> Result<()> {
        let make = format!(
            "CREATE TEMP TABLE lyrox_raw (lyrox_row pg_catalog.json, \
             {LINE} pg_catalog.int8 GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY) ON COMMIT DROP"
        );
        self.send(&make).await.map_err(|error| failed("the table to stage rows in cannot be made", &error))?;
        let copy = format!("COPY {RAW} (lyrox_row) FROM STDIN");
        self.copy_staged(&copy, &[Kind::Plain], &BulkLoad { source: &Objects(load.source), ..*load }, events).await?;
        let picked = names.iter().map(|name| format!("r.{name}")).collect::<Vec<_>>().join(", ");
        let cast = Merge {
            update: None,
            insert: format!(
                "INSERT INTO {STAGE} ({LINE}, {columns}) SELECT s.{LINE}, {picked} FROM {RAW} s \
                 CROSS JOIN LATERAL pg_catalog.json_populate_record(NULL::{}, s.lyrox_row) r \
                 WHERE %range% ORDER BY s.{LINE}",
                table.name
            ),
        };
        self.merge(&cast, RAW, load, &mut Counts::default()).await?;
        self.send(&format!("DROP TABLE {RAW}")).await.map_err(|error| failed("the stage cannot be dropped", &error))?;
        Ok(())
    }

    async fn merge_all(&mut self, table: &Table, load: &BulkLoad<'_>, names: &[Ident]) -> Result<Counts> {
        self.refuse_keyless(load).await?;
        let tenant_column = self.tenant_column(load);
        let tenants = match (&tenant_column, load.shape.is_guarded) {
            (Some(column), true) => {
                let sql = format!("SELECT DISTINCT s.{column}::pg_catalog.text FROM {STAGE} s ORDER BY 1");
                let rows =
                    self.send(&sql).await.map_err(|error| failed("the tenants of the file cannot be read", &error))?;
                rows.iter().map(|row| Some(value(row, 0).unwrap_or_default())).collect()
            }
            _ => vec![None],
        };
        let mut counts = Counts::default();
        for tenant in tenants {
            if let Some(tenant) = &tenant {
                self.enter(tenant).await?;
            }
            let only = match (&tenant, &tenant_column) {
                (Some(tenant), Some(column)) => format!(" AND s.{column}::pg_catalog.text = {}", literal(tenant)),
                _ => String::new(),
            };
            self.refuse_moved(table, load, &only).await?;
            let merge = merge(table, load, names, &only)?;
            self.merge(&merge, STAGE, load, &mut counts).await?;
        }
        let staged = self.last_record(STAGE).await?;
        counts.unchanged = staged.saturating_sub(counts.created + counts.updated);
        Ok(counts)
    }

    /// The column that tells the tenant of a row, quoted, where the file has it.
    fn tenant_column(&self, load: &BulkLoad<'_>) -> Option<String> {
        let name = match &self.terms.tenant_table {
            Some((table, key)) if *table == load.shape.target => key,
            _ => self.terms.tenant_column.as_ref()?,
        };
        load.source.columns().contains(name).then(|| Ident::new(name).ok().map(|name| name.to_string()))?
    }

    /// A row without its key would be inserted again by every run.
    async fn refuse_keyless(&mut self, load: &BulkLoad<'_>) -> Result<()> {
        for name in load.key {
            let sql = format!("SELECT min(s.{LINE}) FROM {STAGE} s WHERE s.{} IS NULL", Ident::new(name)?);
            let rows = self.send(&sql).await.map_err(|error| failed("the staged rows cannot be read", &error))?;
            if let Some(line) = rows.first().and_then(|row| value(row, 0)?.parse().ok()) {
                return Err(Error::new(Code::SeedFailed, format!("a row of `{}` lacks `{name}`", load.source.shown()))
                    .why("it is part of the key, by which the row is found again")
                    .at(place(load.source, line)));
            }
        }
        Ok(())
    }

    async fn refuse_moved(&mut self, table: &Table, load: &BulkLoad<'_>, only: &str) -> Result<()> {
        let Some(name) = self.terms.tenant_column.clone() else { return Ok(()) };
        if load.key.is_empty() || load.key.contains(&name) || !load.source.columns().contains(&name) {
            return Ok(());
        }
        let sql = format!(
            "SELECT min(s.{LINE}) FROM {STAGE} s JOIN {} t ON {} WHERE ({}){only}",
            table.name,
            joined(load.key)?,
            differs(table, std::slice::from_ref(&name), "t", "s")?
        );
        let rows = self.send(&sql).await.map_err(|error| failed("the staged rows cannot be compared", &error))?;
        match rows.first().and_then(|row| value(row, 0)?.parse().ok()) {
            None => Ok(()),
            Some(line) => Err(Error::new(Code::SeedFailed, "a row belongs to another tenant")
                .why(format!(
                    "the stored row with its key has another `{name}`; an upsert never moves a row between tenants"
                ))
                .at(place(load.source, line))),
        }
    }

    /// Merges all rows; where the server refuses, halves the range until one row is left to blame.
    async fn merge(&mut self, merge: &Merge, stage: &str, load: &BulkLoad<'_>, counts: &mut Counts) -> Result<()> {
        let mut ranges: VecDeque<(u64, u64)> = VecDeque::from([(1, u64::MAX >> 1)]);
        let last = self.last_record(stage).await?;
        while let Some((from, to)) = ranges.pop_front() {
            let to = to.min(last);
            self.mark().await?;
            match self.merge_range(merge, from, to).await {
                Ok((updated, created)) => {
                    self.release().await?;
                    counts.updated += updated;
                    counts.created += created;
                }
                Err(error) => {
                    self.rewind().await?;
                    if from >= to || reported(&error).is_none() {
                        let place = (from >= to).then(|| place(load.source, from));
                        return Err(self.refused(load.shape, place, &error).await);
                    }
                    let middle = from + (to - from) / 2;
                    ranges.push_front((middle + 1, to));
                    ranges.push_front((from, middle));
                }
            }
        }
        Ok(())
    }

    async fn merge_range(&mut self, merge: &Merge, from: u64, to: u64) -> Result<(u64, u64), sqlx::Error> {
        let range = format!("s.{LINE} BETWEEN {from} AND {to}");
        let mut updated = 0;
        if let Some(update) = &merge.update {
            updated = self.run(&update.replace("%range%", &range)).await?;
        }
        let created = self.run(&merge.insert.replace("%range%", &range)).await?;
        Ok((updated, created))
    }

    async fn last_record(&mut self, stage: &str) -> Result<u64> {
        let rows = self.send(&format!("SELECT max({LINE}) FROM {stage}")).await;
        let rows = rows.map_err(|error| failed("the staged rows cannot be counted", &error))?;
        Ok(rows.first().and_then(|row| value(row, 0)?.parse().ok()).unwrap_or(0))
    }

    async fn note_bulk_sequences(&mut self, table: &Table, load: &BulkLoad<'_>, source: &str) -> Result<()> {
        for name in load.source.columns() {
            let Some(column) = table.columns.get(name) else { continue };
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

/// How the cells of each column become text.
fn kinds(table: &Table, load: &BulkLoad<'_>) -> Vec<Kind> {
    let kind = |name: &String| match table.columns.get(name) {
        Some(column) => match (column.is_array, matches!(column.kind.as_str(), "json" | "jsonb")) {
            (true, is_json) => {
                if is_json {
                    Kind::ArrayOfJson
                } else {
                    Kind::Array
                }
            }
            (false, true) => Kind::Json,
            (false, false) => Kind::Plain,
        },
        None => Kind::Plain,
    };
    load.source.columns().iter().map(kind).collect()
}

/// Whether values may be tables that only the server can put into a composite type.
fn has_composites(table: &Table, load: &BulkLoad<'_>) -> bool {
    let is_composite = |name: &String| table.columns.get(name).is_some_and(|column| column.is_composite);
    load.source.has_json_texts() && load.source.columns().iter().any(is_composite)
}

/// Rows of one column: the whole row as JSON.
struct Objects<'a>(&'a dyn RowSource);

struct ObjectReader<'a>(Box<dyn RowReader + 'a>);

impl RowSource for Objects<'_> {
    fn shown(&self) -> &str {
        self.0.shown()
    }
    fn columns(&self) -> &[String] {
        self.0.columns()
    }
    fn rows(&self) -> Option<u64> {
        self.0.rows()
    }
    fn checksum(&self) -> Result<String> {
        self.0.checksum()
    }
    fn open(&self, _: Form) -> Result<Box<dyn RowReader + '_>> {
        Ok(Box::new(ObjectReader(self.0.open(Form::Whole)?)))
    }
}

impl RowReader for ObjectReader<'_> {
    fn read(&mut self, row: &mut Row) -> Result<bool> {
        if !self.0.read(row)? {
            return Ok(false);
        }
        let object = row.whole().unwrap_or("{}").to_owned();
        row.clear();
        row.push_text(&object);
        Ok(true)
    }
    fn place(&self) -> Place {
        self.0.place()
    }
    fn progress(&self) -> Option<(u64, u64)> {
        self.0.progress()
    }
}

fn joined(key: &[String]) -> Result<String> {
    let parts = key.iter().map(|name| Ident::new(name).map(|name| format!("t.{name} = s.{name}")));
    Ok(parts.collect::<Result<Vec<_>>>()?.join(" AND "))
}

fn merge(table: &Table, load: &BulkLoad<'_>, names: &[Ident], only: &str) -> Result<Merge> {
    let list = |before: &str| names.iter().map(|name| format!("{before}{name}")).collect::<Vec<_>>().join(", ");
    let is_always =
        load.source.columns().iter().any(|name| table.columns.get(name).is_some_and(|column| column.is_always));
    let overriding = if is_always { " OVERRIDING SYSTEM VALUE" } else { "" };
    let insert = format!(
        "INSERT INTO {} ({}){overriding} SELECT {} FROM {STAGE} s WHERE %range%{only}",
        table.name,
        list(""),
        list("s.")
    );
    if load.key.is_empty() {
        return Ok(Merge { update: None, insert: format!("{insert} ORDER BY s.{LINE}") });
    }
    let is_id = |name: &String| load.key.contains(name) || load.shape.identity.contains(name);
    let changed: Vec<String> = load.source.columns().iter().filter(|name| !is_id(name)).cloned().collect();
    let on = joined(load.key)?;
    let update = if changed.is_empty() {
        None
    } else {
        let set = changed.iter().map(|name| Ident::new(name).map(|name| format!("{name} = s.{name}")));
        Some(format!(
            "UPDATE {} AS t SET {} FROM {STAGE} s WHERE %range%{only} AND {on} AND ({})",
            table.name,
            set.collect::<Result<Vec<_>>>()?.join(", "),
            differs(table, &changed, "t", "s")?
        ))
    };
    let insert = format!("{insert} AND NOT EXISTS (SELECT FROM {} t WHERE {on}) ORDER BY s.{LINE}", table.name);
    Ok(Merge { update, insert })
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
