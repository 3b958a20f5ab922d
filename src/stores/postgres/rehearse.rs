//! Trying migrations: statement by statement, looking after each at what the transaction holds and has
//! written. On a scratch database every file is kept, as a migrate would; on the live one all is one transaction
//! that is rolled back. The ledger is not touched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;

use super::connect::{self, text};
use super::error::server_error;
use super::failure;
use super::message::{Batch, Role, Stop};
use super::script::{Mode, Prepared, line, prepare_all};
use super::splitter::Kind;
use super::{PostgresStore, run};
use crate::engine::event::{Event, Events};
use crate::engine::plan::{Action, Step};
use crate::engine::trial::{Live, Lock, LockMode, Rows, Trial, Tried};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::ApplyOptions;

/// Statements of a file are looked at one by one up to so many; a larger file in so many parts.
const LOOKS: usize = 2_000;
/// How often another session looks while a statement runs that no transaction covers.
const GLANCE: Duration = Duration::from_millis(5);

/// Relations that others may use, by oid: name, file, and last value where it is a sequence.
const BEFORE: &str = "SELECT c.oid, c.oid::regclass, pg_catalog.pg_relation_filenode(c.oid), c.relkind, \
    CASE WHEN c.relkind = 'S' AND pg_catalog.has_sequence_privilege(c.oid, 'USAGE') \
    THEN pg_catalog.pg_sequence_last_value(c.oid) END \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'm', 'v', 'S', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'lyrox') \
    AND n.nspname !~ '^pg_(toast|temp)'";

/// Rows written by this transaction so far.
const WRITTEN: &str = "SELECT 'rows', s.relid, s.n_tup_ins, s.n_tup_upd, s.n_tup_del FROM pg_catalog.pg_stat_xact_user_tables s \
    WHERE s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0";

/// Functions and commands that reach beyond the transaction: a rollback does not call them back.
const REACHES_OUT: [(&str, &str); 8] = [
    ("dblink", "another database, through dblink"),
    ("dblink_exec", "another database, through dblink"),
    ("program", "a program of the server, run by COPY"),
    ("pg_reload_conf", "the server's configuration, read again"),
    ("pg_terminate_backend", "sessions that were ended"),
    ("pg_cancel_backend", "statements that were cancelled"),
    ("pg_file_write", "a file of the server"),
    ("lo_export", "a file of the server"),
];

/// A relation before a file ran.
#[derive(Clone, Debug)]
struct Relation {
    name: String,
    file: Option<String>,
    kind: String,
    last_value: Option<String>,
}

/// What is known of a file while it is tried.
#[derive(Default)]
struct Seen {
    locks: BTreeMap<String, (LockMode, usize, Instant)>,
    rows: BTreeMap<String, [i64; 3]>,
    baseline: BTreeMap<String, [i64; 3]>,
}

impl PostgresStore {
    /// Tries steps in order until one fails. `live`: in one transaction that is rolled back, each statement
    /// within this limit.
    pub(super) async fn try_steps(
        &mut self,
        steps: &[Step],
        options: &ApplyOptions,
        live: Option<Duration>,
        events: &dyn Events,
    ) -> Result<Vec<Trial>> {
        let files = prepare_all(steps, options, &self.known)?;
        if live.is_some()
            && let Some(file) = files.iter().find(|file| file.mode == Mode::Journal)
        {
            let at = file.statements.iter().position(|statement| statement.kind == Kind::Bare).unwrap_or(0);
            return Err(Error::new(
                Code::Usage,
                format!("`{}` cannot be rehearsed on the live database", file.step.script.path),
            )
            .why("its statements cannot be rolled back")
            .at(file.place_of(at))
            .data("nothing was changed")
            .hint("lyrox db rehearse, without --live, tries it on a scratch database"));
        }
        if live.is_some() {
            self.own("BEGIN").await?;
        }
        let mut trials = Vec::with_capacity(files.len());
        for file in &files {
            if events.is_cancelled() {
                break;
            }
            events.event(Event::Progress {
                task: format!("rehearsing {}", file.step.label()),
                store: Some(StoreKind::Postgres),
                done: trials.len() as u64,
                total: Some(files.len() as u64),
                unit: "files",
            });
            let mut trial = Trial::default();
            if file.step.action != Action::Record {
                let result = self.try_file(file, live, &mut trial).await;
                trial.failure = result.err();
            }
            let has_failed = trial.failure.is_some();
            trials.push(trial);
            if has_failed {
                break;
            }
        }
        // A connection that was lost has rolled back by itself.
        let _ = run(&mut self.connection, "ROLLBACK".into()).await;
        let reset = format!("SET SESSION AUTHORIZATION DEFAULT; RESET ALL; {}", self.settings.sql(&self.facts));
        let _ = run(&mut self.connection, reset).await;
        Ok(trials)
    }

    async fn try_file(&mut self, file: &Prepared<'_>, live: Option<Duration>, trial: &mut Trial) -> Result<()> {
        let files = std::slice::from_ref(file);
        let is_bare = file.mode == Mode::Journal;
        let before = self.relations().await?;
        if live.is_none() && !is_bare {
            self.own("BEGIN").await?;
        }
        let mut batch = Batch::default();
        self.begin_file(&mut batch, 0, file, Role::Before);
        if let Some(limit) = live.filter(|_| file.step.script.header.statement_timeout.is_none()) {
            batch.own(0, Role::Before, format!("SET LOCAL statement_timeout = {}", limit.as_millis().max(1)));
        }
        batch.send(&mut self.connection, files).await.map_err(|stop| self.told(&stop, files, live))?;
        let mut seen = Seen::default();
        if !is_bare {
            seen.baseline = self.written().await?;
        }
        let part = file.statements.len().div_ceil(LOOKS).max(1);
        let mut at = 0;
        while at < file.statements.len() {
            let end = if is_bare { at + 1 } else { (at + part).min(file.statements.len()) };
            let is_alone = is_bare && file.statements[at].kind == Kind::Bare;
            let started = Instant::now();
            if is_alone {
                self.try_bare(file, at, &before, &mut seen).await?;
            } else {
                if is_bare {
                    self.own("BEGIN").await?;
                    seen.baseline = self.written().await?;
                }
                let mut batch = Batch::default();
                batch.statements(0, at..end);
                batch.send(&mut self.connection, files).await.map_err(|stop| self.told(&stop, files, live))?;
            }
            let elapsed = started.elapsed();
            trial.elapsed += elapsed;
            trial.statements.push(Tried {
                number: at + 1,
                text: line(file.statement(at)),
                elapsed_ms: millis(elapsed),
            });
            if !is_alone {
                self.look(at + 1, started, &before, &mut seen).await?;
                if is_bare {
                    finish(&mut seen, &before, trial);
                    trial.rewrites.extend(self.rewritten(&before, trial).await?);
                    self.own("COMMIT").await?;
                }
            } else {
                finish(&mut seen, &before, trial);
            }
            at = end;
        }
        if !is_bare {
            let mut batch = Batch::default();
            batch.own(0, Role::Constraints, "SET CONSTRAINTS ALL IMMEDIATE");
            batch.own(0, Role::Before, "SET SESSION AUTHORIZATION DEFAULT");
            batch.send(&mut self.connection, files).await.map_err(|stop| self.told(&stop, files, live))?;
            finish(&mut seen, &before, trial);
            trial.rewrites.extend(self.rewritten(&before, trial).await?);
        }
        trial.lasting = self.lasting(file, &before).await?;
        if live.is_none() && !is_bare {
            self.own("COMMIT").await?;
        }
        trial.locks.sort_by(|a, b| b.mode.cmp(&a.mode).then(a.relation.cmp(&b.relation)));
        Ok(())
    }

    /// A statement that no transaction covers: another session looks at its locks while it runs.
    async fn try_bare(
        &mut self,
        file: &Prepared<'_>,
        at: usize,
        before: &BTreeMap<String, Relation>,
        seen: &mut Seen,
    ) -> Result<()> {
        let (mut watcher, _) = connect::open(&self.config, &self.target).await?;
        let sql = locks_of(&self.facts.pid.to_string());
        let files = std::slice::from_ref(file);
        let mut batch = Batch::default();
        batch.statements(0, at..at + 1);
        let mut work = std::pin::pin!(batch.send(&mut self.connection, files));
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                () = tokio::time::sleep(GLANCE) => {
                    // What cannot be seen is not told; the statement goes on.
                    let rows = run(&mut watcher, sql.clone()).await.unwrap_or_default();
                    note_locks(&rows, at + 1, Instant::now(), before, seen);
                }
            }
        };
        let _ = sqlx::Connection::close(watcher).await;
        result.map(drop).map_err(|stop| failure::error(&stop, files, "on a scratch database, which is dropped".into()))
    }

    /// Locks and rows after a statement.
    async fn look(
        &mut self,
        statement: usize,
        started: Instant,
        before: &BTreeMap<String, Relation>,
        seen: &mut Seen,
    ) -> Result<()> {
        let sql = format!("{}; {WRITTEN}", locks_of("pg_catalog.pg_backend_pid()"));
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        note_locks(&rows, statement, started, before, seen);
        let written = counts(&rows);
        for (relation, now) in written {
            seen.rows.insert(relation, now);
        }
        Ok(())
    }

    async fn written(&mut self) -> Result<BTreeMap<String, [i64; 3]>> {
        let rows = run(&mut self.connection, WRITTEN.into()).await.map_err(|error| unreadable(&error))?;
        Ok(counts(&rows))
    }

    async fn relations(&mut self) -> Result<BTreeMap<String, Relation>> {
        let rows = run(&mut self.connection, BEFORE.into()).await.map_err(|error| unreadable(&error))?;
        let relation = |row: &PgRow| {
            let found =
                Relation { name: text(row, 1)?, file: text(row, 2), kind: text(row, 3)?, last_value: text(row, 4) };
            Some((text(row, 0)?, found))
        };
        Ok(rows.iter().filter_map(relation).collect())
    }

    /// Relations whose file is another one than before, and not yet told.
    async fn rewritten(&mut self, before: &BTreeMap<String, Relation>, trial: &Trial) -> Result<Vec<String>> {
        let now = self.relations().await?;
        let changed = before.iter().filter(|(oid, relation)| {
            let stores_rows = matches!(relation.kind.as_str(), "r" | "m");
            stores_rows && now.get(*oid).is_some_and(|now| now.file != relation.file)
        });
        Ok(changed.map(|(_, relation)| relation.name.clone()).filter(|name| !trial.rewrites.contains(name)).collect())
    }

    /// What a rollback leaves as it is: sequences that moved, effects outside the database.
    async fn lasting(&mut self, file: &Prepared<'_>, before: &BTreeMap<String, Relation>) -> Result<Vec<String>> {
        let mut lasting = Vec::new();
        for (oid, now) in self.relations().await? {
            let Some(earlier) = before.get(&oid).filter(|earlier| earlier.kind == "S") else { continue };
            if earlier.last_value != now.last_value {
                lasting.push(format!("the sequence {} went on to {}", now.name, now.last_value.unwrap_or_default()));
            }
        }
        for at in 0..file.statements.len() {
            let statement = file.statement(at).to_ascii_lowercase();
            for (word, effect) in REACHES_OUT {
                let is_named = statement.match_indices(word).any(|(found, _)| {
                    let is_part = |c: char| c == '_' || c.is_alphanumeric();
                    !statement[..found].ends_with(is_part) && !statement[found + word.len()..].starts_with(is_part)
                });
                let effect = format!("{effect} (statement {})", at + 1);
                if is_named && !lasting.contains(&effect) {
                    lasting.push(effect);
                }
            }
        }
        Ok(lasting)
    }

    /// Asks the live server about the relations of locks: how large they are and who uses them now.
    pub(super) async fn ask_live(&mut self, trials: &mut [Trial]) -> Result<()> {
        let mut names: Vec<String> =
            trials.iter().flat_map(|trial| &trial.locks).map(|lock| lock.relation.clone()).collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = names.iter().map(|name| super::ident::literal(name)).collect();
        let sql = format!(
            "SELECT t.name, c.reltuples, pg_catalog.pg_total_relation_size(c.oid), l.mode, \
             extract(epoch FROM pg_catalog.now() - a.xact_start) \
             FROM pg_catalog.unnest(ARRAY[{}]) t(name) \
             JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(t.name) \
             LEFT JOIN pg_catalog.pg_locks l ON l.locktype = 'relation' AND l.relation = c.oid AND l.granted \
             AND l.pid <> pg_catalog.pg_backend_pid() \
             AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid",
            list.join(", ")
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        for lock in trials.iter_mut().flat_map(|trial| &mut trial.locks) {
            for row in rows.iter().filter(|row| text(row, 0).as_deref() == Some(&lock.relation)) {
                let live = lock.live.get_or_insert_with(|| Live {
                    rows: number(row, 1).filter(|rows| *rows >= 0.0).map(|rows| rows as u64),
                    bytes: number(row, 2).unwrap_or(0.0) as u64,
                    ..Live::default()
                });
                let mode = text(row, 3).and_then(|mode| LockMode::parse(&mode));
                if mode.is_some_and(|mode| mode.conflicts(lock.mode)) {
                    live.sessions += 1;
                    let age = number(row, 4).unwrap_or(0.0);
                    live.oldest_seconds = Some(live.oldest_seconds.unwrap_or(0.0).max(age));
                }
            }
        }
        Ok(())
    }

    async fn own(&mut self, sql: &str) -> Result<()> {
        run(&mut self.connection, sql.into())
            .await
            .map(drop)
            .map_err(|error| server_error(Code::MigrationFailed, format!("{sql} failed"), &error))
    }

    fn told(&self, stop: &Stop, files: &[Prepared<'_>], live: Option<Duration>) -> Error {
        let data = match live {
            Some(_) => "rolled back; nothing was changed",
            None => "on a scratch database, which is dropped; nothing was changed",
        };
        failure::error(stop, files, data.into())
    }
}

/// Moves what was seen of the locks and rows of a transaction to the trial.
fn finish(seen: &mut Seen, before: &BTreeMap<String, Relation>, trial: &mut Trial) {
    let end = Instant::now();
    for (oid, (mode, statement, since)) in std::mem::take(&mut seen.locks) {
        let Some(relation) = before.get(&oid) else { continue };
        let held_ms = millis(end.saturating_duration_since(since));
        let lock = Lock { relation: relation.name.clone(), mode, statement, held_ms, live: None };
        match trial.locks.iter_mut().find(|found| found.relation == lock.relation) {
            Some(found) if found.mode >= lock.mode => found.held_ms = found.held_ms.max(lock.held_ms),
            Some(found) => *found = lock,
            None => trial.locks.push(lock),
        }
    }
    for (oid, now) in std::mem::take(&mut seen.rows) {
        let earlier = seen.baseline.get(&oid).copied().unwrap_or_default();
        let written: Vec<u64> = (0..3).map(|at| u64::try_from(now[at] - earlier[at]).unwrap_or(0)).collect();
        if written.iter().all(|count| *count == 0) {
            continue;
        }
        // Rows of a table that the file itself makes count as well, under no name that others know.
        let relation = before.get(&oid).map_or_else(|| "new tables".to_owned(), |relation| relation.name.clone());
        match trial.rows.iter_mut().find(|found| found.relation == relation) {
            Some(found) => {
                found.inserted += written[0];
                found.updated += written[1];
                found.deleted += written[2];
            }
            None => trial.rows.push(Rows { relation, inserted: written[0], updated: written[1], deleted: written[2] }),
        }
    }
}

/// The relation locks that a session holds.
fn locks_of(pid: &str) -> String {
    format!(
        "SELECT 'lock', l.relation, l.mode FROM pg_catalog.pg_locks l WHERE l.pid = {pid} AND l.locktype = 'relation' \
         AND l.granted AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    )
}

fn note_locks(
    rows: &[PgRow],
    statement: usize,
    started: Instant,
    before: &BTreeMap<String, Relation>,
    seen: &mut Seen,
) {
    for row in rows.iter().filter(|row| text(row, 0).as_deref() == Some("lock")) {
        let (Some(oid), Some(mode)) = (text(row, 1), text(row, 2).and_then(|mode| LockMode::parse(&mode))) else {
            continue;
        };
        // What the transaction itself made is nobody else's yet; sequences block nobody.
        if before.get(&oid).is_none_or(|relation| relation.kind == "S") {
            continue;
        }
        let entry = seen.locks.entry(oid).or_insert((mode, statement, started));
        if mode > entry.0 {
            *entry = (mode, statement, started);
        }
    }
}

fn counts(rows: &[PgRow]) -> BTreeMap<String, [i64; 3]> {
    let count = |row: &PgRow, at| text(row, at).and_then(|text| text.parse().ok()).unwrap_or(0);
    rows.iter()
        .filter(|row| text(row, 0).as_deref() == Some("rows"))
        .filter_map(|row| Some((text(row, 1)?, [count(row, 2), count(row, 3), count(row, 4)])))
        .collect()
}

fn number(row: &PgRow, at: usize) -> Option<f64> {
    text(row, at).and_then(|text| text.parse().ok())
}

fn millis(elapsed: Duration) -> f64 {
    (elapsed.as_secs_f64() * 1e6).round() / 1e3
}

fn unreadable(error: &sqlx::Error) -> Error {
    server_error(Code::MigrationFailed, "what the migration does cannot be looked at", error)
}
