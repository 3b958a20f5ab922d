//! Applies, undoes and records migrations: which commands run together, what is journaled around them,
//! and what is said when one fails.

use std::time::{Duration, Instant};

use bson::{DateTime, Document};
use mongodb::Client;

use super::error::{Refusal, work_error};
use super::journal::{Journal, Unwritten};
use super::ledger::{Books, EVENTS, MIGRATIONS};
use super::lock::Held;
use super::probe::{Found, means_done, probe};
use super::run::{Stop, alone, together};
use super::script::{Command, Kind};
use crate::config::Endpoint;
use crate::engine::event::Events;
use crate::engine::ledger::Row;
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::{lease, told};

/// What a run of steps works with.
pub struct Runner<'a> {
    /// The ledger.
    pub books: &'a Books,
    /// The driver's client.
    pub client: &'a Client,
    /// For messages.
    pub endpoint: &'a Endpoint,
    /// The lock that is checked before each step.
    pub lock: &'a Held,
    /// The server takes transactions.
    pub has_transactions: bool,
    /// The id of the run.
    pub run: &'a str,
    /// Asked whether the user wants the run to end.
    pub events: &'a dyn Events,
}

/// Commands that run in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// In one transaction: from, until (exclusive).
    Together(usize, usize),
    /// Outside a transaction.
    Alone(usize),
}

/// Groups the commands from `done` on: data commands that follow each other share a transaction.
pub fn groups(commands: &[Command], done: usize, with_transactions: bool) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut at = done.min(commands.len());
    while at < commands.len() {
        let data = commands[at..].iter().take_while(|command| command.kind == Kind::Data).count();
        if with_transactions && data > 0 {
            groups.push(Group::Together(at, at + data));
            at += data;
        } else {
            groups.push(Group::Alone(at));
            at += 1;
        }
    }
    groups
}

impl Runner<'_> {
    /// Runs one step to its end.
    ///
    /// # Errors
    /// What stopped it, with what happened to the data.
    pub async fn step(&self, step: &Step, commands: &[Command]) -> Result<(Row, Duration)> {
        let begun = Instant::now();
        let now = self.check_lock(told::data(step.action, 0, commands.len(), false)).await?;
        let id = bson::doc! { "_id": self.books.id(&step.version) };
        let before = self.books.collection(MIGRATIONS).find_one(id).await;
        let before = before.map_err(|error| self.work("read the ledger", &error))?;
        let mut journal = Journal::take_up(self.books, step, commands, self.lock, self.run, before, now)?;
        if step.is_ledger_only() {
            journal.done = commands.len();
            let row = journal.finish(None).await.map_err(|unwritten| self.unwritten(&journal, commands, unwritten))?;
            return Ok((row, begun.elapsed()));
        }
        let row = self.run(&mut journal, commands).await?;
        Ok((row, begun.elapsed()))
    }

    /// Runs a hook: its commands one by one, without a row; an event says that it ran.
    ///
    /// # Errors
    /// What stopped it.
    pub async fn hook(&self, step: &Step, commands: &[Command]) -> Result<()> {
        for (at, command) in commands.iter().enumerate() {
            let data = told::data(step.action, at, commands.len(), false);
            self.check_lock(data.clone()).await?;
            match alone(self.client, self.lock, &self.books.database, command, at).await {
                Ok(()) => {}
                Err(Stop::Refused { refusal, .. }) => return Err(refused(step, commands, at, &refusal).data(data)),
                Err(Stop::Gone(error) | Stop::InDoubt(error)) => {
                    return Err(self.work("run a hook", &error).data(data).at(command.place(&step.script)));
                }
                Err(Stop::Overtaken) => return Err(lease::lost(StoreKind::Mongodb).data(data)),
            }
        }
        let Action::Hook(moment) = step.action else { return Ok(()) };
        let (filter, update) = self.books.event(moment.word(), step, Document::new());
        let written = self.books.collection(EVENTS).update_one(filter, update).upsert(true).await;
        written.map(drop).map_err(|error| self.work("write the event log", &error))
    }

    async fn run(&self, journal: &mut Journal<'_>, commands: &[Command]) -> Result<Row> {
        let step = journal.step();
        let doubted = self.settle_doubt(journal, commands).await?;
        let groups = groups(commands, journal.done, self.has_transactions && !step.script.header.no_transaction);
        // A file that is one transaction needs no row before it.
        if !matches!(groups[..], [Group::Together(0, _)]) {
            let taken = journal.take().await;
            taken.map_err(|unwritten| self.unwritten(journal, commands, unwritten))?;
        }
        for (nth, group) in groups.into_iter().enumerate() {
            if nth > 0 {
                if self.events.is_cancelled() {
                    return Err(told::cancelled(step, journal.done, commands.len()));
                }
                self.check_lock(told::data(step.action, journal.done, commands.len(), false)).await?;
            }
            match group {
                Group::Together(from, until) => {
                    let outcome = together(self.lock, &self.books.database, journal, commands, from, until).await;
                    match outcome {
                        Ok(Some(row)) => return Ok(row),
                        Ok(None) => {}
                        Err(stop) => return Err(self.stopped(journal, commands, stop, true, false).await),
                    }
                }
                Group::Alone(at) => self.alone(journal, commands, at, doubted == Some(at)).await?,
            }
        }
        journal.finish(None).await.map_err(|unwritten| self.unwritten(journal, commands, unwritten))
    }

    /// Settles whether the command that was begun last took effect. Answers it where it is to be run again.
    async fn settle_doubt(&self, journal: &mut Journal<'_>, commands: &[Command]) -> Result<Option<usize>> {
        let Some((at, hash)) = journal.doing.clone() else { return Ok(None) };
        // A command that was mended since is run as it is now.
        let Some(command) = commands.get(at).filter(|command| at == journal.done && command.hash == hash) else {
            return Ok(None);
        };
        let found = probe(&self.books.database, command).await;
        match found.map_err(|error| self.work("look whether a command took effect", &error))? {
            Found::Done => {
                journal.done = at + 1;
                Ok(None)
            }
            Found::Run => Ok(Some(at)),
            Found::Unclear(why) => Err(unclear(journal.step(), commands, at, why)),
        }
    }

    async fn alone(&self, journal: &mut Journal<'_>, commands: &[Command], at: usize, was_begun: bool) -> Result<()> {
        let command = &commands[at];
        let begun = journal.begin(at).await;
        begun.map_err(|unwritten| self.unwritten(journal, commands, unwritten))?;
        match alone(self.client, self.lock, &self.books.database, command, at).await {
            Ok(()) => {}
            Err(Stop::Refused { refusal, .. }) if was_begun && means_done(command, refusal.code) => {}
            // A repeatable says what is to be there, however often it runs.
            Err(Stop::Refused { refusal, .. })
                if journal.step().version.is_repeatable() && is_there(command, &refusal) =>
            {
                if let Some(change) = command.as_change()
                    && let Err(stop) = alone(self.client, self.lock, &self.books.database, &change, at).await
                {
                    return Err(self.stopped(journal, commands, stop, false, was_begun).await);
                }
            }
            Err(stop) => return Err(self.stopped(journal, commands, stop, false, was_begun).await),
        }
        journal.done = at + 1;
        Ok(())
    }

    /// Renews the lock; answers the server's time.
    async fn check_lock(&self, data: String) -> Result<DateTime> {
        match self.lock.check().await {
            Ok(Some(now)) => Ok(now),
            Ok(None) => Err(lease::lost(StoreKind::Mongodb).data(data)),
            Err(error) => Err(self.work("renew the lock", &error).data_if_none(data)),
        }
    }

    /// The error of what stopped a step; what can be written to the journal is.
    async fn stopped(
        &self,
        journal: &mut Journal<'_>,
        commands: &[Command],
        stop: Stop,
        is_transaction: bool,
        was_begun: bool,
    ) -> Error {
        let (step, total, done) = (journal.step(), commands.len(), journal.done);
        match stop {
            Stop::Refused { at, refusal, written } => {
                let is_partial = written > 0;
                let code = refusal.code.to_string();
                let journaled = journal.fail(&code, is_partial).await;
                if journaled.is_err() && matches!(self.lock.check().await, Ok(None)) {
                    return lease::lost(StoreKind::Mongodb).data(told::data(step.action, done, total, is_transaction));
                }
                if was_begun {
                    return unclear(step, commands, at, refusal.shown());
                }
                let mut data = told::data(step.action, done, total, is_transaction);
                if is_partial {
                    let items = if written == 1 { "1 item".to_owned() } else { format!("{written} items") };
                    let verb = if written == 1 { "was" } else { "were" };
                    data = format!("{data}; {items} of step {} {verb} written before it failed", at + 1);
                }
                if journaled.is_err() {
                    data.push_str("; the ledger could not be told");
                }
                refused(step, commands, at, &refusal).data(data)
            }
            Stop::Overtaken => {
                lease::lost(StoreKind::Mongodb).data(told::data(step.action, done, total, is_transaction))
            }
            Stop::Gone(error) => {
                let data = told::data(step.action, done, total, is_transaction);
                self.work("run a migration", &error).data(data).hint("run it again")
            }
            // Whoever took the lock over has ended what this run had begun.
            Stop::InDoubt(_) if matches!(self.lock.check().await, Ok(None)) => {
                lease::lost(StoreKind::Mongodb).data(told::data(step.action, done, total, false))
            }
            Stop::InDoubt(error) => {
                let cause = self.work("run a migration", &error);
                let why = cause.why_text().unwrap_or("no answer came").to_owned();
                let next = commands.get(done).map(|command| command.place(&step.script));
                let what = format!("it is not known whether step {} of {} took effect", done + 1, step.label());
                let error = Error::new(Code::InDoubt, what)
                    .why(why)
                    .data(told::data(step.action, done, total, false))
                    .hint("run it again when the server answers: lyrox looks what took effect and goes on there");
                match next {
                    Some(place) => error.at(place),
                    None => error,
                }
            }
        }
    }

    fn unwritten(&self, journal: &Journal<'_>, commands: &[Command], unwritten: Unwritten) -> Error {
        let data = told::data(journal.step().action, journal.done, commands.len(), false);
        match unwritten {
            Unwritten::Overtaken => lease::lost(StoreKind::Mongodb).data(data),
            Unwritten::Driver(error) => {
                self.work("write the ledger", &error).data(data).hint("run it again: the journal says where to go on")
            }
        }
    }

    fn work(&self, doing: &str, error: &mongodb::error::Error) -> Error {
        work_error(self.endpoint, doing, error)
    }
}

/// Whether a refusal says that what a repeatable makes is there already, or what it drops is gone, so that it can be
/// brought to what the command asks for.
fn is_there(command: &Command, refusal: &Refusal) -> bool {
    match command.name() {
        "create" => refusal.code == 48 && command.can_change(),
        name => means_done(command, refusal.code) && matches!(name, "drop" | "dropIndexes"),
    }
}

fn refused(step: &Step, commands: &[Command], at: usize, refusal: &Refusal) -> Error {
    let command = &commands[at];
    let what = format!("step {} of {}, `{}`, failed", at + 1, commands.len(), command.name());
    Error::new(Code::MigrationFailed, what)
        .why(refusal.shown())
        .at(command.place(&step.script))
        .hint(advice(step, command, refusal.code).unwrap_or_else(|| told::way_on(step.action, at)))
}

/// The way on where the server's number tells it.
fn advice(step: &Step, command: &Command, code: i32) -> Option<String> {
    Some(match code {
        13 => "give the user the roles readWrite and dbAdmin on the database".into(),
        48 => format!("`{}` exists: change it with collMod, or drop it first", command.target().unwrap_or_default()),
        85 | 86 => "give the index another name, or drop the one that is there first (dropIndexes)".into(),
        59 | 115 => format!("look for a typing error: the server does not know `{}`", command.name()),
        290 | 251 | 225 => {
            format!(
                "the transaction took too long: write `// lyrox: no-transaction` at the top of {}",
                step.script.path
            )
        }
        _ => return super::error::advice(code).map(str::to_owned),
    })
}

fn unclear(step: &Step, commands: &[Command], at: usize, why: String) -> Error {
    let error = told::in_doubt(step, at, why).data(told::data(step.action, at, commands.len(), false));
    match commands.get(at) {
        Some(command) => error.at(command.place(&step.script)),
        None => error,
    }
}
