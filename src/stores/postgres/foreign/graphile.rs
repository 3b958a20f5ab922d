//! `graphile_migrate.migrations`, as graphile-migrate's migration.ts keeps it: a chain of hashes.

use ::sqlx::postgres::PgRow;

use super::{Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::Step;
use crate::error::Result;
use crate::stores::postgres::ident::{literal, literal_or_null};

/// graphile-migrate's history.
#[derive(Debug)]
pub struct Graphile {
    table: Table,
}

impl Graphile {
    /// The history of a project.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self { table: Table::of(config, "graphile_migrate.migrations")? })
    }
}

impl History for Graphile {
    fn tool(&self) -> &'static str {
        "graphile-migrate"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        let (schema, table) = (&self.table.schema, &self.table);
        format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};\n\
             CREATE TABLE IF NOT EXISTS {table} (hash text PRIMARY KEY, previous_hash text REFERENCES {table}, \
             filename text NOT NULL, date timestamptz NOT NULL DEFAULT now());\n\
             CREATE TABLE IF NOT EXISTS {schema}.current (filename text PRIMARY KEY DEFAULT 'current.sql', \
             content text NOT NULL, date timestamptz NOT NULL DEFAULT now());"
        )
    }

    fn select(&self, _found: &Found) -> String {
        format!(
            "SELECT filename, hash, pg_catalog.to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') \
             FROM {} ORDER BY filename",
            self.table
        )
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        let key = text(row, 0).unwrap_or_default();
        Ok(Some(Recorded { key, checksum: text(row, 1), name: None, state: RecordedState::Applied, at: text(row, 2) }))
    }

    fn applied(&self, _found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        format!(
            "INSERT INTO {} (hash, previous_hash, filename) VALUES ({}, {}, {});",
            self.table,
            literal(&foreign.checksum),
            literal_or_null(foreign.previous.as_deref()),
            literal(&foreign.key)
        )
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        format!("DELETE FROM {} WHERE hash = {};", self.table, literal(&foreign(step).checksum))
    }

    fn lock(&self, _database: &str) -> ToolLock {
        ToolLock::Advisory(4_727_445_306_447_283)
    }
}
