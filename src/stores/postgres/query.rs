//! Running SQL of a person's and answering its rows. Without leave to write: one transaction READ ONLY.
//! The simple protocol is used, in which every type is text that can be printed.

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Either, Row as _, TypeInfo as _, ValueRef as _};

use super::error::{detail, hint, is_lost, position, reported, sqlstate, words};
use super::ident::{Ident, literal};
use super::splitter::{Kind, Statement, split};
use crate::error::{Code, Error, Place, Result};
use crate::stores::query::{Answer, Options, Shown};

/// Runs the statements of a text in one transaction and answers the rows of the last one that has any.
///
/// # Errors
/// `LYX-QUERY-FAILED` with the place in the text; `LYX-USAGE` for what a query cannot hold.
pub async fn run(session: &mut PgConnection, sql: &str, options: &Options) -> Result<Answer> {
    let statements = read(sql, options)?;
    let is_bare = statements.iter().any(|statement| statement.kind == Kind::Bare);
    if !is_bare {
        begin(session, options).await?;
    }
    let mut answer = Answer::default();
    for statement in &statements {
        match one(session, statement.text(sql), options).await {
            Ok(found) => {
                if !found.columns.is_empty() || answer.columns.is_empty() {
                    answer = found;
                }
            }
            Err(error) => {
                if !is_bare && !is_lost(&error) {
                    let _ = plain(session, "ROLLBACK").await;
                }
                return Err(failed(sql, statement, &error, options));
            }
        }
    }
    if !is_bare && !answer.is_cut {
        let end = if options.may_write { "COMMIT" } else { "ROLLBACK" };
        plain(session, end).await.map_err(|error| {
            let failed = Error::new(Code::QueryFailed, words(&error)).data("rolled back; nothing was changed");
            detail(&error).map_or(failed.clone(), |detail| failed.why(detail))
        })?;
    }
    Ok(answer)
}

/// Says good-bye to the server.
pub async fn close(session: PgConnection) {
    // A connection that cannot be closed politely is gone already.
    let _ = session.close().await;
}

/// Cuts the text and refuses what would leave the one transaction or speak another protocol.
fn read(sql: &str, options: &Options) -> Result<Vec<Statement>> {
    let refused = |what: &str, at: usize, width: usize| {
        Error::new(Code::Usage, what).at(Place::at_offset("query", sql, at, width)).data("nothing was sent")
    };
    let statements = split(sql).map_err(|problem| refused(&problem.what, problem.at, 1).hint(problem.hint))?;
    if statements.is_empty() {
        return Err(Error::new(Code::Usage, "the query is empty").hint("lyrox query postgres 'SELECT 1'"));
    }
    for statement in &statements {
        let range = statement.range();
        let word = sql[range.clone()].split_whitespace().next().map_or(1, |word| word.chars().count());
        let refused = |what: &str| refused(what, range.start, word);
        match statement.kind {
            Kind::Plain | Kind::Procedure | Kind::AddValue => {}
            Kind::Control | Kind::Savepoint => {
                return Err(refused("a query is one transaction and cannot begin or end any")
                    .hint("leave BEGIN, COMMIT and their kin out"));
            }
            Kind::CopyIn | Kind::CopyOut => {
                return Err(refused("COPY needs a channel of its own")
                    .hint("write SELECT; for bulk data use lyrox db seed, or psql"));
            }
            Kind::Discard | Kind::Quoting => {
                return Err(refused("a query cannot change how the session works").hint("leave the statement out"));
            }
            Kind::Bare if !options.may_write => {
                return Err(refused("the statement changes the database").hint("--write lets it through"));
            }
            Kind::Bare if statements.len() > 1 => {
                return Err(refused("the statement runs outside a transaction, and so alone").hint("run it by itself"));
            }
            Kind::Bare => {}
        }
    }
    Ok(statements)
}

async fn begin(session: &mut PgConnection, options: &Options) -> Result<()> {
    let path = format!("{}, extensions", Ident::new(&options.schema)?);
    let mut sql = format!(
        "BEGIN{}; SELECT pg_catalog.set_config('search_path', {}, true), \
         pg_catalog.set_config('statement_timeout', '{}', true)",
        if options.may_write { "" } else { " READ ONLY" },
        literal(&path),
        options.time.as_millis()
    );
    if options.needs_all_rows {
        sql.push_str(", pg_catalog.set_config('row_security', 'off', true)");
    }
    if let Some((setting, tenant)) = &options.tenant {
        sql.push_str(&format!(", pg_catalog.set_config({}, {}, true)", literal(setting), literal(tenant)));
    }
    plain(session, &sql)
        .await
        .map_err(|error| Error::new(Code::QueryFailed, "the transaction cannot begin").why(words(&error)))
}

async fn plain(session: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(session).await.map(|_| ())
}

async fn one(session: &mut PgConnection, sql: &str, options: &Options) -> Result<Answer, sqlx::Error> {
    let mut answer = Answer::default();
    let mut affected = 0;
    let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    let mut stream = query.fetch_many(session);
    while let Some(part) = stream.try_next().await? {
        match part {
            Either::Left(done) => affected = done.rows_affected(),
            Either::Right(_) if answer.rows.len() >= options.limit => {
                answer.is_cut = !options.may_write;
                // What may write has to be read to its end, so that it can be committed.
                if !options.may_write {
                    break;
                }
            }
            Either::Right(row) => {
                if answer.columns.is_empty() {
                    answer.columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
                }
                answer.rows.push((0..row.len()).map(|at| value(&row, at)).collect());
            }
        }
    }
    drop(stream);
    if answer.columns.is_empty() {
        let is = |verb: &str| sql.get(..verb.len()).is_some_and(|word| word.eq_ignore_ascii_case(verb));
        answer.shown = Shown::Text(match affected {
            0 if is("select") => "(0 rows)".to_owned(),
            0 if ["insert", "update", "delete", "merge"].into_iter().any(is) => "0 rows affected".to_owned(),
            0 => "done".to_owned(),
            1 => "1 row affected".to_owned(),
            count => format!("{count} rows affected"),
        });
    }
    answer.value = json!({ "columns": answer.columns, "rows": answer.rows, "affected": affected });
    Ok(answer)
}

/// A value as JSON: numbers, truth values and JSON as themselves, everything else as the server's text.
fn value(row: &PgRow, at: usize) -> Value {
    let Ok(raw) = row.try_get_raw(at) else { return Value::Null };
    if raw.is_null() {
        return Value::Null;
    }
    let kind = raw.type_info().name().to_owned();
    let Ok(text) = raw.as_str() else { return Value::Null };
    let typed = match kind.as_str() {
        "BOOL" => Some(Value::Bool(text == "t")),
        "INT2" | "INT4" | "INT8" | "OID" => text.parse::<i64>().ok().map(Value::from),
        "FLOAT4" | "FLOAT8" => text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number),
        "JSON" | "JSONB" => serde_json::from_str(text).ok(),
        _ => None,
    };
    typed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn failed(sql: &str, statement: &Statement, error: &sqlx::Error, options: &Options) -> Error {
    if is_lost(error) {
        return Error::new(Code::ConnectClosed, "the connection was lost during the query").why(words(error));
    }
    if options.needs_all_rows && reported(error).is_some_and(|report| report.message().contains("row-level security")) {
        return Error::new(Code::Privilege, "row-level security hides rows from this role")
            .why(words(error))
            .hint("ask for a table whose policies are not forced on its owner");
    }
    let mut failed = Error::new(Code::QueryFailed, words(error));
    if let Some(detail) = detail(error) {
        failed = failed.why(detail);
    }
    if let Some(position) = position(error) {
        let text = statement.text(sql);
        let at = text.char_indices().nth(position.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
        let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
        let width = match text[at..].chars().next() {
            Some('"') => text[at + 1..].find('"').map_or(1, |end| text[at..=at + 1 + end].chars().count()),
            _ => text[at..].chars().take_while(is_word).count(),
        };
        failed = failed.at(Place::at_offset("query", sql, statement.range().start + at, width.max(1)));
    }
    if options.may_write {
        failed = failed.data("rolled back; nothing was changed");
    }
    let server = || reported(error).and_then(|report| report.hint()).is_some();
    match sqlstate(error) {
        Some("25006") if !options.may_write => failed.hint("--write lets a query change data"),
        Some("57014") => failed.hint("--timeout 5m gives it more time"),
        Some("42P01") if !server() => {
            failed.hint("lyrox db status shows what is migrated; a name with capitals needs double quotes")
        }
        Some("42501") => failed.hint("--direct asks as the owner; else grant what the message names"),
        _ => match hint(error) {
            Some(hint) => failed.hint(hint),
            None => failed,
        },
    }
}
