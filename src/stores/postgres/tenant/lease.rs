//! Leases on the units of a run: claimed by one short statement that skips what others are claiming, with an owner and an
//! expiry on the server's clock. No transaction stays open while a tenant is worked on.

use std::fmt::Write as _;

use super::super::connect::text;
use super::super::error::server_error;
use super::super::ident::{literal, literal_or_null};
use super::super::ledger::LYROX;
use super::super::{PostgresStore, run};
use super::registry::{COLUMNS, read_record};
use super::run::{LIVE, OPEN, unreadable};
use crate::engine::tenant::run::{Ended, How, LEASE, Turn, Unit};
use crate::error::{Code, Error, Result};

impl PostgresStore {
    /// Writes the ends of units and claims others: one round trip, two where nothing was left to claim.
    pub(super) async fn take_turn(&mut self, id: &str, owner: &str, ended: &[Ended], limit: usize) -> Result<Turn> {
        let mut sql = self.ends(id, owner, ended);
        let (run_id, owner) = (literal(id), literal(owner));
        let _ = write!(
            sql,
            "UPDATE lyrox.tenant_runs SET seen_at = pg_catalog.clock_timestamp() \
             WHERE id = {run_id} AND seen_at < pg_catalog.clock_timestamp() - interval '1 s'; "
        );
        if limit > 0 {
            let _ = write!(
                sql,
                "WITH halted AS ({halted}), picked AS (SELECT u.place FROM lyrox.tenant_units u WHERE u.run = {run_id} AND {OPEN} \
                 AND (u.lease_until IS NULL OR u.lease_until <= pg_catalog.clock_timestamp()) \
                 AND u.wave = (SELECT pg_catalog.min(u.wave) FROM lyrox.tenant_units u WHERE u.run = {run_id} AND {OPEN}) \
                 AND NOT (SELECT h.is_halted FROM halted h) ORDER BY u.place LIMIT {limit} FOR UPDATE SKIP LOCKED), \
                 taken AS (UPDATE lyrox.tenant_units u SET state = 'leased', owner = {owner}, attempts = u.attempts + 1, \
                 lease_until = {lease}, started_at = pg_catalog.clock_timestamp() FROM picked p \
                 WHERE u.run = {run_id} AND u.place = p.place RETURNING u.place, u.key, u.error_code, u.error) \
                 SELECT n.place, n.error_code, n.error, {COLUMNS} FROM taken n LEFT JOIN lyrox.tenants t ON t.project = {project} AND t.key = n.key \
                 ORDER BY n.place",
                halted = halted(&run_id),
                lease = expiry(),
                project = literal(&self.project),
            );
        }
        let rows = run(&mut self.connection, sql).await.map_err(|error| unwritable(&error))?;
        let mut turn = Turn::default();
        for row in &rows {
            let place = text(row, 0)
                .and_then(|place| place.parse().ok())
                .ok_or_else(|| Error::bug("a unit without a place"))?;
            let record = if text(row, 3).is_some() { Some(read_record(row, 3)?) } else { None };
            let found = text(row, 1).map(|code| (code, text(row, 2).unwrap_or_default()));
            turn.units.push(Unit { place, record, found });
        }
        if turn.units.is_empty() { self.stand_of(&run_id).await } else { Ok(turn) }
    }

    /// What is left of a run.
    async fn stand_of(&mut self, run_id: &str) -> Result<Turn> {
        let sql = format!(
            "SELECT pg_catalog.count(*) FILTER (WHERE NOT ({LIVE})), pg_catalog.count(*) FILTER (WHERE {LIVE}), \
             (SELECT h.is_halted FROM ({halted}) h), (SELECT r.state FROM lyrox.tenant_runs r WHERE r.id = {run_id}) \
             FROM lyrox.tenant_units u WHERE u.run = {run_id} AND {OPEN}",
            halted = halted(run_id)
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let Some(row) = rows.first() else { return Ok(Turn::default()) };
        let number = |at| text(row, at).and_then(|count| count.parse().ok()).unwrap_or(0);
        let turn = Turn {
            units: Vec::new(),
            waiting: number(0),
            leased: number(1),
            is_halted: text(row, 2).as_deref() == Some("t"),
        };
        if text(row, 3).as_deref() == Some("superseded") && turn.waiting > 0 {
            return Err(Error::new(Code::LockLost, "another run over tenants took the place of this one")
                .why("this process was silent for longer than its lease")
                .data("tenants that are done stay done")
                .hint("run it again when that one has ended"));
        }
        Ok(turn)
    }

    /// Statements that write how units ended; empty where none did.
    fn ends(&self, id: &str, owner: &str, ended: &[Ended]) -> String {
        let (mut units, mut records, mut marks) = (String::new(), String::new(), String::new());
        for end in ended {
            for (key, code, sentence) in &end.marks {
                let comma = if marks.is_empty() { "" } else { ", " };
                let _ = write!(marks, "{comma}({}, {}, {})", literal(key), literal(code), literal(sentence));
            }
            let (state, code, error, pause) = match &end.how {
                How::Done => ("done", None, None, None),
                How::Failed(code, error) => ("failed", Some(code.as_str()), Some(error.as_str()), None),
                How::Skipped(why) => ("skipped", None, Some(why.as_str()), None),
                How::Back(pause) => ("waiting", None, None, Some(pause.as_millis())),
            };
            let comma = if units.is_empty() { "" } else { ", " };
            let _ = write!(
                units,
                "{comma}({}, '{state}', {}::text, {}::text, {}, {}::int)",
                end.place,
                literal_or_null(code),
                literal_or_null(error),
                end.elapsed.as_millis(),
                pause.map_or_else(|| "NULL".to_owned(), |pause| pause.to_string())
            );
            if let Some(record) = &end.record {
                let comma = if records.is_empty() { "" } else { ", " };
                let _ = write!(
                    records,
                    "{comma}({}, {}::text, {}::text)",
                    literal(record.tenant.key()),
                    literal_or_null(record.version.as_deref()),
                    literal_or_null(record.head.as_deref())
                );
            }
        }
        let mut sql = String::new();
        if !records.is_empty() {
            let _ = write!(
                sql,
                "UPDATE lyrox.tenants t SET version = n.version, head = n.head, actor = {}, lyrox = {}, \
                 updated_at = pg_catalog.clock_timestamp() FROM (VALUES {records}) n (key, version, head) \
                 WHERE t.project = {} AND t.key = n.key; ",
                literal(self.actor()),
                literal(LYROX),
                literal(&self.project)
            );
        }
        if !marks.is_empty() {
            let _ = write!(
                sql,
                "UPDATE lyrox.tenant_units u SET error_code = n.code, error = n.error, \
                 state = CASE WHEN u.state = 'done' THEN 'failed' ELSE u.state END \
                 FROM (VALUES {marks}) n (key, code, error) WHERE u.run = {} AND u.key = n.key; ",
                literal(id)
            );
        }
        if !units.is_empty() {
            // A lease that ran out and is another's now is left to him.
            let _ = write!(
                sql,
                "UPDATE lyrox.tenant_units u SET state = n.state, error_code = CASE WHEN n.state = 'waiting' THEN u.error_code ELSE n.code END, \
                 error = CASE WHEN n.state = 'waiting' THEN u.error ELSE n.error END, elapsed_ms = n.elapsed, \
                 lease_until = pg_catalog.clock_timestamp() + n.pause * interval '1 ms', \
                 finished_at = CASE WHEN n.state <> 'waiting' THEN pg_catalog.clock_timestamp() END \
                 FROM (VALUES {units}) n (place, state, code, error, elapsed, pause) \
                 WHERE u.run = {} AND u.place = n.place AND u.state = 'leased' AND u.owner = {}; ",
                literal(id),
                literal(owner)
            );
        }
        sql
    }

    /// Renews what is leased to an owner, and tells that the run is alive.
    pub(super) async fn renew_leases(&mut self, id: &str, owner: &str) -> Result<()> {
        let sql = format!(
            "UPDATE lyrox.tenant_runs SET seen_at = pg_catalog.clock_timestamp() WHERE id = {id}; \
             UPDATE lyrox.tenant_units u SET lease_until = {} WHERE u.run = {id} AND u.state = 'leased' AND u.owner = {}",
            expiry(),
            literal(owner),
            id = literal(id),
        );
        run(&mut self.connection, sql).await.map(drop).map_err(|error| unwritable(&error))
    }

    /// Gives back what is leased to an owner; where nobody else is at work, the run waits for whoever goes on.
    pub(super) async fn release_leases(&mut self, id: &str, owner: &str) -> Result<()> {
        let sql = format!(
            "UPDATE lyrox.tenant_units u SET state = 'waiting', lease_until = NULL \
             WHERE u.run = {id} AND u.state = 'leased' AND u.owner = {}; \
             UPDATE lyrox.tenant_runs SET seen_at = '-infinity' WHERE id = {id} AND NOT EXISTS \
             (SELECT FROM lyrox.tenant_units u WHERE u.run = {id} AND u.owner <> {owner} \
             AND (({LIVE}) OR u.finished_at > pg_catalog.clock_timestamp() - interval '{lease} s'))",
            literal(owner),
            id = literal(id),
            owner = literal(owner),
            lease = LEASE.as_secs(),
        );
        run(&mut self.connection, sql).await.map(drop).map_err(|error| unwritable(&error))
    }
}

/// When a lease ends that is taken or renewed now.
fn expiry() -> String {
    format!("pg_catalog.clock_timestamp() + interval '{} s'", LEASE.as_secs())
}

/// A query that answers whether nothing further of a run is begun.
fn halted(run_id: &str) -> String {
    format!(
        "SELECT r.state <> 'running' OR f.canary > 0 OR f.failed > coalesce(r.max_failures, 2147483647) AS is_halted \
         FROM lyrox.tenant_runs r, (SELECT pg_catalog.count(*) AS failed, pg_catalog.count(*) FILTER (WHERE u.wave = 0) AS canary \
         FROM lyrox.tenant_units u WHERE u.run = {run_id} AND u.state = 'failed') f WHERE r.id = {run_id}"
    )
}

fn unwritable(error: &sqlx::Error) -> Error {
    server_error(Code::LedgerDamaged, "the record of runs over tenants cannot be written", error)
}
