//! How often this process asked a server and waited for its answer: over a slow line, that is the time a
//! command takes. Logging in is not counted. MongoDB is not either: its driver can tell only by copying every
//! command.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::kind::StoreKind;

static POSTGRES: AtomicU64 = AtomicU64::new(0);
static REDIS: AtomicU64 = AtomicU64::new(0);

fn counter(store: StoreKind) -> Option<&'static AtomicU64> {
    match store {
        StoreKind::Postgres => Some(&POSTGRES),
        StoreKind::Redis => Some(&REDIS),
        StoreKind::Mongodb => None,
    }
}

/// Counts one message and the wait for its answer.
pub(super) fn count(store: StoreKind) {
    if let Some(counter) = counter(store) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// `12 round trips to PostgreSQL`, for the closing line of `-v`; none where none was counted.
pub fn words() -> Option<String> {
    let counts: Vec<(StoreKind, u64)> = StoreKind::ALL
        .into_iter()
        .filter_map(|store| Some((store, counter(store)?.load(Ordering::Relaxed))))
        .filter(|(_, count)| *count > 0)
        .collect();
    let words = |(store, count): &(StoreKind, u64)| {
        format!("{count} round trip{} to {}", if *count == 1 { "" } else { "s" }, store.title())
    };
    (!counts.is_empty()).then(|| counts.iter().map(words).collect::<Vec<_>>().join(", "))
}
