//! The registry of tenants in schema `lyrox`, and what the ledger holds of them.

use std::fmt::Write as _;

use sqlx::postgres::PgRow;

use super::super::connect::text;
use super::super::error::{server_error, sqlstate};
use super::super::ident::{literal, literal_or_null};
use super::super::ledger::{LYROX, rfc3339};
use super::super::{PostgresStore, run};
use crate::engine::tenant::{Record, Tenant, Which};
use crate::error::{Code, Error, Result};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS lyrox.tenants (
    project text NOT NULL, key text NOT NULL, slug text NOT NULL CHECK (slug ~ '^[a-z][a-z0-9_]{0,39}$'), model text NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'active', 'failed', 'suspended', 'deleting')),
    step text NOT NULL DEFAULT '', shard text NOT NULL DEFAULT '', version text, head text,
    is_adopted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    actor text NOT NULL, lyrox text NOT NULL, error text,
    PRIMARY KEY (project, key), UNIQUE (project, slug))";

/// The columns of a record as [`read_record`] wants them; `t` is its row.
pub(super) const COLUMNS: &str = "t.key, t.slug, t.model, t.state, t.step, t.shard, t.version, t.head, t.is_adopted, \
    (1000000 * pg_catalog.date_part('epoch', t.created_at))::bigint, \
    (1000000 * pg_catalog.date_part('epoch', t.updated_at))::bigint, t.error";

/// Reads a record from the columns that begin at one.
pub(super) fn read_record(row: &PgRow, from: usize) -> Result<Record> {
    let word = |at: usize| text(row, from + at).unwrap_or_default();
    let time = |at: usize| text(row, from + at).and_then(|micros| rfc3339(micros.parse().ok()?)).unwrap_or_default();
    let mut record = Record::read(&word(0), &word(1), &word(2), &word(3))?;
    record.step = word(4);
    record.shard = word(5);
    (record.version, record.head) = (text(row, from + 6), text(row, from + 7));
    record.is_adopted = word(8) == "t";
    (record.created_at, record.updated_at) = (time(9), time(10));
    record.error = text(row, from + 11);
    Ok(record)
}

impl PostgresStore {
    /// Makes the registry where it is missing; the ledger must be there.
    pub(super) async fn make_registry(&mut self) -> Result<()> {
        let there =
            run(&mut self.connection, "SELECT pg_catalog.to_regclass('lyrox.tenant_units') IS NOT NULL".into()).await;
        let there = there.map_err(|error| super::unreadable(&error))?;
        if there.first().and_then(|row| text(row, 0)).as_deref() == Some("t") {
            return Ok(());
        }
        let sql = format!("{TABLE}; {}", super::run::TABLES);
        let mut tries = 0;
        loop {
            let Err(error) = run(&mut self.connection, sql.clone()).await else { return Ok(()) };
            tries += 1;
            // Another process may make them at the same moment.
            let is_race = matches!(sqlstate(&error), Some("23505" | "42P07" | "42710" | "40P01"));
            if !is_race || tries == 5 {
                return Err(server_error(Code::LedgerDamaged, "the registry of tenants cannot be made", &error));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20 * tries)).await;
        }
    }

    /// Reads records, sorted by key.
    pub(super) async fn read_registry(&mut self, which: &Which) -> Result<Vec<Record>> {
        let condition = match which {
            Which::All => "true".to_owned(),
            Which::Of(tenants) => {
                let join = |each: fn(&Tenant) -> &str| {
                    tenants.iter().map(|tenant| literal(each(tenant))).collect::<Vec<_>>().join(", ")
                };
                if tenants.is_empty() {
                    return Ok(Vec::new());
                }
                format!("(t.key IN ({}) OR t.slug IN ({}))", join(Tenant::key), join(Tenant::slug))
            }
            Which::Named(name) => format!("(t.key = {0} OR t.slug = {0})", literal(name)),
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM lyrox.tenants t WHERE t.project = {} AND {condition} ORDER BY t.key COLLATE \"C\"",
            literal(&self.project)
        );
        let rows = match run(&mut self.connection, sql).await {
            Ok(rows) => rows,
            Err(error) if matches!(sqlstate(&error), Some("42P01" | "3F000")) => return Ok(Vec::new()),
            Err(error) => {
                return Err(server_error(Code::LedgerDamaged, "the registry of tenants cannot be read", &error));
            }
        };
        let mut records = rows.iter().map(|row| read_record(row, 0)).collect::<Result<Vec<_>>>()?;
        if let Which::Named(name) = which {
            // A key that is another's slug: the key is meant.
            let is_key = |record: &Record| record.tenant.key() == name;
            if records.iter().any(is_key) {
                records.retain(is_key);
            }
        }
        Ok(records)
    }

    /// How many records there are of each shard.
    pub(super) async fn count_by_shard(&mut self) -> Result<Vec<(String, u64)>> {
        let sql = format!(
            "SELECT t.shard, count(*) FROM lyrox.tenants t WHERE t.project = {} GROUP BY 1 ORDER BY 1",
            literal(&self.project)
        );
        match run(&mut self.connection, sql).await {
            Ok(rows) => {
                let count = |at: Option<String>| at.and_then(|count| count.parse().ok()).unwrap_or_default();
                Ok(rows.iter().map(|row| (text(row, 0).unwrap_or_default(), count(text(row, 1)))).collect())
            }
            Err(error) if matches!(sqlstate(&error), Some("42P01" | "3F000")) => Ok(Vec::new()),
            Err(error) => Err(server_error(Code::LedgerDamaged, "the registry of tenants cannot be read", &error)),
        }
    }

    /// Writes records and, where a state is new, that it is: one round trip.
    pub(super) async fn write_registry(&mut self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let (project, actor) = (literal(&self.project), literal(self.actor()));
        let (mut values, mut events) = (String::new(), String::new());
        for record in records {
            let comma = if values.is_empty() { "" } else { ", " };
            let key = literal(record.tenant.key());
            let _ = write!(
                values,
                "{comma}({project}, {key}, {}, '{}', '{}', {}, {}, {}, {}, {}, {actor}, {}, {})",
                literal(record.tenant.slug()),
                record.model.name(),
                record.state.word(),
                literal(&record.step),
                literal(&record.shard),
                literal_or_null(record.version.as_deref()),
                literal_or_null(record.head.as_deref()),
                record.is_adopted,
                literal(LYROX),
                literal_or_null(record.error.as_deref()),
            );
            let _ = write!(events, "{comma}({key}, '{}')", record.state.word());
        }
        // The event comes first: it is one only where the state differs from what is there.
        let sql = format!(
            "INSERT INTO lyrox.events (project, tenant, store, what, actor, lyrox) \
             SELECT {project}, n.key, 'postgres', 'tenant ' || n.state, {actor}, {lyrox} FROM (VALUES {events}) n (key, state) \
             WHERE NOT EXISTS (SELECT FROM lyrox.tenants t WHERE t.project = {project} AND t.key = n.key AND t.state = n.state); \
             INSERT INTO lyrox.tenants AS t (project, key, slug, model, state, step, shard, version, head, is_adopted, actor, \
             lyrox, error) VALUES {values} ON CONFLICT (project, key) DO UPDATE SET slug = EXCLUDED.slug, model = EXCLUDED.model, \
             state = EXCLUDED.state, step = EXCLUDED.step, shard = EXCLUDED.shard, version = EXCLUDED.version, \
             head = EXCLUDED.head, is_adopted = EXCLUDED.is_adopted, updated_at = pg_catalog.clock_timestamp(), \
             actor = EXCLUDED.actor, lyrox = EXCLUDED.lyrox, error = EXCLUDED.error",
            lyrox = literal(LYROX),
        );
        run(&mut self.connection, sql).await.map(drop).map_err(|error| {
            if sqlstate(&error) == Some("23505") {
                return Error::new(Code::TenantClash, "a slug was taken by another run at this moment")
                    .data("nothing of this batch was registered")
                    .hint("run it again");
            }
            server_error(Code::LedgerDamaged, "the registry of tenants cannot be written", &error)
        })
    }

    /// Strikes records out.
    pub(super) async fn strike_out(&mut self, tenants: &[Tenant]) -> Result<()> {
        let keys: Vec<String> = tenants.iter().map(|tenant| literal(tenant.key())).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "DELETE FROM lyrox.tenants WHERE project = {} AND key IN ({})",
            literal(&self.project),
            keys.join(", ")
        );
        self.write(sql, "the registry of tenants cannot be written").await
    }

    /// A statement that strikes out the tenants of shared tables, which a reset drops; empty where there is no registry.
    pub(in super::super) async fn forget_rows(&mut self) -> Result<String> {
        let there =
            run(&mut self.connection, "SELECT pg_catalog.to_regclass('lyrox.tenants') IS NOT NULL".into()).await;
        let there = there.map_err(|error| super::unreadable(&error))?;
        if there.first().and_then(|row| text(row, 0)).as_deref() != Some("t") {
            return Ok(String::new());
        }
        Ok(format!("DELETE FROM lyrox.tenants WHERE project = {} AND model = 'row';", literal(&self.project)))
    }

    /// Forgets what the ledger has of tenants' own migrations.
    pub(super) async fn forget_ledger(&mut self, tenants: &[Tenant]) -> Result<()> {
        let keys: Vec<String> = tenants.iter().map(|tenant| literal(tenant.key())).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let scope = format!("project = {} AND tenant IN ({})", literal(&self.project), keys.join(", "));
        let there = run(&mut self.connection, "SELECT pg_catalog.to_regclass('lyrox.seeds') IS NOT NULL".into()).await;
        let there = there.map_err(|error| super::unreadable(&error))?;
        let seeds = if there.first().and_then(|row| text(row, 0)).as_deref() == Some("t") {
            // `FILE for KEY`: another tenant of the same key begins with all its seeds.
            format!(
                "DELETE FROM lyrox.seeds WHERE project = {} AND pg_catalog.strpos(file, ' for ') > 0 \
                 AND pg_catalog.substr(file, pg_catalog.strpos(file, ' for ') + 5) IN ({});",
                literal(&self.project),
                keys.join(", ")
            )
        } else {
            String::new()
        };
        let sql =
            format!("{seeds} DELETE FROM lyrox.migrations WHERE {scope}; DELETE FROM lyrox.snapshots WHERE {scope}");
        self.write(sql, "the ledger cannot be written").await
    }
}
