//! A lock that is a lease: it ends by itself unless it is renewed. The clock is the server's; this file
//! keeps the renewing going and knows no driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::engine::ledger;
use crate::error::{Code, Error};
use crate::kind::StoreKind;

/// How long a lease lasts after its last renewal.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often it is renewed.
pub const BEAT: Duration = Duration::from_secs(3);

/// Renews a lease in the background until it is dropped or the lease is found to be another's.
#[derive(Debug)]
pub struct Heartbeat {
    task: JoinHandle<()>,
    is_lost: Arc<AtomicBool>,
}

impl Heartbeat {
    /// Starts renewing. `renew` answers whether the lease is still ours, or nothing where the server
    /// did not answer: then it is asked again.
    pub fn start<F, R>(renew: F) -> Self
    where
        F: Fn() -> R + Send + 'static,
        R: Future<Output = Option<bool>> + Send,
    {
        let is_lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_lost);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                if renew().await == Some(false) {
                    flag.store(true, Ordering::Release);
                    return;
                }
            }
        });
        Self { task, is_lost }
    }

    /// Whether a renewal found the lease to be another's.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who holds a lock, as another run is told: `ana@laptop, pid 4711`.
pub fn holder() -> String {
    format!("{}, pid {}", ledger::actor(), std::process::id())
}

/// The error of a run whose lease has become another's. What was done before is for the caller to say.
pub fn lost(store: StoreKind) -> Error {
    Error::new(Code::LockLost, format!("the lock on {store} was lost during the run"))
        .why("it was not renewed in time (this process was paused, or the server did not answer), or it was taken away")
        .hint("look whether another run is at work, then run it again: it goes on where this one stopped")
}
