//! The project's own tests on PostgreSQL.
//!
//! A test is a transaction that is rolled back; each step runs behind a savepoint, so that an expected
//! error does not end it. A step may name a session: that is a connection of its own with a transaction of its
//! own, rolled back as well. With `commit`, each step is a transaction of its own, on a new connection where it
//! names no session; what it inserted is journaled ([`super::journal`]) and removed after the test.

use std::time::Instant;

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Either, Row as _, TypeInfo as _};

use super::PostgresSmoke;
use super::journal::JOURNAL;
use super::substitute::substitute;
use crate::config::file::TenancyModel;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::stores::postgres::connect::{self, text};
use crate::stores::postgres::error::{clean, is_lost, reported, server_error, words};
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::postgres::splitter::{Kind, split};
use crate::stores::smoke::{Answer, Call, Refusal, Reply, Variables};
use crate::stores::trips;

impl PostgresSmoke<'_> {
    /// The keys of the tenant table.
    pub(super) async fn list_tenants(&mut self) -> Result<Option<Vec<String>>> {
        let Some(tenancy) = self.run.config.settings.tenancy.clone() else { return Ok(None) };
        let Some(table) = tenancy.table.as_deref() else { return Ok(None) };
        let name = Ident::new(table)?;
        let keys = format!("SELECT {}::text FROM {name} ORDER BY 1", Ident::new(&tenancy.key_column)?);
        let bound = format!(
            "SELECT pg_catalog.row_security_active(c.oid) FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass({})",
            literal(&name.to_string())
        );
        let failed = |why: String| Error::new(Code::SmokeFailed, "the tenants cannot be listed").why(why);
        let is_bound = self.send(&bound).await?.map_err(|no| failed(no.words))?;
        let is_bound = is_bound.first().and_then(|row| text(row, 0)).as_deref() == Some("t");
        let sql = if is_bound && self.run.may_write {
            // The owner whom the policies bind lifts them for this transaction only.
            format!(
                "BEGIN; SET LOCAL lock_timeout = '1s'; ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY; {keys}; ROLLBACK"
            )
        } else {
            format!("BEGIN READ ONLY; {keys}; ROLLBACK")
        };
        match self.send(&sql).await? {
            Ok(rows) => Ok(Some(rows.iter().filter_map(|row| text(row, 0)).collect())),
            Err(no) => {
                self.send("ROLLBACK").await?.ok();
                Err(failed(no.words))
            }
        }
    }

    pub(super) async fn begin_declared(&mut self, commit: bool, tenant: Option<&str>) -> Result<Result<(), String>> {
        self.is_committing = commit;
        self.tenant = tenant.map(str::to_owned);
        self.sessions.clear();
        if tenant.is_some() {
            let model = self.run.config.settings.tenancy.as_ref().map(|tenancy| tenancy.model);
            match model {
                Some(TenancyModel::Row) => {}
                Some(_) => {
                    return Ok(Err("acting for a tenant is tried where tenants share tables (model = \"row\")".into()));
                }
                None => return Ok(Err("the project has no [tenancy]: there is no tenant to act for".into())),
            }
        }
        if commit {
            return match self.send(JOURNAL).await? {
                Ok(_) => Ok(Ok(())),
                Err(refused) => Err(Error::new(Code::SmokeFailed, "a declared test cannot begin").why(refused.words)),
            };
        }
        let sql = self.begin_session();
        if let Err(refused) = self.send(&sql).await? {
            return Err(Error::new(Code::SmokeFailed, "a declared test cannot begin").why(refused.words));
        }
        if let Some(role) = self.app_role().filter(|_| self.run.may_write) {
            self.send(&borrow(&role)?).await?.ok();
        }
        match self.act()? {
            act if act.is_empty() => Ok(Ok(())),
            act => {
                Ok(self.send(&act).await?.map(drop).map_err(|no| format!("acting as the application: {}", no.words)))
            }
        }
    }

    fn begin_session(&self) -> String {
        let mode = if self.run.may_write { "" } else { " READ ONLY" };
        format!("BEGIN{mode}; SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '10s'")
    }

    /// The statements by which a transaction acts as the application for the test's tenant; empty without one.
    fn act(&self) -> Result<String> {
        let Some(tenant) = &self.tenant else { return Ok(String::new()) };
        let mut sql = String::new();
        if let Some(role) = self.app_role() {
            sql.push_str(&format!("SET LOCAL ROLE {};", Ident::new(&role)?));
        }
        sql.push_str(&self.set_tenant(Some(tenant)));
        Ok(sql)
    }

    /// What a committed transaction says to act for the tenant, and to give the role back before it ends.
    pub(super) async fn acting(&mut self, connection: &mut PgConnection) -> Result<Result<(String, String), String>> {
        let act = self.act()?;
        let Some(role) = self.app_role().filter(|_| !act.is_empty()) else { return Ok(Ok((act, String::new()))) };
        let asked = rows(connection, &format!("SELECT {}", if_member(&role))).await;
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) => return Ok(Err(format!("acting as `{role}`: {}", words(&error)))),
        };
        if asked.first().and_then(|row| text(row, 0)).as_deref() == Some("t") {
            return Ok(Ok((act, String::new())));
        }
        let name = Ident::new(&role)?;
        Ok(Ok((format!("GRANT {name} TO CURRENT_USER;{act}"), format!("REVOKE {name} FROM CURRENT_USER;"))))
    }

    /// The connection of a session, out of its place; none: the test's own, which is the store's.
    async fn session(&mut self, call: &Call<'_>) -> Result<Option<PgConnection>> {
        let name = call.session.unwrap_or_default();
        let known = self.sessions.remove(name);
        if call.reconnect {
            if let Some(old) = known {
                let _ = old.close().await;
            } else if name.is_empty() && !self.is_committing {
                // The store's connection holds the project's lock and stays.
                self.send("ROLLBACK").await?.ok();
            }
        } else if known.is_some() || (name.is_empty() && !self.is_committing) {
            return Ok(known);
        }
        let (mut connection, _) = connect::open(&self.store.config, &self.store.target).await?;
        if !self.is_committing {
            let lost = |error: sqlx::Error| server_error(Code::SmokeFailed, "a session cannot begin", &error);
            rows(&mut connection, &self.begin_session()).await.map_err(lost)?;
            if let Some(role) = self.app_role().filter(|_| self.run.may_write && self.tenant.is_some()) {
                rows(&mut connection, &borrow(&role)?).await.map_err(lost)?;
            }
            rows(&mut connection, &self.act()?).await.map_err(lost)?;
        }
        Ok(Some(connection))
    }

    pub(super) async fn declared_step(&mut self, call: Call<'_>, variables: &Variables) -> Result<Reply> {
        let sql = substitute(call.text, variables);
        refuse_control(&sql)?;
        let Some(mut connection) = self.session(&call).await? else {
            return sent(&mut self.store.connection, &sql, self.run.may_write).await;
        };
        if !self.is_committing {
            let reply = sent(&mut connection, &sql, self.run.may_write).await?;
            self.sessions.insert(call.session.unwrap_or_default().to_owned(), connection);
            return Ok(reply);
        }
        let reply = self.committed(&mut connection, &sql).await;
        match call.session.filter(|_| reply.is_ok()) {
            Some(name) => {
                self.sessions.insert(name.to_owned(), connection);
            }
            None => {
                let _ = connection.close().await;
            }
        }
        reply
    }

    pub(super) async fn take_back_declared(&mut self, session: Option<&str>) -> Result<()> {
        const BACK: &str = "ROLLBACK TO SAVEPOINT lyrox_step";
        if self.is_committing {
            return Ok(());
        }
        match self.sessions.get_mut(session.unwrap_or_default()) {
            Some(connection) => {
                let lost = |error: sqlx::Error| server_error(Code::SmokeFailed, "a step cannot be taken back", &error);
                rows(connection, BACK).await.map(drop).map_err(lost)
            }
            None => self.send(BACK).await.map(drop),
        }
    }

    pub(super) async fn end_declared(&mut self) -> Result<()> {
        // What other sessions hold is let go before anything waits for it.
        for (_, connection) in std::mem::take(&mut self.sessions) {
            let _ = connection.close().await;
        }
        self.tenant = None;
        if !self.is_committing {
            self.send("ROLLBACK").await?.ok();
            return Ok(());
        }
        self.remove_journaled().await.map(|_| ())
    }
}

/// Sends a step behind a savepoint.
async fn sent(connection: &mut PgConnection, sql: &str, may_write: bool) -> Result<Reply> {
    let begun = Instant::now();
    let outcome = all(connection, &format!("SAVEPOINT lyrox_step;{sql}")).await;
    let elapsed = begun.elapsed();
    match outcome {
        Ok(last) => Ok(Reply::Answer(answer(last, elapsed))),
        Err(error) => {
            let reply = refused(&error, may_write)?;
            let lost = |error: sqlx::Error| server_error(Code::SmokeFailed, "a test was cut short", &error);
            rows(connection, "ROLLBACK TO SAVEPOINT lyrox_step").await.map_err(lost)?;
            Ok(reply)
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
pub(super) struct Last {
    rows: Vec<PgRow>,
    affected: u64,
}

pub(super) async fn all(connection: &mut PgConnection, sql: &str) -> Result<Last, sqlx::Error> {
    trips::count(StoreKind::Postgres);
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

pub(super) async fn rows(connection: &mut PgConnection, sql: &str) -> Result<Vec<PgRow>, sqlx::Error> {
    trips::count(StoreKind::Postgres);
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut *connection).await
}

pub(super) fn answer(last: Last, elapsed: std::time::Duration) -> Answer {
    let cells = |row: &PgRow| -> Value {
        let cells = row.columns().iter().enumerate();
        Value::Object(cells.map(|(at, column)| (column.name().to_owned(), cell(row, at))).collect())
    };
    let rows: Vec<Value> = last.rows.iter().map(cells).collect();
    let first = last.rows.first().filter(|row| !row.is_empty()).map_or(Value::Null, |row| cell(row, 0));
    let count = if rows.is_empty() { last.affected } else { rows.len() as u64 };
    Answer { value: serde_json::json!({ "rows": rows }), first, rows: count, ttl: None, elapsed }
}

/// A value of a row. Whole numbers, floating ones, truths and JSON are what they are in JSON, so that paths can
/// compare them; all else is its text, exact as `numeric` is.
fn cell(row: &PgRow, at: usize) -> Value {
    let Some(text) = text(row, at) else { return Value::Null };
    let kind = row.columns().get(at).map_or("", |column| column.type_info().name());
    let typed = match kind {
        "INT2" | "INT4" | "INT8" | "OID" => text.parse::<i64>().ok().map(Value::from),
        "FLOAT4" | "FLOAT8" => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from),
        "BOOL" => Some(Value::Bool(text == "t")),
        "JSON" | "JSONB" => serde_json::from_str(&text).ok(),
        _ => None,
    };
    typed.unwrap_or(Value::String(text))
}

/// The server's no to a step.
pub(super) fn refused(error: &sqlx::Error, may_write: bool) -> Result<Reply> {
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
