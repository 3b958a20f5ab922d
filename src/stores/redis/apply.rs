//! Applies, undoes and records migrations: which commands run inside a script of the server, which alone,
//! and what is said when one fails.

use std::time::{Duration, Instant};

use redis::{RedisError, Value};

use super::commands::{Known, look_up};
use super::error::{Refusal, refusal, work_error};
use super::journal::{Journal, Ran};
use super::ledger::{Books, Event, Trouble};
use super::lock::Held;
use super::lua;
use super::probe::{Found, code, means_done, probe};
use super::script::Command;
use crate::config::Endpoint;
use crate::engine::event::Events;
use crate::engine::ledger::Row;
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::stores::{lease, told};

/// How many commands share a script: the server does nothing else meanwhile.
const MOST_COMMANDS: usize = 200;
/// How many bytes they may have: some providers take no bigger request than 1 MB.
const MOST_BYTES: usize = 256 * 1024;
/// How many keys of one migration are remembered for the snapshot.
const MOST_KEYS: usize = 1000;

/// What a run of steps works with.
pub struct Runner<'a> {
    /// The ledger.
    pub books: &'a Books,
    /// For messages.
    pub endpoint: &'a Endpoint,
    /// The lock that every write looks at.
    pub lock: &'a Held,
    /// The id of the run.
    pub run: &'a str,
    /// Asked whether the user wants the run to end.
    pub events: &'a dyn Events,
}

impl Runner<'_> {
    /// Runs one step to its end.
    ///
    /// # Errors
    /// What stopped it, with what happened to the data.
    pub async fn step(&self, step: &Step, commands: &[Command]) -> Result<(Row, Duration)> {
        let begun = Instant::now();
        let nothing = told::data(step.action, 0, commands.len(), false);
        let mut link = self.books.link.clone();
        let known = if step.is_ledger_only() {
            commands.iter().map(|_| Known { keys: None, is_read: false, is_scripted: false }).collect()
        } else {
            look_up(&mut link, &self.books.keys, &step.script, commands).await?
        };
        let taken = Journal::take_up(self.books, self.lock, step, commands, self.run).await;
        let taken = taken.map_err(|trouble| self.trouble("read the ledger", trouble).data_if_none(&nothing))?;
        let mut journal = taken.ok_or_else(|| lease::lost(StoreKind::Redis).data(nothing))?;
        if step.is_ledger_only() {
            journal.done = commands.len();
            journal.doing = None;
        }
        let row = self.run(&mut journal, commands, &known).await?;
        Ok((row, begun.elapsed()))
    }

    /// Runs a hook: its commands one by one, without a row; an event says that it ran.
    ///
    /// # Errors
    /// What stopped it.
    pub async fn hook(&self, step: &Step, commands: &[Command]) -> Result<()> {
        let mut link = self.books.link.clone();
        look_up(&mut link, &self.books.keys, &step.script, commands).await?;
        for (at, command) in commands.iter().enumerate() {
            let data = told::data(step.action, at, commands.len(), false);
            match self.lock.is_ours().await {
                Ok(true) => {}
                Ok(false) => return Err(lease::lost(StoreKind::Redis).data(data)),
                Err(error) => return Err(self.work("renew the lock", &error).data(data)),
            }
            let mut send = redis::Cmd::new();
            for word in &command.words {
                send.arg(word.as_slice());
            }
            let is_everywhere = matches!(command.name().as_str(), "FUNCTION" | "SCRIPT" | "ACL");
            let answer =
                if is_everywhere { link.everywhere(&send).await } else { send.query_async::<Value>(&mut link).await };
            if let Err(error) = answer {
                let Some(refusal) = refusal(&error) else {
                    return Err(self.work("run a hook", &error).data(data).at(command.place(&step.script)));
                };
                let what = format!("step {} of {}, `{}`, failed", at + 1, commands.len(), command.full_name());
                return Err(Error::new(Code::MigrationFailed, what)
                    .why(refusal.shown())
                    .at(place_in_file(step, command, &refusal).unwrap_or_else(|| command.place(&step.script)))
                    .data(data)
                    .hint(refusal.advice().map_or_else(|| told::way_on(step.action, 0), str::to_owned)));
            }
        }
        let Action::Hook(moment) = step.action else { return Ok(()) };
        let keys = &self.books.keys;
        let mut tell = redis::cmd("EVAL");
        tell.arg(lua::TELL).arg(2).arg(keys.lock()).arg(keys.events()).arg(&self.lock.value);
        tell.arg(Event::new(moment.word(), step).json()?);
        tell.exec_async(&mut link).await.map_err(|error| self.work("write the event log", &error))
    }

    async fn run(&self, journal: &mut Journal<'_>, commands: &[Command], known: &[Known]) -> Result<Row> {
        let doubted = self.settle_doubt(journal, commands, known).await?;
        // What was in doubt is settled: from here on the journal says what this run begins.
        journal.doing = None;
        loop {
            let from = journal.done;
            if from > 0 && from < commands.len() && self.events.is_cancelled() {
                return Err(told::cancelled(journal.step(), from, commands.len()));
            }
            let until = from + scripted(&commands[from..], &known[from..]);
            if until > from || from == commands.len() {
                let owned = keys_set(known, from, until, &self.books.keys.prefix);
                match self.scripted(journal, commands, known, until, &owned).await? {
                    Some(row) => return Ok(row),
                    None => continue,
                }
            }
            if let Some(row) = self.alone(journal, commands, known, doubted == Some(from)).await? {
                return Ok(row);
            }
        }
    }

    /// Settles whether the command that was begun last took effect. Answers it where it is to be run again.
    async fn settle_doubt(
        &self,
        journal: &mut Journal<'_>,
        commands: &[Command],
        known: &[Known],
    ) -> Result<Option<usize>> {
        let at = journal.done;
        let (Some(hash), Some(command)) = (journal.doing.clone(), commands.get(at)) else { return Ok(None) };
        // A command that was mended since is run as it is now.
        if command.hash != hash {
            return Ok(None);
        }
        let found = probe(&mut self.books.link.clone(), command, &known[at]).await;
        match found.map_err(|error| self.work("look whether a command took effect", &error))? {
            Found::Done => {
                journal.done = at + 1;
                Ok(None)
            }
            Found::Run => Ok(Some(at)),
            Found::Unclear(why) => Err(unclear(journal.step(), commands, at, why)),
        }
    }

    /// Runs commands inside the server; answers the row after the last.
    async fn scripted(
        &self,
        journal: &mut Journal<'_>,
        commands: &[Command],
        known: &[Known],
        until: usize,
        owned: &[String],
    ) -> Result<Option<Row>> {
        match journal.run(known, until, owned).await {
            Ok(Ran::Done(row)) => Ok(row.map(|row| *row)),
            Ok(Ran::Lost) => Err(self.lost(journal, commands)),
            Ok(Ran::Failed(line)) => Err(self.refused(journal, commands, &Refusal::read(&line), false, "").await),
            Err(Trouble::Driver(error)) => Err(match refusal(&error) {
                // The script as a whole was refused: none of it ran.
                Some(refusal) => self.refused(journal, commands, &refusal, false, "").await,
                None => self.in_doubt(journal, commands, &error),
            }),
            Err(Trouble::Ledger(error)) => Err(error),
        }
    }

    /// Runs one command outside a script, journaled before and after.
    async fn alone(
        &self,
        journal: &mut Journal<'_>,
        commands: &[Command],
        known: &[Known],
        was_begun: bool,
    ) -> Result<Option<Row>> {
        let at = journal.done;
        let command = &commands[at];
        let mut link = self.books.link.clone();
        let owns = match owns(&mut link, command, was_begun).await {
            Ok(owns) => owns,
            Err(error) => {
                return Err(match refusal(&error) {
                    Some(refusal) => self.refused(journal, commands, &refusal, false, "").await,
                    None => self.work("look at what is there", &error),
                });
            }
        };
        journal.doing = Some(command.hash.clone());
        // On a cluster no script reaches all keys, and each command goes alone: what it writes is the project's all the same.
        let mut owned = owns.clone();
        owned.extend(keys_set(known, at, at + 1, &self.books.keys.prefix));
        self.scripted(journal, commands, known, at, &owned).await?;
        let mut send = redis::Cmd::new();
        for word in &command.words {
            send.arg(word.as_slice());
        }
        let is_everywhere = matches!(command.name().as_str(), "FUNCTION" | "SCRIPT" | "ACL");
        let answer =
            if is_everywhere { link.everywhere(&send).await } else { send.query_async::<Value>(&mut link).await };
        if let Err(error) = answer {
            let Some(refusal) = refusal(&error) else { return Err(self.in_doubt(journal, commands, &error)) };
            if !(was_begun && means_done(command, &refusal.word, &refusal.text)) {
                // A program of the user's may have written before it failed: a server undoes nothing of it.
                let is_partial = matches!(command.name().as_str(), "EVAL" | "EVALSHA" | "FCALL");
                let disowned = owns.first().map(String::as_str).unwrap_or_default();
                return Err(self.refused(journal, commands, &refusal, is_partial, disowned).await);
            }
        }
        journal.done = at + 1;
        journal.doing = None;
        self.scripted(journal, commands, known, at + 1, &[]).await
    }

    /// The error of a command that the server refused; the journal is told.
    async fn refused(
        &self,
        journal: &mut Journal<'_>,
        commands: &[Command],
        refusal: &Refusal,
        is_partial: bool,
        disowned: &str,
    ) -> Error {
        let (step, at) = (journal.step(), journal.done);
        let mut data = told::data(step.action, at, commands.len(), false);
        if is_partial {
            data = format!("{data}; what step {} wrote before it failed stays", at + 1);
        }
        if journal.fail(&refusal.word, is_partial, disowned).await.is_err() {
            data.push_str("; the ledger could not be told");
        }
        let Some(command) = commands.get(at) else {
            return Error::new(Code::MigrationFailed, format!("{} could not be recorded", step.label()))
                .why(refusal.shown())
                .data(data);
        };
        let hint = refusal.advice().map_or_else(|| told::way_on(step.action, at), str::to_owned);
        let what = format!("step {} of {}, `{}`, failed", at + 1, commands.len(), command.full_name());
        Error::new(Code::MigrationFailed, what)
            .why(refusal.shown())
            .at(place_in_file(step, command, refusal).unwrap_or_else(|| command.place(&step.script)))
            .data(data)
            .hint(hint)
    }

    fn lost(&self, journal: &Journal<'_>, commands: &[Command]) -> Error {
        lease::lost(StoreKind::Redis).data(told::data(journal.step().action, journal.done, commands.len(), false))
    }

    fn in_doubt(&self, journal: &Journal<'_>, commands: &[Command], error: &RedisError) -> Error {
        let (step, done) = (journal.step(), journal.done);
        let cause = self.work("run a migration", error);
        let what = format!("it is not known whether step {} of {} took effect", done + 1, step.label());
        let error = Error::new(Code::InDoubt, what)
            .why(cause.why_text().unwrap_or("no answer came").to_owned())
            .data(told::data(step.action, done, commands.len(), false))
            .hint("run it again when the server answers: lyrox looks what took effect and goes on there");
        match commands.get(done) {
            Some(command) => error.at(command.place(&step.script)),
            None => error,
        }
    }

    fn trouble(&self, doing: &str, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Driver(error) => self.work(doing, &error),
            Trouble::Ledger(error) => error,
        }
    }

    fn work(&self, doing: &str, error: &RedisError) -> Error {
        work_error(self.endpoint, doing, error)
    }
}

/// How many of the commands may share one script.
fn scripted(commands: &[Command], known: &[Known]) -> usize {
    let mut bytes = 0;
    commands
        .iter()
        .zip(known)
        .take(MOST_COMMANDS)
        .take_while(|(command, known)| {
            bytes += command.size();
            known.is_scripted && bytes <= MOST_BYTES
        })
        .count()
}

/// The keys that commands write, as the snapshot calls them.
fn keys_set(known: &[Known], from: usize, until: usize, prefix: &str) -> Vec<String> {
    let before = known[..from].iter().filter(|known| !known.is_read).flat_map(|known| known.keys.iter().flatten());
    let room = MOST_KEYS.saturating_sub(before.count());
    let written = known[from..until].iter().filter(|known| !known.is_read);
    let mut names: Vec<String> = written
        .flat_map(|known| known.keys.iter().flatten())
        .filter_map(|key| Some(format!("key {}", String::from_utf8(key.clone()).ok()?.strip_prefix(prefix)?)))
        .take(room)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What a command makes outside the prefix and a reset may remove: a library, a user. One that was there
/// before is not the project's, unless its library is replaced.
async fn owns(link: &mut super::link::Link, command: &Command, was_begun: bool) -> Result<Vec<String>, RedisError> {
    let made = match command.full_name().as_str() {
        "FUNCTION LOAD" => {
            let Some(library) = command.library() else { return Ok(Vec::new()) };
            let is_replaced = command.words.iter().any(|word| word.eq_ignore_ascii_case(b"REPLACE"));
            let is_ours = was_begun || is_replaced || code(link, &library).await?.is_none();
            is_ours.then(|| format!("function {library}"))
        }
        "ACL SETUSER" => {
            let user = command.word(2);
            let mut get = redis::cmd("ACL");
            get.arg("GETUSER").arg(&user);
            let is_ours = was_begun || get.query_async::<Value>(link).await? == Value::Nil;
            is_ours.then(|| format!("user {user}"))
        }
        _ => None,
    };
    Ok(made.into_iter().collect())
}

/// The line of an included file that the server's compiler or interpreter names.
fn place_in_file(step: &Step, command: &Command, refusal: &Refusal) -> Option<Place> {
    let (_, rest) = refusal.text.split_once("user_function:").or_else(|| refusal.text.split_once("user_script:"))?;
    let line: usize = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let (name, text) =
        step.script.includes.iter().find(|(_, text)| command.words.contains(&text.as_bytes().to_vec()))?;
    let folder = step.script.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(Place::at_line(format!("{folder}/{name}"), text, line))
}

fn unclear(step: &Step, commands: &[Command], at: usize, why: String) -> Error {
    let error = told::in_doubt(step, at, why).data(told::data(step.action, at, commands.len(), false));
    match commands.get(at) {
        Some(command) => error.at(command.place(&step.script)),
        None => error,
    }
}
