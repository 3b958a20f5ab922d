//! What every test stands on: real servers, a project of its own, and the binary run as a user would.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod cluster;
mod output;
mod project;
pub mod servers;

pub use output::Output;
pub use project::Project;

use std::future::Future;
use std::sync::OnceLock;

/// Runs a future to its end on the test crate's runtime.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    });
    // A helper may be called from work that is itself run by this function.
    if tokio::runtime::Handle::try_current().is_ok() {
        return tokio::task::block_in_place(|| runtime.block_on(work));
    }
    runtime.block_on(work)
}

/// A query answered as text, every type, through a connection of its own.
pub fn sql(url: &str, query: &str) -> Result<Vec<Vec<Option<String>>>, sqlx::Error> {
    use sqlx::{Connection as _, Row as _};
    block_on(async {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await?;
        let texts = rows.iter().map(|row| {
            let cell = |at| row.try_get_raw(at).ok().and_then(|raw| raw.as_str().ok().map(str::to_owned));
            (0..row.len()).map(cell).collect()
        });
        let texts = texts.collect();
        connection.close().await?;
        Ok(texts)
    })
}
