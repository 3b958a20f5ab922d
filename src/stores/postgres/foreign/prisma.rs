//! `_prisma_migrations`, as `schema-engine`'s sql_migration_persistence.rs keeps it: a row is written before a migration
//! runs and finished behind it; one name may have several, of which those that were rolled back say nothing.

use ::sqlx::postgres::PgRow;

use super::{ELAPSED_NANOS, Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::postgres::ident::literal;

/// Prisma Migrate's history.
#[derive(Debug)]
pub struct Prisma {
    table: Table,
}

impl Prisma {
    /// The history of a project. Prisma keeps it in the schema that the URL's `schema` names.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep; a URL whose schema is another than the project's.
    pub fn new(config: &Config) -> Result<Self> {
        let table = Table::of(config, "_prisma_migrations")?;
        let Some(section) = &config.settings.postgres else { return Ok(Self { table }) };
        let named = [&section.direct_url, &section.url].into_iter().find_map(|url| {
            let url = crate::url::parse(StoreKind::Postgres, url).ok()?;
            url.option("schema").map(str::to_owned)
        });
        match named.filter(|named| *named != section.schema) {
            None => Ok(Self { table }),
            Some(named) => {
                let shown: String = named.chars().filter(|c| !c.is_control()).take(63).collect();
                Err(Error::new(
                    Code::ConfigValue,
                    format!("Prisma works in schema `{shown}`, lyrox in `{}`", section.schema),
                )
                .why("the URL says `schema=`, which is Prisma's word for it")
                .data("nothing was changed")
                .hint(format!("set `schema = {shown:?}` under [postgres] in lyrox.toml")))
            }
        }
    }
}

impl History for Prisma {
    fn tool(&self) -> &'static str {
        "Prisma"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        format!(
            "CREATE SCHEMA IF NOT EXISTS {};\nCREATE TABLE IF NOT EXISTS {} (id VARCHAR(36) PRIMARY KEY NOT NULL, \
             checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ, migration_name VARCHAR(255) NOT NULL, logs TEXT, \
             rolled_back_at TIMESTAMPTZ, started_at TIMESTAMPTZ NOT NULL DEFAULT now(), \
             applied_steps_count INTEGER NOT NULL DEFAULT 0);",
            self.table.schema, self.table
        )
    }

    fn select(&self, _found: &Found) -> String {
        format!(
            "SELECT migration_name, checksum, CASE WHEN rolled_back_at IS NOT NULL THEN 'rolled back' \
             WHEN finished_at IS NOT NULL THEN 'applied' ELSE 'failed' END, \
             pg_catalog.to_char(coalesce(finished_at, started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
             logs FROM {} ORDER BY started_at",
            self.table
        )
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        let key = text(row, 0).unwrap_or_default();
        let state = match text(row, 2).as_deref() {
            Some("rolled back") => return Ok(None),
            Some("applied") => RecordedState::Applied,
            _ => RecordedState::Broken {
                why: broken(text(row, 4).as_deref()),
                hint: format!(
                    "see what of it is in effect, then: npx prisma migrate resolve --rolled-back {key} (or --applied {key})"
                ),
            },
        };
        Ok(Some(Recorded { key, checksum: text(row, 1), name: None, state, at: text(row, 3) }))
    }

    fn applied(&self, _found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        let (name, checksum) = (literal(&foreign.key), literal(&foreign.checksum));
        // What was begun without a transaction is finished, else it is a row of its own.
        format!(
            "WITH begun AS (UPDATE {table} SET finished_at = pg_catalog.clock_timestamp(), applied_steps_count = 1, \
             checksum = {checksum}, logs = NULL \
             WHERE migration_name = {name} AND finished_at IS NULL AND rolled_back_at IS NULL RETURNING 1) \
             INSERT INTO {table} (id, checksum, finished_at, migration_name, started_at, applied_steps_count) \
             SELECT '{id}', {checksum}, pg_catalog.clock_timestamp(), {name}, \
             pg_catalog.clock_timestamp() - {ELAPSED_NANOS} / 1000 * '1 microsecond'::interval, 1 \
             WHERE NOT EXISTS (SELECT FROM begun);",
            table = self.table,
            id = uuid::Uuid::new_v4(),
        )
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        format!(
            "UPDATE {} SET rolled_back_at = pg_catalog.clock_timestamp() WHERE migration_name = {} AND rolled_back_at IS NULL;",
            self.table,
            literal(&foreign(step).key)
        )
    }

    fn started(&self, _found: &Found, step: &Step) -> Option<String> {
        if step.action == Action::Revert {
            return None;
        }
        let foreign = foreign(step);
        let name = literal(&foreign.key);
        Some(format!(
            "INSERT INTO {table} (id, checksum, migration_name, started_at) SELECT '{id}', {}, {name}, \
             pg_catalog.clock_timestamp() WHERE NOT EXISTS (SELECT FROM {table} WHERE migration_name = {name} \
             AND finished_at IS NULL AND rolled_back_at IS NULL);",
            literal(&foreign.checksum),
            table = self.table,
            id = uuid::Uuid::new_v4(),
        ))
    }

    fn lock(&self, _database: &str) -> ToolLock {
        ToolLock::Advisory(72_707_369)
    }
}

/// What Prisma kept of a failure.
fn broken(logs: Option<&str>) -> String {
    let why = "Prisma recorded it as begun and never as finished: it failed, or was cut short";
    let kept: Vec<&str> = logs.unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = kept.iter().position(|line| line.starts_with("Database error:")).map_or(0, |at| at + 1);
    match kept.get(error) {
        Some(line) => format!("{why}\n{}", line.chars().filter(|c| !c.is_control()).take(200).collect::<String>()),
        None => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_that_prisma_kept_is_told() {
        let logs = "A migration failed to apply.\n\nMigration name: 1_a\n\nDatabase error code: 42P01\n\nDatabase error:\nERROR: no such table\n";
        assert!(broken(Some(logs)).ends_with("\nERROR: no such table"));
        assert!(!broken(None).contains('\n') && !broken(Some("\n")).contains('\n'));
    }
}
