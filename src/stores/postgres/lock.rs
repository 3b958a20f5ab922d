//! The project's lock: an advisory lock of the very session that runs the statements, so that losing
//! the one loses the other. It is tried, never waited for: a waiting statement holds a snapshot open
//! and deadlocks a concurrent index build.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgRow;

use super::connect::text;
use super::error::{is_lost, server_error};
use super::ident::literal;
use super::{Path, PostgresStore, run};
use crate::engine::guard::Permit;
use crate::error::{Code, Error, Result};
use crate::stores::{Holder, LockAnswer};

/// The lock's number: equal for the same database, schema and project, whoever computes it.
pub fn key(database: &str, schema: &str, project: &str) -> i64 {
    let digest = Sha256::digest(format!("lyrox\0{database}\0{schema}\0{project}"));
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(bytes)
}

impl PostgresStore {
    pub(super) fn key(&self) -> i64 {
        key(&self.facts.database, self.settings.schema.name(), &self.project)
    }

    /// Takes the lock if it is free.
    pub(super) async fn take_lock(&mut self) -> Result<LockAnswer> {
        if self.is_locked {
            return Ok(LockAnswer::Obtained);
        }
        self.find_path().await?;
        let key = self.key();
        if self.path == Path::Pooled {
            // It holds no longer than this statement; each transaction takes it anew.
            let sql = format!("SELECT {}", self.try_within());
            let rows = run(&mut self.connection, sql)
                .await
                .map_err(|error| server_error(Code::LockLost, "the lock cannot be asked for", &error))?;
            let is_free = rows.first().and_then(|row| text(row, 0)).as_deref() == Some("t");
            return Ok(if is_free { LockAnswer::Obtained } else { LockAnswer::Held(self.holder(key).await) });
        }
        // The other tool's own lock is taken as well: its runs and ours keep each other out.
        let tool = self.tool_lock().filter(|_| !self.shares_lock);
        let also = tool.map_or_else(|| "true".to_owned(), |tool| format!("pg_catalog.pg_try_advisory_lock({tool})"));
        let sql = format!(
            "SELECT l.is_ours, pg_catalog.pg_backend_pid(), CASE WHEN l.is_ours THEN {also} END \
             FROM (SELECT pg_catalog.pg_try_advisory_lock{}({key}) AS is_ours OFFSET 0) l",
            self.shared()
        );
        let rows = self
            .ask_for_lock(sql)
            .await
            .map_err(|error| server_error(Code::LockLost, "the lock cannot be asked for", &error))?;
        let row = rows.first().ok_or_else(|| Error::bug("the lock answered nothing"))?;
        let is_obtained = text(row, 0).as_deref() == Some("t");
        // One session that is served by two processes is no session.
        if text(row, 1) != Some(self.facts.pid.to_string()) {
            if is_obtained {
                let sql = self.unlocking();
                let _ = run(&mut self.connection, sql).await;
            }
            return Err(pooler("the server process changed between two statements"));
        }
        if let Some(tool) = tool.filter(|_| is_obtained && text(row, 2).as_deref() != Some("t")) {
            let _ = run(&mut self.connection, format!("SELECT pg_catalog.pg_advisory_unlock({key})")).await;
            return Ok(LockAnswer::Held(format!("{}'s own lock: {}", self.tool(), self.holder(tool).await)));
        }
        self.is_locked = is_obtained;
        if is_obtained { Ok(LockAnswer::Obtained) } else { Ok(LockAnswer::Held(self.holder(key).await)) }
    }

    /// Sends what asks for the lock, and with it what reads the ledger where that is wanted. The ledger is read by a
    /// statement of its own, which sees all that was done before the lock was given.
    async fn ask_for_lock(&mut self, lock: String) -> Result<Vec<PgRow>, sqlx::Error> {
        if self.reads_ahead {
            let sql = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {lock}; {}; COMMIT", self.reading());
            match run(&mut self.connection, sql).await {
                Ok(mut rows) => {
                    self.ahead = Some(rows.split_off(rows.len().min(1)));
                    return Ok(rows);
                }
                Err(error) if is_lost(&error) => return Err(error),
                // There is no ledger, or it cannot be read: whoever asks for it finds out. A lock outlives the transaction.
                Err(_) => {
                    let sql = format!("ROLLBACK; {}", self.unlocking());
                    run(&mut self.connection, sql).await?;
                }
            }
        }
        run(&mut self.connection, lock).await
    }

    /// Who holds the lock, in words.
    async fn holder(&mut self, key: i64) -> String {
        let found = self.find_holder(key).await.ok().flatten();
        found.map_or_else(|| "another session".into(), |holder| holder.who)
    }

    /// Who holds the lock.
    pub(super) async fn read_holder(&mut self) -> Result<Option<Holder>> {
        let found = self.find_holder(self.key()).await;
        found.map_err(|error| server_error(Code::LockLost, "the lock cannot be looked at", &error))
    }

    async fn find_holder(&mut self, key: i64) -> Result<Option<Holder>, sqlx::Error> {
        let sql = format!(
            "SELECT a.application_name, l.pid, pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), \
             a.usename, a.client_addr, a.backend_start FROM pg_catalog.pg_locks l \
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
             AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
             AND (l.classid::bigint << 32) | l.objid::bigint = {key}"
        );
        let rows = run(&mut self.connection, sql).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut who = match text(row, 0).filter(|name| !name.is_empty()) {
            Some(name) => format!("`{}`", super::error::clean(&name)),
            None => "a session".to_owned(),
        };
        let pid = text(row, 1).unwrap_or_default();
        who.push_str(&format!(" (server process {pid}"));
        who.extend(text(row, 3).map(|user| format!(", role {user}")));
        who.extend(text(row, 4).map(|address| format!(", from {address}")));
        who.push(')');
        who.extend(text(row, 2).map(|since| format!(" since {since} UTC")));
        // A session that is there may work; only its server process could tell.
        let token = format!("{pid} {}", text(row, 5).unwrap_or_default());
        Ok(Some(Holder { who, has_ended: false, token }))
    }

    /// Ends the session that holds the lock, and waits until it is gone.
    pub(super) async fn end_session(&mut self, holder: &Holder, permit: Option<&Permit>) -> Result<bool> {
        if permit.is_none() {
            return Err(Error::bug("a session is ended without a permit"));
        }
        let (pid, start) = holder.token.split_once(' ').unwrap_or((&holder.token, ""));
        let sql = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE pid::text = {} AND backend_start::text = {}",
            literal(pid),
            literal(start)
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| {
            server_error(Code::Privilege, "the session that holds the lock cannot be ended", &error)
                .data("nothing was changed")
                .hint(format!("let its role or a superuser run: SELECT pg_terminate_backend({pid})"))
        })?;
        if rows.is_empty() {
            return Ok(false);
        }
        for _ in 0..50 {
            if self.read_holder().await?.is_none_or(|now| now.token != holder.token) {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(Error::new(Code::LockHeld, "the session that holds the lock was told to end and is still there")
            .why(format!("it is {}", holder.who))
            .hint("lyrox db unlock shows whether it has ended since"))
    }

    /// An expression that tries the lock, and the other tool's own, for the transaction.
    pub(super) fn try_within(&self) -> String {
        let ours = format!("pg_catalog.pg_try_advisory_xact_lock({})", self.key());
        match self.tool_lock() {
            Some(tool) => {
                format!("CASE WHEN {ours} THEN pg_catalog.pg_try_advisory_xact_lock({tool}) ELSE false END")
            }
            None => ours,
        }
    }

    /// A `SELECT` that gives the locks back; it answers whether ours was held.
    fn unlocking(&self) -> String {
        let tool = self.tool_lock().filter(|_| !self.shares_lock);
        let also = tool.map_or_else(String::new, |tool| format!(", pg_catalog.pg_advisory_unlock({tool})"));
        format!("SELECT pg_catalog.pg_advisory_unlock{}({}){also}", self.shared(), self.key())
    }

    /// What the functions of a shared lock end with.
    const fn shared(&self) -> &'static str {
        if self.shares_lock { "_shared" } else { "" }
    }

    /// Gives the lock back. A session that lost its connection has lost the lock as well.
    pub(super) async fn release_lock(&mut self) -> Result<()> {
        self.ahead = None;
        if !std::mem::take(&mut self.is_locked) {
            return Ok(());
        }
        let sql = self.unlocking();
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
