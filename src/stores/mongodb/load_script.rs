//! MongoDB's scripts of a seed set: in one transaction with what is remembered of them, where the server has
//! transactions and every command may take part in one; else command by command.

use bson::{Document, doc};
use mongodb::ClientSession;

use super::super::error::{Refusal, refusal, refusal_in_reply};
use super::super::script::{self, Command, Kind};
use super::{LEDGER, MongodbLoader, RETRIES};
use crate::config::Variables;
use crate::engine::ledger::actor;
use crate::error::{Code, Error, Result};
use crate::project::migration::{self, Header};
use crate::project::seed::Script;

/// A seed script is read as a migration's part is.
fn as_migration(script: &Script) -> migration::Script {
    migration::Script {
        path: script.shown.clone(),
        text: script.text.clone(),
        checksum: script.checksum.clone(),
        header: Header::default(),
        includes: std::collections::BTreeMap::new(),
        foreign: None,
    }
}

/// Reads a script.
///
/// # Errors
/// What cannot be read, with its place.
pub fn check(script: &Script) -> Result<()> {
    script::read(&as_migration(script), &Variables::default()).map(|_| ())
}

/// Why a command did not go through.
enum Stop {
    Refused(Refusal),
    Driver(mongodb::error::Error),
}

impl MongodbLoader<'_> {
    pub(super) async fn run_script(&mut self, script: &Script, name: &str) -> Result<()> {
        let source = as_migration(script);
        let commands = script::read(&source, &Variables::default())?;
        let may_share =
            |command: &Command| command.kind == Kind::Data && !command.document.contains_key("writeConcern");
        if self.store.connected().has_transactions() && commands.iter().all(may_share) {
            return self.run_together(script, name, &source, &commands).await;
        }
        for (index, command) in commands.iter().enumerate() {
            let Err(stop) = self.run_one(command, None).await else { continue };
            let done = match index {
                0 => "nothing of this file is in effect".to_owned(),
                count => format!("commands 1 to {count} of this file are in effect; it runs again from its beginning"),
            };
            return Err(self.stopped(script, stop).at(command.place(&source)).data(done));
        }
        self.remember_in(name, &script.checksum, None).await
    }

    async fn run_together(
        &mut self,
        script: &Script,
        name: &str,
        source: &migration::Script,
        commands: &[Command],
    ) -> Result<()> {
        let undone = "rolled back; nothing of this file is in effect";
        for attempt in 0.. {
            let client = self.store.connected().client.clone();
            let mut session = client.start_session().await.map_err(|error| self.failed("begin a session", &error))?;
            session.start_transaction().await.map_err(|error| self.failed("begin a transaction", &error))?;
            let mut stopped = None;
            for command in commands {
                if let Err(stop) = self.run_one(command, Some(&mut session)).await {
                    stopped = Some((command, stop));
                    break;
                }
            }
            let Some((command, stop)) = stopped else {
                self.remember_in(name, &script.checksum, Some(&mut session)).await?;
                self.session = Some(session);
                return self.commit_session().await;
            };
            let _ = session.abort_transaction().await;
            if let Stop::Driver(error) = &stop
                && error.contains_label("TransientTransactionError")
                && attempt < RETRIES
            {
                tokio::time::sleep(std::time::Duration::from_millis(50 << attempt)).await;
                continue;
            }
            return Err(self.stopped(script, stop).at(command.place(source)).data(undone));
        }
        Ok(())
    }

    async fn run_one(&self, command: &Command, session: Option<&mut ClientSession>) -> Result<(), Stop> {
        let run = self.store.connected().database.run_command(command.document.clone());
        let reply = match session {
            Some(session) => run.session(session).await,
            None => run.await,
        };
        match reply {
            Ok(reply) => refusal_in_reply(&reply).map_or(Ok(()), |refused| Err(Stop::Refused(refused))),
            // A transaction that may be tried again is not refused for good.
            Err(error) if error.contains_label("TransientTransactionError") => Err(Stop::Driver(error)),
            Err(error) => Err(refusal(&error).map_or(Stop::Driver(error), Stop::Refused)),
        }
    }

    fn stopped(&self, script: &Script, stop: Stop) -> Error {
        match stop {
            Stop::Refused(refused) => {
                Error::new(Code::SeedFailed, format!("`{}` failed", script.shown)).why(refused.shown())
            }
            Stop::Driver(error) => self.failed("run a script", &error),
        }
    }

    pub(super) async fn remember_in(
        &self,
        file: &str,
        checksum: &str,
        session: Option<&mut ClientSession>,
    ) -> Result<()> {
        let collection = self.store.connected().database.collection::<Document>(LEDGER);
        let row = doc! {
            "$set": { "checksum": checksum, "actor": actor() },
            "$currentDate": { "appliedAt": true },
        };
        let update = collection.update_one(doc! { "_id": self.ledger_id(file) }, row).upsert(true);
        let done = match session {
            Some(session) => update.session(session).await,
            None => update.await,
        };
        done.map(|_| ()).map_err(|error| self.failed("write the ledger of seeds", &error))
    }
}
