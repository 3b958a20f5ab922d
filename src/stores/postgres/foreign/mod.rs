//! Other tools' history tables: what they say is applied, and what each tool itself would write when a migration is
//! applied or undone. The table is the truth of what is applied; lyrox writes to it in the migration's own transaction.
//!
//! One file a tool, each an implementation of [`History`]. SQL only: what follows from the rows is
//! decided in `engine/adopt.rs`.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;

use crate::engine::adopt::Recorded;
use crate::engine::plan::Step;
use crate::error::Result;

/// The history table as it was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Its columns and their types as `format_type` writes them; empty where the table does not exist.
    pub columns: BTreeMap<String, String>,
}

impl Found {
    /// The table has this column.
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }
}

/// The lock that the tool itself takes while it migrates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolLock {
    /// It takes none.
    None,
    /// A session's advisory lock with this key: tried, never waited for.
    Advisory(i64),
    /// `LOCK TABLE` on the history table in the migration's transaction.
    Table,
}

/// How one tool remembers.
pub trait History: Send + Sync {
    /// Schema and table, unquoted.
    fn table(&self) -> (String, String);

    /// Makes the table (and its schema) as the tool would where it is missing; statements ended by `;`.
    fn create(&self) -> String;

    /// One `SELECT` over the existing table; every cell is read as text.
    fn select(&self, found: &Found) -> String;

    /// What a row of [`History::select`] says; none for rows that say nothing (goose's version 0).
    ///
    /// # Errors
    /// A row that is not as the tool writes it.
    fn read(&self, found: &Found, row: &PgRow) -> Result<Option<Recorded>>;

    /// What the tool writes once the step's text has run, in the same transaction; statements ended by `;`. The elapsed
    /// time so far is `ELAPSED_NANOS` as an SQL expression.
    fn applied(&self, found: &Found, step: &Step) -> String;

    /// What the tool writes once the step has been undone, in the same transaction; statements ended by `;`.
    fn reverted(&self, found: &Found, step: &Step) -> String;

    /// What the tool writes before a step that no transaction covers: golang-migrate's `dirty`, Prisma's `started_at`. It must
    /// be such that [`History::applied`] completes it.
    fn started(&self, _found: &Found, _step: &Step) -> Option<String> {
        None
    }

    /// The tool's own lock in this database and schema.
    fn lock(&self, database: &str) -> ToolLock;
}

/// Nanoseconds since the step began, as an SQL expression of type bigint.
pub const ELAPSED_NANOS: &str = "(1000000000 * (extract(epoch FROM pg_catalog.clock_timestamp()) \
    - coalesce(nullif(pg_catalog.current_setting('lyrox.began', true), '')::numeric, \
    extract(epoch FROM pg_catalog.now()))))::bigint";
