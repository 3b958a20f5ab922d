//! `_sqlx_migrations`, as sqlx-postgres/src/migrate.rs keeps it.

use ::sqlx::postgres::PgRow;

use super::{ELAPSED_NANOS, Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::Step;
use crate::error::Result;
use crate::project::formats::sqlx::Toml;
use crate::stores::postgres::ident::{Ident, literal};

/// sqlx-cli's history.
#[derive(Debug)]
pub struct Sqlx {
    table: Table,
    schemas: Vec<Ident>,
}

impl Sqlx {
    /// The history of a project; `sqlx.toml` may name the table.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep; a `sqlx.toml` that is none.
    pub fn new(config: &Config) -> Result<Self> {
        let settings = Toml::read(&config.root)?.migrate;
        let table = Table::of(config, settings.table_name.as_deref().unwrap_or("_sqlx_migrations"))?;
        let schemas = settings.create_schemas.iter().map(|name| Ident::new(name)).collect::<Result<_>>()?;
        Ok(Self { table, schemas })
    }
}

impl History for Sqlx {
    fn tool(&self) -> &'static str {
        "sqlx"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        let mut sql = String::new();
        for schema in self.schemas.iter().chain([&self.table.schema]) {
            sql.push_str(&format!("CREATE SCHEMA IF NOT EXISTS {schema};\n"));
        }
        sql.push_str(&format!(
            "CREATE TABLE IF NOT EXISTS {} (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
             installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, \
             execution_time BIGINT NOT NULL);",
            self.table
        ));
        sql
    }

    fn select(&self, _found: &Found) -> String {
        format!(
            "SELECT version, description, pg_catalog.to_char(installed_on AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
             success, pg_catalog.encode(checksum, 'hex') FROM {}",
            self.table
        )
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        let key = text(row, 0).unwrap_or_default();
        let state = if text(row, 3).as_deref() == Some("t") {
            RecordedState::Applied
        } else {
            RecordedState::Broken {
                why: format!("sqlx recorded version {key} as begun and not as a success: it may be half applied"),
                hint: format!(
                    "see what of it is in effect and undo that, then: lyrox query postgres --write \
                     'DELETE FROM {} WHERE version = {key}'",
                    self.table
                ),
            }
        };
        Ok(Some(Recorded { key, checksum: text(row, 4), name: text(row, 1), state, at: text(row, 2) }))
    }

    fn applied(&self, _found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        format!(
            "INSERT INTO {} (version, description, success, checksum, execution_time) VALUES ({}, {}, TRUE, \
             pg_catalog.decode('{}', 'hex'), {ELAPSED_NANOS});",
            self.table,
            foreign.key,
            literal(&foreign.name),
            foreign.checksum,
        )
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        format!("DELETE FROM {} WHERE version = {};", self.table, foreign(step).key)
    }

    fn accepted(&self, _found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        format!(
            "UPDATE {} SET checksum = pg_catalog.decode('{}', 'hex'), description = {} WHERE version = {};",
            self.table,
            foreign.checksum,
            literal(&foreign.name),
            foreign.key
        )
    }

    fn lock(&self, database: &str) -> ToolLock {
        let key = 0x3d32_ad9e * i64::from(crc32fast::hash(database.as_bytes()));
        ToolLock::Advisory(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_the_one_of_sqlx() {
        let name = |text| Ident::new(text).expect("a name");
        let history = Sqlx { table: Table { schema: name("public"), name: name("t") }, schemas: Vec::new() };
        // CRC32 of "123456789" is the check value of the algorithm.
        assert_eq!(history.lock("123456789"), ToolLock::Advisory(0x3d32_ad9e * 0xcbf4_3926));
    }
}
