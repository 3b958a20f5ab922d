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

/// What tells this process from every other that ever was, where the system lets it be told: the boot,
/// the process namespace, the process and its start.
pub fn identity() -> Option<String> {
    let pid = std::process::id();
    Some(format!("{} {pid} {}", place()?, start_of(pid)?))
}

/// Whether the process of an [`identity`] has certainly ended: it ran on this boot of this machine, in this
/// namespace, and is not there any more. Its lock need not be waited for.
pub fn has_ended(identity: &str) -> bool {
    let mut parts = identity.rsplitn(3, ' ');
    let (start, pid, its_place) = (parts.next(), parts.next().and_then(|pid| pid.parse().ok()), parts.next());
    let (Some(start), Some(pid), Some(its_place)) = (start, pid, its_place) else { return false };
    // Without a readable list of processes nothing is certain.
    place().is_some_and(|place| place == its_place)
        && start_of(std::process::id()).is_some()
        && start_of(pid).as_deref() != Some(start)
}

fn place() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.to_str()?))
}

/// The start of a process in clock ticks since the boot: field 22 of its status line.
fn start_of(pid: u32) -> Option<String> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let fields = &line[line.rfind(')')? + 1..];
    let state = fields.split_whitespace().next()?;
    // A zombie does no more work.
    if state == "Z" { None } else { fields.split_whitespace().nth(19).map(str::to_owned) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_is_surely_gone_has_ended() {
        let Some(own) = identity() else { return };
        assert!(!has_ended(&own));
        let (rest, start) = own.rsplit_once(' ').expect("a start");
        assert!(has_ended(&format!("{rest} {start}0")), "another process has this number now");
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let place = place().expect("a place");
        let its = format!("{place} {} {}", child.id(), start_of(child.id()).unwrap_or_else(|| "1".into()));
        child.wait().expect("an end");
        assert!(has_ended(&its));
        assert!(!has_ended(&its.replacen(&place[..8], "another!", 1)), "another machine");
        assert!(!has_ended("nonsense"));
    }
}
