//! What stands between lyrox and the server: nothing, a proxy that keeps sessions apart, or a pooler that does not.
//! Found by looking and trying; what the host's name says is a guess beside it.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use super::facts::Facts;
use crate::config::Origin;
use crate::error::{Code, Error};
use crate::stores::postgres::connect::connect;
use crate::stores::postgres::error::reported;
use crate::stores::postgres::pooler::is_transaction_pooled;
use crate::stores::stages::{Request, Stages, limit};
use crate::url::direct_form;
use crate::url::provider::{Pooling, provider};

/// Says what was found; what stands in the way of migrations fails. False: the session cannot be used any more.
pub async fn look(stages: &mut Stages<'_>, request: &Request<'_>, facts: &Facts, session: &mut PgConnection) -> bool {
    let endpoint = request.endpoint;
    if endpoint.origin == Origin::Local {
        return true;
    }
    // The server sees the very connection that this process made.
    if facts.line.as_ref().is_some_and(crate::stores::postgres::direct::Line::is_own) {
        stages.pass("pooler", "none: the server sees this very connection");
        return true;
    }
    let known = provider(&endpoint.url);
    let name = &request.config.settings.project.name;
    let ca_file = request.target.ca_file.as_deref();
    let probe = is_transaction_pooled(session, endpoint, ca_file, name);
    let proved = tokio::time::timeout(limit::REST, probe).await.ok().flatten();
    let is_pooled = match (proved, known.pooling) {
        (Some(true), _) => true,
        // A pooler that was idle may hand out the same connection each time.
        (_, Pooling::Transaction) => true,
        (Some(false), _) => false,
        (None, _) => {
            stages.warn(
                "pooler",
                Code::ConnectBusy,
                "cannot be told: the server gave no further connection",
                "end idle connections, or raise max_connections",
            );
            return false;
        }
    };
    if !is_pooled {
        // A socket file and a container's network look like this as well.
        let words = match facts.line {
            None => "none found",
            Some(_) => "none per transaction; an address is translated on the way, or a proxy keeps sessions apart",
        };
        stages.pass("pooler", words);
        return true;
    }
    let how = if proved == Some(true) { "tried" } else { "by its address" };
    if is_per_statement(request).await {
        let what = "a pooler hands out a connection per statement: there are no transactions";
        let hint = "set `pool_mode = transaction` in the pooler, or name the server itself in the URL";
        if request.is_direct {
            stages.fail(
                "pooler",
                Error::new(Code::PoolerStatement, what)
                    .why(format!("BEGIN is refused there ({})", endpoint.origin))
                    .hint(hint),
            );
        } else {
            stages.warn("pooler", Code::PoolerStatement, what, hint);
        }
        return false;
    }
    // The probe may have left the session with an answer of its own still to come.
    let fresh = tokio::time::timeout(limit::REST, connect(endpoint, ca_file, name)).await.ok().and_then(Result::ok);
    let is_usable = fresh.map(|fresh| *session = fresh).is_some();
    if !request.is_direct {
        stages.pass("pooler", format!("per transaction ({how}); the application may use it"));
        return is_usable;
    }
    let hint = match direct_form(&endpoint.url) {
        Some(place) => format!("set direct_url to {place}"),
        None => "set `direct_url` in lyrox.toml to the server itself".to_owned(),
    };
    stages.fail(
        "pooler",
        Error::new(Code::Pooler, format!("a pooler hands out a connection per transaction ({how})"))
            .why(format!("locks and settings do not hold across transactions there ({})", endpoint.origin))
            .hint(hint),
    );
    is_usable
}

/// Whether the pooler refuses transactions, asked through a connection of its own.
async fn is_per_statement(request: &Request<'_>) -> bool {
    let name = &request.config.settings.project.name;
    let asked = async {
        let mut other = connect(request.endpoint, request.target.ca_file.as_deref(), name).await.ok()?;
        let begun = sqlx::raw_sql(AssertSqlSafe("BEGIN".to_owned())).execute(&mut other).await;
        let is_refused = begun
            .as_ref()
            .err()
            .and_then(reported)
            .is_some_and(|report| report.message().contains("statement pooling"));
        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut other).await;
        let _ = other.close().await;
        Some(is_refused)
    };
    tokio::time::timeout(limit::REST, asked).await.ok().flatten().unwrap_or(false)
}
