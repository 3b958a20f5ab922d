//! The ledger in PostgreSQL: schema `lyrox`. Reading it changes nothing, not even where it is missing.
//! All names are qualified: a migration may leave any `search_path` behind.

use sqlx::postgres::PgRow;

use super::connect::text;
use super::error::{server_error, sqlstate};
use super::ident::{literal, literal_or_null};
use std::collections::BTreeMap;

use super::{Path, PostgresStore, run};
use crate::engine::ledger::{Kept, LAYOUT, Ledger, Mark, Row, State};
use crate::engine::plan::Step;
use crate::engine::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Version;

/// The version of lyrox that writes.
pub const LYROX: &str = env!("CARGO_PKG_VERSION");

/// Texts up to this size are kept, in bytes; the server compresses them.
pub(super) const LARGEST_TEXT: usize = 1024 * 1024;

const TABLES: [&str; 5] = ["layout", "migrations", "events", "environment", "snapshots"];

/// Makes what is missing. `lyrox.layout` comes last: where it has its row, the rest is there.
const BOOTSTRAP: &str = "DO $lyrox$ BEGIN
IF pg_catalog.to_regnamespace('lyrox') IS NULL THEN CREATE SCHEMA lyrox; END IF;
IF pg_catalog.to_regnamespace({schema}) IS NULL THEN EXECUTE pg_catalog.format('CREATE SCHEMA %s', {schema}); END IF;
END $lyrox$;
CREATE TABLE IF NOT EXISTS lyrox.migrations (
    project text NOT NULL, tenant text NOT NULL DEFAULT '', store text NOT NULL, version text NOT NULL,
    name text NOT NULL, checksum text NOT NULL, text text, down_text text,
    state text NOT NULL CHECK (state IN ('started', 'applied', 'failed', 'reverted')),
    steps_done int NOT NULL, steps_total int NOT NULL, step_open int, down_done int NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL, finished_at timestamptz,
    actor text NOT NULL, lyrox text NOT NULL, error_code text, run text,
    PRIMARY KEY (project, tenant, store, version));
CREATE TABLE IF NOT EXISTS lyrox.events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    project text NOT NULL, tenant text NOT NULL DEFAULT '', store text NOT NULL, version text,
    what text NOT NULL, step int, error_code text, actor text NOT NULL, lyrox text NOT NULL);
CREATE TABLE IF NOT EXISTS lyrox.environment (
    project text PRIMARY KEY, name text NOT NULL, is_protected boolean NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), resetting_since timestamptz,
    foreign_objects text, kept_objects text);
CREATE TABLE IF NOT EXISTS lyrox.snapshots (
    project text NOT NULL, tenant text NOT NULL DEFAULT '', store text NOT NULL, head text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), objects text NOT NULL,
    PRIMARY KEY (project, tenant, store));
CREATE TABLE IF NOT EXISTS lyrox.layout (one boolean PRIMARY KEY DEFAULT true CHECK (one), version int NOT NULL);";

/// The columns of a row as [`read_row`] wants them; `m` is the row.
pub(super) const COLUMNS: &str = "m.store, m.version, m.name, m.checksum, \
    CASE WHEN m.state IN ('started', 'failed') THEN m.text END, m.state, m.steps_done, m.steps_total, \
    (1000000 * pg_catalog.date_part('epoch', m.started_at))::bigint, \
    (1000000 * pg_catalog.date_part('epoch', m.finished_at))::bigint, m.actor, m.lyrox, m.error_code, \
    m.run, m.down_text IS NOT NULL, \
    CASE WHEN m.state = 'applied' AND (m.down_done > 0 OR m.step_open < 0) THEN m.down_done END";

/// Tables, views and sequences of the project's schema that belong to no extension.
const EMPTINESS: &str = "NOT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass \
    AND d.objid = c.oid AND d.deptype = 'e') AND {history})";

/// Nothing is in the schema of a tenant.
const IS_EMPTY_SCHEMA: &str = "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass \
    AND d.refobjid = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = {schema}) \
    AND d.classid <> 'pg_catalog.pg_default_acl'::regclass)";

/// What is written about a step.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The step.
    pub step: &'a Step,
    /// The state from now on.
    pub state: State,
    /// How many statements are in effect.
    pub done: u32,
    /// How many there are.
    pub total: u32,
    /// What happened, for the event log.
    pub event: &'static str,
    /// When it began and ended; none: it began at `lyrox.began`, which [`BEGIN_CLOCK`] sets, and ends now.
    pub span: Option<Span>,
}

/// A stretch of the server's time, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub began: i64,
    /// Its end.
    pub finished: i64,
}

impl PostgresStore {
    pub(super) fn scope(&self) -> String {
        format!("project = {} AND tenant = {}", literal(&self.project), literal(&self.target.tenant))
    }

    /// Who works: user@machine.
    pub(super) fn actor(&self) -> &str {
        &self.actor
    }

    fn emptiness(&self) -> String {
        // Beside a thousand schemas the list of all tables is long; what depends on one of them is an index away.
        if !self.target.tenant.is_empty() {
            return IS_EMPTY_SCHEMA.replace("{schema}", &literal(self.settings.schema.name()));
        }
        EMPTINESS
            .replace("{schema}", &literal(self.settings.schema.name()))
            .replace("{history}", &self.not_history("c"))
    }

    /// Ledger, mark and state: one round trip where there is a ledger.
    pub(super) async fn read_ledger(&mut self) -> Result<Ledger> {
        let mut missing = String::new();
        for pause in [0, 20, 100] {
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            match self.try_ledger().await? {
                Ok(ledger) => return Ok(ledger),
                // Another run may be making it: a part of it can be seen a moment before the rest.
                Err(tables) => missing = tables,
            }
        }
        Err(damaged(&format!("{missing} is missing")))
    }

    /// What reads the ledger: where it stands, and its rows.
    pub(super) fn reading(&self) -> String {
        format!(
            "SELECT (SELECT pg_catalog.max(version) FROM lyrox.layout), e.name, e.is_protected, e.resetting_since IS NOT NULL, \
             (SELECT s.head FROM lyrox.snapshots s WHERE s.{scope} AND s.store = 'postgres'), \
             CASE WHEN EXISTS (SELECT FROM lyrox.migrations m WHERE m.{scope} AND m.store = 'postgres') THEN false \
             ELSE {empty} END, {columns} \
             FROM (SELECT 1) one LEFT JOIN lyrox.environment e ON e.project = {project}; \
             SELECT {COLUMNS} FROM lyrox.migrations m WHERE m.{scope}",
            scope = self.scope(),
            empty = self.emptiness(),
            columns = self.history_columns(),
            project = literal(&self.project),
        )
    }

    /// The inner error names the tables that are missing while others are there.
    async fn try_ledger(&mut self) -> Result<Result<Ledger, String>> {
        let rows = match self.ahead.take() {
            Some(rows) => rows,
            None => {
                let sql = self.reading();
                match run(&mut self.connection, sql).await {
                    Ok(rows) => rows,
                    Err(error) => return self.without_ledger(&error).await,
                }
            }
        };
        let (head, rows) = rows.split_first().ok_or_else(|| damaged("it answered nothing"))?;
        match text(head, 0).map(|version| version.parse::<i32>()) {
            Some(Ok(version)) if version == LAYOUT => {}
            Some(Ok(version)) if version > LAYOUT => return Err(newer(version)),
            _ => return Err(damaged("`lyrox.layout` does not hold its version")),
        }
        let mut ledger = Ledger {
            mark: text(head, 1)
                .map(|environment| Mark { environment, is_protected: text(head, 2).as_deref() == Some("t") }),
            is_resetting: text(head, 3).as_deref() == Some("t"),
            snapshot_head: text(head, 4),
            is_empty: text(head, 5).as_deref() == Some("t"),
            ..Ledger::default()
        };
        let columns = text(head, 6);
        for row in rows {
            let row = read_row(row)?;
            if row.store == StoreKind::Postgres { ledger.rows.push(row) } else { ledger.copies.push(row) }
        }
        ledger.foreign = self.read_history(columns.as_deref()).await?;
        ledger.rows.sort_by(|a, b| a.version.cmp(&b.version));
        ledger.copies.sort_by(|a, b| (a.store, &a.version).cmp(&(b.store, &b.version)));
        self.is_prepared = ledger.mark.is_some();
        Ok(Ok(ledger))
    }

    /// The ledger could not be read: there is none, or it is not whole.
    async fn without_ledger(&mut self, error: &sqlx::Error) -> Result<Result<Ledger, String>> {
        self.is_prepared = false;
        match sqlstate(error) {
            Some("42P01" | "3F000") => {}
            Some("42703" | "42883") => {
                let layout = run(&mut self.connection, "SELECT version FROM lyrox.layout".into()).await;
                let version = layout.ok().and_then(|rows| text(rows.first()?, 0)?.parse::<i32>().ok());
                return Err(match version {
                    Some(version) if version > LAYOUT => newer(version),
                    _ => damaged(&super::error::words(error)),
                });
            }
            _ => return Err(server_error(Code::LedgerDamaged, "the ledger in schema `lyrox` cannot be read", error)),
        }
        let tables = TABLES.map(|table| format!("pg_catalog.to_regclass('lyrox.{table}') IS NULL"));
        let sql = format!("SELECT {}, {}, {}", self.emptiness(), tables.join(", "), self.history_columns());
        let rows = run(&mut self.connection, sql)
            .await
            .map_err(|error| server_error(Code::LedgerDamaged, "the catalog cannot be read", &error))?;
        let row = rows.first().ok_or_else(|| Error::bug("the catalog answered nothing"))?;
        let missing: Vec<String> = TABLES
            .iter()
            .enumerate()
            .filter(|(at, _)| text(row, at + 1).as_deref() == Some("t"))
            .map(|(_, table)| format!("`lyrox.{table}`"))
            .collect();
        // A bootstrap that was cut short leaves nothing, since it is one transaction.
        if missing.len() == TABLES.len() {
            let is_empty = text(row, 0).as_deref() == Some("t");
            let foreign = self.read_history(text(row, TABLES.len() + 1).as_deref()).await?;
            return Ok(Ok(Ledger { is_empty, foreign, ..Ledger::default() }));
        }
        Ok(Err(missing.join(", ")))
    }

    /// Makes the ledger where there is none and writes the mark where there is none.
    pub(super) async fn make_ledger(&mut self, mark: &Mark) -> Result<()> {
        if self.is_prepared {
            return Ok(());
        }
        // What is there before lyrox is not the project's.
        let foreign = self.foreign_list().await?;
        // Where the session holds no lock, the transaction does.
        let begin = if self.path == Path::Pooled { "" } else { "BEGIN; " };
        let sql = format!(
            "{begin}{bootstrap} INSERT INTO lyrox.layout (version) VALUES ({LAYOUT}) ON CONFLICT DO NOTHING; \
             INSERT INTO lyrox.environment (project, name, is_protected, foreign_objects) \
             VALUES ({project}, {name}, {protected}, {foreign}) \
             ON CONFLICT DO NOTHING; {event} COMMIT",
            // Both functions want the name as SQL would have it.
            bootstrap = BOOTSTRAP.replace("{schema}", &literal(&self.settings.schema.to_string())),
            project = literal(&self.project),
            name = literal(&mark.environment),
            protected = mark.is_protected,
            foreign = literal(&foreign),
            event = self.event("prepared", None, None, None),
        );
        let mut tries = 0;
        loop {
            if self.path == Path::Pooled {
                self.begin_locked("").await?;
            }
            let Err(error) = run(&mut self.connection, sql.clone()).await else { break };
            let _ = run(&mut self.connection, "ROLLBACK".into()).await;
            tries += 1;
            // Another project of the same database may make the same schema at the same moment.
            let is_race = matches!(sqlstate(&error), Some("23505" | "42P06" | "42P07" | "42710" | "40P01" | "55P03"));
            if !is_race || tries == 5 {
                let data = if super::error::is_lost(&error) {
                    "no migration was run"
                } else {
                    "rolled back; nothing was changed"
                };
                return Err(server_error(Code::LedgerDamaged, "the ledger in schema `lyrox` cannot be made", &error)
                    .data(data)
                    .hint_if_none(format!(
                        "GRANT CREATE ON DATABASE \"{}\" TO \"{}\"",
                        self.facts.database, self.facts.user
                    )));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20 * tries)).await;
        }
        self.is_prepared = true;
        Ok(())
    }

    /// Writes another mark.
    pub(super) async fn write_mark(&mut self, mark: &Mark) -> Result<()> {
        self.make_ledger(mark).await?;
        let sql = format!(
            "UPDATE lyrox.environment SET name = {name}, is_protected = {protected}, \
             marked_at = pg_catalog.clock_timestamp() WHERE project = {project}; {event}",
            name = literal(&mark.environment),
            protected = mark.is_protected,
            project = literal(&self.project),
            event = self.event("marked", None, None, None),
        );
        self.write(sql, "the mark cannot be written").await
    }

    /// Sends statements of the ledger that belong together.
    pub(super) async fn write(&mut self, sql: String, what: &str) -> Result<()> {
        run(&mut self.connection, sql).await.map(drop).map_err(|error| server_error(Code::LedgerDamaged, what, &error))
    }

    /// An `INSERT` into the event log, ended by `;`.
    pub(super) fn event(&self, what: &str, step: Option<&Step>, at: Option<u32>, code: Option<&str>) -> String {
        format!(
            "INSERT INTO lyrox.events (project, tenant, store, version, what, step, error_code, actor, lyrox) \
             VALUES ({}, {}, 'postgres', {}, {}, {}, {}, {}, {});",
            literal(&self.project),
            literal(&self.target.tenant),
            literal_or_null(step.map(|step| step.version.as_str())),
            literal(what),
            at.map_or_else(|| "NULL".to_owned(), |at| at.to_string()),
            literal_or_null(code),
            literal(&self.actor),
            literal(LYROX),
        )
    }

    /// One statement that writes the rows of steps, ended by `;`; it answers the rows in order. All of them have
    /// the same event. What is undone keeps its name and its texts.
    pub(super) fn upsert(&self, entries: &[Entry<'_>]) -> String {
        let mut values = String::new();
        for entry in entries {
            if !values.is_empty() {
                values.push_str(", ");
            }
            self.push_values(&mut values, entry);
        }
        let told = if entries.first().is_some_and(|entry| entry.state == State::Reverted) {
            ""
        } else {
            "name = EXCLUDED.name, checksum = EXCLUDED.checksum, text = EXCLUDED.text, down_text = EXCLUDED.down_text, \
             steps_total = EXCLUDED.steps_total, run = EXCLUDED.run, "
        };
        format!(
            "INSERT INTO lyrox.migrations AS m (project, tenant, store, version, name, checksum, text, down_text, state, \
             steps_done, steps_total, started_at, finished_at, actor, lyrox, run) VALUES {values} \
             ON CONFLICT (project, tenant, store, version) DO UPDATE SET {told}state = EXCLUDED.state, \
             steps_done = EXCLUDED.steps_done, step_open = NULL, down_done = 0, started_at = EXCLUDED.started_at, \
             finished_at = EXCLUDED.finished_at, actor = EXCLUDED.actor, lyrox = EXCLUDED.lyrox, error_code = NULL \
             RETURNING {COLUMNS};"
        )
    }

    /// One statement that writes the events of steps, ended by `;`.
    pub(super) fn happened(&self, entries: &[Entry<'_>]) -> String {
        let rest = format!("{}, {})", literal(&self.actor), literal(LYROX));
        let (project, tenant) = (literal(&self.project), literal(&self.target.tenant));
        let rows = entries.iter().map(|entry| {
            let (version, what) = (literal(entry.step.version.as_str()), literal(entry.event));
            format!("({project}, {tenant}, 'postgres', {version}, {what}, {rest}")
        });
        format!(
            "INSERT INTO lyrox.events (project, tenant, store, version, what, actor, lyrox) VALUES {};",
            rows.collect::<Vec<_>>().join(", ")
        )
    }

    /// What [`PostgresStore::upsert`] inserts for one step.
    fn push_values(&self, values: &mut String, entry: &Entry<'_>) {
        use std::fmt::Write as _;
        let step = entry.step;
        let fits = |text: &String| text.len() <= LARGEST_TEXT;
        let text = Some(&step.up.text).filter(|text| fits(text));
        let down = step.down.as_ref().and_then(|down| down.kept()).filter(fits);
        let is_finished = matches!(entry.state, State::Applied | State::Reverted);
        let at = |micros: i64| format!("pg_catalog.to_timestamp({micros} / 1000000.0::float8)");
        let (began, finished) = match entry.span {
            Some(span) => (at(span.began), at(span.finished)),
            None => (BEGAN.to_owned(), "pg_catalog.clock_timestamp()".to_owned()),
        };
        let _ = write!(
            values,
            "({project}, {tenant}, 'postgres', {version}, {name}, {checksum}, {text}, {down}, '{state}', {done}, {total}, {began}, \
             {finished}, {actor}, {lyrox}, {run})",
            project = literal(&self.project),
            tenant = literal(&self.target.tenant),
            version = literal(step.version.as_str()),
            name = literal(&step.name),
            checksum = literal(&step.up.checksum),
            text = literal_or_null(text.map(String::as_str)),
            down = literal_or_null(down.as_deref()),
            state = entry.state.word(),
            done = entry.done,
            total = entry.total,
            finished = if is_finished { &finished } else { "NULL" },
            actor = literal(&self.actor),
            lyrox = literal(LYROX),
            run = literal_or_null(Some(self.run_id.as_str()).filter(|run| !run.is_empty())),
        );
    }

    /// The `WHERE` of a step's row.
    pub(super) fn row_of(&self, step: &Step) -> String {
        format!("{} AND store = 'postgres' AND version = {}", self.scope(), literal(step.version.as_str()))
    }

    /// Writes copies of other stores' rows.
    pub(super) async fn write_copies(&mut self, rows: &[Row]) -> Result<()> {
        for rows in rows.chunks(200) {
            let values: Vec<String> = rows.iter().map(|row| self.copy_values(row)).collect();
            let sql = format!(
                "INSERT INTO lyrox.migrations (project, tenant, store, version, name, checksum, text, state, steps_done, steps_total, \
                 started_at, finished_at, actor, lyrox, error_code, run) VALUES {} \
                 ON CONFLICT (project, tenant, store, version) DO UPDATE SET name = EXCLUDED.name, \
                 checksum = EXCLUDED.checksum, text = EXCLUDED.text, state = EXCLUDED.state, \
                 steps_done = EXCLUDED.steps_done, steps_total = EXCLUDED.steps_total, \
                 started_at = EXCLUDED.started_at, finished_at = EXCLUDED.finished_at, actor = EXCLUDED.actor, \
                 lyrox = EXCLUDED.lyrox, error_code = EXCLUDED.error_code, run = EXCLUDED.run",
                values.join(", ")
            );
            self.write(sql, "the copies of other stores' rows cannot be written").await?;
        }
        Ok(())
    }

    /// Writes own rows that follow from another tool's history, and that it was so.
    pub(super) async fn write_taken(&mut self, rows: &[Row]) -> Result<()> {
        self.write_copies(rows).await?;
        let (project, tenant) = (literal(&self.project), literal(&self.target.tenant));
        let events: Vec<String> = rows
            .iter()
            .map(|row| {
                let what = if row.state == State::Applied { "taken over" } else { "undone elsewhere" };
                let (version, actor) = (literal(row.version.as_str()), literal(&self.actor));
                format!("({project}, {tenant}, 'postgres', {version}, '{what}', {actor}, {})", literal(LYROX))
            })
            .collect();
        let into = "INSERT INTO lyrox.events (project, tenant, store, version, what, actor, lyrox) VALUES";
        self.write(format!("{into} {}", events.join(", ")), "the event log cannot be written").await
    }

    fn copy_values(&self, row: &Row) -> String {
        format!(
            "({}, {}, '{}', {}, {}, {}, {}, '{}', {}, {}, {}, {}, {}, {}, {}, {})",
            literal(&self.project),
            literal(&self.target.tenant),
            row.store.name(),
            literal(row.version.as_str()),
            literal(&row.name),
            literal(&row.checksum),
            literal_or_null(row.text.as_deref().filter(|text| text.len() <= LARGEST_TEXT)),
            row.state.word(),
            row.steps_done,
            row.steps_total,
            moment(Some(&row.started_at)),
            moment(row.finished_at.as_deref()),
            literal(&row.actor),
            literal(&row.lyrox),
            literal_or_null(row.error_code.as_deref()),
            literal_or_null(row.run.as_deref()),
        )
    }

    /// The texts that are kept of versions.
    pub(super) async fn read_kept(&mut self, versions: &[Version]) -> Result<BTreeMap<Version, Kept>> {
        if versions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list: Vec<String> = versions.iter().map(|version| literal(version.as_str())).collect();
        let sql = format!(
            "SELECT version, text, down_text FROM lyrox.migrations WHERE {} AND store = 'postgres' AND version IN ({})",
            self.scope(),
            list.join(", ")
        );
        let rows = run(&mut self.connection, sql)
            .await
            .map_err(|error| server_error(Code::LedgerDamaged, "the ledger cannot be read", &error))?;
        let kept = |row: &PgRow| {
            (Version::new(text(row, 0).unwrap_or_default()), Kept { up: text(row, 1), down: text(row, 2) })
        };
        Ok(rows.iter().map(kept).collect())
    }

    /// The text that was applied under a version, where it was kept.
    pub(super) async fn read_text(&mut self, version: &Version) -> Result<Option<String>> {
        let sql = format!(
            "SELECT text FROM lyrox.migrations WHERE {} AND store = 'postgres' AND version = {}",
            self.scope(),
            literal(version.as_str())
        );
        let rows = run(&mut self.connection, sql)
            .await
            .map_err(|error| server_error(Code::LedgerDamaged, "the ledger cannot be read", &error))?;
        Ok(rows.first().and_then(|row| text(row, 0)))
    }

    /// Keeps a snapshot.
    pub(super) async fn write_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let json = serde_json::to_string(snapshot).map_err(|error| Error::bug(format!("a snapshot: {error}")))?;
        let sql = format!(
            "INSERT INTO lyrox.snapshots (project, tenant, store, head, objects) VALUES ({}, {}, 'postgres', {}, {}) \
             ON CONFLICT (project, tenant, store) DO UPDATE SET head = EXCLUDED.head, objects = EXCLUDED.objects, \
             taken_at = pg_catalog.clock_timestamp()",
            literal(&self.project),
            literal(&self.target.tenant),
            literal(&snapshot.head),
            literal(&json)
        );
        self.write(sql, "the snapshot cannot be kept").await
    }

    /// Reads the kept snapshot.
    pub(super) async fn read_snapshot(&mut self) -> Result<Option<Snapshot>> {
        let sql = format!("SELECT objects FROM lyrox.snapshots WHERE {} AND store = 'postgres'", self.scope());
        let rows = match run(&mut self.connection, sql).await {
            Ok(rows) => rows,
            Err(error) if matches!(sqlstate(&error), Some("42P01" | "3F000")) => return Ok(None),
            Err(error) => return Err(server_error(Code::LedgerDamaged, "the snapshot cannot be read", &error)),
        };
        let Some(json) = rows.first().and_then(|row| text(row, 0)) else { return Ok(None) };
        serde_json::from_str(&json).map(Some).map_err(|_| damaged("`lyrox.snapshots` does not hold a snapshot"))
    }
}

/// A time as SQL; the server's own where a tool recorded that something happened and not when.
fn moment(time: Option<&str>) -> String {
    match time {
        None => "NULL".to_owned(),
        Some("") => "pg_catalog.now()".to_owned(),
        Some(time) => format!("{}::timestamptz", literal(time)),
    }
}

/// When the current step began, as [`BEGIN_CLOCK`] noted it; the transaction's start where that was lost.
const BEGAN: &str = "coalesce(pg_catalog.to_timestamp(nullif(pg_catalog.current_setting('lyrox.began', true), '')::float8 / 1000000), \
                     pg_catalog.now())";

/// The server's time in microseconds since 1970.
pub const CLOCK: &str = "(1000000 * pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()))::bigint::text";

/// Notes the server's time as the beginning of a step, and is that time: a column of a `SELECT`.
pub const BEGIN_CLOCK: &str = "pg_catalog.set_config('lyrox.began', \
    (1000000 * pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()))::bigint::text, false)";

/// The time that a `SELECT` of [`CLOCK`] or [`BEGIN_CLOCK`] answered.
pub fn clock(row: &PgRow) -> Option<i64> {
    text(row, 0)?.parse().ok()
}

/// Reads a row of the ledger.
///
/// # Errors
/// `LYX-LEDGER-DAMAGED` where it is not as lyrox wrote it.
pub fn read_row(row: &PgRow) -> Result<Row> {
    let version = text(row, 1).unwrap_or_default();
    let wrong = |what: &str| damaged(&format!("the row of version `{version}` has no valid {what}"));
    let number = |at: usize, what: &str| text(row, at).and_then(|text| text.parse().ok()).ok_or_else(|| wrong(what));
    let word = |at: usize, what: &str| text(row, at).ok_or_else(|| wrong(what));
    Ok(Row {
        store: word(0, "store")?.parse().map_err(|_| wrong("store"))?,
        name: word(2, "name")?,
        checksum: word(3, "checksum")?,
        text: text(row, 4),
        state: State::parse(&word(5, "state")?).ok_or_else(|| wrong("state"))?,
        steps_done: number(6, "steps_done")?,
        steps_total: number(7, "steps_total")?,
        started_at: micros(row, 8).and_then(rfc3339).ok_or_else(|| wrong("started_at"))?,
        finished_at: micros(row, 9).and_then(rfc3339),
        actor: word(10, "actor")?,
        lyrox: word(11, "lyrox")?,
        error_code: text(row, 12),
        run: text(row, 13),
        has_down: text(row, 14).as_deref() == Some("t"),
        down_text: None,
        undone: text(row, 15).and_then(|text| text.parse().ok()),
        version: Version::new(version),
    })
}

/// How long the step of a row took, by the server's clock.
pub fn elapsed(row: &PgRow) -> std::time::Duration {
    let micros = micros(row, 8).zip(micros(row, 9)).map_or(0, |(began, finished)| finished - began);
    std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn micros(row: &PgRow, at: usize) -> Option<i64> {
    text(row, at)?.parse().ok()
}

/// A time of the server's, to the microsecond, in UTC.
pub(super) fn rfc3339(micros: i64) -> Option<String> {
    let time = jiff::Timestamp::from_microsecond(micros).ok()?;
    Some(format!("{time:.6}"))
}

fn newer(version: i32) -> Error {
    Error::new(Code::LedgerNewer, format!("the ledger in schema `lyrox` has layout {version}"))
        .why(format!("lyrox {LYROX} knows layout {LAYOUT}; a newer lyrox wrote it"))
        .data("nothing was changed")
        .hint("use the lyrox that the other runs of this project use, or a later one")
}

fn damaged(why: &str) -> Error {
    Error::new(Code::LedgerDamaged, "the ledger in schema `lyrox` is not as lyrox wrote it")
        .why(why)
        .data("nothing was changed")
        .hint("restore schema `lyrox` from a backup")
}
