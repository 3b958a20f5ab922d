//! Nothing hangs: while a run is at work, each server is asked now and then on a connection of its own whether
//! it is there. A statement may take hours; a server that is gone may not. It knows no driver.

use std::pin::Pin;
use std::time::Duration;

use crate::error::{Code, Error};
use crate::kind::StoreKind;

/// Resolves when a server does not answer any more.
pub type Watch = Pin<Box<dyn Future<Output = Error>>>;

/// How long between two questions.
const BETWEEN: Duration = Duration::from_secs(8);
/// How long an answer may take, connecting included.
const ANSWER: Duration = Duration::from_secs(10);
/// So many unanswered questions in a row and the server counts as gone: within 36 s.
const UNANSWERED: u32 = 2;

/// Asks a server again and again; ends when it counts as gone. `ask` answers whether the server was there.
pub async fn watch(store: StoreKind, place: String, mut ask: impl AsyncFnMut() -> bool) -> Error {
    let mut unanswered = 0;
    while unanswered < UNANSWERED {
        tokio::time::sleep(BETWEEN).await;
        let is_there = tokio::time::timeout(ANSWER, ask()).await.unwrap_or(false);
        unanswered = if is_there { 0 } else { unanswered + 1 };
    }
    Error::new(Code::ConnectTimeout, format!("{store} at {place} does not answer any more"))
        .why("a new connection got no answer either, twice in a row")
        .data("what the report lists was done; what was under way then is known to the server alone")
        .hint("lyrox db status, once the server can be reached; lyrox db migrate goes on where this run stopped")
}
