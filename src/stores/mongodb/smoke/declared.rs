//! The project's own tests on MongoDB.
//!
//! A test is a transaction that is aborted. An error ends a transaction in MongoDB: where a step expects
//! one, the earlier steps are done again in a new transaction, which is why inserted documents get their
//! `_id` here and not from the server. A step may name a session: another transaction. With `commit`, each step is a transaction of its own that also writes
//! the `_id`s to `lyrox_smoke_journal`; they are removed after the test, or by the next run. Steps may insert,
//! update, delete, find and modify, and read; what changes the catalog cannot be undone and is refused.

use std::time::Instant;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;
use mongodb::{Client, ClientSession};

use super::MongodbSmoke;
use super::command::{
    Way, answer, count_as_pipeline, counted, filters, give_ids, inserted, read, refused, substitute, way,
};
use crate::error::{Code, Error, Result};
use crate::stores::mongodb::connect;
use crate::stores::mongodb::error::{Refusal as Said, refusal, refusal_in_reply};
use crate::stores::smoke::{Call, Refusal, Reply, Variables};

/// The documents that committed steps inserted.
const JOURNAL: &str = "lyrox_smoke_journal";

/// An open session of a declared test.
pub(super) struct Open {
    client: Client,
    /// With a transaction, where the test is rolled back.
    session: Option<ClientSession>,
    /// What was done in it so far: it is done again where an expected error has ended the transaction.
    done: Vec<Document>,
    /// The last step is among `done`.
    last_wrote: bool,
}

impl MongodbSmoke<'_> {
    pub(super) async fn begin_declared(&mut self, commit: bool) -> Result<()> {
        self.is_committing = commit;
        self.sessions.clear();
        Ok(())
    }

    /// The session of a step, out of its place, opened where it is not: a transaction, where the run may write
    /// and the test is rolled back; a client of its own, where the step connects anew.
    async fn open(&mut self, call: &Call<'_>) -> Result<Open> {
        let known = self.sessions.remove(call.session.unwrap_or_default());
        match known {
            Some(open) if !call.reconnect => return Ok(open),
            Some(Open { session: Some(mut session), .. }) => drop(session.abort_transaction().await),
            _ => {}
        }
        let connected = self.store.connected();
        let mut client = connected.client.clone();
        if call.reconnect {
            let ca_file = self.ca_file();
            let database = connected.database.name().to_owned();
            client = connect::connect(self.store.endpoint(), ca_file.as_deref(), &database).await?.client;
        }
        let mut open = Open { client, session: None, done: Vec::new(), last_wrote: false };
        if self.store.connected().has_transactions() && !self.is_committing && self.run.may_write {
            open.session = Some(self.transaction_of(&open.client).await?);
        }
        Ok(open)
    }

    fn ca_file(&self) -> Option<std::path::PathBuf> {
        let section = self.run.config.settings.mongodb.as_ref()?;
        section.ca_file.as_ref().map(|file| self.run.config.root.join(file))
    }

    pub(super) async fn declared_step(&mut self, call: Call<'_>, variables: &Variables) -> Result<Reply> {
        let mut command = read(&substitute(call.text, variables))?;
        let way = way(&command)?;
        if way == Way::Writes {
            if !self.run.may_write {
                return Ok(Reply::writes());
            }
            if !self.store.connected().has_transactions() {
                return Ok(Reply::Untried("the server takes no transactions: it is no replica set".into(), None));
            }
            give_ids(&mut command);
        }
        let mut open = self.open(&call).await?;
        let begun = Instant::now();
        let outcome = match (self.is_committing, way) {
            (true, Way::Writes) => self.committed(&open.client, &command).await?,
            (_, Way::Outside) => {
                let database = open.client.database(self.database().name());
                self.said(database.run_command(command.clone()).await)?
            }
            (..) => self.inside(&mut open, command.clone()).await?,
        };
        let elapsed = begun.elapsed();
        let reply = match outcome {
            Ok(reply) => {
                open.last_wrote = way == Way::Writes;
                if open.last_wrote {
                    open.done.push(command);
                }
                Reply::Answer(answer(&reply, elapsed))
            }
            Err(no) => {
                open.last_wrote = false;
                self.start_over(&mut open).await?;
                let mut codes = vec![no.code.to_string()];
                if !no.name.is_empty() {
                    codes.push(no.name);
                }
                Reply::Refused(Refusal { codes, message: no.text })
            }
        };
        self.sessions.insert(call.session.unwrap_or_default().to_owned(), open);
        Ok(reply)
    }

    /// A new transaction without the last step; so it sees what others have committed meanwhile.
    pub(super) async fn take_back_declared(&mut self, session: Option<&str>) -> Result<()> {
        let name = session.unwrap_or_default();
        let Some(mut open) = self.sessions.remove(name).filter(|_| !self.is_committing) else { return Ok(()) };
        if open.last_wrote {
            open.done.pop();
        }
        self.start_over(&mut open).await?;
        self.sessions.insert(name.to_owned(), open);
        Ok(())
    }

    async fn inside(&self, open: &mut Open, command: Document) -> Result<Result<Document, Said>> {
        let (command, is_count) = match count_as_pipeline(&command) {
            Some(pipeline) => (pipeline, true),
            None => (command, false),
        };
        let database = open.client.database(self.database().name());
        let sent = match &mut open.session {
            Some(session) => database.run_command(command).session(session).await,
            None => database.run_command(command).await,
        };
        let said = self.said(sent)?;
        Ok(said.map(|reply| {
            if is_count {
                doc! { "n": counted(&reply), "ok": 1 }
            } else {
                reply
            }
        }))
    }

    fn said(&self, sent: mongodb::error::Result<Document>) -> Result<Result<Document, Said>> {
        match sent {
            Ok(reply) => Ok(match refusal_in_reply(&reply) {
                Some(no) => Err(no),
                None => Ok(reply),
            }),
            Err(error) => match refusal(&error) {
                Some(no) => Ok(Err(no)),
                None => Err(self.lost("carry out a step", &error)),
            },
        }
    }

    /// A new transaction with what was done before.
    async fn start_over(&self, open: &mut Open) -> Result<()> {
        let Some(mut session) = open.session.take() else { return Ok(()) };
        let _ = session.abort_transaction().await;
        open.session = Some(self.transaction_of(&open.client).await?);
        for command in open.done.clone() {
            if let Err(no) = self.inside(open, command).await? {
                return Err(Error::new(
                    Code::SmokeFailed,
                    "the steps before could not be done again in a new transaction",
                )
                .why(no.shown()));
            }
        }
        Ok(())
    }

    /// One step in a transaction of its own, what it inserted journaled with it.
    async fn committed(&mut self, client: &Client, command: &Document) -> Result<Result<Document, Said>> {
        let Some((name, Bson::String(collection))) =
            command.iter().next().map(|(key, value)| (key.clone(), value.clone()))
        else {
            return Err(refused("a command needs its collection"));
        };
        let database = client.database(self.database().name());
        // Within the transaction it could not be made.
        let _ = database.create_collection(JOURNAL).await;
        let journal = database.collection::<Document>(JOURNAL);
        let mut session = self.transaction_of(client).await?;
        let entry = |id: &Bson, run: &str| doc! { "project": &self.run.config.settings.project.name, "run": run, "collection": &collection, "id": id.clone() };
        let lost = |error: mongodb::error::Error| self.lost("journal a committed step", &error);
        for filter in filters(command) {
            let found: Vec<Document> = {
                let mut cursor = database
                    .collection::<Document>(&collection)
                    .find(filter)
                    .projection(doc! { "_id": 1 })
                    .limit(1000)
                    .session(&mut session)
                    .await
                    .map_err(lost)?;
                cursor.stream(&mut session).try_collect().await.map_err(lost)?
            };
            for document in found {
                let id = document.get("_id").cloned().unwrap_or(Bson::Null);
                let known = journal.find_one(entry(&id, &self.run.id)).session(&mut session).await.map_err(lost)?;
                if known.is_none() {
                    let _ = session.abort_transaction().await;
                    return Err(refused(&format!("`{name}` meets documents that this test did not insert")));
                }
            }
        }
        let reply = match self.said(database.run_command(command.clone()).session(&mut session).await)? {
            Ok(reply) => reply,
            Err(no) => {
                let _ = session.abort_transaction().await;
                return Ok(Err(no));
            }
        };
        let entries: Vec<Document> = inserted(command, &reply).iter().map(|id| entry(id, &self.run.id)).collect();
        if !entries.is_empty() {
            journal.insert_many(entries).session(&mut session).await.map_err(lost)?;
        }
        session.commit_transaction().await.map_err(lost)?;
        self.touched.insert(collection);
        Ok(Ok(reply))
    }

    pub(super) async fn end_declared(&mut self) -> Result<()> {
        for (_, open) in std::mem::take(&mut self.sessions) {
            if let Some(mut session) = open.session {
                let _ = session.abort_transaction().await;
            }
        }
        if self.is_committing { self.remove_journaled().await.map(|_| ()) } else { Ok(()) }
    }

    /// Removes every document that the journal lists, then the journal.
    pub(super) async fn remove_journaled(&mut self) -> Result<Vec<String>> {
        let database = self.database();
        let lost = |error: mongodb::error::Error| self.lost("remove what a smoke test wrote", &error);
        let journal = database.collection::<Document>(JOURNAL);
        let mine = doc! { "project": &self.run.config.settings.project.name };
        let entries: Vec<Document> = journal.find(mine).await.map_err(lost)?.try_collect().await.map_err(lost)?;
        let mut removed = Vec::new();
        for entry in &entries {
            let (Ok(collection), Some(id)) = (entry.get_str("collection"), entry.get("id")) else { continue };
            let gone = database
                .collection::<Document>(collection)
                .delete_one(doc! { "_id": id.clone() })
                .await
                .map_err(lost)?;
            if gone.deleted_count > 0 {
                removed.push(format!("a document of `{collection}`"));
            }
            if let Some(own) = entry.get("_id") {
                journal.delete_one(doc! { "_id": own.clone() }).await.map_err(lost)?;
            }
        }
        if !entries.is_empty() || self.is_committing {
            // Another project may share the database.
            let left = journal.find_one(doc! {}).await.map_err(lost)?;
            if left.is_none() {
                journal.drop().await.map_err(lost)?;
            }
        }
        Ok(removed)
    }

    /// How many documents of this run the journal still lists.
    pub(super) async fn journaled(&self) -> Result<u64> {
        let journal = self.database().collection::<Document>(JOURNAL);
        journal
            .count_documents(doc! { "run": &self.run.id })
            .await
            .map_err(|error| self.lost("read the journal of smoke tests", &error))
    }
}
