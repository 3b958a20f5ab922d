//! What committed steps wrote: journaled in the transaction that wrote it, removed after the test or by the next
//! run.
//!
//! Rows that a step inserted are found by their `xmin`, and written to `lyrox.smoke_journal` in the same
//! transaction, so that there is no moment at which a committed row is not journaled. What cannot be undone in
//! this way (changing or deleting rows that the test did not insert, tables without a primary key) is refused
//! and rolled back.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Map, Value};
use sqlx::postgres::{PgConnection, PgRow};

use super::PostgresSmoke;
use super::declared::{all, answer, refused, rows};
use crate::error::{Code, Error, Result};
use crate::stores::postgres::connect::text;
use crate::stores::postgres::error::server_error;
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::smoke::Reply;

/// Rows that committed steps wrote, by table: the keys as JSON.
pub(super) const JOURNAL: &str = "CREATE SCHEMA IF NOT EXISTS lyrox; CREATE TABLE IF NOT EXISTS lyrox.smoke_journal (\
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, project text NOT NULL, run text NOT NULL, \
    schema text NOT NULL, name text NOT NULL, key jsonb NOT NULL, tenant text, \
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())";

/// Rows written, changed and removed by this transaction, by table.
const TALLY: &str = "SELECT relid::text, schemaname, relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_catalog.pg_stat_xact_user_tables \
    WHERE schemaname <> 'lyrox' AND n_tup_ins + n_tup_upd + n_tup_del > 0";

type Tally = BTreeMap<String, (String, String, [i64; 3])>;

impl PostgresSmoke<'_> {
    /// Carries a step out in a transaction of its own, and journals what it inserted.
    pub(super) async fn committed(&mut self, connection: &mut PgConnection, sql: &str) -> Result<Reply> {
        let lost =
            |error: sqlx::Error| server_error(Code::SmokeFailed, "a committed step could not be journaled", &error);
        let (act, give_back) = match self.acting(connection).await? {
            Ok(acting) => acting,
            Err(why) => return Ok(Reply::Untried(why, None)),
        };
        rows(connection, "BEGIN; SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '10s'")
            .await
            .map_err(lost)?;
        let before = tally(connection).await.map_err(lost)?;
        rows(connection, &act).await.map_err(lost)?;
        let begun = Instant::now();
        let last = match all(connection, sql).await {
            Ok(last) => last,
            Err(error) => {
                let reply = refused(&error, true)?;
                rows(connection, "ROLLBACK").await.map_err(lost)?;
                return Ok(reply);
            }
        };
        let elapsed = begun.elapsed();
        let setting = self.run.config.settings.tenancy.as_ref().map(|tenancy| tenancy.setting.clone());
        let tenant = match &setting {
            Some(setting) => {
                let sql = format!("SELECT pg_catalog.current_setting({}, true)", literal(setting));
                rows(connection, &sql).await.map_err(lost)?.first().and_then(|row| text(row, 0))
            }
            None => None,
        };
        rows(connection, "SET LOCAL ROLE NONE").await.map_err(lost)?;
        let after = tally(connection).await.map_err(lost)?;
        for (relation, (schema, name, counts)) in after {
            let earlier = before.get(&relation).map_or([0; 3], |(_, _, counts)| *counts);
            let [inserted, updated, deleted] = [0, 1, 2].map(|at| counts[at] - earlier[at]);
            if [inserted, updated, deleted] == [0; 3] {
                continue;
            }
            self.journal(connection, &schema, &name, [inserted, updated, deleted], tenant.as_deref()).await?;
        }
        rows(connection, &format!("{give_back}COMMIT")).await.map_err(lost)?;
        Ok(Reply::Answer(answer(last, elapsed)))
    }

    /// Journals what the transaction inserted into a table; refuses what could not be undone.
    async fn journal(
        &mut self,
        connection: &mut PgConnection,
        schema: &str,
        name: &str,
        [inserted, updated, deleted]: [i64; 3],
        tenant: Option<&str>,
    ) -> Result<()> {
        let lost =
            |error: sqlx::Error| server_error(Code::SmokeFailed, "a committed step could not be journaled", &error);
        let refuse = |why: &str| {
            Error::new(Code::SmokeFailed, format!("what the step did to `{name}` could not be undone"))
                .why(why)
                .data("rolled back")
                .hint("a committed test inserts, and changes only what it inserted; leave `commit` out for the rest")
        };
        let table = format!("{}.{}", Ident::new(schema)?, Ident::new(name)?);
        let columns = rows(
            connection,
            &format!(
                "SELECT a.attname FROM pg_catalog.pg_index x JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey) \
                 WHERE x.indrelid = {}::regclass AND x.indisprimary",
                literal(&table)
            ),
        )
        .await
        .map_err(lost)?;
        let columns: Vec<String> = columns.iter().filter_map(|row| text(row, 0)).collect();
        if columns.is_empty() {
            return Err(refuse("it has no primary key by which its rows could be found again"));
        }
        let mut pairs = Vec::new();
        for column in &columns {
            pairs.push(format!("{}, r.{}::text", literal(column), Ident::new(column)?));
        }
        let key = format!("pg_catalog.jsonb_build_object({})", pairs.join(", "));
        let known = format!(
            "SELECT 1 FROM lyrox.smoke_journal j WHERE j.run = {} AND j.schema = {} AND j.name = {} AND j.key = {key}",
            literal(&self.run.id),
            literal(schema),
            literal(name)
        );
        let fresh = format!(
            "FROM {table} r WHERE r.xmin::text = (pg_catalog.txid_current() & 4294967295)::text AND NOT EXISTS ({known})"
        );
        let counts = rows(
            connection,
            &format!(
                "SELECT count(*) {fresh}; SELECT count(*) FROM lyrox.smoke_journal j WHERE j.run = {} AND j.schema = {} AND j.name = {} \
                 AND NOT EXISTS (SELECT FROM {table} r WHERE j.key = {key})",
                literal(&self.run.id),
                literal(schema),
                literal(name)
            ),
        )
        .await
        .map_err(lost)?;
        let number = |at: usize| {
            counts.get(at).and_then(|row| text(row, 0)).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0)
        };
        let (found, gone) = (number(0), number(1));
        if found > inserted {
            return Err(refuse(&format!("{updated} row(s) were changed, and not all were inserted by this test")));
        }
        // Inserted and deleted again by the same step, or a journaled row that this step deleted.
        if deleted > gone + (inserted - found) {
            return Err(refuse("rows were deleted that this test did not insert"));
        }
        if found + deleted < inserted {
            return Err(refuse("the policies hide rows that the step inserted"));
        }
        self.touched.insert(table.clone());
        let insert = format!(
            "INSERT INTO lyrox.smoke_journal (project, run, schema, name, key, tenant) SELECT {}, {}, {}, {}, {key}, {} {fresh}",
            literal(&self.store.project),
            literal(&self.run.id),
            literal(schema),
            literal(name),
            tenant.map_or_else(|| "NULL".to_owned(), literal),
        );
        rows(connection, &insert).await.map_err(lost)?;
        Ok(())
    }

    /// Removes every row that the journal lists, of this run and of dead ones, last written first.
    pub(super) async fn remove_journaled(&mut self) -> Result<Vec<String>> {
        let refused = |why: String| {
            Error::new(Code::SmokeLeftover, "rows of a smoke test cannot be removed")
                .why(why)
                .hint("SELECT * FROM lyrox.smoke_journal lists them; remove them by hand")
        };
        let there = self.send("SELECT pg_catalog.to_regclass('lyrox.smoke_journal') IS NOT NULL").await?;
        let is_there = matches!(&there, Ok(rows) if rows.first().and_then(|row| text(row, 0)).as_deref() == Some("t"));
        if !is_there {
            return Ok(Vec::new());
        }
        let list = format!(
            "SELECT id, schema, name, key, tenant FROM lyrox.smoke_journal WHERE project = {} ORDER BY id DESC",
            literal(&self.store.project)
        );
        let mut left = self.send(&list).await?.map_err(|no| refused(no.words))?;
        let mut removed = Vec::new();
        // A row that others refer to waits until they are gone.
        while !left.is_empty() {
            let mut still = Vec::new();
            let mut last = String::new();
            let before = left.len();
            for row in left {
                match self.remove_one(&row).await? {
                    Ok(what) => removed.extend(what),
                    Err(why) => {
                        last = why;
                        still.push(row);
                    }
                }
            }
            if still.len() == before {
                return Err(refused(last));
            }
            left = still;
        }
        // Another project may share the schema `lyrox`.
        let drop = "DO $$ BEGIN IF NOT EXISTS (SELECT FROM lyrox.smoke_journal) THEN DROP TABLE lyrox.smoke_journal; END IF; END $$";
        self.send(drop).await?.ok();
        Ok(removed)
    }

    async fn remove_one(&mut self, row: &PgRow) -> Result<Result<Option<String>, String>> {
        let cell = |at| text(row, at).unwrap_or_default();
        let (id, schema, name, tenant) = (cell(0), cell(1), cell(2), text(row, 4));
        let key: Map<String, Value> = serde_json::from_str(&cell(3)).unwrap_or_default();
        let mut conditions = Vec::new();
        for (column, value) in &key {
            conditions.push(format!("{} = {}", Ident::new(column)?, literal(value.as_str().unwrap_or_default())));
        }
        if conditions.is_empty() {
            return Ok(Err("the journal holds a row without a key".into()));
        }
        let sql = format!(
            "BEGIN; {} WITH gone AS (DELETE FROM {}.{} WHERE {} RETURNING 1) SELECT count(*) FROM gone; \
             DELETE FROM lyrox.smoke_journal WHERE id = {id}; COMMIT",
            self.set_tenant(tenant.as_deref()),
            Ident::new(&schema)?,
            Ident::new(&name)?,
            conditions.join(" AND "),
        );
        match self.send(&sql).await? {
            Ok(rows) => {
                let is_gone = rows.last().and_then(|row| text(row, 0)).is_some_and(|count| count != "0");
                Ok(Ok(is_gone.then(|| format!("a row of `{name}`"))))
            }
            Err(refused) => {
                self.send("ROLLBACK").await?.ok();
                // The table is gone, and the row with it.
                if refused.code == "42P01" {
                    self.send(&format!("DELETE FROM lyrox.smoke_journal WHERE id = {id}")).await?.ok();
                    return Ok(Ok(None));
                }
                Ok(Err(refused.words))
            }
        }
    }
}

async fn tally(connection: &mut PgConnection) -> Result<Tally, sqlx::Error> {
    let found = rows(connection, TALLY).await?;
    Ok(found
        .iter()
        .map(|row| {
            let cell = |at| text(row, at).unwrap_or_default();
            let number = |at| cell(at).parse().unwrap_or(0);
            (cell(0), (cell(1), cell(2), [number(3), number(4), number(5)]))
        })
        .collect())
}
