//! How far a migration has come, as its row remembers it. Every write names the run that owns the row:
//! a run that was overtaken matches nothing and stops.

use bson::{Bson, DateTime, Document, doc};
use mongodb::ClientSession;
use mongodb::options::ReturnDocument;

use super::ledger::{self, Books, EVENTS, MIGRATIONS};
use super::lock::Held;
use super::script::Command;
use crate::engine::ledger::{Row, State};
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Result};

/// The journal of one step of a run.
pub struct Journal<'a> {
    books: &'a Books,
    step: &'a Step,
    commands: &'a [Command],
    /// The id of the run, for the row of what it applies.
    run: &'a str,
    /// This run's lock: its token owns the row, its session writes it.
    lock: &'a Held,
    /// The row as it was before this run.
    before: Option<Document>,
    /// The run that wrote the row last: ours once we have written it.
    owner: Bson,
    started_at: DateTime,
    /// How many commands are in effect.
    pub done: usize,
    /// The command that was begun and whose end is not known: its place and hash.
    pub doing: Option<(usize, String)>,
}

/// Why the row could not be written.
#[derive(Debug)]
pub enum Unwritten {
    /// Another run has written it since.
    Overtaken,
    /// The server.
    Driver(mongodb::error::Error),
}

impl From<mongodb::error::Error> for Unwritten {
    fn from(error: mongodb::error::Error) -> Self {
        // Two runs that make the same row: the second insert is a duplicate.
        match super::error::refusal(&error) {
            Some(refusal) if refusal.code == 11000 => Self::Overtaken,
            _ => Self::Driver(error),
        }
    }
}

impl<'a> Journal<'a> {
    /// Takes up the row where the last run left it. `now` is the server's time.
    ///
    /// # Errors
    /// `LYX-LOCK-LOST` where the row is not as the plan saw it, `LYX-UNFINISHED` where commands that are
    /// in effect were edited since.
    pub fn take_up(
        books: &'a Books,
        step: &'a Step,
        commands: &'a [Command],
        lock: &'a Held,
        run: &'a str,
        before: Option<Document>,
        now: DateTime,
    ) -> Result<Self> {
        let row = before.as_ref().map(ledger::row).transpose()?;
        let state = row.as_ref().map(|row| row.state);
        let mut journal = Self {
            books,
            step,
            commands,
            run,
            lock,
            owner: before.as_ref().and_then(|row| row.get("runner").cloned()).unwrap_or(Bson::Null),
            started_at: now,
            done: 0,
            doing: None,
            before,
        };
        let empty = Document::new();
        let before = journal.before.as_ref().unwrap_or(&empty);
        let is_applied =
            row.as_ref().is_some_and(|row| row.state == State::Applied && row.checksum == step.up.checksum);
        let hashes = match (step.action, state) {
            // However far it came, a repeatable runs from its beginning.
            (Action::Apply, _) if step.version.is_repeatable() && !is_applied => Vec::new(),
            (Action::Apply, Some(State::Applied)) | (Action::Revert, None | Some(State::Reverted)) => {
                return Err(changed_meanwhile(step));
            }
            (Action::Apply, Some(State::Started | State::Failed)) => {
                journal.started_at = before.get_datetime("started_at").copied().unwrap_or(now);
                journal.read_progress(before.clone())
            }
            (Action::Revert, Some(_)) => {
                journal.read_progress(before.get_document("reverting").cloned().unwrap_or_default())
            }
            _ => Vec::new(),
        };
        if step.action == Action::Apply && journal.done != step.resume_from as usize {
            return Err(changed_meanwhile(step));
        }
        let edited = hashes.iter().zip(commands).position(|(hash, command)| *hash != command.hash);
        if journal.done > commands.len() || edited.is_some() {
            let place = edited.and_then(|at| commands.get(at)).map(|command| command.place(&step.script));
            let error = Error::new(
                Code::Unfinished,
                format!("{} was cut short, and commands that are in effect were edited since", step.label()),
            )
            .why(format!("steps 1 to {} took effect as they were then", journal.done))
            .data("nothing was changed")
            .hint(format!("bring steps 1 to {} back as they were; what follows may be mended", journal.done));
            return Err(match place {
                Some(place) => error.at(place),
                None => error,
            });
        }
        Ok(journal)
    }

    fn read_progress(&mut self, from: Document) -> Vec<String> {
        let count = |field: &str| from.get_i32(field).ok().and_then(|number| usize::try_from(number).ok());
        self.done = count("steps_done").unwrap_or(0);
        self.doing = count("doing").zip(from.get_str("doing_hash").ok().map(str::to_owned));
        let hashes = from.get_array("hashes").map(Vec::as_slice).unwrap_or_default();
        hashes.iter().filter_map(|hash| hash.as_str().map(str::to_owned)).collect()
    }

    /// The step this is the journal of.
    pub fn step(&self) -> &'a Step {
        self.step
    }

    /// Writes that this run has taken the row up.
    ///
    /// # Errors
    /// See [`Unwritten`].
    pub async fn take(&mut self) -> Result<(), Unwritten> {
        self.write_progress().await?;
        if let Some(history) = &self.books.history {
            let mut session = self.lock.session.lock().await;
            history.started(self.books, self.step, &mut session).await?;
        }
        Ok(())
    }

    /// Writes that everything before a command is in effect and that the command is about to begin.
    ///
    /// # Errors
    /// See [`Unwritten`].
    pub async fn begin(&mut self, at: usize) -> Result<(), Unwritten> {
        self.doing = self.commands.get(at).map(|command| (at, command.hash.clone()));
        self.write_progress().await
    }

    async fn write_progress(&mut self) -> Result<(), Unwritten> {
        let mut fields = self.progress();
        if self.step.action == Action::Apply {
            fields.extend(self.books.fields(self.step, self.commands.len(), self.run));
            fields.insert("state", State::Started.word());
            fields.insert("finished_at", Bson::Null);
            fields.insert("error_code", Bson::Null);
        }
        self.write(fields, None).await.map(|_| ())
    }

    /// Writes, in the transaction of its commands, that the first `done` commands are in effect.
    ///
    /// # Errors
    /// See [`Unwritten`].
    pub async fn advance(&mut self, done: usize, session: &mut ClientSession) -> Result<Option<Row>, Unwritten> {
        let (was, owner) = (self.done, self.owner.clone());
        self.done = done;
        let written = if done == self.commands.len() {
            self.finish(Some(session)).await.map(Some)
        } else {
            let fields = self.progress();
            self.write(fields, Some(session)).await.map(|_| None)
        };
        // Until the transaction is committed nothing has been written.
        (self.done, self.owner) = (was, owner);
        written
    }

    /// Tells the journal that the transaction of [`Self::advance`] is committed.
    pub fn advanced(&mut self, done: usize) {
        self.done = done;
        self.owner = self.lock.token.as_str().into();
    }

    /// Writes that all is done, and the event that says so.
    ///
    /// # Errors
    /// See [`Unwritten`].
    pub async fn finish(&mut self, mut session: Option<&mut ClientSession>) -> Result<Row, Unwritten> {
        self.doing = None;
        let (state, word) = match self.step.action {
            Action::Apply => (State::Applied, "applied"),
            Action::Record => (State::Applied, "recorded"),
            Action::Revert => (State::Reverted, "reverted"),
            Action::Forget => (State::Reverted, "superseded"),
            // A hook has no row.
            Action::Hook(moment) => (State::Applied, moment.word()),
        };
        let mut fields = doc! { "state": state.word(), "finished_at": "$$NOW", "error_code": Bson::Null };
        if self.step.action == Action::Revert {
            fields.insert("steps_done", 0);
            fields.insert("owns", Bson::Array(Vec::new()));
        } else if self.step.action != Action::Forget {
            // What is only forgotten keeps what it made.
            fields.extend(self.books.fields(self.step, self.commands.len(), self.run));
            fields.insert("steps_done", i32::try_from(self.commands.len()).unwrap_or(i32::MAX));
            fields.insert("owns", self.owns());
        }
        // The other tool's history comes first: what it says is applied is, whatever the row says.
        if let Some(history) = &self.books.history {
            let books = self.books;
            match session.as_deref_mut() {
                Some(session) => history.done(books, self.step, session).await?,
                None => history.done(books, self.step, &mut *self.lock.session.lock().await).await?,
            }
        }
        let written = self.write(fields, session.as_deref_mut()).await?;
        let (filter, update) = self.books.event(word, self.step, doc! {});
        let events = self.books.collection(EVENTS);
        let update = events.update_one(filter, update).upsert(true);
        match session {
            Some(session) => update.session(session).await?,
            None => update.await?,
        };
        ledger::row(&written).map_err(|_| Unwritten::Overtaken)
    }

    /// Writes that a command failed. Where nothing is in effect, the row is again what it was before.
    ///
    /// # Errors
    /// See [`Unwritten`].
    pub async fn fail(&mut self, error_code: &str, is_partial: bool) -> Result<(), Unwritten> {
        let more = doc! {
            "step": i32::try_from(self.done + 1).unwrap_or(i32::MAX),
            "error_code": ledger::literal(error_code),
        };
        let (filter, update) = self.books.event("failed", self.step, more);
        self.books.collection(EVENTS).update_one(filter, update).upsert(true).await?;
        if self.owner != Bson::from(self.lock.token.as_str()) {
            return Ok(());
        }
        if self.done == 0 && !is_partial {
            if let Some(history) = &self.books.history {
                let mut session = self.lock.session.lock().await;
                history.undone(self.books, self.step, &mut session).await?;
            }
            let rows = self.books.collection(MIGRATIONS);
            let filter = doc! { "_id": self.books.id(&self.step.version), "runner": self.lock.token.as_str() };
            let settled = [State::Applied.word(), State::Reverted.word()];
            let before = self.before.as_ref();
            match before.filter(|row| row.get_str("state").is_ok_and(|state| settled.contains(&state))) {
                Some(before) => rows.replace_one(filter, before.clone()).await.map(|_| ())?,
                None => rows.delete_one(filter).await.map(|_| ())?,
            }
            return Ok(());
        }
        if !is_partial {
            self.doing = None;
        }
        let mut fields = self.progress();
        if self.step.action == Action::Apply {
            fields.insert("state", State::Failed.word());
            fields.insert("finished_at", "$$NOW");
            fields.insert("error_code", ledger::literal(error_code));
        }
        self.write(fields, None).await.map(|_| ())
    }

    /// Whether the row says that the first `done` commands are in effect by this run.
    ///
    /// # Errors
    /// The driver's.
    pub async fn says(&self, done: usize) -> mongodb::error::Result<bool> {
        let rows = self.books.collection(MIGRATIONS);
        let filter = doc! { "_id": self.books.id(&self.step.version), "runner": self.lock.token.as_str() };
        let Some(row) = rows.find_one(filter).await? else { return Ok(false) };
        let is_done = |from: &Document| from.get_i32("steps_done").ok().and_then(|at| usize::try_from(at).ok());
        let state = row.get_str("state").unwrap_or_default();
        Ok(match self.step.action {
            Action::Revert => {
                state == State::Reverted.word()
                    || row.get_document("reverting").ok().and_then(is_done).is_some_and(|at| at >= done)
            }
            _ => is_done(&row).is_some_and(|at| at >= done),
        })
    }

    /// The fields that say how far it is.
    fn progress(&self) -> Document {
        let number = |at: usize| Bson::Int32(i32::try_from(at).unwrap_or(i32::MAX));
        let hashes: Vec<Bson> = self.commands[..self.done].iter().map(|command| Bson::from(&command.hash)).collect();
        let mut progress = doc! {
            "steps_done": number(self.done),
            "doing": self.doing.as_ref().map_or(Bson::Null, |(at, _)| number(*at)),
            "doing_hash": self.doing.as_ref().map_or(Bson::Null, |(_, hash)| Bson::from(hash)),
            "hashes": hashes,
        };
        if self.step.action == Action::Revert {
            return doc! { "reverting": progress };
        }
        progress.insert("owns", self.owns());
        progress
    }

    /// What the commands that are in effect made and a reset may remove.
    fn owns(&self) -> Bson {
        let made = self.commands[..self.done].iter().filter_map(|command| {
            let target = command.target()?;
            let database = format!("{}.", self.books.database.name());
            Some(match command.name() {
                "create" if command.document.contains_key("viewOn") => format!("view {target}"),
                "create" => format!("collection {target}"),
                "renameCollection" => {
                    let to = command.document.get_str("to").ok()?;
                    format!("collection {}", to.strip_prefix(&database).unwrap_or(to))
                }
                "createUser" => format!("user {target}"),
                "createRole" => format!("role {target}"),
                _ => return None,
            })
        });
        // A text that begins with `$` is a field's path to the server.
        Bson::Array(made.map(|name| Bson::Document(ledger::literal(&name))).collect())
    }

    async fn write(&mut self, fields: Document, session: Option<&mut ClientSession>) -> Result<Document, Unwritten> {
        let mut set = fields;
        set.insert("runner", self.lock.token.as_str());
        let undoes = matches!(self.step.action, Action::Revert | Action::Forget);
        if !undoes {
            set.insert("started_at", self.started_at);
        }
        let mut update = vec![doc! { "$set": set }];
        if self.doing.is_none() && self.done == self.commands.len() {
            update.push(doc! { "$unset": ["reverting", "doing", "doing_hash", "hashes"] });
        }
        let filter = doc! { "_id": self.books.id(&self.step.version), "runner": self.owner.clone() };
        let rows = self.books.collection(MIGRATIONS);
        let write = rows
            .find_one_and_update(filter, update)
            // A row to be undone must be there; any other may be new.
            .upsert(!undoes)
            .return_document(ReturnDocument::After);
        let written = match session {
            Some(session) => write.session(session).await?,
            None => write.session(&mut *self.lock.session.lock().await).await?,
        };
        let written = written.ok_or(Unwritten::Overtaken)?;
        self.owner = self.lock.token.as_str().into();
        Ok(written)
    }
}

fn changed_meanwhile(step: &Step) -> Error {
    Error::new(Code::LockLost, format!("{} was run by another lyrox meanwhile", step.label()))
        .why("its row in the ledger is not as the plan saw it")
        .data("nothing was changed")
        .hint("run it again: it plans anew")
}
