//! The project lock: one key that ends by itself on the server's clock, with a value that only its holder
//! knows. Every script that writes looks at it first.

use redis::RedisResult;
use serde::{Deserialize, Serialize};

use super::ledger::{Books, time};
use super::link::Link;
use super::lua;
use crate::stores::lease::{Heartbeat, LEASE, has_ended, holder, identity};
use crate::stores::{Holder, LockAnswer};

/// A lock that is held.
pub struct Held {
    /// The value of the key: what only this run knows.
    pub value: String,
    key: String,
    link: Link,
    heartbeat: Heartbeat,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    token: String,
    holder: String,
    process: Option<String>,
    since_ms: i64,
}

fn lease() -> u64 {
    u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX)
}

/// Takes the lock if it is free, or if its holder was a process of this machine that is gone.
///
/// # Errors
/// The driver's.
pub async fn try_lock(books: &mut Books) -> RedisResult<(LockAnswer, Option<Held>)> {
    let key = books.keys.lock();
    let mut look = redis::pipe();
    look.cmd("GET").arg(&key).cmd("TIME");
    let (found, (seconds, micros)): (Option<String>, (i64, i64)) = if books.link.is_cluster() {
        let found = redis::cmd("GET").arg(&key).query_async(&mut books.link).await?;
        (found, redis::cmd("TIME").query_async(&mut books.link).await?)
    } else {
        look.query_async(&mut books.link).await?
    };
    let stored = Stored {
        token: uuid::Uuid::new_v4().to_string(),
        holder: holder(),
        process: identity(),
        since_ms: seconds * 1000 + micros / 1000,
    };
    let value = serde_json::to_string(&stored).unwrap_or(stored.token);
    let is_taken = match &found {
        None => {
            let mut set = redis::cmd("SET");
            set.arg(&key).arg(&value).arg("NX").arg("PX").arg(lease());
            set.query_async::<Option<String>>(&mut books.link).await?.is_some()
        }
        Some(other) if is_gone(other) => {
            let mut take = redis::cmd("EVAL");
            take.arg(lua::TAKE_OVER).arg(1).arg(&key).arg(other).arg(&value).arg(lease());
            take.query_async::<bool>(&mut books.link).await?
        }
        Some(_) => false,
    };
    if !is_taken {
        // Where another was quicker just now, the next try says who.
        let shown = found.as_deref().map_or_else(|| "another run".to_owned(), shown);
        return Ok((LockAnswer::Held(shown), None));
    }
    let heartbeat = {
        let (link, key, value) = (books.link.clone(), key.clone(), value.clone());
        Heartbeat::start(move || {
            let (mut link, key, value) = (link.clone(), key.clone(), value.clone());
            async move { renew(&mut link, &key, &value).await.ok() }
        })
    };
    Ok((LockAnswer::Obtained, Some(Held { value, key, link: books.link.clone(), heartbeat })))
}

/// Who holds the lock.
///
/// # Errors
/// The driver's.
pub async fn holder_of(books: &mut Books) -> RedisResult<Option<Holder>> {
    let key = books.keys.lock();
    let found: Option<String> = redis::cmd("GET").arg(&key).query_async(&mut books.link).await?;
    let Some(token) = found else { return Ok(None) };
    let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut books.link).await?;
    let has_ended = is_gone(&token);
    let state = match left {
        _ if has_ended => "that process has ended".to_owned(),
        // A key without an end is none of lyrox's making, or was restored.
        ..0 => "it never ends by itself".to_owned(),
        left => format!("its lease ends in {} s unless it is renewed", left / 1000),
    };
    Ok(Some(Holder { who: format!("{}; {state}", shown(&token)), has_ended, token }))
}

/// Ends exactly this holder's lease. Answers whether it was still that holder's.
///
/// # Errors
/// The driver's.
pub async fn end(books: &mut Books, token: &str) -> RedisResult<bool> {
    redis::cmd("EVAL").arg(lua::RELEASE).arg(1).arg(books.keys.lock()).arg(token).query_async(&mut books.link).await
}

fn is_gone(value: &str) -> bool {
    serde_json::from_str::<Stored>(value).is_ok_and(|stored| stored.process.is_some_and(|process| has_ended(&process)))
}

fn shown(value: &str) -> String {
    match serde_json::from_str::<Stored>(value) {
        Ok(stored) => format!("{}, since {}", stored.holder, time(stored.since_ms)),
        Err(_) => "something that is not lyrox".into(),
    }
}

async fn renew(link: &mut Link, key: &str, value: &str) -> RedisResult<bool> {
    redis::cmd("EVAL").arg(lua::RENEW).arg(1).arg(key).arg(value).arg(lease()).query_async(link).await
}

impl Held {
    /// Asks the server whether the lock is still ours, and renews it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn is_ours(&self) -> RedisResult<bool> {
        Ok(!self.heartbeat.is_lost() && renew(&mut self.link.clone(), &self.key, &self.value).await?)
    }

    /// Gives the lock back; one that has become another's is left alone.
    ///
    /// # Errors
    /// The driver's.
    pub async fn release(self) -> RedisResult<()> {
        let Self { value, key, mut link, heartbeat } = self;
        drop(heartbeat);
        redis::cmd("EVAL").arg(lua::RELEASE).arg(1).arg(key).arg(value).exec_async(&mut link).await
    }
}
