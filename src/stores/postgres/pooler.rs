//! Is there a pooler between this session and the server that hands out connections per transaction?
//! Found by trying, because neither the port nor the server's version tells.

use std::path::Path;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use super::connect::{connect, text};
use crate::config::{Endpoint, Origin};
use crate::kind::StoreKind;
use crate::stores::trips;
use crate::url::provider::{Pooling, provider};

/// The number of helpers of each rung. Pools that hand out the connection used last show with one; those
/// that hand them round in turn may be just as large as the rung is high, so that the height has to change.
const LADDER: [usize; 5] = [1, 2, 3, 1, 2];
/// How long a session of its own may take to answer; behind a pool of one it waits for the helpers.
const BOUND: Duration = Duration::from_secs(1);

/// Whether the URL leaves it open that a pooler hands out sessions per transaction.
pub fn may_be_pooled(endpoint: &Endpoint) -> bool {
    let pooling = provider(&endpoint.url).pooling;
    endpoint.origin != Origin::Local && matches!(pooling, Pooling::Unknown | Pooling::Transaction)
}

/// Whether sessions are handed out per transaction; none: it cannot be told, for want of connections.
///
/// The session sets a variable of its own to a word that nobody knows. Then helpers open transactions and
/// look for it, and the session looks whether it is still there. A helper that sees it, or the session that
/// lost it or waits, shares its connection to the server with others.
pub async fn is_transaction_pooled(
    session: &mut PgConnection,
    endpoint: &Endpoint,
    ca_file: Option<&Path>,
    application: &str,
) -> Option<bool> {
    let most = LADDER.into_iter().max().unwrap_or(1);
    let opened = join_all((0..most).map(|_| connect(endpoint, ca_file, application))).await;
    let mut helpers: Vec<PgConnection> = opened.into_iter().filter_map(Result::ok).collect();
    if helpers.is_empty() {
        return None;
    }
    let mut verdict = false;
    for height in LADDER {
        let height = height.min(helpers.len());
        match rung(session, &mut helpers[..height]).await {
            Some(false) => {}
            Some(true) => {
                verdict = true;
                break;
            }
            // A session whose answer was abandoned cannot be asked again; the caller drops it.
            None => return Some(true),
        }
    }
    join_all(helpers.into_iter().map(PgConnection::close)).await;
    Some(verdict)
}

/// One rung of the ladder; none: the session did not answer while the helpers held their transactions.
async fn rung(session: &mut PgConnection, helpers: &mut [PgConnection]) -> Option<bool> {
    let word = uuid::Uuid::new_v4().simple().to_string();
    ask(session, &format!("SELECT pg_catalog.set_config('lyrox.probe', '{word}', false)")).await.ok()?;
    let look = "SELECT pg_catalog.current_setting('lyrox.probe', true)";
    let seen = try_join_all(helpers.iter_mut().map(|helper| async {
        ask(helper, "BEGIN").await?;
        ask(helper, look).await
    }))
    .await;
    let own = tokio::time::timeout(BOUND, ask(session, look)).await;
    let ended = join_all(helpers.iter_mut().map(|helper| ask(helper, "ROLLBACK"))).await;
    // Pools that hand out a connection per statement refuse transactions.
    let Ok(seen) = seen else { return Some(true) };
    let own = own.ok()?;
    let is_own = own.is_ok_and(|own| own.as_deref() == Some(word.as_str()));
    let is_shared = seen.iter().any(|seen| seen.as_deref() == Some(word.as_str()));
    Some(is_shared || !is_own || ended.iter().any(Result::is_err))
}

/// The first value of a statement's answer.
async fn ask(connection: &mut PgConnection, sql: &str) -> Result<Option<String>, sqlx::Error> {
    trips::count(StoreKind::Postgres);
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(connection).await?;
    Ok(rows.first().and_then(|row| text(row, 0)))
}
