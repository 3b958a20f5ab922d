//! `schema_migrations(version)`, as dbmate's `pkg/driver/postgres/postgres.go` keeps it. Rails and golang-migrate have
//! tables of the same name: they are told apart by their columns and neighbours.

use ::sqlx::postgres::PgRow;

use super::{Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::Step;
use crate::error::Result;
use crate::stores::postgres::ident::literal;

/// dbmate's history.
#[derive(Debug)]
pub struct Dbmate {
    table: Table,
}

impl Dbmate {
    /// The history of a project.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self { table: Table::of(config, "schema_migrations")? })
    }
}

impl History for Dbmate {
    fn tool(&self) -> &'static str {
        "dbmate"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        format!("{} CREATE TABLE IF NOT EXISTS {} (version varchar PRIMARY KEY);", self.table.schema_sql(), self.table)
    }

    fn select(&self, found: &Found) -> String {
        if found.has("dirty") {
            return "SELECT NULL, 'golang-migrate'".into();
        }
        let rails = format!("{}.ar_internal_metadata", self.table.schema);
        format!(
            "SELECT NULL, 'Rails' WHERE pg_catalog.to_regclass({}) IS NOT NULL UNION ALL SELECT version, NULL FROM {}",
            literal(&rails),
            self.table
        )
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        if let Some(other) = text(row, 1) {
            return Err(self.table.is_of(&other, "dbmate"));
        }
        let key = text(row, 0).unwrap_or_default();
        Ok(Some(Recorded { key, checksum: None, name: None, state: RecordedState::Applied, at: None }))
    }

    fn applied(&self, _found: &Found, step: &Step) -> String {
        format!("INSERT INTO {} (version) VALUES ({});", self.table, literal(&foreign(step).key))
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        format!("DELETE FROM {} WHERE version = {};", self.table, literal(&foreign(step).key))
    }

    fn lock(&self, _database: &str) -> ToolLock {
        ToolLock::None
    }
}
