//! `refinery_schema_history`, as refinery's `refinery_core/src/traits` keeps it. Versions have 32 bits, or 64 with its
//! feature `int8-versions`; checksums differ between the two, and the column's type tells which it is.

use ::sqlx::postgres::PgRow;

use super::{Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::Step;
use crate::error::Result;
use crate::project::formats::refinery::WIDE;
use crate::stores::postgres::ident::literal;

/// refinery's history.
#[derive(Debug)]
pub struct Refinery {
    table: Table,
}

impl Refinery {
    /// The history of a project.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self { table: Table::of(config, "refinery_schema_history")? })
    }
}

/// The versions of the table have 64 bits.
fn is_wide(found: &Found) -> bool {
    found.columns.get("version").is_some_and(|kind| kind == "bigint")
}

impl History for Refinery {
    fn tool(&self) -> &'static str {
        "refinery"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        format!(
            "{} CREATE TABLE IF NOT EXISTS {} (version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), \
             checksum varchar(255));",
            self.table.schema_sql(),
            self.table
        )
    }

    fn select(&self, _found: &Found) -> String {
        format!("SELECT version, name, applied_on, checksum FROM {}", self.table)
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        let key = text(row, 0).unwrap_or_default();
        let (name, at, checksum) = (text(row, 1), text(row, 2), text(row, 3));
        Ok(Some(Recorded { key, checksum, name, state: RecordedState::Applied, at }))
    }

    fn applied(&self, found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        let mut sql = String::new();
        let mut checksum = &foreign.checksum;
        if is_wide(found) {
            checksum = foreign.accepted.first().unwrap_or(checksum);
        } else if foreign.number == Some(WIDE) {
            // Versions that need 64 bits: refinery has its feature on, and would have made the table so. One that holds
            // narrow rows is refinery's to change.
            sql = format!(
                "DO $lyrox$ BEGIN IF NOT EXISTS (SELECT FROM {0}) THEN ALTER TABLE {0} ALTER COLUMN version TYPE int8; \
                 END IF; END $lyrox$;\n",
                self.table
            );
        }
        sql.push_str(&format!(
            "INSERT INTO {} (version, name, applied_on, checksum) VALUES ({}, {}, \
             pg_catalog.to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), '{checksum}');",
            self.table,
            foreign.key,
            literal(&foreign.name),
        ));
        sql
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        format!("DELETE FROM {} WHERE version = {};", self.table, foreign(step).key)
    }

    fn accepted(&self, found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        let checksum = foreign.accepted.first().filter(|_| is_wide(found)).unwrap_or(&foreign.checksum);
        format!(
            "UPDATE {} SET name = {}, checksum = '{checksum}' WHERE version = {};",
            self.table,
            literal(&foreign.name),
            foreign.key
        )
    }

    fn lock(&self, _database: &str) -> ToolLock {
        ToolLock::None
    }
}
