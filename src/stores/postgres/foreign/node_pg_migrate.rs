//! `pgmigrations`, as node-pg-migrate's runner.ts keeps it: names, in the order of `run_on` and `id`. That order must be
//! the one of the files, or the tool refuses to go on.

use ::sqlx::postgres::PgRow;

use super::{Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::Step;
use crate::error::Result;
use crate::stores::postgres::ident::literal;

/// The zone that sessions of other tools begin with. `run_on` has none: it holds the local time of whoever wrote it, and
/// lyrox's own session speaks UTC. What the configuration file says is not to be read without rights; the
/// server's log has the same zone unless someone made it differ.
const ZONE: &str = "coalesce((SELECT pg_catalog.substr(c, 10) FROM pg_catalog.pg_db_role_setting s, \
    pg_catalog.unnest(s.setconfig) c WHERE pg_catalog.lower(c) LIKE 'timezone=%' \
    AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) \
    AND s.setrole IN (0, (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = session_user)) \
    ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1), pg_catalog.current_setting('log_timezone'))";

/// node-pg-migrate's history.
#[derive(Debug)]
pub struct NodePgMigrate {
    table: Table,
}

impl NodePgMigrate {
    /// The history of a project.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self { table: Table::of(config, "pgmigrations")? })
    }
}

impl History for NodePgMigrate {
    fn tool(&self) -> &'static str {
        "node-pg-migrate"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (id SERIAL PRIMARY KEY, name varchar(255) NOT NULL, run_on timestamp NOT NULL);",
            self.table
        )
    }

    fn select(&self, _found: &Found) -> String {
        format!(
            "SELECT name, pg_catalog.to_char(pg_catalog.timezone({ZONE}, run_on) AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM {} ORDER BY run_on, id",
            self.table
        )
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        let key = text(row, 0).unwrap_or_default();
        Ok(Some(Recorded { key, checksum: None, name: None, state: RecordedState::Applied, at: text(row, 1) }))
    }

    fn applied(&self, _found: &Found, step: &Step) -> String {
        // Never before a row that is there: a clock that was set back must not turn the order round.
        format!(
            "INSERT INTO {table} (name, run_on) SELECT {}, greatest(pg_catalog.timezone({ZONE}, pg_catalog.now()), \
             (SELECT pg_catalog.max(run_on) FROM {table}));",
            literal(&foreign(step).key),
            table = self.table
        )
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        format!("DELETE FROM {} WHERE name = {};", self.table, literal(&foreign(step).key))
    }

    fn lock(&self, _database: &str) -> ToolLock {
        ToolLock::Advisory(7_241_865_325_823_964)
    }
}
