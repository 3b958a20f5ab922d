//! `schema_migrations(version, dirty)`, one row at most, as golang-migrate's `database/postgres/postgres.go` and
//! `database/pgx` keep it: the newest version, and whether it was begun and not finished.

use ::sqlx::postgres::PgRow;

use super::{Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::{Action, Step};
use crate::error::Result;
use crate::stores::postgres::ident::literal;

/// What the tool multiplies its checksum of names with.
const SALT: u32 = 1_486_364_155;

/// golang-migrate's history.
#[derive(Debug)]
pub struct GolangMigrate {
    table: Table,
    project: String,
}

impl GolangMigrate {
    /// The history of a project.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep.
    pub fn new(config: &Config) -> Result<Self> {
        let project = config.settings.project.name.clone();
        Ok(Self { table: Table::of(config, "schema_migrations")?, project })
    }

    /// The row that says a version; none for an empty history, unless that is dirty.
    fn set(&self, version: Option<&str>, is_dirty: bool) -> String {
        let version = version.or(is_dirty.then_some("-1"));
        let insert = version
            .map(|version| format!("INSERT INTO {} (version, dirty) VALUES ({version}, {is_dirty});", self.table));
        format!("TRUNCATE {};\n{}", self.table, insert.unwrap_or_default())
    }
}

impl History for GolangMigrate {
    fn tool(&self) -> &'static str {
        "golang-migrate"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        format!(
            "{} CREATE TABLE IF NOT EXISTS {} (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);",
            self.table.schema_sql(),
            self.table
        )
    }

    fn select(&self, found: &Found) -> String {
        if found.has("dirty") {
            return format!("SELECT version, dirty, NULL FROM {}", self.table);
        }
        "SELECT NULL, NULL, 'dbmate or Rails'".into()
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        if let Some(other) = text(row, 2) {
            return Err(self.table.is_of(&other, "golang-migrate"));
        }
        let key = text(row, 0).unwrap_or_default();
        let state = if text(row, 1).as_deref() == Some("t") {
            RecordedState::Broken {
                why: format!(
                    "`{}.{}` says that version {key} is dirty: golang-migrate began it and did not finish, or it failed there",
                    self.table.schema.name(),
                    self.table.name.name()
                ),
                hint: format!(
                    "see what of version {key} is in effect and finish or undo it; then say which version is whole, as \
                     `migrate force` would: lyrox query postgres --write 'UPDATE {} SET version = {key}, dirty = false'",
                    self.table
                ),
            }
        } else {
            RecordedState::AppliedUpTo
        };
        Ok(Some(Recorded { key, checksum: None, name: None, state, at: None }))
    }

    fn applied(&self, _found: &Found, step: &Step) -> String {
        self.set(Some(&foreign(step).key), false)
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        if foreign.is_high_water {
            return self.set(foreign.previous.as_deref(), false);
        }
        // Its file is gone, and with it what came before: lyrox's own rows know that.
        format!(
            "TRUNCATE {0};\nINSERT INTO {0} (version, dirty) SELECT pg_catalog.max(version::bigint), false FROM lyrox.migrations \
             WHERE project = {1} AND tenant = '' AND store = 'postgres' AND state = 'applied' AND version ~ '^[0-9]+$' \
             AND version::bigint < {2} HAVING pg_catalog.count(*) > 0;",
            self.table,
            literal(&self.project),
            foreign.key
        )
    }

    fn started(&self, _found: &Found, step: &Step) -> Option<String> {
        let foreign = foreign(step);
        Some(match step.action {
            Action::Revert => self.set(foreign.previous.as_deref(), true),
            _ => self.set(Some(&foreign.key), true),
        })
    }

    fn lock(&self, database: &str) -> ToolLock {
        let names = format!("{}\0{}\0{database}", self.table.schema.name(), self.table.name.name());
        ToolLock::Advisory(i64::from(crc32fast::hash(names.as_bytes()).wrapping_mul(SALT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::postgres::ident::Ident;

    fn history() -> GolangMigrate {
        let name = |text| Ident::new(text).expect("a name");
        let table = Table { schema: name("public"), name: name("schema_migrations") };
        GolangMigrate { table, project: "p".into() }
    }

    #[test]
    fn an_empty_history_has_no_row_unless_it_is_dirty() {
        let set = |version, is_dirty| history().set(version, is_dirty).replace('\n', " ");
        let table = "\"public\".\"schema_migrations\"";
        assert_eq!(
            set(Some("3"), true),
            format!("TRUNCATE {table}; INSERT INTO {table} (version, dirty) VALUES (3, true);")
        );
        assert_eq!(set(None, false), format!("TRUNCATE {table}; "));
        assert!(set(None, true).ends_with("VALUES (-1, true);"));
    }

    #[test]
    fn the_lock_is_the_one_of_golang_migrate() {
        // The value that the tool's own test of its formula has for these names.
        let names = crc32fast::hash("public\0schema_migrations\0database_name".as_bytes());
        assert_eq!(history().lock("database_name"), ToolLock::Advisory(i64::from(names.wrapping_mul(SALT))));
    }
}
