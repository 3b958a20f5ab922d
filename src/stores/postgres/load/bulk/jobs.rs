//! Several connections at once. Parts of some thousand rows are committed one by one, each with a row in the
//! ledger of seeds that says so: a run that was cut short goes on with the parts that are missing. It is not
//! atomic, and says so.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher as _;
use std::sync::{Arc, Mutex};

use siphasher::sip::SipHasher24;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::encode::Encoder;
use super::late::{self, Late};
use super::merge::{Merge, STAGE, make_stage, merge};
use super::{Bulk, copy_line, has_composites, keyless_target, place, progress};
use crate::engine::event::Events;
use crate::error::{Code, Error, Result};
use crate::stores::load::{BulkDone, Counts, expected};
use crate::stores::postgres::connect;
use crate::stores::postgres::error::{is_lost, reported, sqlstate};
use crate::stores::postgres::ident::literal;
use crate::stores::postgres::load::{PostgresLoader, SESSION, failed, text as value};
use crate::stores::source::{Cell, Form, Row};

/// How many rows, and how many bytes of them, make a part. A run that goes on cuts the same parts.
const ROWS: u64 = 10_000;
const BYTES: usize = 2 << 20;

/// Rows ready to be sent.
struct Part {
    number: u64,
    /// The first row, counted from one.
    first: u64,
    rows: u64,
    /// Of the rows' values: a part is passed over only where it holds what it held.
    hash: String,
    bytes: Vec<u8>,
}

/// What became of a part.
struct Answer {
    part: Part,
    outcome: Result<(u64, u64), sqlx::Error>,
}

/// What a worker does with each part.
#[derive(Clone)]
struct Job {
    /// Before the COPY.
    begin: String,
    copy: String,
    /// After it, where rows are staged.
    merge: Option<(Option<String>, String)>,
    /// The row of the ledger; the number and the hash are appended.
    ledger: String,
}

impl PostgresLoader<'_> {
    pub(super) async fn load_parts(&mut self, bulk: &Bulk<'_>, events: &dyn Events) -> Result<BulkDone> {
        let load = bulk.load;
        if load.shape.is_guarded || has_composites(bulk) {
            return Err(Error::new(Code::SeedFile, format!("`{}` cannot be loaded with --jobs", load.source.shown()))
                .why("row-level security or a composite type needs one connection")
                .data("nothing of this file was written")
                .hint("leave --jobs out"));
        }
        self.restore_indexes().await?;
        let mut done = self.parts_done(load.name).await?;
        let is_empty = self.is_empty(&bulk.table).await?;
        if is_empty && !done.is_empty() {
            // Somebody has emptied the table since.
            self.forget_parts(load.name).await?;
            done.clear();
        }
        if load.key.is_empty() && !is_empty && done.is_empty() {
            return Err(keyless_target(load));
        }
        let is_direct = is_empty || load.key.is_empty();
        let late = if is_empty && load.source.is_large() && !load.how.keeps_indexes {
            self.drop_and_note(bulk).await?
        } else {
            None
        };
        let encoder = Encoder::best(&bulk.table, load.source)?;
        let outcome = self.run_parts(bulk, encoder, &done, is_direct, events).await;
        let counts = match outcome {
            Ok(counts) => counts,
            Err(error) => {
                // The rows stay; the indexes come back where they can.
                let restored = self.restore_indexes().await;
                let note = if restored.is_ok() { "" } else { "; indexes are missing until it is run again" };
                return Err(error.data_if_none(format!(
                    "the parts before this one are written (--jobs is not atomic){note}; running it again goes on"
                )));
            }
        };
        if let Some(late) = &late {
            // What one connection could not make is tried once more, and told, by the other.
            self.make_together(late, load.how.jobs).await?;
            if let Err(error) = self.restore_indexes().await {
                return Err(self.undo_parts(bulk, &counts, error).await);
            }
        }
        self.note_bulk_sequences(bulk, &bulk.table.name).await?;
        self.advance_sequences().await?;
        self.forget_parts(load.name).await?;
        let how = if late.is_some() { ", indexes made after the rows" } else { "" };
        let note = Some(format!("{} connections, not atomic{how}", load.how.jobs));
        Ok(BulkDone { counts, note })
    }

    /// Makes indexes over several connections. One that fails is left to whoever comes after.
    async fn make_together(&self, late: &Late, jobs: usize) -> Result<()> {
        let makes: Vec<String> = late.makes.iter().filter(|make| late::is_index(make)).cloned().collect();
        if makes.len() < 2 {
            return Ok(());
        }
        let open = Arc::new(Mutex::new(VecDeque::from(makes)));
        let mut work = JoinSet::new();
        for _ in 0..jobs {
            let (mut connection, _) = connect::open_plain(&self.store.config, &self.store.target).await?;
            let setup = format!("{} {SESSION}", self.store.settings.sql(&self.store.facts));
            let open = Arc::clone(&open);
            work.spawn(async move {
                if connection.execute(sqlx::raw_sql(AssertSqlSafe(setup))).await.is_err() {
                    return;
                }
                loop {
                    let next = open.lock().ok().and_then(|mut open| open.pop_front());
                    let Some(make) = next else { break };
                    let sql = format!("BEGIN; {}; {make}; COMMIT", late::ROOM);
                    if connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.is_err() {
                        let _ = connection.execute("ROLLBACK").await;
                    }
                }
                let _ = connection.close().await;
            });
        }
        while work.join_next().await.is_some() {}
        Ok(())
    }

    async fn run_parts(
        &mut self,
        bulk: &Bulk<'_>,
        mut encoder: Encoder,
        done: &HashMap<u64, String>,
        is_direct: bool,
        events: &dyn Events,
    ) -> Result<Counts> {
        let load = bulk.load;
        let mut counts = Counts::default();
        let (answers_in, mut answers) = mpsc::channel::<Answer>(load.how.jobs * 2 + 2);
        let mut workers = Vec::new();
        for _ in 0..load.how.jobs {
            let (connection, _) = connect::open_plain(&self.store.config, &self.store.target).await?;
            workers.push(self.worker(connection, answers_in.clone()).await?);
        }
        drop(answers_in);
        let mut rows = load.source.open(Form::Cells)?;
        let mut row = Row::default();
        let (mut read, mut number, mut free, mut failure) = (0_u64, 0_u64, Vec::from_iter(0..workers.len()), None);
        let mut at_work: HashMap<u64, usize> = HashMap::new();
        let mut more = true;
        'parts: while more && failure.is_none() {
            let mut part = Part { number, first: read + 1, rows: 0, hash: String::new(), bytes: Vec::new() };
            part.bytes.extend_from_slice(encoder.head());
            let (mut hasher, mut size) = (SipHasher24::new(), 0);
            while part.rows < ROWS && size < BYTES {
                more = match rows.read(&mut row) {
                    Ok(more) => more,
                    Err(error) => {
                        failure = Some(error);
                        break 'parts;
                    }
                };
                if !more {
                    break;
                }
                read += 1;
                part.rows += 1;
                size += row.size();
                for cell in row.cells() {
                    let (kind, text) = match cell {
                        Cell::Null => (0, ""),
                        Cell::Text(text) => (1, text),
                        Cell::Json(text) => (2, text),
                    };
                    hasher.write_u8(kind);
                    hasher.write(text.as_bytes());
                }
                if let Some(at) = bulk.key.iter().position(|at| row.cell(*at) == Cell::Null) {
                    failure = Some(bulk.keyless(read, at));
                    break 'parts;
                }
                if !encoder.row(&row, &mut part.bytes) {
                    // From here on everything goes as text; the rows of this part once more.
                    encoder = Encoder::text(&bulk.table, load.source);
                    part.bytes = again(bulk, &encoder, part.first, read)?;
                }
            }
            if part.rows == 0 {
                break;
            }
            part.bytes.extend_from_slice(encoder.tail());
            part.hash = format!("{:016x}", hasher.finish());
            number += 1;
            if done.get(&part.number).is_some_and(|hash| *hash == part.hash) {
                counts.unchanged += part.rows;
                continue;
            }
            if load.key.is_empty() && done.contains_key(&part.number) {
                failure = Some(changed(bulk));
                break;
            }
            if events.is_cancelled() {
                failure = Some(Error::new(Code::SeedFailed, "cut short by a signal"));
                break;
            }
            while free.is_empty() && failure.is_none() {
                let Some(answer) = answers.recv().await else { break };
                free.extend(at_work.remove(&answer.part.number));
                failure = self.take(bulk, answer, &mut counts).await;
                progress(events, load, read, expected(load, read, rows.progress()));
            }
            if let (Some(worker), None) = (free.pop(), &failure) {
                at_work.insert(part.number, worker);
                let job = self.job(bulk, &encoder, is_direct)?;
                if workers[worker].0.send((job, part)).await.is_err() {
                    failure = Some(Error::bug("a connection ended before its work"));
                }
            }
        }
        let mut handles = Vec::new();
        for (work, handle) in workers {
            drop(work);
            handles.push(handle);
        }
        while let Some(answer) = answers.recv().await {
            let error = self.take(bulk, answer, &mut counts).await;
            failure = failure.or(error);
        }
        for handle in handles {
            let _ = handle.await;
        }
        failure.map_or(Ok(counts), Err)
    }

    /// Counts what a part came to, or says what is wrong with it.
    async fn take(&mut self, bulk: &Bulk<'_>, answer: Answer, counts: &mut Counts) -> Option<Error> {
        let part = answer.part;
        match answer.outcome {
            Ok((updated, created)) => {
                counts.updated += updated;
                counts.created += created;
                counts.unchanged += part.rows.saturating_sub(updated + created);
                None
            }
            Err(error) => {
                let line = copy_line(&error).map(|line| place(bulk.load.source, part.first + line - 1));
                let is_placed = line.is_some();
                let found = self.refused(bulk.load.shape, line, &error).await;
                if is_placed || is_lost(&error) {
                    return Some(found);
                }
                let last = part.first + part.rows - 1;
                Some(
                    found
                        .at(place(bulk.load.source, part.first))
                        .hint(format!("it is one of the rows {} to {last}; without --jobs it is named", part.first)),
                )
            }
        }
    }

    fn job(&self, bulk: &Bulk<'_>, encoder: &Encoder, is_direct: bool) -> Result<Job> {
        let ledger = format!(
            "INSERT INTO lyrox.seeds (project, file, checksum, actor) VALUES ({}, {} || ",
            literal(&self.store.project),
            literal(&format!("{} part ", bulk.load.name)),
        );
        // The last commit of the run is a durable one, and with it all before it.
        let begin = "BEGIN; SET LOCAL synchronous_commit TO off".to_owned();
        if is_direct {
            let copy = format!("COPY {} FROM STDIN{}", bulk.target(), encoder.options());
            return Ok(Job { begin, copy, merge: None, ledger });
        }
        let begin = format!("{begin}; {}", make_stage(bulk));
        let copy = format!("COPY {STAGE} ({}) FROM STDIN{}", bulk.columns, encoder.options());
        let Merge { update, insert } = merge(bulk, "")?;
        let whole = |sql: String| sql.replace("%range%", "true");
        Ok(Job { begin, copy, merge: Some((update.map(whole), whole(insert))), ledger })
    }

    async fn worker(
        &self,
        mut connection: PgConnection,
        answers: mpsc::Sender<Answer>,
    ) -> Result<(mpsc::Sender<(Job, Part)>, tokio::task::JoinHandle<()>)> {
        let setup = format!("{} {SESSION}", self.store.settings.sql(&self.store.facts));
        let done = sqlx::raw_sql(AssertSqlSafe(setup)).fetch_all(&mut connection).await;
        done.map_err(|error| failed("a further connection cannot be set up", &error))?;
        let (work, mut parts) = mpsc::channel::<(Job, Part)>(1);
        let handle = tokio::spawn(async move {
            while let Some((job, part)) = parts.recv().await {
                let mut outcome = load_part(&mut connection, &job, &part).await;
                // Two parts that wait for each other's rows: one of them was undone, and is tried again.
                for _ in 0..3 {
                    if !matches!(&outcome, Err(error) if matches!(sqlstate(error), Some("40P01" | "40001"))) {
                        break;
                    }
                    outcome = load_part(&mut connection, &job, &part).await;
                }
                let part = Part { bytes: Vec::new(), ..part };
                if answers.send(Answer { part, outcome }).await.is_err() {
                    break;
                }
            }
            let _ = connection.close().await;
        });
        Ok((work, handle))
    }

    /// The parts that an earlier run has committed.
    async fn parts_done(&mut self, shown: &str) -> Result<HashMap<u64, String>> {
        self.make_ledger().await?;
        let prefix = format!("{shown} part ");
        let sql = format!(
            "SELECT pg_catalog.substr(file, {}), checksum FROM lyrox.seeds WHERE project = {} AND pg_catalog.starts_with(file, {})",
            prefix.chars().count() + 1,
            literal(&self.store.project),
            literal(&prefix)
        );
        let rows = self.send(&sql).await.map_err(|error| failed("the ledger of seeds cannot be read", &error))?;
        Ok(rows.iter().filter_map(|row| Some((value(row, 0)?.parse().ok()?, value(row, 1)?))).collect())
    }

    pub(super) async fn forget_parts(&mut self, shown: &str) -> Result<()> {
        let sql = format!(
            "DELETE FROM lyrox.seeds WHERE project = {} AND pg_catalog.starts_with(file, {})",
            literal(&self.store.project),
            literal(&format!("{shown} part "))
        );
        self.send(&sql).await.map(|_| ()).map_err(|error| failed("the ledger of seeds cannot be written", &error))
    }

    /// Drops what can be made later, and remembers in the same transaction how it is made again.
    async fn drop_and_note(&mut self, bulk: &Bulk<'_>) -> Result<Option<Late>> {
        let refused = |error: sqlx::Error| failed("the indexes cannot be taken away", &error);
        self.send("BEGIN").await.map_err(refused)?;
        let late = self.drop_late(bulk, false).await;
        let noted = match late {
            Ok(Some(late)) => {
                let makes = serde_json::to_string(&late.makes).map_err(|error| Error::bug(error.to_string()))?;
                let key = format!("{} indexes", bulk.load.name);
                self.remember_row(&key, &makes).await.map(|()| Some(late))
            }
            other => other,
        };
        let end = if matches!(noted, Ok(Some(_))) { "COMMIT" } else { "ROLLBACK" };
        self.send(end).await.map_err(refused)?;
        noted
    }

    /// Makes indexes again that a load with several connections has taken away: this one's, or one's that was
    /// cut short.
    ///
    /// # Errors
    /// The server's: the rows may not be unique any more.
    pub(in crate::stores::postgres::load) async fn restore_indexes(&mut self) -> Result<()> {
        if !self.has_ledger().await? {
            return Ok(());
        }
        let find = format!(
            "SELECT file, checksum FROM lyrox.seeds WHERE project = {} AND file LIKE '% indexes'",
            literal(&self.store.project)
        );
        let rows = self.send(&find).await.map_err(|error| failed("the ledger of seeds cannot be read", &error))?;
        for row in rows {
            let (Some(file), Some(makes)) = (value(&row, 0), value(&row, 1)) else { continue };
            let Ok(makes) = serde_json::from_str::<Vec<String>>(&makes) else { continue };
            let end = format!(
                "DELETE FROM lyrox.seeds WHERE project = {} AND file = {}",
                literal(&self.store.project),
                literal(&file)
            );
            let is_own = !self.is_open;
            let (begin, commit, back) = if is_own {
                ("BEGIN", "COMMIT", "ROLLBACK")
            } else {
                ("SAVEPOINT lyrox_late", "RELEASE SAVEPOINT lyrox_late", "ROLLBACK TO SAVEPOINT lyrox_late")
            };
            let all =
                [begin, late::ROOM].into_iter().chain(makes.iter().map(String::as_str)).chain([end.as_str(), commit]);
            for sql in all {
                if let Err(error) = self.send(sql).await {
                    let _ = self.send(back).await;
                    let file = file.trim_end_matches(" indexes");
                    return Err(failed(
                        &format!("the indexes that loading `{file}` took away cannot be made again"),
                        &error,
                    )
                    .hint("mend the rows, then run lyrox db seed again"));
                }
            }
        }
        Ok(())
    }

    /// Rows that a unique index refuses after all: where nobody else has written, the table is emptied again.
    async fn undo_parts(&mut self, bulk: &Bulk<'_>, counts: &Counts, error: Error) -> Error {
        let table = &bulk.table.name;
        let own = counts.created + counts.unchanged + counts.updated;
        let sql = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT count(*) = {own} FROM {table}");
        let is_own = match self.send(&sql).await {
            Ok(rows) => rows.last().and_then(|row| value(row, 0)).as_deref() == Some("t"),
            Err(_) => false,
        };
        if is_own && self.send(&format!("TRUNCATE {table}; COMMIT")).await.is_ok() {
            let restored = self.restore_indexes().await;
            if restored.is_ok() && self.forget_parts(bulk.load.name).await.is_ok() {
                return error
                    .data("the table is empty again, and its indexes are back")
                    .hint("without --jobs the row is named by its line");
            }
        }
        let _ = self.send("ROLLBACK").await;
        error.data("the rows are there, and the indexes are not: rows were written beside them")
    }
}

/// The rows of a part once more, in another form.
fn again(bulk: &Bulk<'_>, encoder: &Encoder, first: u64, last: u64) -> Result<Vec<u8>> {
    let mut rows = bulk.load.source.open(Form::Cells)?;
    let (mut row, mut bytes) = (Row::default(), encoder.head().to_vec());
    for at in 1..=last {
        rows.read(&mut row)?;
        if at >= first {
            encoder.row(&row, &mut bytes);
        }
    }
    Ok(bytes)
}

fn changed(bulk: &Bulk<'_>) -> Error {
    Error::new(Code::SeedFile, format!("`{}` was changed after it was loaded in part", bulk.load.source.shown()))
        .why("it has no key: its rows cannot be told from those that are stored")
        .hint("bring the file back as it was, or empty the table")
}

async fn load_part(connection: &mut PgConnection, job: &Job, part: &Part) -> Result<(u64, u64), sqlx::Error> {
    let outcome = try_part(connection, job, part).await;
    if outcome.as_ref().is_err_and(|error| reported(error).is_some()) {
        let _ = connection.execute("ROLLBACK").await;
    }
    outcome
}

async fn try_part(connection: &mut PgConnection, job: &Job, part: &Part) -> Result<(u64, u64), sqlx::Error> {
    let send = |sql: String| sqlx::raw_sql(AssertSqlSafe(sql));
    connection.execute(send(job.begin.clone())).await?;
    let mut sink = connection.copy_in_raw(&job.copy).await?;
    sink.send(part.bytes.as_slice()).await?;
    let mut counts = (0, sink.finish().await?);
    if let Some((update, insert)) = &job.merge {
        let updated = match update {
            Some(update) => connection.execute(send(update.clone())).await?.rows_affected(),
            None => 0,
        };
        counts = (updated, connection.execute(send(insert.clone())).await?.rows_affected());
    }
    let ledger = format!(
        "{}'{}', '{}', '{}') ON CONFLICT (project, file) DO UPDATE SET checksum = excluded.checksum; COMMIT",
        job.ledger, part.number, part.hash, "lyrox"
    );
    connection.execute(send(ledger)).await?;
    Ok(counts)
}
