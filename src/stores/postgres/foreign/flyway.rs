//! `flyway_schema_history`, as Flyway's `JdbcTableSchemaHistory` and `PostgreSQLDatabase` keep it: a row for everything
//! that was ever done, replayed by rank.

use ::sqlx::postgres::PgRow;

use super::{ELAPSED_NANOS, Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::{Action, Step};
use crate::error::Result;
use crate::project::formats::flyway::{canonical, settings::Settings};
use crate::project::migration::Foreign;
use crate::stores::postgres::ident::{Ident, literal, literal_or_null};

/// The bytes of `Flyway` as a number, to which the hash of the table's name is added.
const LOCK: i64 = 77_431_708_279_161;

/// Flyway's history.
#[derive(Debug)]
pub struct Flyway {
    table: Table,
}

impl Flyway {
    /// The history of a project; Flyway's own configuration may name table and schema.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep; a configuration that cannot be read.
    pub fn new(config: &Config) -> Result<Self> {
        let settings = Settings::read(&config.root)?;
        let mut table = Table::of(config, settings.table.as_deref().unwrap_or("flyway_schema_history"))?;
        let is_named = config.settings.migrations.history.as_deref().is_some_and(|table| table.contains('.'));
        if let Some(schema) = settings.schema.filter(|_| !is_named) {
            table.schema = Ident::new(&schema)?;
        }
        Ok(Self { table })
    }

    /// A row behind all others; one that says that the same failed makes room for it.
    fn insert(&self, kind: &str, version: Option<&str>, foreign: &Foreign, success: bool) -> String {
        let description: String = if foreign.name.chars().count() > 200 {
            foreign.name.chars().take(197).chain("...".chars()).collect()
        } else {
            foreign.name.clone()
        };
        let same = version.map_or_else(
            || format!("version IS NULL AND description = {}", literal(&description)),
            |version| format!("version = {}", literal(version)),
        );
        format!(
            "DELETE FROM {table} WHERE NOT success AND {same};\n\
             INSERT INTO {table} (installed_rank, version, description, type, script, checksum, installed_by, installed_on, \
             execution_time, success) SELECT coalesce(max(installed_rank), 0) + 1, {}, {}, '{kind}', {}, {}, CURRENT_USER, \
             pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', {ELAPSED_NANOS} / 1000000, {success} FROM {table};",
            literal_or_null(version),
            literal(&description),
            literal(&foreign.script),
            if foreign.checksum.is_empty() { "NULL" } else { &foreign.checksum },
            table = self.table,
        )
    }
}

/// The version as Flyway writes it; none for a repeatable migration.
fn version(step: &Step) -> Option<String> {
    (!step.version.is_repeatable()).then(|| step.version.as_str().trim_end_matches('B').to_owned())
}

impl History for Flyway {
    fn tool(&self) -> &'static str {
        "Flyway"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        let name = self.table.name.name();
        // As PostgreSQL would cut them, so that the server does not have to.
        let of = |ending: &str| {
            let end = (0..=63 - ending.len()).rev().find(|at| name.is_char_boundary((*at).min(name.len())));
            let cut = &name[..end.unwrap_or(0).min(name.len())];
            format!("\"{}{ending}\"", cut.replace('"', "\"\""))
        };
        format!(
            "{} CREATE TABLE {table} (installed_rank INT NOT NULL, version VARCHAR(50), description VARCHAR(200) NOT NULL, \
             type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INTEGER, installed_by VARCHAR(100) NOT NULL, \
             installed_on TIMESTAMP NOT NULL DEFAULT now(), execution_time INTEGER NOT NULL, success BOOLEAN NOT NULL); \
             ALTER TABLE {table} ADD CONSTRAINT {} PRIMARY KEY (installed_rank); CREATE INDEX {} ON {table} (success);",
            self.table.schema_sql(),
            of("_pk"),
            of("_s_idx"),
            table = self.table,
        )
    }

    fn select(&self, _found: &Found) -> String {
        // What a later row deletes or undoes is as if it had never been; of a repeatable migration the newest row counts.
        format!(
            "WITH h AS (SELECT installed_rank AS rank, version, description, type, checksum, installed_on, success FROM {}), \
             kept AS (SELECT * FROM h WHERE type NOT IN ('DELETE', 'SCHEMA') AND type NOT LIKE 'UNDO%' \
             AND NOT EXISTS (SELECT FROM h later WHERE later.rank > h.rank AND later.success \
             AND (later.type = 'DELETE' OR later.type LIKE 'UNDO%') AND later.version IS NOT DISTINCT FROM h.version \
             AND (h.version IS NOT NULL OR later.description = h.description)) \
             AND NOT EXISTS (SELECT FROM h later WHERE h.version IS NULL AND later.version IS NULL AND later.rank > h.rank \
             AND later.description = h.description)) \
             SELECT version, description, type, checksum, \
             pg_catalog.to_char(installed_on, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), success FROM kept \
             UNION ALL SELECT version, description, 'COVER', NULL, \
             pg_catalog.to_char(installed_on, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), true FROM kept \
             WHERE type = 'SQL_BASELINE' AND success",
            self.table
        )
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        let (version, description, kind) = (text(row, 0), text(row, 1), text(row, 2).unwrap_or_default());
        let key = match (&version, kind.as_str()) {
            (Some(version), "SQL_BASELINE") => format!("{}B", canonical(version)),
            (Some(version), _) => canonical(version),
            (None, _) => format!("R__{}", description.clone().unwrap_or_default()),
        };
        let state = match (text(row, 5).as_deref(), kind.as_str()) {
            (Some("t"), "SQL") => RecordedState::Applied,
            (Some("t"), "BASELINE" | "INIT" | "COVER") => RecordedState::Baseline,
            // Java, scripts and the baseline file itself, which may be gone.
            (Some("t"), _) => RecordedState::Elsewhere,
            _ => RecordedState::Broken {
                why: format!(
                    "Flyway recorded {} as failed: success is false in `{}.{}`",
                    version.as_deref().map_or_else(|| key.clone(), |version| format!("version {version}")),
                    self.table.schema.name(),
                    self.table.name.name()
                ),
                hint: format!(
                    "see what of it is in effect and undo that; then remove its row, as `flyway repair` would: \
                     lyrox query postgres --write 'DELETE FROM {} WHERE NOT success'",
                    self.table
                ),
            },
        };
        Ok(Some(Recorded { key, checksum: text(row, 3), name: description, state, at: text(row, 4) }))
    }

    fn applied(&self, _found: &Found, step: &Step) -> String {
        let kind = if step.version.as_str().ends_with('B') { "SQL_BASELINE" } else { "SQL" };
        self.insert(kind, version(step).as_deref(), foreign(step), true)
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        let undo = step.script.foreign.as_ref().unwrap_or_else(|| foreign(step));
        self.insert("UNDO_SQL", version(step).as_deref(), undo, true)
    }

    fn started(&self, _found: &Found, step: &Step) -> Option<String> {
        // Flyway writes nothing before, and a failed row where a migration without a transaction failed: to a run of
        // Flyway that comes in between, it is failed.
        (step.action != Action::Revert).then(|| self.insert("SQL", version(step).as_deref(), foreign(step), false))
    }

    fn accepted(&self, _found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        // Rows that a later one deleted or undid stay as they are: what happened, happened.
        let version = version(step).map(|version| canonical(&version));
        let which = version.map_or_else(
            || format!("version IS NULL AND description = {}", literal(&foreign.name)),
            |version| {
                let pattern = version.split('.').map(|part| format!("0*{part}")).collect::<Vec<_>>().join(r"\.");
                format!("version ~ {}", literal(&format!(r"^{pattern}(\.0+)*$")))
            },
        );
        format!(
            "UPDATE {0} SET checksum = {1}, description = {2} WHERE installed_rank = (SELECT pg_catalog.max(installed_rank) \
             FROM {0} WHERE {which} AND success AND type IN ('SQL', 'SQL_BASELINE'));",
            self.table,
            foreign.checksum,
            literal(&foreign.name),
        )
    }

    fn lock(&self, _database: &str) -> ToolLock {
        let name = format!("\"{}\".\"{}\"", self.table.schema.name(), self.table.name.name());
        ToolLock::Advisory(LOCK + i64::from(java_hash(&name)))
    }
}

/// `String.hashCode` of Java.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_the_one_of_flyway() {
        assert_eq!(java_hash("hello"), 99_162_322);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(LOCK, "Flyway".bytes().fold(0, |number, byte| number << 8 | i64::from(byte)));
    }
}
