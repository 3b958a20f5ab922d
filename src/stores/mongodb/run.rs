//! Running commands: alone, or several with their journal entry in one transaction. It tells what
//! happened and decides nothing.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadConcern, WriteConcern};
use mongodb::{Client, ClientSession, Database};
use rand::RngExt as _;

use super::error::{Refusal, refusal, refusal_in_reply};
use super::journal::{Journal, Unwritten};
use super::lock::Held;
use super::script::{Command, Kind};
use crate::engine::ledger::Row;

/// How often a transaction that met another writer is tried.
const TRIES: u32 = 6;

/// Why commands stopped.
#[derive(Debug)]
pub enum Stop {
    /// The server refused a command.
    Refused {
        /// Which.
        at: usize,
        /// Why.
        refusal: Refusal,
        /// How many documents of it were written nevertheless.
        written: i64,
    },
    /// The row belongs to another run now.
    Overtaken,
    /// No answer came, and nothing was kept: a transaction that was not committed.
    Gone(mongodb::error::Error),
    /// No answer came, and what was asked may have happened.
    InDoubt(mongodb::error::Error),
}

impl From<Unwritten> for Stop {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Overtaken => Self::Overtaken,
            Unwritten::Driver(error) => Self::Gone(error),
        }
    }
}

/// Runs one command outside a transaction.
///
/// # Errors
/// `Refused` or `InDoubt`.
pub async fn alone(
    client: &Client,
    lock: &Held,
    database: &Database,
    command: &Command,
    at: usize,
) -> Result<(), Stop> {
    let mut document = command.document.clone();
    if matches!(command.kind, Kind::Data | Kind::Catalog) && !document.contains_key("writeConcern") {
        document.insert("writeConcern", doc! { "w": "majority" });
    }
    let mut session = lock.session.lock().await;
    let reply = if command.name() == "renameCollection" {
        client.database("admin").run_command(renaming(database.name(), document)).session(&mut *session).await
    } else if command.name() == "shardCollection" {
        client.database("admin").run_command(document).session(&mut *session).await
    } else {
        database.run_command(document).session(&mut *session).await
    };
    match reply {
        Ok(reply) => match refusal_in_reply(&reply) {
            None => Ok(()),
            Some(refusal) => Err(Stop::Refused { at, refusal, written: written(&reply) }),
        },
        Err(error) => Err(match refusal(&error) {
            Some(refusal) if !super::error::is_in_doubt(&error) => Stop::Refused { at, refusal, written: 0 },
            _ => Stop::InDoubt(error),
        }),
    }
}

/// The server wants full names: a migration need not know what its database is called.
fn renaming(database: &str, mut command: Document) -> Document {
    for key in ["renameCollection", "to"] {
        if let Ok(name) = command.get_str(key) {
            let prefix = format!("{database}.");
            let full = if name.starts_with(&prefix) { name.to_owned() } else { format!("{prefix}{name}") };
            command.insert(key, full);
        }
    }
    command
}

fn written(reply: &Document) -> i64 {
    reply.get_i32("n").map_or_else(|_| reply.get_i64("n").unwrap_or(0), i64::from)
}

/// Runs commands `from..until` and their journal entry in one transaction; tries again where another
/// writer was in the way. Answers the row where these were the last commands.
///
/// # Errors
/// See [`Stop`]; but for `InDoubt`, nothing of it is in effect.
pub async fn together(
    lock: &Held,
    database: &Database,
    journal: &mut Journal<'_>,
    commands: &[Command],
    from: usize,
    until: usize,
) -> Result<Option<Row>, Stop> {
    let mut pause = Duration::from_millis(40);
    for attempt in 1.. {
        let outcome = once(lock, database, journal, commands, from, until).await;
        let (stop, is_transient) = match outcome {
            Ok(row) => {
                journal.advanced(until);
                return Ok(row);
            }
            Err(failed) => failed,
        };
        if !is_transient || attempt >= TRIES {
            return Err(stop);
        }
        let jitter = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(pause.mul_f64(jitter)).await;
        pause *= 2;
    }
    Err(Stop::Overtaken)
}

async fn once(
    lock: &Held,
    database: &Database,
    journal: &mut Journal<'_>,
    commands: &[Command],
    from: usize,
    until: usize,
) -> Result<Option<Row>, (Stop, bool)> {
    let mut session = lock.session.lock().await;
    session
        .start_transaction()
        .read_concern(ReadConcern::snapshot())
        .write_concern(WriteConcern::majority())
        .await
        .map_err(|error| (Stop::Gone(error), false))?;
    match inside(database, &mut session, journal, commands, from, until).await {
        Ok(row) => commit(&mut session, journal, until).await.map(|()| row),
        Err(failed) => {
            // What is not committed is undone by the server, with or without this.
            let _ = session.abort_transaction().await;
            Err(failed)
        }
    }
}

async fn inside(
    database: &Database,
    session: &mut ClientSession,
    journal: &mut Journal<'_>,
    commands: &[Command],
    from: usize,
    until: usize,
) -> Result<Option<Row>, (Stop, bool)> {
    for (at, command) in commands.iter().enumerate().take(until).skip(from) {
        let mut document = command.document.clone();
        // The transaction has its own.
        document.remove("writeConcern");
        let refused = match database.run_command(document).session(&mut *session).await {
            Ok(reply) => refusal_in_reply(&reply).map(|refusal| (refusal, false)),
            Err(error) => {
                let is_transient = error.contains_label(TRANSIENT_TRANSACTION_ERROR);
                match refusal(&error) {
                    Some(refusal) => Some((refusal, is_transient)),
                    None => return Err((Stop::Gone(error), is_transient)),
                }
            }
        };
        if let Some((refusal, is_transient)) = refused {
            return Err((Stop::Refused { at, refusal, written: 0 }, is_transient));
        }
    }
    journal.advance(until, session).await.map_err(|unwritten| {
        let is_transient = match &unwritten {
            Unwritten::Driver(error) => error.contains_label(TRANSIENT_TRANSACTION_ERROR),
            Unwritten::Overtaken => false,
        };
        (unwritten.into(), is_transient)
    })
}

async fn commit(session: &mut ClientSession, journal: &Journal<'_>, until: usize) -> Result<(), (Stop, bool)> {
    let mut pause = Duration::from_millis(100);
    let mut last = None;
    for _ in 0..TRIES {
        match session.commit_transaction().await {
            Ok(()) => return Ok(()),
            Err(error) if error.contains_label(TRANSIENT_TRANSACTION_ERROR) => return Err((Stop::Gone(error), true)),
            Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => last = Some(error),
            Err(error) => {
                return Err((
                    match refusal(&error) {
                        Some(refusal) => Stop::Refused { at: until - 1, refusal, written: 0 },
                        None => Stop::InDoubt(error),
                    },
                    false,
                ));
            }
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    // The journal entry is part of the transaction: it tells whether the transaction took effect.
    match (journal.says(until).await, last) {
        (Ok(true), _) => Ok(()),
        (_, Some(error)) | (Err(error), None) => Err((Stop::InDoubt(error), false)),
        (Ok(false), None) => Err((Stop::Overtaken, false)),
    }
}
