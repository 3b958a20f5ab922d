//! Reading and keeping another tool's history: what every one of them has in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Found, History, ToolLock};
use crate::engine::adopt::Records;
use crate::engine::ledger::Amendment;
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Result};
use crate::project::migration::{Foreign, Script};
use crate::stores::postgres::error::{server_error, sqlstate};
use crate::stores::postgres::ident::literal;
use crate::stores::postgres::ledger::LYROX;
use crate::stores::postgres::splitter::split;
use crate::stores::postgres::{PostgresStore, run};

impl PostgresStore {
    /// An expression that answers the history's columns as JSON: nothing where there is no such table.
    pub(in crate::stores::postgres) fn history_columns(&self) -> String {
        self.history.as_deref().map_or_else(
            || "NULL".to_owned(),
            |history| {
                format!(
                    "(SELECT pg_catalog.json_object_agg(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)) \
                     FROM pg_catalog.pg_attribute a WHERE a.attrelid = {} AND a.attnum > 0 AND NOT a.attisdropped)",
                    relation(history)
                )
            },
        )
    }

    /// A condition that is true of everything but the history and what belongs to it; `alias` is of `pg_class`.
    pub(in crate::stores::postgres) fn not_history(&self, alias: &str) -> String {
        self.history.as_deref().map_or_else(
            || "true".to_owned(),
            |history| {
                let table = relation(history);
                format!(
                    "({alias}.oid IS DISTINCT FROM {table}::oid AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend h \
                     WHERE h.classid = 'pg_catalog.pg_class'::regclass AND h.objid = {alias}.oid \
                     AND h.refclassid = 'pg_catalog.pg_class'::regclass AND h.refobjid = {table}::oid AND h.deptype IN ('a', 'i')))"
                )
            },
        )
    }

    /// Reads the history whose columns [`Self::history_columns`] answered.
    pub(in crate::stores::postgres) async fn read_history(&mut self, columns: Option<&str>) -> Result<Option<Records>> {
        let Some(history) = self.history.clone() else { return Ok(None) };
        self.found = columns.map(found).transpose()?;
        let mut records = Records { tool: history.tool(), table: shown(&*history), ..Records::default() };
        let Some(found) = &self.found else { return Ok(Some(records)) };
        records.exists = true;
        let rows =
            run(&mut self.connection, history.select(found)).await.map_err(|error| unreadable(&records, &error))?;
        for row in &rows {
            records.rows.extend(history.read(found, row)?);
        }
        Ok(Some(records))
    }

    /// Makes the history where it is missing.
    pub(in crate::stores::postgres) async fn make_history(&mut self) -> Result<()> {
        let Some(history) = self.history.clone().filter(|_| self.found.is_none()) else { return Ok(()) };
        let sql = format!("BEGIN; {} COMMIT; SELECT {}", history.create(), self.history_columns());
        match run(&mut self.connection, sql).await {
            Ok(rows) => {
                let columns = rows.last().and_then(|row| super::text(row, 0));
                self.found = columns.as_deref().map(found).transpose()?;
                Ok(())
            }
            Err(error) => {
                let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                let what = format!("{}'s history `{}` cannot be made", history.tool(), shown(&*history));
                Err(server_error(Code::LedgerDamaged, what, &error).data("rolled back; nothing was changed"))
            }
        }
    }

    /// What the tool writes when a step has been done: one statement each.
    pub(in crate::stores::postgres) fn history_of(&self, step: &Step) -> Vec<String> {
        let Some(history) = &self.history else { return Vec::new() };
        let found = self.found.clone().unwrap_or_default();
        let is_known = step.up.foreign.is_some();
        statements(&match step.action {
            Action::Apply | Action::Record if is_known => history.applied(&found, step),
            Action::Revert if is_known => history.reverted(&found, step),
            // The file is gone: the version is the key.
            Action::Revert => {
                let foreign = Foreign { key: step.version.as_str().to_owned(), ..Foreign::default() };
                let up = Arc::new(Script { foreign: Some(foreign), ..(*step.up).clone() });
                history.reverted(&found, &Step { up, ..step.clone() })
            }
            // What the tool does not know: lyrox's own repeatables and hooks.
            Action::Apply | Action::Record | Action::Forget | Action::Hook(_) => return Vec::new(),
        })
    }

    /// What the tool writes before a step that no transaction covers.
    pub(in crate::stores::postgres) fn history_started(&self, step: &Step) -> Vec<String> {
        let found = self.found.clone().unwrap_or_default();
        let history = self.history.as_ref().filter(|_| step.up.foreign.is_some());
        let sql = history.and_then(|history| history.started(&found, step));
        sql.map(|sql| statements(&sql)).unwrap_or_default()
    }

    /// What comes before a correction of a row: the history says the same from then on. A row that lyrox never wrote is
    /// made first, so that the correction has something to correct.
    pub(in crate::stores::postgres) fn history_amended(&self, step: &Step, amendment: Amendment) -> String {
        let Some(history) = &self.history else { return String::new() };
        let found = self.found.clone().unwrap_or_default();
        let sql = match amendment {
            Amendment::Done | Amendment::NotDone => return String::new(),
            Amendment::Accept => history.accepted(&found, step),
            Amendment::Forget if step.up.foreign.is_some() => history.reverted(&found, step),
            // The file is gone: the version is the key.
            Amendment::Forget => {
                let foreign = Foreign { key: step.version.as_str().to_owned(), ..Foreign::default() };
                let up = Arc::new(Script { foreign: Some(foreign), ..(*step.up).clone() });
                history.reverted(&found, &Step { up, ..step.clone() })
            }
        };
        let values = [
            literal(&self.project),
            literal(step.version.as_str()),
            literal(&step.name),
            literal(&step.up.checksum),
            literal(history.tool()),
            literal(LYROX),
        ];
        let [project, version, name, checksum, tool, lyrox] = values;
        format!(
            "INSERT INTO lyrox.migrations (project, store, version, name, checksum, state, steps_done, steps_total, started_at, \
             finished_at, actor, lyrox) VALUES ({project}, 'postgres', {version}, {name}, {checksum}, 'applied', 0, 0, \
             pg_catalog.now(), pg_catalog.now(), {tool}, {lyrox}) ON CONFLICT DO NOTHING; {sql} "
        )
    }

    /// The key of the tool's own session lock.
    pub(in crate::stores::postgres) fn tool_lock(&self) -> Option<i64> {
        match self.history.as_ref()?.lock(&self.facts.database) {
            ToolLock::Advisory(key) => Some(key),
            ToolLock::None => None,
        }
    }

    /// Whose lock it is, for messages.
    pub(in crate::stores::postgres) fn tool(&self) -> &'static str {
        self.history.as_ref().map_or("lyrox", |history| history.tool())
    }

    /// A statement that drops the history, ended by `;`; nothing where none is kept.
    pub(in crate::stores::postgres) fn drop_history(&self) -> String {
        self.history.as_ref().map_or_else(String::new, |history| format!("DROP TABLE IF EXISTS {};", history.table()))
    }

    /// The history's name, where it is there.
    pub(in crate::stores::postgres) fn found_history(&self) -> Option<String> {
        self.history.as_deref().filter(|_| self.found.is_some()).map(shown)
    }
}

fn relation(history: &dyn History) -> String {
    format!("pg_catalog.to_regclass({})", literal(&history.table().to_string()))
}

fn shown(history: &dyn History) -> String {
    let table = history.table();
    format!("{}.{}", table.schema.name(), table.name.name())
}

fn found(columns: &str) -> Result<Found> {
    let columns: BTreeMap<String, String> =
        serde_json::from_str(columns).map_err(|error| Error::bug(format!("columns: {error}")))?;
    Ok(Found { columns })
}

fn unreadable(records: &Records, error: &sqlx::Error) -> Error {
    let error_of = server_error(
        Code::HistoryBroken,
        format!("{}'s history `{}` cannot be read", records.tool, records.table),
        error,
    );
    match sqlstate(error) {
        Some("42703" | "42P01") => error_of
            .why(format!("its columns are not those of {}: another tool may have made it", records.tool))
            .hint("set `history` under [migrations] in lyrox.toml to the table that the tool uses"),
        _ => error_of,
    }
}

/// Statements that were written as one text.
fn statements(sql: &str) -> Vec<String> {
    let Ok(cut) = split(sql) else { return vec![sql.to_owned()] };
    cut.iter().map(|statement| statement.text(sql).to_owned()).collect()
}
