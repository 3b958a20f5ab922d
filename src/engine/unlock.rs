//! Unlocking: who holds the lock of each store, and the end of a lock whose holder is gone. A live run loses
//! its lock only where the exact name was given.

use super::guard::Permit;
use super::migrate::{Work, close};
use crate::error::{Code, Error, Result};
use crate::report::{Change, Item};
use crate::stores::Store as _;
use crate::typed::again;

/// Looks at every lock, ends what is dead, and with a permit what is alive. Answers whether a live holder
/// was left alone.
///
/// # Errors
/// A store that cannot be reached, or a holder that cannot be ended.
pub async fn unlock(work: Work<'_>, permit: Option<&Permit>, name: &str) -> Result<bool> {
    let mut stores = work.open().await?;
    let mut is_held = false;
    let mut outcome = Ok(());
    for store in &mut stores {
        let kind = store.kind();
        let id = format!("{kind}.lock");
        let item = match store.lock_holder().await {
            Err(error) => Err(error),
            Ok(None) => Ok(Item::pass(id, "lock").store(kind).detail("free")),
            Ok(Some(holder)) if holder.has_ended || permit.is_some() => {
                store.end_lock(&holder, permit).await.map(|was_its| match was_its {
                    true => Item::pass(id, "lock").store(kind).change(Change::Dropped).detail(holder.who),
                    false => Item::pass(id, "lock").store(kind).detail("it was given back meanwhile"),
                })
            }
            Ok(Some(holder)) => {
                is_held = true;
                let error =
                    Error::new(Code::LockHeld, format!("the lock on {kind} is held by a run that may be alive"))
                        .why(holder.who)
                        .data("nothing was changed")
                        .hint(format!(
                            "wait for it; or, if you know that it is stuck, {}",
                            again("--confirm", Some(name))
                        ));
                Ok(Item::fail(id, "lock", &error).store(kind))
            }
        };
        match item {
            Ok(item) => work.events.item(item),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    close(stores).await;
    outcome.map(|()| is_held)
}
