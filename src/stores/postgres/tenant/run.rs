//! The record of runs over tenants: `lyrox.tenant_runs`, and a row for each tenant of a run in `lyrox.tenant_units`. The
//! leases are [`lease`](super::lease)'s.

use super::super::connect::Settings;
use super::super::connect::text;
use super::super::error::{server_error, sqlstate};
use super::super::foreign;
use super::super::ident::literal;
use super::super::ledger::LYROX;
use super::super::{PostgresStore, run};
use super::registry::{COLUMNS, read_record};
use crate::config::{Config, Target};
use crate::engine::tenant::Record;
use crate::engine::tenant::run::{
    Begun, Ended, Failure, Group, LEASE, Overview, Selection, Summary, Turn, WHOLE, Want,
};
use crate::error::{Code, Error, Result};
use crate::stores::Store as _;
use crate::stores::tenant_run::{Enter, RunStore};

/// So many runs of a kind are remembered.
const KEPT: u32 = 20;

/// What holds the runs.
pub(super) const TABLES: &str = "CREATE TABLE IF NOT EXISTS lyrox.tenant_runs (
    id text PRIMARY KEY, project text NOT NULL, what text NOT NULL, digest text NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'done', 'stopped', 'superseded')),
    canary int NOT NULL, wave int NOT NULL, max_failures int,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), finished_at timestamptz,
    seen_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), actor text NOT NULL, lyrox text NOT NULL);
CREATE TABLE IF NOT EXISTS lyrox.tenant_units (
    run text NOT NULL, place bigint NOT NULL, key text NOT NULL, wave bigint NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'leased', 'done', 'failed', 'skipped')),
    owner text, lease_until timestamptz, attempts int NOT NULL DEFAULT 0,
    started_at timestamptz, finished_at timestamptz, elapsed_ms bigint, error_code text, error text,
    PRIMARY KEY (run, place));
CREATE INDEX IF NOT EXISTS tenant_units_open ON lyrox.tenant_units (run, wave, place) WHERE state IN ('waiting', 'leased');
CREATE INDEX IF NOT EXISTS tenant_units_failed ON lyrox.tenant_units (run) WHERE state = 'failed'";

/// A condition on a unit `u` that has not ended.
pub(super) const OPEN: &str = "u.state IN ('waiting', 'leased')";

/// A condition on an open unit that is somebody's now.
pub(super) const LIVE: &str = "u.state = 'leased' AND u.lease_until > pg_catalog.clock_timestamp()";

impl Enter for PostgresStore {
    async fn enter(&mut self, config: &Config, target: &Target) -> Result<()> {
        if self.target.direct.url.expose() != target.direct.url.expose() {
            let before = std::mem::replace(self, Self::open(config, target).await?);
            before.close().await;
            return Ok(());
        }
        self.settings = Settings::of(config)?;
        self.history = foreign::history(config)?;
        (self.config, self.target) = (config.clone(), target.clone());
        (self.found, self.is_prepared) = (None, false);
        (self.reads_ahead, self.ahead) = (true, None);
        self.assumed.clear();
        self.made_extensions.clear();
        self.run_id.clear();
        Ok(())
    }

    fn share_lock(&mut self) {
        self.shares_lock = true;
    }
}

impl RunStore for PostgresStore {
    async fn overview(&mut self, want: &Want) -> Result<Overview> {
        let (complete, settled) = (complete(want), settled(want));
        let mut sql = format!(
            "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE {complete} AND {settled}), \
             pg_catalog.count(*) FILTER (WHERE {complete} AND NOT {settled}), \
             EXISTS (SELECT FROM lyrox.tenant_runs r WHERE r.{}) FROM lyrox.tenants t WHERE {}",
            self.running(want),
            self.meant(want)
        );
        if let Selection::Named(names) = &want.selection {
            let values: Vec<String> = names.iter().map(|name| format!("({})", literal(name))).collect();
            sql.push_str(&format!(
                "; SELECT n.name FROM (VALUES {}) n (name) WHERE NOT EXISTS (SELECT FROM lyrox.tenants t \
                 WHERE t.project = {} AND n.name IN (t.key, t.slug)) LIMIT 5",
                values.join(", "),
                literal(&self.project)
            ));
        }
        let rows = match run(&mut self.connection, sql).await {
            Ok(rows) => rows,
            Err(error) if is_missing(&error) => return self.without_runs(want).await,
            Err(error) => return Err(unreadable(&error)),
        };
        let Some((first, names)) = rows.split_first() else { return Ok(Overview::default()) };
        let number = |at| text(first, at).and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(Overview {
            total: number(0),
            settled: number(1),
            behind: number(2),
            has_run: text(first, 3).as_deref() == Some("t"),
            unknown: names.iter().filter_map(|row| text(row, 0)).collect(),
        })
    }

    async fn groups(&mut self, want: &Want) -> Result<Vec<Group>> {
        let sql = format!(
            "SELECT t.version, {settled} AS is_settled, pg_catalog.count(*) FROM lyrox.tenants t \
             WHERE {} AND {} GROUP BY 1, 2",
            self.meant(want),
            complete(want),
            settled = settled(want)
        );
        let rows = match run(&mut self.connection, sql).await {
            Ok(rows) => rows,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(&error)),
        };
        let group = |row| Group {
            version: text(row, 0),
            is_settled: text(row, 1).as_deref() == Some("t"),
            tenants: text(row, 2).and_then(|count| count.parse().ok()).unwrap_or(0),
        };
        Ok(rows.iter().map(group).collect())
    }

    async fn behind(&mut self, want: &Want, limit: usize) -> Result<Vec<Record>> {
        self.records(want, &format!("{} AND NOT {}", complete(want), settled(want)), limit).await
    }

    async fn incomplete(&mut self, want: &Want, limit: usize) -> Result<Vec<Record>> {
        self.records(want, &format!("NOT {}", complete(want)), limit).await
    }

    async fn begin_run(&mut self, want: &Want) -> Result<Begun> {
        let failed =
            |error: &sqlx::Error| server_error(Code::LedgerDamaged, "a run over tenants cannot be begun", error);
        // Two processes that begin at the same moment begin one run.
        let sql = format!(
            "BEGIN; LOCK TABLE lyrox.tenant_runs IN SHARE ROW EXCLUSIVE MODE; \
             SELECT r.id, r.digest, r.seen_at > pg_catalog.clock_timestamp() - interval '{} s', r.actor, \
             (SELECT pg_catalog.count(*) FROM lyrox.tenant_units u WHERE u.run = r.id), \
             (SELECT pg_catalog.count(*) FROM lyrox.tenant_units u WHERE u.run = r.id AND {OPEN}), {} \
             FROM lyrox.tenant_runs r WHERE r.{}",
            LEASE.as_secs(),
            want.what.keeps().map_or_else(
                || "true".to_owned(),
                |keeps| format!("r.started_at > pg_catalog.clock_timestamp() - interval '{} s'", keeps.as_secs())
            ),
            self.running(want)
        );
        let begun = match run(&mut self.connection, sql).await {
            Ok(rows) => self.begin_or_join(want, rows.first()).await,
            Err(error) => Err(failed(&error)),
        };
        let end = if begun.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = run(&mut self.connection, end.into()).await;
        let begun = begun?;
        ended.map_err(|error| failed(&error))?;
        Ok(begun)
    }

    async fn turn(&mut self, run: &str, owner: &str, ended: &[Ended], limit: usize) -> Result<Turn> {
        self.take_turn(run, owner, ended, limit).await
    }

    async fn renew(&mut self, run: &str, owner: &str) -> Result<()> {
        self.renew_leases(run, owner).await
    }

    async fn release(&mut self, run: &str, owner: &str) -> Result<()> {
        self.release_leases(run, owner).await
    }

    async fn end_run(&mut self, id: &str, owner: &str, closes: bool) -> Result<Summary> {
        let id = literal(id);
        let close = if closes {
            format!(
                "UPDATE lyrox.tenant_runs r SET finished_at = pg_catalog.clock_timestamp(), state = CASE WHEN EXISTS \
                 (SELECT FROM lyrox.tenant_units u WHERE u.run = {id} AND {OPEN}) THEN 'stopped' ELSE 'done' END \
                 WHERE r.id = {id} AND r.state = 'running'; "
            )
        } else {
            String::new()
        };
        let count = |state: &str| format!("pg_catalog.count(*) FILTER (WHERE {state} AND u.place <> {WHOLE})");
        let sql = format!(
            "{close}SELECT {}, {}, {}, {} FROM lyrox.tenant_units u WHERE u.run = {id}; \
             SELECT u.key, u.error_code, u.error, u.owner = {} FROM lyrox.tenant_units u \
             WHERE u.run = {id} AND u.state = 'failed' ORDER BY u.place LIMIT 1000",
            count("u.state = 'done'"),
            count("u.state = 'failed'"),
            count("u.state = 'skipped'"),
            count(OPEN),
            literal(owner)
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let Some((first, failures)) = rows.split_first() else { return Ok(Summary::default()) };
        let number = |at| text(first, at).and_then(|text| text.parse().ok()).unwrap_or(0);
        let failure = |row| Failure {
            key: text(row, 0).unwrap_or_default(),
            code: text(row, 1).unwrap_or_default(),
            error: text(row, 2).unwrap_or_default(),
            is_own: text(row, 3).as_deref() == Some("t"),
        };
        Ok(Summary {
            done: number(0),
            failed: number(1),
            skipped: number(2),
            left: number(3),
            failures: failures.iter().map(failure).collect(),
        })
    }
}

impl PostgresStore {
    /// Goes on with what runs, or begins anew, in the transaction that is open.
    async fn begin_or_join(&mut self, want: &Want, found: Option<&sqlx::postgres::PgRow>) -> Result<Begun> {
        if let Some(row) = found {
            let word = |at| text(row, at).unwrap_or_default();
            let number = |at: usize| word(at).parse().unwrap_or(0);
            let (is_same, is_live) = (word(1) == want.digest, word(2) == "t");
            if is_live && !is_same {
                return Err(Error::new(Code::LockHeld, "another run over tenants is at work")
                    .why(format!("{} began it with other files, tenants or flags", word(3)))
                    .data("nothing was changed")
                    .hint("run it again when that one has ended"));
            }
            // What was killed goes on where it stopped. Who is behind is read anew for migrations, which know it.
            if is_same && (is_live || (want.settled.is_none() && number(5) > 0 && word(6) == "t")) {
                let (id, mut open) = (word(0), number(5));
                if !is_live {
                    // What failed is tried again by who comes later, and the whole is looked at anew.
                    let sql = format!(
                        "UPDATE lyrox.tenant_runs SET seen_at = pg_catalog.clock_timestamp() WHERE id = {id}; \
                         UPDATE lyrox.tenant_units SET state = 'waiting', lease_until = NULL, error_code = NULL, error = NULL \
                         WHERE run = {id} AND (state = 'failed' OR place = {WHOLE}); \
                         SELECT pg_catalog.count(*) FROM lyrox.tenant_units u WHERE u.run = {id} AND {OPEN}",
                        id = literal(&id)
                    );
                    let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
                    open =
                        rows.first().and_then(|row| text(row, 0)).and_then(|count| count.parse().ok()).unwrap_or(open);
                }
                return Ok(Begun { id, is_joined: true, units: number(4), open });
            }
        }
        let id = uuid::Uuid::now_v7().to_string();
        let (project, what) = (literal(&self.project), want.what.word());
        let sql = format!(
            "UPDATE lyrox.tenant_runs SET state = 'superseded', finished_at = pg_catalog.clock_timestamp() WHERE {running}; \
             DELETE FROM lyrox.tenant_runs WHERE project = {project} AND what = '{what}' AND id NOT IN (SELECT r.id \
             FROM lyrox.tenant_runs r WHERE r.project = {project} AND r.what = '{what}' ORDER BY r.started_at DESC LIMIT {KEPT}); \
             DELETE FROM lyrox.tenant_units WHERE run NOT IN (SELECT r.id FROM lyrox.tenant_runs r); {whole}\
             INSERT INTO lyrox.tenant_units (run, place, key, wave) SELECT '{id}', n.place, n.key, \
             CASE WHEN n.place < {canary} THEN 0 WHEN {wave} = 0 THEN 1 ELSE 1 + (n.place - {canary}) / {each} END \
             FROM (SELECT t.key, pg_catalog.row_number() OVER (ORDER BY t.key COLLATE \"C\") - 1 AS place FROM lyrox.tenants t \
             WHERE {meant} AND {complete} AND NOT {settled}) n; \
             INSERT INTO lyrox.tenant_runs (id, project, what, digest, state, canary, wave, max_failures, actor, lyrox) \
             VALUES ('{id}', {project}, '{what}', {digest}, 'running', {canary}, {wave}, {max}, {actor}, {lyrox}); \
             SELECT pg_catalog.count(*) FROM lyrox.tenant_units u WHERE u.run = '{id}'",
            whole = if want.what.has_whole() {
                format!("INSERT INTO lyrox.tenant_units (run, place, key, wave) VALUES ('{id}', {WHOLE}, '', -1); ")
            } else {
                String::new()
            },
            running = self.running(want),
            canary = want.canary,
            wave = want.wave,
            each = want.wave.max(1),
            meant = self.meant(want),
            complete = complete(want),
            settled = settled(want),
            digest = literal(&want.digest),
            max = want.max_failures.map_or_else(|| "NULL".to_owned(), |count| count.to_string()),
            actor = literal(self.actor()),
            lyrox = literal(LYROX),
        );
        let rows = run(&mut self.connection, sql)
            .await
            .map_err(|error| server_error(Code::LedgerDamaged, "a run over tenants cannot be begun", &error))?;
        let units = rows.last().and_then(|row| text(row, 0)).and_then(|count| count.parse().ok()).unwrap_or(0);
        Ok(Begun { id, is_joined: false, units, open: units })
    }

    /// An installation from before there were runs: none was begun, and none has failed.
    async fn without_runs(&mut self, want: &Want) -> Result<Overview> {
        if want.only_failed {
            return Ok(Overview::default());
        }
        let there =
            run(&mut self.connection, "SELECT pg_catalog.to_regclass('lyrox.tenants') IS NOT NULL".into()).await;
        let there = there.map_err(|error| unreadable(&error))?;
        if there.first().and_then(|row| text(row, 0)).as_deref() != Some("t") {
            let unknown = match &want.selection {
                Selection::All => Vec::new(),
                Selection::Named(names) => names.iter().take(5).cloned().collect(),
            };
            return Ok(Overview { unknown, ..Overview::default() });
        }
        self.make_registry().await?;
        Box::pin(self.overview(want)).await
    }

    async fn records(&mut self, want: &Want, condition: &str, limit: usize) -> Result<Vec<Record>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM lyrox.tenants t WHERE {} AND {condition} ORDER BY t.key COLLATE \"C\" LIMIT {limit}",
            self.meant(want)
        );
        match run(&mut self.connection, sql).await {
            Ok(rows) => rows.iter().map(|row| read_record(row, 0)).collect(),
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// A condition on the runs of this kind that have not ended.
    fn running(&self, want: &Want) -> String {
        format!("project = {} AND what = '{}' AND state = 'running'", literal(&self.project), want.what.word())
    }

    /// A condition on a row `t` of the registry: it is one of those that are meant.
    fn meant(&self, want: &Want) -> String {
        let project = literal(&self.project);
        let mut sql = format!("t.project = {project}");
        if let Selection::Named(names) = &want.selection {
            let list = super::list(names);
            // A name that is one's key and another's slug: the key is meant.
            sql.push_str(&format!(
                " AND (t.key IN ({list}) OR (t.slug IN ({list}) AND NOT EXISTS (SELECT FROM lyrox.tenants k \
                 WHERE k.project = {project} AND k.key = t.slug)))"
            ));
        }
        if want.only_failed {
            sql.push_str(&format!(
                " AND t.key IN (SELECT u.key FROM lyrox.tenant_units u WHERE u.state = 'failed' AND u.run = \
                 (SELECT r.id FROM lyrox.tenant_runs r WHERE r.project = {project} AND r.what = '{}' \
                 ORDER BY r.started_at DESC LIMIT 1))",
                want.what.word()
            ));
        }
        sql
    }
}

/// A condition on a row `t` of the registry: the tenant is complete, and of this model.
fn complete(want: &Want) -> String {
    format!("(t.state IN ('active', 'suspended') AND t.model = '{}')", want.model.name())
}

/// A condition on a row `t` of the registry: there is nothing to do.
fn settled(want: &Want) -> String {
    match &want.settled {
        Some(heads) if !heads.is_empty() => format!("coalesce(t.head IN ({}), false)", super::list(heads)),
        _ => "false".to_owned(),
    }
}

pub(super) fn is_missing(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error), Some("42P01" | "3F000"))
}

pub(super) fn unreadable(error: &sqlx::Error) -> Error {
    server_error(Code::LedgerDamaged, "the record of runs over tenants cannot be read", error)
}
