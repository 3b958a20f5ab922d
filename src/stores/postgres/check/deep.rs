//! What `--deep` tries at PostgreSQL: a write in a transaction that is rolled back, the lock that migrations take,
//! and a login at every host of the URL.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::facts::Facts;
use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::stores::postgres::connect::{connect, with_host};
use crate::stores::postgres::error::{hint, sqlstate, words};
use crate::stores::postgres::ident::Ident;
use crate::stores::stages::{Request, Stages, limit};

/// Tries to write, and takes it back.
pub async fn write(stages: &mut Stages<'_>, request: &Request<'_>, facts: &Facts, session: &mut PgConnection) {
    if facts.is_standby {
        return;
    }
    let work = async {
        let (sql, done) = if request.is_direct && facts.has_schema {
            (as_owner(&request.target.namespace)?, "table, row and lock; rolled back")
        } else {
            // A number of its own is what makes a transaction one that writes.
            ("BEGIN; SELECT pg_catalog.txid_current(); ROLLBACK".to_owned(), "a transaction that writes; rolled back")
        };
        match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *session).await {
            Ok(_) => Ok(((), done.to_owned())),
            Err(error) => {
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut *session).await;
                Err(failed(&error))
            }
        }
    };
    stages.run("write", limit::REST, work).await;
}

fn as_owner(schema: &str) -> Result<String> {
    let table = format!("{}.{}", Ident::new(schema)?, Ident::new(&name())?);
    Ok(format!(
        "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '4s'; \
         SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('{}')); \
         CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} VALUES (1); \
         DELETE FROM {table} WHERE id = 1; ROLLBACK",
        name()
    ))
}

/// A name that nobody else has.
fn name() -> String {
    format!("lyrox_check_{}", uuid::Uuid::new_v4().simple())
}

fn failed(error: &sqlx::Error) -> Error {
    let code = match sqlstate(error) {
        Some("25006") => Code::ConnectReadOnly,
        Some("42501") => Code::Privilege,
        Some("53100") => Code::StoreDisk,
        _ => Code::WriteProbe,
    };
    let error = Error::new(code, "a write that was tried and rolled back failed").why(words(error)).hint(
        hint(error).unwrap_or_else(|| "lyrox db migrate would fail alike: mend what the server names".to_owned()),
    );
    error.data("nothing was changed")
}

/// Logs in to each host of a URL that names several.
pub async fn hosts(stages: &mut Stages<'_>, request: &Request<'_>) {
    let url = &request.endpoint.url;
    if url.hosts().len() < 2 {
        return;
    }
    let name = &request.config.settings.project.name;
    let tries = url.hosts().iter().map(|host| async move {
        let one = Endpoint { url: with_host(url, host), origin: request.endpoint.origin.clone() };
        let opened = tokio::time::timeout(limit::AUTH, connect(&one, request.target.ca_file.as_deref(), name)).await;
        let failure = match opened {
            Ok(Ok(session)) => {
                let _ = sqlx::Connection::close(session).await;
                None
            }
            Ok(Err(error)) => Some(error.what().to_owned()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        (format!("{}:{}", host.bracketed(), url.port_of(host)), failure)
    });
    let tried = futures_util::future::join_all(tries).await;
    let count = tried.len();
    let mut good = 0;
    for (place, failure) in tried {
        match failure {
            None => good += 1,
            Some(why) => stages.warn(
                "hosts",
                Code::ConnectHost,
                format!("{place}: {why}"),
                "mend that server, or take it out of the URL; the others serve meanwhile",
            ),
        }
    }
    if good == count {
        stages.pass("hosts", format!("{count} of {count} take the login"));
    }
}
