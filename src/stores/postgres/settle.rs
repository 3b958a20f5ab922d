//! The connection was lost while a transaction was under way: finds out on a new one whether it took effect.
//! The ledger row is part of the transaction and decides; the server is asked for the transaction's own status
//! as long as the lost session is still at work.

use std::time::{Duration, Instant};

use super::connect::text;
use super::error::words;
use super::message::Stop;
use super::script::Prepared;
use super::transaction::{Undone, entry};
use super::{PATIENCE, Path, PostgresStore, failure, run};
use crate::error::{Code, Error, Result};
use crate::stores::Done;

/// What the server says of a lost session's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// It was committed.
    Committed,
    /// It was rolled back.
    Aborted,
    /// It goes on.
    InProgress,
    /// The session was gone, or had no transaction, when it was looked for.
    Unknown,
}

impl PostgresStore {
    /// Settles a transaction whose end was not seen.
    pub(super) async fn settle(
        &mut self,
        files: &[Prepared<'_>],
        stop: &Stop,
        stays: &str,
    ) -> Result<Vec<Done>, Box<Undone>> {
        let lost = |error: Error| Box::new(Undone { file: None, may_split: false, error, sqlstate: None });
        let rolled_back = || {
            let data = format!("rolled back by the server; nothing of this transaction was applied{stays}");
            let again = failure::command(files[0].step);
            lost(failure::error(stop, files, data).hint(format!("run {again} again once the server is reachable")))
        };
        let doubt = |why: &str| lost(in_doubt(files, &words(&stop.error), why));
        let old = self.facts.pid;
        let was_locked = match self.reopen().await {
            Ok(was_locked) => was_locked,
            Err(_) if !stop.commit_was_sent => return Err(rolled_back()),
            Err(error) => return Err(doubt(error.what())),
        };
        let status = self.wait_for_end(old).await;
        if status == Status::InProgress {
            return Err(doubt("the lost session is still at work on it"));
        }
        // Where the lock is another run's now, the old session has lost it, and so has ended.
        let lock = if was_locked { self.retake_lock().await } else { Ok(()) };
        let rows = self.rows_of(files).await;
        match (rows, status, lock) {
            (Err(error), ..) => Err(doubt(error.what())),
            (Ok(Some(done)), _, Ok(())) => Ok(done),
            (Ok(Some(_)), _, Err(error)) => {
                Err(lost(error.data(format!("it was committed: all of this transaction is applied{stays}"))))
            }
            (Ok(None), Status::Committed, _) => Err(doubt("the server says committed, and the ledger has no row")),
            (Ok(None), ..) => Err(rolled_back()),
        }
    }

    /// Waits until the transaction of a lost session has ended.
    async fn wait_for_end(&mut self, old: i32) -> Status {
        if self.path == Path::Pooled {
            // The lock of the transaction goes with it.
            let ended = self.begin_locked("").await.is_ok();
            let _ = run(&mut self.connection, "ROLLBACK".into()).await;
            return if ended { Status::Unknown } else { Status::InProgress };
        }
        if self.facts.version < 130_000 {
            return Status::Unknown;
        }
        // The catalog shows 32 bits of a number that has 64: the rest is the current one's, or one less.
        let find = format!(
            "SELECT CASE WHEN low > now & 4294967295 THEN now - (now & 4294967295) - 4294967296 + low \
             ELSE now - (now & 4294967295) + low END FROM (SELECT a.backend_xid::text::bigint AS low, \
             pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint AS now \
             FROM pg_catalog.pg_stat_activity a WHERE a.pid = {old} AND a.backend_xid IS NOT NULL) x"
        );
        let first = |rows: Vec<sqlx::postgres::PgRow>| rows.first().and_then(|row| text(row, 0));
        let Some(number) = run(&mut self.connection, find).await.ok().and_then(first) else { return Status::Unknown };
        let until = Instant::now() + PATIENCE;
        loop {
            let ask = format!("SELECT pg_catalog.pg_xact_status('{number}'::pg_catalog.xid8)");
            let status = run(&mut self.connection, ask).await.ok().and_then(first);
            let status = match status.as_deref() {
                Some("committed") => Status::Committed,
                Some("aborted") => Status::Aborted,
                Some("in progress") => Status::InProgress,
                _ => Status::Unknown,
            };
            if status != Status::InProgress || Instant::now() > until {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The rows of files where all of them are as the transaction would have left them.
    async fn rows_of(&mut self, files: &[Prepared<'_>]) -> Result<Option<Vec<Done>>> {
        let ledger = self.read_ledger().await?;
        let mut migrations = files.iter().filter(|file| !file.step.is_hook()).peekable();
        if migrations.peek().is_none() {
            return Err(Error::new(Code::InDoubt, "a hook has no row in the ledger that could tell"));
        }
        let found = migrations.map(|file| {
            let row = ledger.rows.iter().find(|row| row.version == file.step.version)?;
            let is_done = row.state == entry(file).state && row.checksum == file.step.up.checksum;
            is_done.then(|| Done { row: row.clone(), elapsed: Duration::ZERO })
        });
        Ok(found.collect())
    }
}

fn in_doubt(files: &[Prepared<'_>], words: &str, then: &str) -> Error {
    let first = files[0].step.label();
    let what = if files.len() == 1 { first } else { format!("{first} and the {} after it", files.len() - 1) };
    Error::new(Code::InDoubt, format!("it is not known whether {what} was applied"))
        .why(format!("{words}, while the answer to COMMIT was awaited; then: {then}"))
        .data("either all of it was applied or nothing: text and ledger row are one transaction")
        .hint("lyrox db status, once the server can be reached, says which")
}
