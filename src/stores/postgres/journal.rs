//! Files whose statements run one by one. What can run in a transaction does so together with its
//! journal entry; what cannot is journaled before and after, and looked for in the catalog where it
//! was cut short. A next run goes on at the very statement.

use super::block::{Unit, unit};
use super::connect::text;
use super::error::{is_lost, sqlstate, words};
use super::failure::{self, is_passing};
use super::ident::literal;
use super::index::{Found, Shape, shape};
use super::ledger::{Entry, elapsed, read_row};
use super::message::{Batch, Role, Stop, Where};
use super::script::{Prepared, line};
use super::splitter::{Kind, split};
use super::transaction::{TRIES, end_quoting, entry, pause};
use super::{PostgresStore, run};
use crate::engine::event::Events;
use crate::engine::ledger::State;
use crate::engine::plan::Action;
use crate::error::{Code, Error, Result};
use crate::stores::{Done, told};

/// What an earlier run left in the journal.
#[derive(Debug, Default)]
struct Past {
    /// How many statements are in effect.
    done: usize,
    /// The statement behind them was begun.
    is_open: bool,
    /// The server said that it failed.
    has_failed: bool,
    /// The text of that run.
    text: Option<String>,
}

impl PostgresStore {
    /// Runs a journaled file from where it stands to its end.
    pub(super) async fn run_journal(
        &mut self,
        file: &Prepared<'_>,
        done: &[String],
        events: &dyn Events,
    ) -> Result<Done> {
        let stays = failure::stays(done);
        let past = self.past(file).await?;
        refuse_edited(file, &past)?;
        let total = file.statements.len();
        let mut at = past.done;
        if past.is_open && at < total {
            at += usize::from(self.resolve(file, &past).await?);
        }
        self.begin_journal(file, at).await?;
        if at > 0 {
            events.note(format!("{}: going on at statement {} of {total}", file.step.label(), (at + 1).min(total)));
        }
        while at < total {
            let unit = unit(file, at);
            if events.is_cancelled() {
                return Err(Error::new(Code::Unfinished, format!("{} was cut short", file.step.label()))
                    .data(format!("stopped after step {at} of {total}{stays}"))
                    .hint("run it again: it goes on at the next step"));
            }
            self.step(file, at, &unit, &stays, events).await?;
            at = unit.end(at);
        }
        self.end_journal(file).await
    }

    async fn past(&mut self, file: &Prepared<'_>) -> Result<Past> {
        let sql = format!(
            "SELECT state, steps_done, down_done, step_open, text, down_text FROM lyrox.migrations WHERE {}",
            self.row_of(file.step)
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let Some(row) = rows.first() else { return Ok(Past::default()) };
        let number = |at: usize| text(row, at).and_then(|text| text.parse::<i64>().ok());
        let state = text(row, 0).and_then(|state| State::parse(&state));
        let is_down = file.step.action == Action::Revert;
        let is_unfinished = matches!(state, Some(State::Started | State::Failed));
        // A repeatable runs from its beginning, however far it came.
        if !is_down && !is_unfinished || file.step.version.is_repeatable() {
            return Ok(Past::default());
        }
        let done = number(if is_down { 2 } else { 1 }).and_then(|done| usize::try_from(done).ok()).unwrap_or(0);
        let next = i64::try_from(done + 1).unwrap_or(i64::MAX);
        Ok(Past {
            done,
            is_open: number(3) == Some(if is_down { -next } else { next }),
            has_failed: state == Some(State::Failed),
            // The row keeps the text of what runs, whichever way it goes.
            text: if is_down { text(row, 5) } else { text(row, 4) },
        })
    }

    /// Settles a statement that an earlier run began: true where it is in effect.
    async fn resolve(&mut self, file: &Prepared<'_>, past: &Past) -> Result<bool> {
        // What was begun is what the earlier text says; the file may have been mended since.
        let earlier = past.text.as_deref().and_then(|text| {
            let statement = *split(text).ok()?.get(past.done)?;
            Some(statement.text(text).to_owned())
        });
        let now = file.statement(past.done).to_owned();
        let begun = earlier.unwrap_or_else(|| now.clone());
        let found = self.look_for(&begun, past.has_failed).await.map_err(|error| unreadable(&error))?;
        match found {
            Found::Done => Ok(begun == now),
            Found::Absent => Ok(false),
            Found::Invalid(index) => {
                run(&mut self.connection, format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await.map_err(
                    |error| {
                        super::error::server_error(
                            Code::Unfinished,
                            format!("the INVALID index {index} cannot be dropped"),
                            &error,
                        )
                        .data(format!("stopped after step {} of {}", past.done, file.total()))
                    },
                )?;
                Ok(false)
            }
            Found::Unknown(why) => Err(Self::ask(file, past.done, &why)),
        }
    }

    /// The error that asks a person to look.
    fn ask(file: &Prepared<'_>, at: usize, why: &str) -> Error {
        told::in_doubt(file.step, at, format!("{why}\n{}", line(file.statement(at))))
            .at(file.place_of(at))
            .data(format!("steps 1 to {at} of {} are in effect", file.total()))
    }

    /// Writes the row as started and brings the session to the file's settings.
    async fn begin_journal(&mut self, file: &Prepared<'_>, at: usize) -> Result<()> {
        let files = std::slice::from_ref(file);
        let mut batch = Batch::default();
        self.begin_file(&mut batch, 0, file, Role::Before);
        if file.step.action == Action::Revert {
            batch.own(0, Role::Before, self.begin_down(file, at));
        } else {
            let started = [Entry {
                step: file.step,
                state: State::Started,
                done: u32::try_from(at).unwrap_or(u32::MAX),
                total: file.total(),
                event: "started",
                span: None,
            }];
            batch.own(0, Role::Before, self.upsert(&started)).own(0, Role::Before, self.happened(&started));
        }
        for statement in self.history_started(file.step) {
            batch.own(0, Role::History, statement);
        }
        // The settings that earlier statements of the file made are made again.
        for statement in 0..at {
            if file.statement(statement).get(..4).is_some_and(|word| word.eq_ignore_ascii_case("set ")) {
                batch.statements(0, statement..statement + 1);
            }
        }
        let sent = batch.send(&mut self.connection, files).await;
        sent.map(drop)
            .map_err(|stop| failure::error(&stop, files, format!("stopped after step {at} of {}", file.total())))
    }

    /// As [`Self::mark`], and keeps the text that runs: the next run can tell what was edited since.
    fn begin_down(&self, file: &Prepared<'_>, at: usize) -> String {
        let text = literal(&file.step.script.text);
        format!(
            "UPDATE lyrox.migrations SET down_done = {at}, step_open = NULL, down_text = {text} WHERE {}",
            self.row_of(file.step)
        )
    }

    /// An `UPDATE` that says how many statements are in effect and which one is begun.
    fn mark(&self, file: &Prepared<'_>, done: usize, open: Option<usize>) -> String {
        let is_down = file.step.action == Action::Revert;
        let column = if is_down { "down_done" } else { "steps_done" };
        let open = open.map_or_else(|| "NULL".to_owned(), |at| if is_down { format!("-{at}") } else { at.to_string() });
        format!("UPDATE lyrox.migrations SET {column} = {done}, step_open = {open} WHERE {}", self.row_of(file.step))
    }

    /// Runs one statement with its journal entries.
    async fn step(
        &mut self,
        file: &Prepared<'_>,
        at: usize,
        unit: &Unit,
        stays: &str,
        events: &dyn Events,
    ) -> Result<()> {
        let is_bare = matches!(file.statements[at].kind, Kind::Bare | Kind::Procedure);
        let mut tries = 1;
        loop {
            let sent = if is_bare { self.bare(file, at).await? } else { self.journaled(file, at, unit).await };
            let Err(stop) = sent else { return Ok(()) };
            if is_lost(&stop.error) {
                // Whatever comes next needs a session; the journal knows where to go on.
                let again = self.reconnect().await;
                // What ran in a transaction is in effect exactly if its entry is there.
                if !is_bare && again.is_ok() && self.past(file).await.is_ok_and(|past| past.done == at + 1) {
                    return self.begin_journal(file, at + 1).await;
                }
                let data = format!(
                    "steps 1 to {at} of {} are in effect; the next run finds out about step {} and goes on{stays}",
                    file.total(),
                    at + 1
                );
                return Err(failure::error(&stop, std::slice::from_ref(file), data)
                    .hint(format!("run {} again", failure::command(file.step))));
            }
            let _ = run(&mut self.connection, "ROLLBACK".into()).await;
            let left = if is_bare { self.look_for(file.statement(at), true).await.ok() } else { None };
            if is_passing(&stop.error) && tries < TRIES {
                if let Some(Found::Invalid(index)) = left {
                    let _ = run(&mut self.connection, format!("DROP INDEX CONCURRENTLY IF EXISTS {index}")).await;
                }
                let label = file.step.label();
                let words = words(&stop.error);
                events.note(format!("{label}: {words}; trying statement {} again ({tries} of {})", at + 1, TRIES - 1));
                pause(tries).await;
                tries += 1;
                continue;
            }
            return Err(self.fail(file, at, &stop, left, stays).await);
        }
    }

    /// A statement that can run in a transaction: it and its journal entry live or die together.
    async fn journaled(&mut self, file: &Prepared<'_>, at: usize, unit: &Unit) -> Result<(), Box<Stop>> {
        let mut batch = Batch::default();
        let end = unit.end(at);
        match unit {
            Unit::Single => batch.own(0, Role::Before, "BEGIN").statements(0, at..end),
            // The file's own BEGIN may say which kind of transaction; its COMMIT comes behind the journal's entry.
            Unit::Committed(range) => batch.statements(0, range.start..range.end - 1),
            Unit::RolledBack(range) => batch.statements(0, range.clone()).own(0, Role::Before, "BEGIN"),
            Unit::Stray => batch.own(0, Role::Before, "BEGIN"),
        };
        batch.own(0, Role::Constraints, "SET CONSTRAINTS ALL IMMEDIATE");
        // The file may have become someone who cannot write the ledger; it stays so after the COMMIT.
        batch.own(0, Role::Before, "SET LOCAL ROLE NONE");
        batch.own(0, Role::Before, self.mark(file, end, None)).own(0, Role::Commit, "COMMIT");
        batch.send(&mut self.connection, std::slice::from_ref(file)).await.map(drop)
    }

    /// A statement that cannot run in a transaction: journaled before and after.
    async fn bare(&mut self, file: &Prepared<'_>, at: usize) -> Result<Result<(), Box<Stop>>> {
        let statement = file.statement(at);
        let makes_index = matches!(shape(statement), Shape::CreateIndex { .. });
        if makes_index
            && let Found::Invalid(index) = self.look_for(statement, true).await.map_err(|error| unreadable(&error))?
        {
            return Err(Error::new(Code::MigrationFailed, format!("the index {index} exists and is INVALID"))
                .why("it is left from a concurrent build that was cut short, and not from this migration")
                .at(file.place_of(at))
                .data(format!("stopped after step {at} of {}", file.total()))
                .hint(format!("DROP INDEX CONCURRENTLY {index}, then run {} again", failure::command(file.step))));
        }
        if let Err(stop) = self.note_mark(file, at, Some(at + 1)).await {
            return Ok(Err(stop));
        }
        let mut batch = Batch::default();
        batch.statements(0, at..at + 1);
        if let Err(stop) = batch.send(&mut self.connection, std::slice::from_ref(file)).await {
            return Ok(Err(stop));
        }
        Ok(self.note_mark(file, at + 1, None).await)
    }

    async fn note_mark(&mut self, file: &Prepared<'_>, done: usize, open: Option<usize>) -> Result<(), Box<Stop>> {
        let mut batch = Batch::default();
        batch.own(0, Role::Before, "BEGIN").own(0, Role::Before, "SET LOCAL ROLE NONE");
        batch.own(0, Role::Ledger, self.mark(file, done, open)).own(0, Role::Commit, "COMMIT");
        batch.send(&mut self.connection, std::slice::from_ref(file)).await.map(drop)
    }

    /// Writes that a statement failed, and makes the error.
    async fn fail(&mut self, file: &Prepared<'_>, at: usize, stop: &Stop, left: Option<Found>, stays: &str) -> Error {
        let code = sqlstate(&stop.error);
        let mut sql = String::from("SET SESSION AUTHORIZATION DEFAULT;");
        if file.step.action == Action::Revert {
            // The server says that it failed: there is no doubt to settle.
            sql.push_str(&self.mark(file, at, None));
            sql.push(';');
        } else {
            sql.push_str(&format!(
                "UPDATE lyrox.migrations SET state = 'failed', error_code = {} WHERE {};",
                super::ident::literal_or_null(code),
                self.row_of(file.step)
            ));
        }
        sql.push_str(&self.event("failed", Some(file.step), u32::try_from(at + 1).ok(), code));
        // The journal already says which statement was begun.
        let _ = run(&mut self.connection, sql).await;
        let total = file.total();
        let mut data = match at {
            0 => format!("stopped at step 1 of {total}; nothing of this file is in effect"),
            1 => format!("stopped after step 1 of {total}, which is in effect"),
            at => format!("stopped after step {at} of {total}; steps 1 to {at} are in effect"),
        };
        if let Some(Found::Invalid(index)) = left {
            data.push_str(&format!("; the INVALID index {index} is left, and the next run drops and builds it again"));
        }
        data.push_str(stays);
        let error = failure::error(stop, std::slice::from_ref(file), data);
        if matches!(stop.place, Where::Own { .. }) {
            return error;
        }
        error.hint_if_none(format!(
            "mend the file from this statement on, then run {} again: it goes on there",
            failure::command(file.step)
        ))
    }

    /// Writes the row as done.
    async fn end_journal(&mut self, file: &Prepared<'_>) -> Result<Done> {
        let files = std::slice::from_ref(file);
        let mut batch = Batch::default();
        end_quoting(&mut batch, 0, file);
        batch.own(0, Role::Before, "BEGIN").own(0, Role::Before, "SET SESSION AUTHORIZATION DEFAULT");
        for statement in self.history_of(file.step) {
            batch.own(0, Role::History, statement);
        }
        let entries = [entry(file)];
        batch.own(0, Role::Ledger, self.upsert(&entries)).own(0, Role::Before, self.happened(&entries));
        batch.own(0, Role::Commit, "COMMIT");
        let rows = match batch.send(&mut self.connection, files).await {
            Ok(rows) => rows,
            Err(stop) => {
                // The row is part of the transaction whose answer was lost: where it is there, all is done.
                if is_lost(&stop.error)
                    && let Ok(mut done) = self.settle(files, &stop, "").await
                    && let Some(done) = done.pop()
                {
                    return Ok(done);
                }
                let data = format!("all {} steps are in effect; the ledger may not say so yet", file.total());
                let error = failure::error(&stop, files, data);
                let command = failure::command(file.step);
                return Err(error.hint(format!("run {command} again: it writes the ledger")));
            }
        };
        let row = rows.first().ok_or_else(|| Error::bug("the ledger answered no row"))?;
        Ok(Done { row: read_row(row)?, elapsed: elapsed(row) })
    }
}

fn unreadable(error: &sqlx::Error) -> Error {
    super::error::server_error(Code::LedgerDamaged, "the journal cannot be read", error)
}

/// What is in effect must still be what the file says.
fn refuse_edited(file: &Prepared<'_>, past: &Past) -> Result<()> {
    let Some(text) = past.text.as_deref().filter(|_| past.done > 0) else { return Ok(()) };
    let Ok(earlier) = split(text) else { return Ok(()) };
    for (at, statement) in earlier.iter().enumerate().take(past.done) {
        let is_same = at < file.statements.len() && statement.text(text) == file.statement(at);
        if !is_same {
            return Err(Error::new(
                Code::Unfinished,
                format!("statement {} of {} is in effect and was edited", at + 1, file.step.label()),
            )
            .why(format!("it was run as: {}", line(statement.text(text))))
            .at(file.place_of(at.min(file.statements.len() - 1)))
            .data(format!("steps 1 to {} are in effect; nothing was changed now", past.done))
            .hint("undo the edit; only statements behind the ones in effect may change"));
        }
    }
    Ok(())
}
