//! Sending what a test tries, within its transaction, and learning from refusals.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgRow;

use super::PostgresSmoke;
use super::row::{Chain, Insert, Reason, sql};
use crate::error::{Code, Result};
use crate::kind::StoreKind;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::error::{clean, is_lost, reported, server_error, words};
use crate::stores::postgres::ident::literal;
use crate::stores::trips;

/// How often a row is planned anew after a refusal.
const ATTEMPTS: usize = 16;

/// How often another way of satisfying a CHECK is tried.
const TURNS: usize = 10;

/// The server's no to a statement.
#[derive(Clone, Debug)]
pub struct Refused {
    /// SQLSTATE.
    pub code: String,
    /// `message (SQLSTATE)`.
    pub words: String,
    /// The constraint, where one is named.
    pub constraint: Option<String>,
    /// The table, where one is named.
    pub table: Option<String>,
    /// The column, where one is named.
    pub column: Option<String>,
}

impl Refused {
    /// A definition is broken (a trigger's function names what is not there), or a privilege is missing: a
    /// fault of the schema, not of the values that were tried.
    pub fn is_fault(&self) -> bool {
        self.code.starts_with("42") || self.code.starts_with("XX")
    }
}

/// Why a row could not be made.
#[derive(Clone, Debug)]
pub enum Unmade {
    /// lyrox does not know how.
    Unknown(Reason),
    /// The schema itself is at fault.
    Fault(Reason),
}

/// What the server answered: rows, or no.
pub type Said = Result<Vec<PgRow>, Refused>;

impl PostgresSmoke<'_> {
    /// Sends statements, after those that wait; the outer error is a lost connection.
    pub(super) async fn send(&mut self, sql: &str) -> Result<Said> {
        trips::count(StoreKind::Postgres);
        let sql = std::mem::take(&mut self.waiting) + sql;
        let answer = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.store.connection).await;
        let known = |schema: Option<&str>, name: &str| {
            let full = format!("{}.{name}", schema.unwrap_or_default());
            if self.catalog.tables.contains_key(&full) { full } else { name.to_owned() }
        };
        match answer {
            Ok(rows) => Ok(Ok(rows)),
            Err(error) => match reported(&error) {
                Some(report) if !is_lost(&error) => Ok(Err(Refused {
                    code: report.code().to_owned(),
                    words: words(&error),
                    constraint: report.constraint().map(clean),
                    table: report.table().map(|name| clean(&known(report.schema(), name))),
                    column: report.column().map(clean),
                })),
                _ => Err(server_error(Code::SmokeFailed, "a smoke test was cut short", &error)),
            },
        }
    }

    /// Sends statements with whatever is sent next: none of them is waited for. They must not fail.
    pub(super) fn queue(&mut self, sql: &str) {
        self.waiting.push_str(sql);
    }

    /// Begins a test's transaction with whatever is sent next: keys are checked at once, nothing waits long, the
    /// tenant is set.
    pub(super) fn begin_test(&mut self, tenant: Option<&str>) {
        let sql = format!(
            "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '20s'; {}",
            self.set_tenant(tenant)
        );
        self.queue(&sql);
    }

    /// Undoes a test's transaction, with whatever is sent next.
    pub(super) fn end_test(&mut self) {
        self.waiting.clear();
        self.queue("ROLLBACK;");
    }

    /// Sends what waits: nothing is left open.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            self.send("").await?.ok();
        }
        Ok(())
    }

    /// The statement that makes a tenant the one of the transaction; empty where the project has none.
    pub(super) fn set_tenant(&self, tenant: Option<&str>) -> String {
        match (&self.run.config.settings.tenancy, tenant) {
            (Some(tenancy), Some(tenant)) => {
                format!("SELECT pg_catalog.set_config({}, {}, true);", literal(&tenancy.setting), literal(tenant))
            }
            _ => String::new(),
        }
    }

    /// As [`PostgresSmoke::make_after`], with no rows before.
    pub(super) async fn make<T>(
        &mut self,
        tenant: Option<&str>,
        plan: impl Fn(&mut Chain<'_>) -> Result<T, Reason>,
    ) -> Result<Result<(T, Vec<Insert>, bool), Unmade>> {
        self.make_after(tenant, &[], plan).await
    }

    /// Plans rows beside those that are `written` already, and writes them after the savepoint `lyrox_rows`, planning anew after each refusal that
    /// teaches something. Answers what the plan answered, and all the rows.
    pub(super) async fn make_after<T>(
        &mut self,
        tenant: Option<&str>,
        written: &[Insert],
        plan: impl Fn(&mut Chain<'_>) -> Result<T, Reason>,
    ) -> Result<Result<(T, Vec<Insert>, bool), Unmade>> {
        let mut last = None;
        let mut begin = "SAVEPOINT lyrox_rows;";
        for _ in 0..ATTEMPTS {
            let mut chain = Chain::new(
                &self.catalog,
                self.run.config.settings.tenancy.as_ref(),
                &self.lessons,
                &mut self.source,
                tenant.map(str::to_owned),
            )
            .after(written);
            let answer = match plan(&mut chain) {
                Ok(answer) => answer,
                Err(reason) => return Ok(Err(Unmade::Unknown(reason))),
            };
            let (inserts, is_circular) = (std::mem::take(&mut chain.inserts), chain.is_circular);
            let statements = sql(&self.catalog, &inserts[written.len()..], is_circular)?.join(";");
            match self.send(&format!("{begin}{statements}")).await? {
                Ok(_) => return Ok(Ok((answer, inserts, is_circular))),
                Err(refused) => {
                    if let Err(unmade) = self.learn(&refused) {
                        return Ok(Err(unmade));
                    }
                    last = Some(refused.words);
                    begin = "ROLLBACK TO SAVEPOINT lyrox_rows;";
                }
            }
        }
        Ok(Err(Unmade::Unknown(last.unwrap_or_default())))
    }

    /// Draws a lesson from a refusal, or says why the row cannot be made.
    fn learn(&mut self, refused: &Refused) -> Result<(), Unmade> {
        let unknown = || Err(Unmade::Unknown(refused.words.clone()));
        let Some(table) = refused.table.clone() else {
            if refused.code == "P0001" {
                return Ok(());
            }
            return if refused.is_fault() { Err(Unmade::Fault(refused.words.clone())) } else { unknown() };
        };
        match (refused.code.as_str(), &refused.constraint, &refused.column) {
            ("23514", Some(constraint), _) => {
                let definition = self
                    .catalog
                    .tables
                    .get(&table)
                    .and_then(|table| table.checks().find(|check| check.name == *constraint))
                    .map(|check| check.definition.clone());
                let turn = self.lessons.way.entry((table.clone(), constraint.clone())).or_insert(0);
                *turn += 1;
                if *turn > TURNS {
                    let shown = definition.unwrap_or_else(|| "a CHECK".into());
                    return Err(Unmade::Unknown(format!("`{constraint}` of `{table}` is not understood: {shown}")));
                }
                // What was left to defaults is given from now on.
                if let Some(known) = self.catalog.tables.get(&table)
                    && let Some(check) = known.checks().find(|check| check.name == *constraint)
                {
                    let columns = check.columns.iter().map(|column| (table.clone(), column.clone()));
                    self.lessons.fill.extend(columns);
                }
                Ok(())
            }
            ("23502", _, Some(column)) => {
                if self.lessons.fill.insert((table, column.clone())) {
                    Ok(())
                } else {
                    unknown()
                }
            }
            // What was left to defaults, or empty, is given from now on.
            ("23505", Some(constraint), _) => {
                let known = self.catalog.tables.get(&table);
                let index = known.and_then(|table| table.indexes.iter().find(|index| index.name == *constraint));
                self.lessons
                    .fill
                    .extend(index.iter().flat_map(|index| &index.uses).map(|one| (table.clone(), one.clone())));
                Ok(())
            }
            // Another value is drawn each time; a partition's bounds and a trigger's rules may let it pass.
            ("23505" | "23P01" | "23514", ..) => Ok(()),
            _ if refused.is_fault() => Err(Unmade::Fault(refused.words.clone())),
            _ => unknown(),
        }
    }

    /// Takes everything after `lyrox_rows` back and writes the rows again, the last one changed; then `more`.
    pub(super) async fn again(
        &mut self,
        inserts: &[Insert],
        is_circular: bool,
        before_last: &str,
        more: &str,
    ) -> Result<Said> {
        let mut statements = sql(&self.catalog, inserts, is_circular)?;
        let last = statements.pop().unwrap_or_default();
        let mut text = String::from("ROLLBACK TO SAVEPOINT lyrox_rows;");
        for statement in statements {
            text.push_str(&statement);
            text.push(';');
        }
        text.push_str(before_last);
        text.push_str(&last);
        text.push(';');
        text.push_str(more);
        self.send(&text).await
    }
}

/// A count that a query answered.
pub fn count(rows: &[PgRow], at: usize) -> u64 {
    rows.get(at).and_then(|row| text(row, 0)).and_then(|text| text.parse().ok()).unwrap_or(0)
}
