//! The project lock over all stores of a run: taken in store order, polled, always given back.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use rand::RngExt as _;

use super::event::Events;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::watch::Watch;
use crate::stores::{LockAnswer, Store};

/// How long a run waits for the lock unless told otherwise.
pub const WAIT: Duration = Duration::from_secs(60);

/// Takes the lock of every store in order, does the work, gives the locks back: the only caller of
/// `try_lock` and `unlock`. It polls with jitter and never waits inside a server, where a waiting
/// statement would hold a snapshot open and deadlock a concurrent index build. A server that does not answer
/// any more ends the work.
///
/// # Errors
/// `LYX-LOCK-HELD` naming the holder, `LYX-CONNECT-TIMEOUT`, or what the work returns.
pub async fn with_lock<S: Store, T>(
    stores: &mut [S],
    wait: Duration,
    events: &dyn Events,
    work: impl AsyncFnOnce(&mut [S]) -> Result<T>,
) -> Result<T> {
    let (kinds, watches): (Vec<StoreKind>, Vec<Watch>) =
        stores.iter().filter_map(|store| Some((store.kind(), store.watch()?))).unzip();
    // The work stands in the program once: it is large.
    let silence = async { if watches.is_empty() { std::future::pending().await } else { select_all(watches).await } };
    let (error, gone) = tokio::select! {
        biased;
        result = locked(stores, wait, events, work) => return result,
        (error, at, _) = silence => (error, kinds.get(at).copied()),
    };
    // What can still be given back is; the lock of a server that is gone ends with its session or lease.
    for store in stores.iter_mut().filter(|store| Some(store.kind()) != gone).rev() {
        let _ = tokio::time::timeout(Duration::from_secs(2), store.unlock()).await;
    }
    Err(error)
}

/// Takes the lock of every store if all of them are free at this moment, does the work, gives the locks back: for
/// one of many pieces of work, which is left to whoever has it. None where another holds one.
///
/// # Errors
/// What the work returns, and a store that cannot be asked.
pub async fn try_with_lock<S: Store, T>(
    stores: &mut [S],
    work: impl AsyncFnOnce(&mut [S]) -> Result<T>,
) -> Result<Option<T>> {
    let mut taken = 0;
    let mut outcome = Ok(true);
    for store in stores.iter_mut() {
        match store.try_lock().await {
            Ok(LockAnswer::Obtained) => taken += 1,
            Ok(LockAnswer::Held(_)) => {
                outcome = Ok(false);
                break;
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let result = match outcome {
        Ok(true) => work(stores).await.map(Some),
        Ok(false) => Ok(None),
        Err(error) => Err(error),
    };
    let mut released = Ok(());
    for store in stores[..taken].iter_mut().rev() {
        released = released.and(store.unlock().await);
    }
    result.and_then(|result| released.map(|()| result))
}

async fn locked<S: Store, T>(
    stores: &mut [S],
    wait: Duration,
    events: &dyn Events,
    work: impl AsyncFnOnce(&mut [S]) -> Result<T>,
) -> Result<T> {
    let until = Instant::now() + wait;
    let mut taken = 0;
    let mut outcome = Ok(());
    for store in stores.iter_mut() {
        outcome = take(store, until, wait, events).await;
        if outcome.is_err() {
            break;
        }
        taken += 1;
    }
    let result = match outcome {
        Ok(()) => work(stores).await,
        Err(error) => Err(error),
    };
    let mut released = Ok(());
    for store in stores[..taken].iter_mut().rev() {
        // Every lock is given back, whatever happened to the others.
        released = released.and(store.unlock().await);
    }
    // A lock that cannot be given back dies with its session or lease; it does not undo the work.
    if let (Ok(_), Err(error)) = (&result, released) {
        events.note(format!("a lock could not be given back: {error}"));
    }
    result
}

async fn take<S: Store>(store: &mut S, until: Instant, wait: Duration, events: &dyn Events) -> Result<()> {
    let mut told = false;
    let mut pause = Duration::from_millis(20);
    loop {
        match store.try_lock().await? {
            LockAnswer::Obtained => return Ok(()),
            LockAnswer::Held(holder) => {
                if Instant::now() >= until {
                    return Err(held(store.kind(), &holder, wait));
                }
                if !told {
                    events.note(format!("waiting for the lock on {}, held by {holder}", store.kind()));
                    told = true;
                }
            }
        }
        let jitter = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(pause.mul_f64(jitter)).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

fn held(store: StoreKind, holder: &str, wait: Duration) -> Error {
    Error::new(Code::LockHeld, format!("the lock on {store} was not free within {} s", wait.as_secs()))
        .why(format!("held by {holder}"))
        .data("nothing was changed")
        .hint("run it again when that run has ended (the lock ends with its process), or see lyrox db unlock")
}
