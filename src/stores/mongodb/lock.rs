//! The project lock: one document that is a lease on the server's clock, with a token that only its
//! holder knows. There is no TTL index: its sweep once a minute would remove the lock of a live holder.

use bson::{Bson, DateTime, Document, doc};
use mongodb::error::Result;
use mongodb::options::ReturnDocument;
use mongodb::{Client, ClientSession, Collection};
use tokio::sync::Mutex;

use crate::stores::lease::{Heartbeat, LEASE, has_ended, holder, identity};
use crate::stores::{Holder, LockAnswer};

/// The one lock document.
const ID: &str = "lock";

/// A lock that is held.
pub struct Held {
    /// What only this run knows.
    pub token: String,
    /// Everything the run writes is written in this session: whoever takes the lock over ends it, and with
    /// it transactions and statements that go on in the server after their client is gone.
    pub session: Mutex<ClientSession>,
    collection: Collection<Document>,
    heartbeat: Heartbeat,
}

/// Takes the lock if it is free, its lease has ended, or its holder was a process of this machine that is
/// gone. One write decides, on the server's clock.
///
/// # Errors
/// The driver's.
pub async fn try_lock(
    client: &Client,
    collection: &Collection<Document>,
    project: &str,
) -> Result<(LockAnswer, Option<Held>)> {
    let (answer, held, dead) = take(client, collection, project, None).await?;
    match dead {
        Some(token) => take(client, collection, project, Some(&token)).await.map(|(answer, held, _)| (answer, held)),
        None => Ok((answer, held)),
    }
}

/// Tries once; the lock with the token `dead` counts as free. The third answer is the token of a holder
/// that is gone.
async fn take(
    client: &Client,
    collection: &Collection<Document>,
    project: &str,
    dead: Option<&str>,
) -> Result<(LockAnswer, Option<Held>, Option<String>)> {
    let token = uuid::Uuid::new_v4().to_string();
    let session = client.start_session().await?;
    let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    let is_over = doc! { "$lte": [{ "$ifNull": ["$expires", Bson::DateTime(DateTime::from_millis(0))] }, "$$NOW"] };
    let is_dead = doc! { "$eq": ["$token", { "$literal": dead.unwrap_or_default() }] };
    let is_free = doc! { "$or": [is_over, is_dead] };
    let taken = doc! {
        "_id": "$_id",
        "token": { "$literal": token.as_str() },
        // Counts the takings: whoever reads the document sees how often it changed hands.
        "fence": { "$add": [{ "$ifNull": ["$fence", 0_i64] }, 1_i64] },
        "project": { "$literal": project },
        "holder": { "$literal": holder() },
        "process": { "$literal": identity() },
        "session": { "$literal": session.id().clone() },
        "overtaken": "$session",
        "since": "$$NOW",
        "expires": { "$add": ["$$NOW", lease] },
    };
    let update = vec![doc! { "$replaceWith": { "$cond": [is_free, taken, "$$ROOT"] } }];
    let answer = collection
        .find_one_and_update(doc! { "_id": ID }, update)
        .upsert(true)
        .return_document(ReturnDocument::After)
        .await;
    let found = match answer {
        Ok(found) => found.unwrap_or_default(),
        // Two runs made the document at the same moment: the other was first.
        Err(error) if super::error::refusal(&error).is_some_and(|refusal| refusal.code == 11000) => {
            collection.find_one(doc! { "_id": ID }).await?.unwrap_or_default()
        }
        Err(error) => return Err(error),
    };
    if found.get_str("token").ok() != Some(token.as_str()) {
        let holder = found.get_str("holder").unwrap_or("another run");
        let since = found.get_datetime("since").ok().and_then(|since| since.try_to_rfc3339_string().ok());
        let since = since.map_or(String::new(), |since| format!(", since {since}"));
        let dead = found.get_str("process").is_ok_and(has_ended).then(|| found.get_str("token").ok()).flatten();
        return Ok((LockAnswer::Held(format!("{holder}{since}")), None, dead.map(str::to_owned)));
    }
    if let Ok(overtaken) = found.get_document("overtaken") {
        // Where this is not allowed, the server ends what is left over by its own time limit.
        let _ = client.database("admin").run_command(doc! { "killSessions": [overtaken.clone()] }).await;
    }
    let heartbeat = {
        let (collection, token) = (collection.clone(), token.clone());
        Heartbeat::start(move || {
            let (collection, token) = (collection.clone(), token.clone());
            async move { renew(&collection, &token).await.ok().map(|now| now.is_some()) }
        })
    };
    Ok((
        LockAnswer::Obtained,
        Some(Held { token, session: Mutex::new(session), collection: collection.clone(), heartbeat }),
        None,
    ))
}

/// Who holds the lock, by the server's clock.
///
/// # Errors
/// The driver's.
pub async fn holder_of(collection: &Collection<Document>) -> Result<Option<Holder>> {
    let now = doc! { "$set": { "is_over": { "$lte": ["$expires", "$$NOW"] },
    "left": { "$dateDiff": { "startDate": "$$NOW", "endDate": "$expires", "unit": "second" } } } };
    let held = doc! { "$match": { "_id": ID, "token": { "$type": "string" } } };
    let mut found = collection.aggregate([held, now]).await?;
    if !found.advance().await? {
        return Ok(None);
    }
    let lock = found.deserialize_current()?;
    let is_over = lock.get_bool("is_over").unwrap_or(true);
    let is_gone = lock.get_str("process").is_ok_and(has_ended);
    let mut who = lock.get_str("holder").unwrap_or("another run").to_owned();
    let since = lock.get_datetime("since").ok().and_then(|since| since.try_to_rfc3339_string().ok());
    who.extend(since.map(|since| format!(", since {since}")));
    match (is_gone, is_over, lock.get_i64("left")) {
        (true, ..) => who.push_str("; that process has ended"),
        (_, true, _) => who.push_str("; its lease has run out"),
        (.., Ok(left)) => who.push_str(&format!("; its lease ends in {left} s unless it is renewed")),
        _ => {}
    }
    let token = lock.get_str("token").unwrap_or_default().to_owned();
    Ok(Some(Holder { who, has_ended: is_gone || is_over, token }))
}

/// Ends exactly this holder's lease, and what its session left open in the server. Answers whether it was
/// still that holder's.
///
/// # Errors
/// The driver's.
pub async fn end(client: &Client, collection: &Collection<Document>, token: &str) -> Result<bool> {
    let was = collection.find_one_and_update(doc! { "_id": ID, "token": token }, freed()).await?;
    if let Some(session) = was.as_ref().and_then(|lock| lock.get_document("session").ok()) {
        let _ = client.database("admin").run_command(doc! { "killSessions": [session.clone()] }).await;
    }
    Ok(was.is_some())
}

/// The update that frees the lock: the document stays, so that the count of takings goes on.
fn freed() -> Vec<Document> {
    vec![doc! { "$unset": ["token", "holder", "process", "session", "overtaken", "since", "expires"] }]
}

/// Renews the lease and answers the server's time; nothing where it has become another's.
async fn renew(collection: &Collection<Document>, token: &str) -> Result<Option<DateTime>> {
    let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    let update = vec![doc! { "$set": { "expires": { "$add": ["$$NOW", lease] } } }];
    let renewed = collection
        .find_one_and_update(doc! { "_id": ID, "token": token }, update)
        .return_document(ReturnDocument::After)
        .await?;
    let expires = renewed.and_then(|document| document.get_datetime("expires").ok().copied());
    Ok(expires.map(|expires| DateTime::from_millis(expires.timestamp_millis() - lease)))
}

impl Held {
    /// Asks the server whether the lock is still ours, and renews it: before each step. Answers the
    /// server's time; nothing where the lock has become another's.
    ///
    /// # Errors
    /// The driver's.
    pub async fn check(&self) -> Result<Option<DateTime>> {
        if self.heartbeat.is_lost() { Ok(None) } else { renew(&self.collection, &self.token).await }
    }

    /// Gives the lock back; one that has become another's is left alone.
    ///
    /// # Errors
    /// The driver's.
    pub async fn release(self) -> Result<()> {
        let Self { token, collection, heartbeat, .. } = self;
        drop(heartbeat);
        collection.update_one(doc! { "_id": ID, "token": token }, freed()).await.map(|_| ())
    }
}
