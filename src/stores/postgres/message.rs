//! What is sent: statements of lyrox and of files, packed into few messages, each remembered so that
//! an error finds its way back to the file. One simple-query message is one round trip.

use std::ops::Range;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Either};

use super::error::position;
use super::script::Prepared;
use super::splitter::Kind;
use crate::kind::StoreKind;
use crate::stores::trips;

/// A message is sent before it grows beyond this, in bytes: large files stream through flat memory.
const LARGEST: usize = 256 * 1024;

/// What a statement of lyrox's own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Before the text of a file: transaction, settings.
    Before,
    /// Asks for the server's time; its row is handed out.
    Clock,
    /// After the text: deferred constraints are checked now, and blamed on the file.
    Constraints,
    /// Writes another tool's history.
    History,
    /// Writes the ledger; its row is handed out.
    Ledger,
    /// Ends the transaction.
    Commit,
    /// Brings the session back to its settings; the transaction stands whatever becomes of it.
    After,
}

/// One statement of a message.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: usize,
    file: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Own(Role),
    Statement(usize),
}

#[derive(Debug)]
enum Item {
    Own { file: usize, role: Role, sql: String },
    Statements { file: usize, range: Range<usize> },
    Break,
}

/// Where an error arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In a statement of a file, at a byte of its text where the server pointed at one.
    Statement {
        /// The index of the file.
        file: usize,
        /// The index of the statement.
        statement: usize,
        /// The byte of the file's text.
        offset: Option<usize>,
    },
    /// In a statement of lyrox's own.
    Own {
        /// The index of the file it was for.
        file: usize,
        /// What it was for.
        role: Role,
    },
}

/// What stopped a batch.
#[derive(Debug)]
pub struct Stop {
    /// The driver's error.
    pub error: sqlx::Error,
    /// Where it arose.
    pub place: Where,
    /// The statement that ends the transaction may have reached the server.
    pub commit_was_sent: bool,
}

/// Statements to send, in order. Messages are made while it is sent, so that memory stays flat.
#[derive(Debug, Default)]
pub struct Batch {
    items: Vec<Item>,
}

impl Batch {
    /// Adds one statement of lyrox's own, for a file.
    pub fn own(&mut self, file: usize, role: Role, sql: impl Into<String>) -> &mut Self {
        self.items.push(Item::Own { file, role, sql: sql.into() });
        self
    }

    /// Adds statements of a file; the data of a COPY goes with it.
    pub fn statements(&mut self, file: usize, range: Range<usize>) -> &mut Self {
        self.items.push(Item::Statements { file, range });
        self
    }

    /// What follows goes into a message of its own.
    pub fn cut(&mut self) -> &mut Self {
        self.items.push(Item::Break);
        self
    }

    /// Sends everything in order and hands out the rows that ledger and clock answered.
    ///
    /// # Errors
    /// The first error and where it arose; what was not sent yet is not sent.
    pub async fn send(self, connection: &mut PgConnection, files: &[Prepared<'_>]) -> Result<Vec<PgRow>, Box<Stop>> {
        let mut rows = Vec::new();
        let mut message = Message::default();
        for item in self.items {
            match item {
                Item::Break => message.send(connection, files, &mut rows).await?,
                Item::Own { file, role, sql } => message.push(file, What::Own(role), sql.trim_end_matches(';')),
                Item::Statements { file, range } => {
                    for at in range {
                        let kind = files[file].statements[at].kind;
                        if kind == Kind::CopyIn {
                            message.send(connection, files, &mut rows).await?;
                            if let Err(error) = copy(connection, &files[file], at).await {
                                let place = Where::Statement { file, statement: at, offset: None };
                                return Err(Box::new(Stop { error, place, commit_was_sent: false }));
                            }
                            continue;
                        }
                        message.push(file, What::Statement(at), files[file].statement(at));
                        // The server reads a whole message before it runs any of it.
                        if kind == Kind::Quoting || message.sql.len() >= LARGEST {
                            message.send(connection, files, &mut rows).await?;
                        }
                    }
                }
            }
        }
        message.send(connection, files, &mut rows).await?;
        Ok(rows)
    }
}

#[derive(Default)]
struct Message {
    sql: String,
    parts: Vec<Part>,
}

impl Message {
    fn push(&mut self, file: usize, what: What, sql: &str) {
        self.parts.push(Part { start: self.sql.len(), file, what });
        self.sql.push_str(sql);
        // A line comment at the end must not swallow the separator.
        self.sql.push_str("\n;");
    }

    async fn send(
        &mut self,
        connection: &mut PgConnection,
        files: &[Prepared<'_>],
        rows: &mut Vec<PgRow>,
    ) -> Result<(), Box<Stop>> {
        let parts = std::mem::take(&mut self.parts);
        let text: Arc<str> = std::mem::take(&mut self.sql).into();
        if parts.is_empty() {
            return Ok(());
        }
        trips::count(StoreKind::Postgres);
        let mut done = 0;
        let result = {
            let mut answers = sqlx::raw_sql(AssertSqlSafe(text.clone())).fetch_many(&mut *connection);
            loop {
                match answers.try_next().await {
                    Ok(Some(Either::Left(_))) => done += 1,
                    Ok(Some(Either::Right(row))) => {
                        if matches!(parts.get(done), Some(Part { what: What::Own(Role::Ledger | Role::Clock), .. })) {
                            rows.push(row);
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        };
        result.map_err(|error| Box::new(stop(error, &text, &parts, done, files)))
    }
}

/// Finds the statement that an error belongs to.
fn stop(error: sqlx::Error, text: &str, parts: &[Part], done: usize, files: &[Prepared<'_>]) -> Stop {
    let pointed = position(&error).map(|character| byte_of(text, character));
    let at = match pointed {
        // A syntax error is found before anything runs: only its position tells the statement.
        Some(byte) if done == 0 => parts.partition_point(|part| part.start <= byte).saturating_sub(1),
        _ => done.min(parts.len() - 1),
    };
    let commit_was_sent = parts.iter().any(|part| matches!(part.what, What::Own(Role::Commit)));
    let part = parts[at];
    let place = match part.what {
        What::Own(role) => Where::Own { file: part.file, role },
        What::Statement(statement) => Where::Statement {
            file: part.file,
            statement,
            offset: pointed.and_then(|byte| {
                let range = files[part.file].statements[statement].range();
                let offset = range.start + byte.checked_sub(part.start)?;
                (offset <= range.end).then_some(offset)
            }),
        },
    };
    Stop { error, place, commit_was_sent }
}

/// Runs one `COPY ... FROM STDIN` with its data.
async fn copy(connection: &mut PgConnection, file: &Prepared<'_>, statement: usize) -> Result<(), sqlx::Error> {
    trips::count(StoreKind::Postgres);
    let mut into = connection.copy_in_raw(file.statement(statement)).await?;
    let data = &file.text.as_bytes()[file.statements[statement].data()];
    for chunk in data.chunks(64 * 1024) {
        into.send(chunk).await?;
    }
    into.finish().await.map(drop)
}

/// The byte of a 1-based character.
fn byte_of(text: &str, character: usize) -> usize {
    text.char_indices().nth(character.saturating_sub(1)).map_or(text.len(), |(at, _)| at)
}
