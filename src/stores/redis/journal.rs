//! How far a migration has come, and the writing of it: every write is a script of the server that looks
//! at the lock first, so a run that was overtaken writes nothing.

use redis::{RedisResult, Value};

use super::commands::Known;
use super::ledger::{self, Books, Entry, Event, Trouble};
use super::lock::Held;
use super::lua;
use super::script::Command;
use crate::engine::ledger::{Row, State, actor};
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Result};
use crate::project::text::sha256;
use crate::stores::lease::LEASE;
use crate::stores::packed;

/// The journal of one step of a run.
pub struct Journal<'a> {
    books: Books,
    lock: &'a Held,
    step: &'a Step,
    commands: &'a [Command],
    /// The row as it was before this run, as it is stored and as it reads.
    before: Option<(String, Entry)>,
    /// The id of the run, for the row of what it applies.
    run: &'a str,
    started_ms: i64,
    /// The row has been written by this run.
    is_written: bool,
    /// How many commands are in effect.
    pub done: usize,
    /// The hash of the command that was begun and whose end is not known.
    pub doing: Option<String>,
}

/// How a script of the server ended.
#[derive(Debug)]
pub enum Ran {
    /// All of it is in effect; the row where it was the last.
    Done(Option<Box<Row>>),
    /// A command failed: the server's line. Those before it are in effect.
    Failed(String),
    /// The lock has become another's; nothing was written.
    Lost,
}

impl<'a> Journal<'a> {
    /// Takes a row up where the last run left it; nothing where the lock has become another's.
    ///
    /// # Errors
    /// The driver's, `LYX-LOCK-LOST` where the row is not as the plan saw it, or `LYX-UNFINISHED` where
    /// commands that are in effect were edited since.
    pub async fn take_up(
        books: &Books,
        lock: &'a Held,
        step: &'a Step,
        commands: &'a [Command],
        run: &'a str,
    ) -> Result<Option<Self>, Trouble> {
        let mut books = books.clone();
        let version = step.version.as_str();
        let mut take = redis::cmd("EVAL");
        take.arg(lua::TAKE_UP).arg(3).arg(books.keys.lock()).arg(books.keys.migrations()).arg(books.keys.journal());
        take.arg(&lock.value).arg(lease()).arg(version);
        let answer: Vec<Value> = take.query_async(&mut books.link).await?;
        let mut answer = answer.into_iter();
        if answer.next().is_some_and(|word| word == Value::BulkString(b"lost".to_vec())) {
            return Ok(None);
        }
        let mut text = || -> RedisResult<Option<String>> {
            Ok(answer.next().map(redis::from_redis_value::<Option<String>>).transpose()?.flatten())
        };
        let now: i64 = text()?.and_then(|now| now.parse().ok()).unwrap_or_default();
        let (row, kept) = (text()?, text()?);
        let entry = row.as_ref().map(|json| ledger::entry(version, json)).transpose()?;
        let kept = kept.map(|json| ledger::journal(version, &json)).transpose()?;
        let mut journal = Self {
            books,
            lock,
            step,
            commands,
            before: row.zip(entry.clone()),
            run,
            started_ms: now,
            is_written: false,
            done: 0,
            doing: None,
        };
        let state = entry.as_ref().map(|entry| entry.state);
        let is_applied =
            entry.as_ref().is_some_and(|entry| entry.state == State::Applied && entry.checksum == step.up.checksum);
        // However far it came, a repeatable runs from its beginning.
        if step.action == Action::Apply && step.version.is_repeatable() && !is_applied {
            return Ok(Some(journal));
        }
        match (step.action, state) {
            (Action::Apply, Some(State::Applied)) | (Action::Revert, None | Some(State::Reverted)) => {
                return Err(changed_meanwhile(step).into());
            }
            (Action::Apply, Some(State::Started | State::Failed)) => {
                journal.started_ms = entry.map_or(now, |entry| entry.started_ms);
            }
            _ => {}
        }
        let way = if step.action == Action::Revert { "down" } else { "up" };
        if let Some(kept) = kept.filter(|kept| kept.way == way && !step.is_ledger_only()) {
            if kept.done > commands.len() || kept.chain != journal.chain(kept.done) {
                return Err(edited(step, kept.done).into());
            }
            (journal.done, journal.doing) = (kept.done, kept.doing);
        }
        if step.action == Action::Apply && journal.done != step.resume_from as usize {
            return Err(changed_meanwhile(step).into());
        }
        Ok(Some(journal))
    }

    /// The step this is the journal of.
    pub fn step(&self) -> &'a Step {
        self.step
    }

    /// The first `done` commands as one hash.
    fn chain(&self, done: usize) -> String {
        let mut chain = String::new();
        for command in &self.commands[..done] {
            chain = link(&chain, &command.hash);
        }
        chain
    }

    /// Runs the commands up to `until` inside the server, with what they own; writes the journal, and the
    /// row where they are the last. Without commands it only writes.
    ///
    /// # Errors
    /// The driver's: then it is not known whether it ran.
    pub async fn run(&mut self, known: &[Known], until: usize, owned: &[String]) -> Result<Ran, Trouble> {
        let is_last = until == self.commands.len() && self.doing.is_none();
        let keys = &self.books.keys;
        let mut names: Vec<Vec<u8>> =
            [keys.lock(), keys.migrations(), keys.journal(), keys.events(), keys.owned(), keys.texts()]
                .map(String::into_bytes)
                .to_vec();
        let mut theirs: Vec<&Vec<u8>> =
            known[self.done..until].iter().flat_map(|known| known.keys.iter().flatten()).collect();
        theirs.sort();
        theirs.dedup();
        names.extend(theirs.into_iter().cloned());

        let mut run = redis::cmd("EVAL");
        run.arg(lua::RUN)
            .arg(names.len())
            .arg(&names)
            .arg(&self.lock.value)
            .arg(lease())
            .arg(self.step.version.as_str());
        run.arg(self.begin_row()?);
        if is_last {
            run.arg(self.end_row()?).arg(Event::new(self.word(), self.step).json()?);
            if self.undoes() {
                run.arg("=").arg("=");
            } else {
                let down = self.step.down.as_ref().and_then(|down| down.kept());
                run.arg(packed::pack_base64(&self.step.up.text).unwrap_or_default());
                run.arg(down.and_then(|down| packed::pack_base64(&down)).unwrap_or_default());
            }
        } else {
            run.arg("").arg("").arg("=").arg("=");
        }
        run.arg(self.journal_head()).arg(self.chain(self.done)).arg(self.done);
        run.arg(owned.len());
        for name in owned {
            run.arg(name).arg(self.step.version.as_str());
        }
        let mut chain = self.chain(self.done);
        for command in &self.commands[self.done..until] {
            chain = link(&chain, &command.hash);
            run.arg(&chain).arg(command.words.len());
            for word in &command.words {
                run.arg(word.as_slice());
            }
        }
        let mut answer = run.query_async::<Vec<Value>>(&mut self.books.link).await?.into_iter();
        let word: String = redis::from_redis_value(answer.next().unwrap_or_default())?;
        if word == "lost" {
            return Ok(Ran::Lost);
        }
        self.is_written = true;
        self.done = redis::from_redis_value(answer.next().unwrap_or_default())?;
        let text: Option<String> = redis::from_redis_value(answer.next().unwrap_or_default())?;
        if word == "failed" {
            return Ok(Ran::Failed(text.unwrap_or_default()));
        }
        let version = self.step.version.as_str();
        let row = text.filter(|_| is_last).map(|json| ledger::entry(version, &json)).transpose()?;
        Ok(Ran::Done(row.map(|entry| Box::new(ledger::row(version, &entry, None)))))
    }

    /// Writes how a failed run ended. Where nothing is in effect, the row is again what it was before.
    ///
    /// # Errors
    /// The driver's.
    pub async fn fail(&mut self, word: &str, is_partial: bool, disowned: &str) -> Result<(), Trouble> {
        let is_clean = self.done == 0 && !is_partial;
        let settled = self.before.as_ref().filter(|(_, row)| matches!(row.state, State::Applied | State::Reverted));
        let (row, journal) = if !self.is_written {
            ("=".to_owned(), "=".to_owned())
        } else if is_clean {
            (settled.map(|(json, _)| json.clone()).unwrap_or_default(), String::new())
        } else {
            let row = match self.step.action {
                Action::Apply => {
                    json(&Entry { error_code: Some(word.to_owned()), ..self.entry(State::Failed, self.done) })?
                }
                _ => "=".into(),
            };
            if !is_partial {
                self.doing = None;
            }
            (row, format!("{}\"chain\":\"{}\",\"done\":{}}}", self.journal_head(), self.chain(self.done), self.done))
        };
        let keys = &self.books.keys;
        let mut settle = redis::cmd("EVAL");
        settle.arg(lua::SETTLE).arg(5).arg(keys.lock()).arg(keys.migrations()).arg(keys.journal());
        settle.arg(keys.events()).arg(keys.owned()).arg(&self.lock.value).arg(self.step.version.as_str());
        settle.arg(row).arg(journal);
        settle.arg(Event::new("failed", self.step).failed(self.done + 1, word).json()?).arg(disowned);
        settle.exec_async(&mut self.books.link).await?;
        Ok(())
    }

    fn word(&self) -> &'static str {
        match self.step.action {
            Action::Apply => "applied",
            Action::Record => "recorded",
            Action::Revert => "reverted",
            Action::Forget => "superseded",
            Action::Hook(moment) => moment.word(),
        }
    }

    /// What is undone keeps its name and its texts.
    fn undoes(&self) -> bool {
        matches!(self.step.action, Action::Revert | Action::Forget)
    }

    fn entry(&self, state: State, done: usize) -> Entry {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Entry {
            name: self.step.name.clone(),
            checksum: self.step.up.checksum.clone(),
            state,
            steps_done: count(done),
            steps_total: count(self.commands.len()),
            started_ms: self.started_ms,
            actor: actor(),
            lyrox: env!("CARGO_PKG_VERSION").into(),
            error_code: None,
            run: Some(self.run.to_owned()).filter(|run| !run.is_empty()),
            has_down: self
                .step
                .down
                .as_ref()
                .and_then(|down| down.kept())
                .is_some_and(|kept| kept.len() <= packed::LIMIT),
            finished_ms: None,
        }
    }

    /// The row to begin with; empty where it stays as it is.
    fn begin_row(&self) -> Result<String> {
        if self.is_written || self.step.action != Action::Apply {
            return Ok(String::new());
        }
        json(&self.entry(State::Started, self.done))
    }

    fn end_row(&self) -> Result<String> {
        match self.step.action {
            Action::Revert | Action::Forget => {
                let before = self.before.as_ref().map(|(_, row)| row.clone());
                let row = before.unwrap_or_else(|| self.entry(State::Reverted, 0));
                json(&Entry {
                    state: State::Reverted,
                    steps_done: 0,
                    started_ms: self.started_ms,
                    actor: actor(),
                    lyrox: env!("CARGO_PKG_VERSION").into(),
                    error_code: None,
                    finished_ms: None,
                    ..row
                })
            }
            _ => json(&self.entry(State::Applied, self.commands.len())),
        }
    }

    fn journal_head(&self) -> String {
        let way = if self.step.action == Action::Revert { "down" } else { "up" };
        let doing = self.doing.as_ref().map_or_else(|| "null".to_owned(), |hash| format!("\"{hash}\""));
        format!("{{\"way\":\"{way}\",\"doing\":{doing},")
    }
}

/// The chain of commands with one more.
pub fn link(chain: &str, hash: &str) -> String {
    sha256(format!("{chain}{hash}").as_bytes())[..16].to_owned()
}

fn lease() -> u64 {
    u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)
}

fn json(entry: &Entry) -> Result<String> {
    serde_json::to_string(entry).map_err(|_| Error::bug("a row is no JSON"))
}

fn changed_meanwhile(step: &Step) -> Error {
    Error::new(Code::LockLost, format!("{} was run by another lyrox meanwhile", step.label()))
        .why("its row in the ledger is not as the plan saw it")
        .data("nothing was changed")
        .hint("run it again: it plans anew")
}

fn edited(step: &Step, done: usize) -> Error {
    let what = format!("{} was cut short, and commands that are in effect were edited since", step.label());
    Error::new(Code::Unfinished, what)
        .why(format!("steps 1 to {done} took effect as they were then"))
        .at(crate::error::Place::file(&step.script.path))
        .data("nothing was changed")
        .hint(format!("bring steps 1 to {done} back as they were; what follows may be mended"))
}
