//! `drizzle.__drizzle_migrations`, as drizzle-orm keeps it. 0.x knows a migration by the moment it was made and takes the
//! latest for a high-water mark; 1.0 added its name, and goes by that.

use ::sqlx::postgres::PgRow;

use super::{Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::Step;
use crate::error::Result;
use crate::stores::postgres::ident::literal;

/// drizzle's history.
#[derive(Debug)]
pub struct Drizzle {
    table: Table,
    /// The folder is one of 0.x.
    has_journal: bool,
}

impl Drizzle {
    /// The history of a project.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep.
    pub fn new(config: &Config) -> Result<Self> {
        let journal = config.root.join(&config.settings.migrations.dir).join(crate::project::formats::drizzle::JOURNAL);
        Ok(Self { table: Table::of(config, "drizzle.__drizzle_migrations")?, has_journal: journal.exists() })
    }
}

impl History for Drizzle {
    fn tool(&self) -> &'static str {
        "drizzle"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        let more = if self.has_journal { "" } else { ", name text, applied_at timestamp with time zone DEFAULT now()" };
        format!(
            "CREATE SCHEMA IF NOT EXISTS {};\n\
             CREATE TABLE IF NOT EXISTS {} (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at bigint{more});",
            self.table.schema, self.table
        )
    }

    fn select(&self, found: &Found) -> String {
        let moment = "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'";
        let at = if found.has("applied_at") {
            format!("pg_catalog.to_char(applied_at AT TIME ZONE 'UTC', {moment})")
        } else {
            "NULL".to_owned()
        };
        if !self.has_journal {
            // Where 1.0 finds a row of 0.x it goes by the moment, cut to seconds.
            let name = if found.has("name") { "name" } else { "NULL" };
            return format!(
                "SELECT 'row', coalesce({name}, (created_at / 1000 * 1000)::text), hash, {at} FROM {} ORDER BY id",
                self.table
            );
        }
        // What is older than the oldest row was there before the history: 0.x never looks below the latest.
        format!(
            "(SELECT 'mark', created_at::text, NULL, {at} FROM {table} WHERE created_at IS NOT NULL ORDER BY created_at LIMIT 1) \
             UNION ALL (SELECT 'row', created_at::text, hash, {at} FROM {table} WHERE created_at IS NOT NULL ORDER BY id)",
            table = self.table
        )
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        let Some(key) = text(row, 1) else { return Ok(None) };
        let is_mark = text(row, 0).as_deref() == Some("mark");
        let state = if is_mark { RecordedState::AppliedUpTo } else { RecordedState::Applied };
        Ok(Some(Recorded { key, checksum: text(row, 2), name: None, state, at: text(row, 3) }))
    }

    fn applied(&self, found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        let (hash, number) = (literal(&foreign.checksum), foreign.number.unwrap_or_default());
        if found.has("name") && !self.has_journal {
            return format!(
                "INSERT INTO {} (hash, created_at, name) VALUES ({hash}, {number}, {});",
                self.table,
                literal(&foreign.name)
            );
        }
        format!("INSERT INTO {} (hash, created_at) VALUES ({hash}, {number});", self.table)
    }

    fn reverted(&self, found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        let number = foreign.number.unwrap_or_default();
        if found.has("name") && !self.has_journal {
            return format!("DELETE FROM {} WHERE name = {};", self.table, literal(&foreign.name));
        }
        if self.has_journal {
            return format!("DELETE FROM {} WHERE created_at = {number};", self.table);
        }
        // Rows of 0.x under folders of 1.0: two may be of one second.
        let hashes: Vec<String> =
            foreign.accepted.iter().chain([&foreign.checksum]).map(|hash| literal(hash).to_string()).collect();
        format!(
            "DELETE FROM {} WHERE created_at / 1000 * 1000 = {number} AND hash IN ({});",
            self.table,
            hashes.join(", ")
        )
    }

    fn lock(&self, _database: &str) -> ToolLock {
        ToolLock::None
    }
}
