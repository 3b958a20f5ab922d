//! The project's lock: an advisory lock of the very session that runs the statements, so that losing
//! the one loses the other. It is tried, never waited for: a waiting statement holds a snapshot open
//! and deadlocks a concurrent index build.

use sha2::{Digest as _, Sha256};

use super::connect::text;
use super::error::server_error;
use super::pooler::is_transaction_pooled;
use super::{PostgresStore, run};
use crate::config::Origin;
use crate::error::{Code, Error, Result};
use crate::stores::LockAnswer;
use crate::url::provider::{Pooling, provider};

/// The lock's number: equal for the same database, schema and project, whoever computes it.
pub fn key(database: &str, schema: &str, project: &str) -> i64 {
    let digest = Sha256::digest(format!("lyrox\0{database}\0{schema}\0{project}"));
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(bytes)
}

impl PostgresStore {
    fn key(&self) -> i64 {
        key(&self.facts.database, self.settings.schema.name(), &self.project)
    }

    /// Takes the lock if it is free.
    pub(super) async fn take_lock(&mut self) -> Result<LockAnswer> {
        if self.is_locked {
            return Ok(LockAnswer::Obtained);
        }
        if provider(&self.target.direct.url).pooling == Pooling::Transaction {
            return Err(pooler("the URL is the provider's transaction pooler"));
        }
        if !self.is_direct {
            self.refuse_pooler().await?;
            self.is_direct = true;
        }
        let key = self.key();
        let sql = format!("SELECT pg_catalog.pg_try_advisory_lock({key}), pg_catalog.pg_backend_pid()");
        let rows = run(&mut self.connection, sql)
            .await
            .map_err(|error| server_error(Code::LockLost, "the lock cannot be asked for", &error))?;
        let row = rows.first().ok_or_else(|| Error::bug("the lock answered nothing"))?;
        let is_obtained = text(row, 0).as_deref() == Some("t");
        // One session that is served by two processes is no session.
        if text(row, 1) != Some(self.facts.pid.to_string()) {
            if is_obtained {
                let _ = run(&mut self.connection, format!("SELECT pg_catalog.pg_advisory_unlock({key})")).await;
            }
            return Err(pooler("the server process changed between two statements"));
        }
        self.is_locked = is_obtained;
        if is_obtained { Ok(LockAnswer::Obtained) } else { Ok(LockAnswer::Held(self.holder(key).await)) }
    }

    /// Before the lock is taken: finds by trying whether sessions are handed out per transaction, where
    /// locks and settings are worth nothing. Where no further connection is to be had, the process ids that
    /// [`Self::take_lock`] compares have to do.
    async fn refuse_pooler(&mut self) -> Result<()> {
        let (endpoint, ca_file) = (&self.target.direct, self.target.ca_file.as_deref());
        if endpoint.origin == Origin::Local || provider(&endpoint.url).pooling != Pooling::Unknown {
            return Ok(());
        }
        // The server names both ends of the connection. Where they are those of a socket of this process, nothing
        // stands between, and looking for a pooler would only cost three connections and many round trips.
        if self.facts.line.is_some_and(|line| line.is_own()) {
            return Ok(());
        }
        let name = concat!("lyrox ", env!("CARGO_PKG_VERSION"), " probe");
        match is_transaction_pooled(&mut self.connection, endpoint, ca_file, name).await {
            Some(true) => Err(pooler("another session was served by the same connection to the server")),
            Some(false) | None => Ok(()),
        }
    }

    /// Who holds the lock, in words.
    async fn holder(&mut self, key: i64) -> String {
        let sql = format!(
            "SELECT a.application_name, l.pid, pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), \
             a.usename, a.client_addr FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
             AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
             AND (l.classid::bigint << 32) | l.objid::bigint = {key}"
        );
        let rows = run(&mut self.connection, sql).await.unwrap_or_default();
        let Some(row) = rows.first() else { return "another session".into() };
        let mut words = match text(row, 0).filter(|name| !name.is_empty()) {
            Some(name) => format!("`{}`", super::error::clean(&name)),
            None => "a session".to_owned(),
        };
        if let Some(pid) = text(row, 1) {
            words.push_str(&format!(" (server process {pid}"));
            words.extend(text(row, 3).map(|user| format!(", role {user}")));
            words.extend(text(row, 4).map(|address| format!(", from {address}")));
            words.push(')');
        }
        words.extend(text(row, 2).map(|since| format!(" since {since} UTC")));
        words
    }

    /// Gives the lock back. A session that lost its connection has lost the lock as well.
    pub(super) async fn release_lock(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_locked) {
            return Ok(());
        }
        let sql = format!("SELECT pg_catalog.pg_advisory_unlock({})", self.key());
        let rows = run(&mut self.connection, sql)
            .await
            .map_err(|error| server_error(Code::LockLost, "the lock cannot be given back", &error))?;
        if rows.first().and_then(|row| text(row, 0)).as_deref() == Some("t") {
            return Ok(());
        }
        Err(Error::new(Code::LockLost, "the lock was lost during the run")
            .why("a statement gave it up, or a pooler changed the session")
            .hint("lyrox db status shows what is applied"))
    }
}

fn pooler(why: &str) -> Error {
    Error::new(Code::Pooler, "a transaction pooler is in the way")
        .why(why)
        .data("nothing was changed")
        .hint("set `direct_url` under [postgres] in lyrox.toml to the server itself")
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn each_part_of_the_key_counts() {
        let keys = [key("a", "b", "c"), key("ab", "", "c"), key("a", "bc", ""), key("a", "b", "d")];
        for (at, one) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(one));
        }
        assert_eq!(key("lyrox", "public", "lyrox"), key("lyrox", "public", "lyrox"));
    }
}
