//! The project's own tests on PostgreSQL.
//!
//! A test is a transaction that is rolled back; each step runs behind a savepoint, so that an expected
//! error does not end it. With `commit`, each step is a transaction of its own on a connection of its own:
//! rows that it inserted are found by their `xmin`, and written to `lyrox.smoke_journal` in the same
//! transaction, so that there is no moment at which a committed row is not journaled. They are removed after
//! the test, or by the next run. What cannot be undone in this way (changing or deleting rows that the test
//! did not insert, tables without a primary key) is refused and rolled back.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::TryStreamExt as _;
use serde_json::{Map, Value};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Either, Row as _};

use super::PostgresSmoke;
use super::substitute::substitute;
use crate::error::{Code, Error, Place, Result};
use crate::stores::postgres::connect::{self, text};
use crate::stores::postgres::error::{clean, is_lost, reported, server_error, words};
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::postgres::splitter::{Kind, split};
use crate::stores::smoke::{Answer, Refusal, Reply, Variables};

/// Rows that committed steps wrote, by table: the keys as JSON.
const JOURNAL: &str = "CREATE SCHEMA IF NOT EXISTS lyrox; CREATE TABLE IF NOT EXISTS lyrox.smoke_journal (\
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, project text NOT NULL, run text NOT NULL, \
    schema text NOT NULL, name text NOT NULL, key jsonb NOT NULL, tenant text, \
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())";

/// Rows written, changed and removed by this transaction, by table.
const TALLY: &str = "SELECT relid::text, schemaname, relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_catalog.pg_stat_xact_user_tables \
    WHERE schemaname <> 'lyrox' AND n_tup_ins + n_tup_upd + n_tup_del > 0";

type Tally = BTreeMap<String, (String, String, [i64; 3])>;

impl PostgresSmoke<'_> {
    pub(super) async fn begin_declared(&mut self, commit: bool) -> Result<()> {
        self.is_committing = commit;
        let sql = match (commit, self.run.may_write) {
            (true, _) => JOURNAL,
            (false, true) => "BEGIN; SET LOCAL statement_timeout = '60s'",
            (false, false) => "BEGIN READ ONLY; SET LOCAL statement_timeout = '60s'",
        };
        if let Err(refused) = self.send(sql).await? {
            return Err(Error::new(Code::SmokeFailed, "a declared test cannot begin").why(refused.words));
        }
        if let Some(role) = self.app_role().filter(|_| !commit && self.run.may_write) {
            self.send(&borrow(&role)?).await?.ok();
        }
        Ok(())
    }

    pub(super) async fn declared_step(&mut self, text: &str, variables: &Variables) -> Result<Reply> {
        let sql = substitute(text, variables);
        refuse_control(&sql)?;
        if self.is_committing {
            return self.committed_step(&sql).await;
        }
        let begun = Instant::now();
        let outcome = all(&mut self.store.connection, &format!("SAVEPOINT lyrox_step;{sql}")).await;
        let elapsed = begun.elapsed();
        match outcome {
            Ok(last) => Ok(Reply::Answer(answer(last, elapsed))),
            Err(error) => {
                let reply = reply(&error, self.run.may_write)?;
                self.send("ROLLBACK TO SAVEPOINT lyrox_step").await?.ok();
                Ok(reply)
            }
        }
    }

    async fn committed_step(&mut self, sql: &str) -> Result<Reply> {
        let (mut connection, _) = connect::open(&self.store.config, &self.store.target).await?;
        let reply = self.committed(&mut connection, sql).await;
        let _ = connection.close().await;
        reply
    }

    async fn committed(&mut self, connection: &mut PgConnection, sql: &str) -> Result<Reply> {
        let lost =
            |error: sqlx::Error| server_error(Code::SmokeFailed, "a committed step could not be journaled", &error);
        rows(connection, "BEGIN; SET LOCAL statement_timeout = '60s'").await.map_err(lost)?;
        let before = tally(connection).await.map_err(lost)?;
        let begun = Instant::now();
        let last = match all(connection, sql).await {
            Ok(last) => last,
            Err(error) => return reply(&error, true),
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
        rows(connection, "COMMIT").await.map_err(lost)?;
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

    pub(super) async fn end_declared(&mut self) -> Result<()> {
        if !self.is_committing {
            self.send("ROLLBACK").await?.ok();
            return Ok(());
        }
        self.remove_journaled().await.map(|_| ())
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

/// Gives the application's role to this one where it made it without being given it, so that a test may act
/// as the application: within the transaction, which is rolled back.
fn borrow(role: &str) -> Result<String> {
    let test = if_member(role);
    Ok(format!(
        "DO $lyrox$ BEGIN IF NOT {test} THEN GRANT {} TO CURRENT_USER; END IF; EXCEPTION WHEN OTHERS THEN NULL; END $lyrox$",
        Ident::new(role)?
    ))
}

fn if_member(role: &str) -> String {
    let role = literal(role);
    // From version 16 on, being a member is not enough to act as the role.
    format!(
        "pg_catalog.pg_has_role({role}, CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)"
    )
}

/// The rows and the number of rows changed of the last statement.
struct Last {
    rows: Vec<PgRow>,
    affected: u64,
}

async fn all(connection: &mut PgConnection, sql: &str) -> Result<Last, sqlx::Error> {
    let mut last = Last { rows: Vec::new(), affected: 0 };
    let mut current = Vec::new();
    let mut stream = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_many(&mut *connection);
    while let Some(part) = stream.try_next().await? {
        match part {
            Either::Left(done) => last = Last { rows: std::mem::take(&mut current), affected: done.rows_affected() },
            Either::Right(row) => current.push(row),
        }
    }
    Ok(last)
}

async fn rows(connection: &mut PgConnection, sql: &str) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut *connection).await
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

fn answer(last: Last, elapsed: std::time::Duration) -> Answer {
    let rows: Vec<Value> =
        last.rows
            .iter()
            .map(|row| {
                let cells =
                    row.columns().iter().enumerate().map(|(at, column)| {
                        (column.name().to_owned(), text(row, at).map_or(Value::Null, Value::String))
                    });
                Value::Object(cells.collect())
            })
            .collect();
    let first =
        last.rows.first().filter(|row| !row.is_empty()).and_then(|row| text(row, 0)).map_or(Value::Null, Value::String);
    let count = if rows.is_empty() { last.affected } else { rows.len() as u64 };
    Answer { value: serde_json::json!({ "rows": rows }), first, rows: count, ttl: None, elapsed }
}

fn reply(error: &sqlx::Error, may_write: bool) -> Result<Reply> {
    match reported(error) {
        Some(report) if !is_lost(error) => {
            if report.code() == "25006" && !may_write {
                return Ok(Reply::writes());
            }
            let mut codes = vec![report.code().to_owned()];
            codes.extend(report.constraint().map(clean));
            let mut message = clean(report.message());
            if let Some(detail) = report.detail() {
                message.push_str("; ");
                message.push_str(&clean(detail));
            }
            Ok(Reply::Refused(Refusal { codes, message }))
        }
        _ => Err(Error::new(Code::ConnectClosed, "a step was cut short").why(words(error))),
    }
}

/// What would end the test's transaction, or has nowhere to send its data.
fn refuse_control(sql: &str) -> Result<()> {
    let refuse = |what: &str| {
        Error::new(Code::SmokeFile, what.to_owned()).data("rolled back").hint("a test is a transaction: leave it out")
    };
    let statements = split(sql).map_err(|problem| {
        Error::new(Code::SmokeFile, "a step cannot be read")
            .why(problem.what)
            .at(Place::at_offset("step", sql, problem.at, 1))
    })?;
    for statement in statements {
        match statement.kind {
            Kind::Control => return Err(refuse("a step begins or ends a transaction")),
            Kind::Bare => return Err(refuse("a step holds a statement that cannot run in a transaction")),
            Kind::CopyIn | Kind::CopyOut => return Err(refuse("a step copies from or to the client")),
            Kind::Discard => return Err(refuse("a step discards the session")),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_cannot_end_its_transaction() {
        for sql in ["COMMIT", "SELECT 1; ROLLBACK", "BEGIN", "VACUUM", "COPY t FROM STDIN", "DISCARD ALL"] {
            assert!(refuse_control(sql).is_err(), "{sql}");
        }
        for sql in ["SELECT 'commit'", "SET LOCAL ROLE x; SELECT 1;", "-- commit\nSELECT 1"] {
            assert!(refuse_control(sql).is_ok(), "{sql}");
        }
    }
}
