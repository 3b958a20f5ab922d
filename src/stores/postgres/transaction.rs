//! Files that run in a transaction: text and ledger row live or die together. Several may share one;
//! whatever then goes wrong, the result is the same as if each had had its own.

use std::time::Duration;

use rand::RngExt as _;

use super::error::{is_lost, sqlstate, words};
use super::failure::{self, is_passing};
use super::ledger::{BEGIN_CLOCK, CLOCK, Entry, Span, clock, elapsed, read_row};
use super::message::{Batch, Role, Stop, Where};
use super::script::Prepared;
use super::splitter::Kind;
use super::{Path, PostgresStore, run};
use crate::engine::event::Events;
use crate::engine::ledger::State;
use crate::engine::plan::Action;
use crate::error::{Error, Result};
use crate::stores::Done;

/// How often a transaction is tried that waited too long for a lock or was in a deadlock.
pub const TRIES: u32 = 5;

/// Why a group of files was not applied. Nothing of the group is in effect.
#[derive(Debug)]
pub struct Undone {
    /// The index of the file in the group; none where it is not known.
    pub file: Option<usize>,
    /// Trying the files one by one may do better.
    pub may_split: bool,
    /// The error, with what happened to the data.
    pub error: Error,
    /// The server's code, where it sent one.
    pub sqlstate: Option<String>,
}

impl PostgresStore {
    /// Runs files in one transaction, with retries where a lock was in the way. After the last one of a run the session gets
    /// its settings back in the same message.
    pub(super) async fn run_transaction(
        &mut self,
        files: &[Prepared<'_>],
        stays: &str,
        is_last: bool,
        events: &dyn Events,
    ) -> Result<Vec<Done>, Box<Undone>> {
        let mut tries = 1;
        loop {
            if self.path == Path::Pooled
                && let Some(done) = self.begin_files(files).await?
            {
                return Ok(done);
            }
            let stop = match self.send_transaction(files, is_last).await {
                Ok(rows) => return done(&rows),
                Err(stop) => stop,
            };
            if is_lost(&stop.error) || matches!(stop.place, Where::Own { role: Role::After, .. }) {
                return self.settle(files, &stop, stays).await;
            }
            let file = match stop.place {
                Where::Statement { file, .. } => Some(file),
                Where::Own { role: Role::Commit | Role::Ledger, .. } if files.len() > 1 => None,
                Where::Own { file, .. } => Some(file),
            };
            let is_final = !is_passing(&stop.error) || tries == TRIES;
            if let Err(error) = run(&mut self.connection, "ROLLBACK".into()).await
                && is_lost(&error)
            {
                return self.settle(files, &stop, stays).await;
            }
            if is_final {
                let what = if super::script::unit(files) == files.len() {
                    "nothing of this file"
                } else {
                    "nothing of these files"
                };
                let word = if files[0].step.action == Action::Revert { "undone" } else { "applied" };
                let data = format!("rolled back; {what} was {word}{stays}");
                return Err(Box::new(Undone {
                    file,
                    may_split: true,
                    error: failure::error(&stop, files, data),
                    sqlstate: sqlstate(&stop.error).map(str::to_owned),
                }));
            }
            let label = files[file.unwrap_or(0)].step.label();
            events.note(format!(
                "{label}: {}; rolled back, trying again ({tries} of {})",
                words(&stop.error),
                TRIES - 1
            ));
            pause(tries).await;
            tries += 1;
        }
    }

    /// Sends a transaction over files. One file goes in one message with its row and the COMMIT; the rows of
    /// several are written together, once it is known when each began and ended.
    async fn send_transaction(
        &mut self,
        files: &[Prepared<'_>],
        is_last: bool,
    ) -> Result<Vec<sqlx::postgres::PgRow>, Box<Stop>> {
        let mut batch = Batch::default();
        let is_pooled = self.path == Path::Pooled;
        if !is_pooled {
            batch.own(0, Role::Before, "BEGIN");
        }
        let is_shared = files.len() > 1;
        let role = if is_shared { Role::Clock } else { Role::Before };
        for (at, file) in files.iter().enumerate() {
            if file.statements.is_empty() {
                batch.own(at, role, format!("SELECT {}", self.begin_clock(file, role)));
                self.write_history(&mut batch, at, file);
                continue;
            }
            self.begin_file(&mut batch, at, file, role);
            batch.statements(at, 0..file.statements.len());
            end_quoting(&mut batch, at, file);
            batch.own(at, Role::Constraints, "SET CONSTRAINTS ALL IMMEDIATE");
            self.write_history(&mut batch, at, file);
        }
        let last = files.len() - 1;
        // The file may have become someone who cannot write the ledger.
        batch.own(last, Role::Before, "SET SESSION AUTHORIZATION DEFAULT");
        let mut clocks = Vec::new();
        if is_shared {
            batch.own(last, Role::Clock, format!("SELECT {CLOCK}"));
            clocks = batch.send(&mut self.connection, files).await?.iter().filter_map(clock).collect();
            batch = Batch::default();
        }
        let spans = clocks.windows(2).map(|pair| Span { began: pair[0], finished: pair[1] });
        let spans: Vec<Option<Span>> = spans.map(Some).chain(std::iter::repeat(None)).take(files.len()).collect();
        let told: Vec<(&Prepared<'_>, Entry<'_>)> =
            files.iter().zip(spans).map(|(file, span)| (file, Entry { span, ..entry(file) })).collect();
        for told in told.chunk_by(|(_, a), (_, b)| a.event == b.event) {
            // A hook has no row: that it ran is all there is to write.
            if told[0].0.step.is_hook() {
                for (file, entry) in told {
                    batch.own(last, Role::Ledger, self.event(entry.event, Some(file.step), None, None));
                }
                continue;
            }
            let entries: Vec<Entry<'_>> = told.iter().map(|(_, entry)| *entry).collect();
            batch.own(last, Role::Ledger, self.upsert(&entries));
            batch.own(last, Role::Before, self.happened(&entries));
        }
        if is_pooled {
            // What a file set for its session would stay with a connection that others use.
            batch.own(last, Role::Before, "RESET ALL");
        }
        batch.own(last, Role::Commit, "COMMIT");
        if is_last && !is_pooled {
            for statement in self.restoring() {
                batch.own(last, Role::After, statement);
            }
        }
        let rows = batch.send(&mut self.connection, files).await?;
        self.is_restored = is_last;
        Ok(rows)
    }

    /// What the other tool would write of a file, as the role that owns its history.
    fn write_history(&self, batch: &mut Batch, at: usize, file: &Prepared<'_>) {
        let statements = self.history_of(file.step);
        if !statements.is_empty() {
            batch.own(at, Role::Before, "SET SESSION AUTHORIZATION DEFAULT");
        }
        for statement in statements {
            batch.own(at, Role::History, statement);
        }
    }

    /// Brings the session to the settings that a file begins with, whatever came before it, and notes the time.
    pub(super) fn begin_file(&self, batch: &mut Batch, at: usize, file: &Prepared<'_>, role: Role) {
        let header = &file.step.script.header;
        let mut settings = self.settings.clone();
        settings.lock_timeout = header.lock_timeout.map_or(settings.lock_timeout, |limit| limit.millis());
        settings.statement_timeout =
            header.statement_timeout.map_or(settings.statement_timeout, |limit| limit.millis());
        let clock = self.begin_clock(file, role);
        if self.path == Path::Pooled {
            batch.own(at, role, format!("SELECT {clock}, {}", settings.columns(&self.facts, true)));
            return;
        }
        batch.own(at, Role::Before, "SET SESSION AUTHORIZATION DEFAULT");
        batch.own(at, Role::Before, "RESET ALL");
        batch.own(at, role, format!("SELECT {clock}, {}", settings.columns(&self.facts, false)));
    }

    /// Where the times are read from the answers, the server need not remember them: each setting that it does not know costs it
    /// 40 microseconds. What is written for another tool asks for it.
    fn begin_clock(&self, file: &Prepared<'_>, role: Role) -> &'static str {
        if role == Role::Clock && self.history_of(file.step).is_empty() { CLOCK } else { BEGIN_CLOCK }
    }
}

/// Where a file changed how strings are read: back, before the next message is read as a whole.
pub fn end_quoting(batch: &mut Batch, at: usize, file: &Prepared<'_>) {
    if file.statements.iter().any(|statement| statement.kind == Kind::Quoting) {
        batch.own(at, Role::Before, "RESET standard_conforming_strings").cut();
    }
}

/// The ledger entry that a file's transaction ends with.
pub fn entry<'a>(file: &'a Prepared<'_>) -> Entry<'a> {
    let (state, event) = match file.step.action {
        Action::Apply => (State::Applied, "applied"),
        Action::Record => (State::Applied, "recorded"),
        Action::Revert => (State::Reverted, "reverted"),
        Action::Forget => (State::Reverted, "superseded"),
        // A hook has no row.
        Action::Hook(moment) => (State::Applied, moment.word()),
    };
    let done = if state == State::Applied { file.total() } else { 0 };
    Entry { step: file.step, state, done, total: file.total(), event, span: None }
}

fn done(rows: &[sqlx::postgres::PgRow]) -> Result<Vec<Done>, Box<Undone>> {
    rows.iter()
        .map(|row| Ok(Done { row: read_row(row)?, elapsed: elapsed(row) }))
        .collect::<Result<Vec<_>>>()
        .map_err(|error| Box::new(Undone { file: None, may_split: false, error, sqlstate: None }))
}

/// Waits a little longer each time, never exactly as long as another runner.
pub async fn pause(tries: u32) {
    let millis = 100.0 * f64::from(1_u32 << tries.min(5)) * rand::rng().random_range(0.5..1.5);
    tokio::time::sleep(Duration::from_secs_f64(millis / 1000.0)).await;
}
