//! Other tools' history tables: what they say is applied, and what each tool itself would write when a migration is
//! applied or undone. The table is the truth of what is applied; lyrox writes to it in the migration's own transaction.
//!
//! One file a tool, each an implementation of [`History`]. SQL only: what follows from the rows is
//! decided in `engine/adopt.rs`. Times are written so that the session's time zone does not matter: use
//! `pg_catalog.clock_timestamp()` for `timestamptz`, the same `AT TIME ZONE 'UTC'` for `timestamp`.

mod access;
mod dbmate;
mod drizzle;
mod flyway;
mod golang_migrate;
mod goose;
mod graphile;
mod node_pg_migrate;
mod prisma;
mod refinery;
mod seen;
mod sqlx;
mod supabase;

use std::collections::BTreeMap;
use std::sync::Arc;

use ::sqlx::postgres::PgRow;

use super::ident::Ident;
use crate::config::Config;
use crate::config::file::Format;
use crate::engine::adopt::Recorded;
use crate::engine::plan::Step;
use crate::error::{Code, Error, Result};
use crate::project::migration::Foreign;

/// The history that the project's format keeps; none for lyrox's own and plain files.
///
/// # Errors
/// A name of a table that PostgreSQL could not keep, or a setting of the tool that cannot be read.
pub fn history(config: &Config) -> Result<Option<Arc<dyn History>>> {
    let history: Arc<dyn History> = match config.settings.migrations.format {
        Format::Lyrox | Format::Plain => return Ok(None),
        Format::Sqlx => Arc::new(self::sqlx::Sqlx::new(config)?),
        Format::Prisma => Arc::new(prisma::Prisma::new(config)?),
        Format::Drizzle => Arc::new(drizzle::Drizzle::new(config)?),
        Format::Supabase => Arc::new(supabase::Supabase::new(config)?),
        Format::NodePgMigrate => Arc::new(node_pg_migrate::NodePgMigrate::new(config)?),
        Format::Graphile => Arc::new(graphile::Graphile::new(config)?),
        Format::Dbmate => Arc::new(dbmate::Dbmate::new(config)?),
        Format::Flyway => Arc::new(flyway::Flyway::new(config)?),
        Format::GolangMigrate => Arc::new(golang_migrate::GolangMigrate::new(config)?),
        Format::Goose => Arc::new(goose::Goose::new(config)?),
        Format::Refinery => Arc::new(refinery::Refinery::new(config)?),
    };
    Ok(Some(history))
}

/// The name of a history table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its schema.
    pub schema: Ident,
    /// The table.
    pub name: Ident,
}

impl Table {
    /// The table that `[migrations] history` names, else the tool's default: `table` or `schema.table`; without a schema in
    /// the project's.
    ///
    /// # Errors
    /// `LYX-CONFIG-VALUE` for a name that PostgreSQL could not keep.
    pub fn of(config: &Config, default: &str) -> Result<Self> {
        let text = config.settings.migrations.history.as_deref().unwrap_or(default);
        let words: Vec<&str> = text.split('.').map(|word| word.trim().trim_matches('"')).collect();
        let own = config.settings.postgres.as_ref().map_or("public", |section| section.schema.as_str());
        let (schema, name) = match words.as_slice() {
            [name] => (own, *name),
            [schema, name] => (*schema, *name),
            _ => {
                return Err(Error::new(Code::ConfigValue, format!("`{text}` is no table"))
                    .data("nothing was changed")
                    .hint("`history` under [migrations] is `table` or `schema.table`"));
            }
        };
        Ok(Self { schema: Ident::new(schema)?, name: Ident::new(name)? })
    }

    /// Makes the schema where it is missing, ended by `;`. Who may not make schemas can still use one that is there.
    pub fn schema_sql(&self) -> String {
        let name = super::ident::literal(self.schema.name());
        format!(
            "DO $lyrox$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {name}) THEN \
             EXECUTE pg_catalog.format('CREATE SCHEMA %I', {name}); END IF; END $lyrox$;"
        )
    }

    /// The error where a table of this name belongs to another tool than the one that the project says.
    pub fn is_of(&self, other: &str, tool: &str) -> Error {
        let (schema, name) = (self.schema.name(), self.name.name());
        Error::new(Code::HistoryForeign, format!("`{schema}.{name}` is a table of {other}, not of {tool}"))
            .why(format!("its columns, or what lies beside it, are those of {other}; writing to it would confuse both"))
            .data("nothing was changed")
            .hint(format!(
                "set `history` under [migrations] in lyrox.toml to {tool}'s table (`schema.table`), or `format` to the tool that is used"
            ))
    }
}

/// Quoted, with its schema: what SQL wants.
impl std::fmt::Display for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.schema, self.name)
    }
}

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
}

/// How one tool remembers.
pub trait History: Send + Sync + std::fmt::Debug {
    /// The tool, as people call it.
    fn tool(&self) -> &'static str;

    /// Where it remembers.
    fn table(&self) -> &Table;

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
    /// be such that [`History::applied`] (or [`History::reverted`], for a step that goes back) completes it, and that writing it
    /// again, when the step is resumed, changes nothing.
    fn started(&self, _found: &Found, _step: &Step) -> Option<String> {
        None
    }

    /// Takes a changed file as the one that was applied: its checksum goes into the step's row; statements ended by `;`.
    /// Nothing for tools that keep no checksum.
    fn accepted(&self, _found: &Found, _step: &Step) -> String {
        String::new()
    }

    /// The tool's own lock in this database and schema.
    fn lock(&self, database: &str) -> ToolLock;
}

/// What a step's up file says of itself in the tool's words; a bug where it says nothing.
pub fn foreign(step: &Step) -> &Foreign {
    static NONE: std::sync::LazyLock<Foreign> = std::sync::LazyLock::new(Foreign::default);
    step.up.foreign.as_ref().unwrap_or(&NONE)
}

/// A cell of a row as text.
pub fn text(row: &PgRow, at: usize) -> Option<String> {
    super::connect::text(row, at)
}

/// Nanoseconds since the step began, as an SQL expression of type bigint.
pub const ELAPSED_NANOS: &str = "(1000000000 * (extract(epoch FROM pg_catalog.clock_timestamp()) \
    - coalesce(nullif(pg_catalog.current_setting('lyrox.began', true), '')::numeric / 1000000, \
    extract(epoch FROM pg_catalog.now()))))::bigint";
