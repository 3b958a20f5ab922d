//! Work through a pooler that hands out sessions per transaction, where the user allows it. Nothing outlives
//! a transaction there: the lock, the settings and what the ledger says hold within each one, and are taken,
//! made and read anew in the next.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use sqlx::postgres::PgRow;

use super::connect::{self, text};
use super::error::server_error;
use super::ident::literal;
use super::ledger::{COLUMNS, read_row};
use super::pooler::is_transaction_pooled;
use super::script::{Known, Mode, Prepared, prepare_all};
use super::transaction::{Undone, entry};
use super::{Path, PostgresStore, run};
use crate::config::Origin;
use crate::engine::lock::WAIT;
use crate::engine::plan::Step;
use crate::error::{Code, Error, Result};
use crate::stores::{ApplyOptions, Done};
use crate::url::provider::{Pooling, provider};

impl PostgresStore {
    /// Before the lock is taken: finds out what is between this session and the server, by the URL where it
    /// tells, else by trying. A transaction pooler is refused unless it is allowed; a statement pooler always.
    pub(super) async fn find_path(&mut self) -> Result<()> {
        if self.path != Path::Unknown {
            return Ok(());
        }
        let allows = self.target.allows_pooler;
        match self.pooled_because().await {
            None => {
                self.path = Path::Direct;
                return self.set_up().await;
            }
            Some(why) if !allows => return Err(refused(why)),
            Some(_) => {}
        }
        // The session that was tried may still wait for an answer.
        (self.connection, self.facts) = connect::open_plain(&self.config, &self.target).await?;
        let begun = run(&mut self.connection, "BEGIN".into()).await;
        if begun.is_err() || run(&mut self.connection, "ROLLBACK".into()).await.is_err() {
            return Err(Error::new(Code::Pooler, "a statement pooler is in the way")
                .why("it hands out a connection per statement, so nothing can be a transaction")
                .data("nothing was changed")
                .hint(DIRECT));
        }
        self.path = Path::Pooled;
        Ok(())
    }

    async fn pooled_because(&mut self) -> Option<&'static str> {
        let endpoint = self.target.direct.clone();
        match provider(&endpoint.url).pooling {
            _ if endpoint.origin == Origin::Local => return None,
            Pooling::Transaction => return Some("the URL is the provider's transaction pooler"),
            Pooling::Direct | Pooling::Session => return None,
            Pooling::Unknown => {}
        }
        // The server names both ends of the connection. Where they are those of a socket of this process, nothing
        // stands between; looking for a pooler would cost three connections and many round trips.
        if self.facts.line.is_some_and(|line| line.is_own()) {
            return None;
        }
        let name = concat!("lyrox ", env!("CARGO_PKG_VERSION"), " probe");
        let ca_file = self.target.ca_file.clone();
        match is_transaction_pooled(&mut self.connection, &endpoint, ca_file.as_deref(), name).await {
            Some(true) => Some("another session was served by the same connection to the server"),
            // Where no further connection is to be had, the process ids that `take_lock` compares have to do; where
            // a pooler is allowed, there may well be one.
            None if self.target.allows_pooler => Some("no further connection could be had to look"),
            Some(false) | None => None,
        }
    }

    /// Opens a transaction that holds the lock until its end; the lock is tried, never waited for. Answers
    /// the rows of `more`, which is sent with it.
    pub(super) async fn begin_locked(&mut self, more: &str) -> Result<Vec<PgRow>, Error> {
        let sql = format!("BEGIN; SELECT {}; {more}", self.try_within());
        let until = Instant::now() + WAIT;
        let unasked = |error: &sqlx::Error| {
            server_error(Code::LockLost, "the lock cannot be asked for", error).data("nothing of this file was applied")
        };
        loop {
            let mut rows = match run(&mut self.connection, sql.clone()).await {
                Ok(rows) => rows,
                Err(error) => {
                    let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                    return Err(unasked(&error));
                }
            };
            if rows.is_empty() {
                return Err(Error::bug("the lock answered nothing"));
            }
            if text(&rows.remove(0), 0).as_deref() == Some("t") {
                return Ok(rows);
            }
            run(&mut self.connection, "ROLLBACK".into()).await.map_err(|error| unasked(&error))?;
            if Instant::now() >= until {
                let holder = self.read_holder().await?.map_or_else(|| "another run".to_owned(), |holder| holder.who);
                return Err(Error::new(Code::LockHeld, format!("the lock was not free within {} s", WAIT.as_secs()))
                    .why(format!("held by {holder}"))
                    .data("nothing of this file was applied")
                    .hint("run it again when that run has ended"));
            }
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(Duration::from_millis(50).mul_f64(jitter)).await;
        }
    }

    /// Opens the transaction of files and reads again what the ledger says of them: another run may have been
    /// at work since the last transaction. Answers their rows, and closes the transaction, where all is done.
    pub(super) async fn begin_files(&mut self, files: &[Prepared<'_>]) -> Result<Option<Vec<Done>>, Box<Undone>> {
        let undone = |error: Error| Box::new(Undone { file: None, may_split: false, error, sqlstate: None });
        let versions: Vec<String> = files.iter().map(|file| literal(file.step.version.as_str())).collect();
        let more = format!(
            "SELECT {COLUMNS} FROM lyrox.migrations m WHERE m.{} AND m.store = 'postgres' AND m.version IN ({})",
            self.scope(),
            versions.join(", ")
        );
        let rows = self.begin_locked(&more).await.map_err(undone)?;
        let rows = rows.iter().map(read_row).collect::<Result<Vec<_>>>().map_err(undone)?;
        let done = files.iter().filter_map(|file| {
            let row = rows.iter().find(|row| row.version == file.step.version && row.state == entry(file).state)?;
            Some(Done { row: row.clone(), elapsed: Duration::ZERO })
        });
        let done: Vec<Done> = done.collect();
        if done.is_empty() {
            return Ok(None);
        }
        let _ = run(&mut self.connection, "ROLLBACK".into()).await;
        let is_same = done.iter().zip(files).all(|(done, file)| done.row.checksum == file.step.up.checksum);
        if done.len() == files.len() && is_same {
            return Ok(Some(done));
        }
        Err(undone(
            Error::new(Code::LockLost, "another run was at work on the same files meanwhile")
                .why("behind a pooler the lock is held for one transaction at a time")
                .data("nothing of these files was applied by this run")
                .hint("run it again: it plans anew"),
        ))
    }
}

/// The hint where no provider tells the direct address.
const DIRECT: &str = "set `direct_url` under [postgres] in lyrox.toml to the server itself";

fn refused(why: &str) -> Error {
    Error::new(Code::Pooler, "a transaction pooler is in the way")
        .why(why)
        .data("nothing was changed")
        .hint(format!("{DIRECT}; or, for files that fit in one transaction each, lyrox db migrate --allow-pooler"))
}

/// Refuses files that need a session of their own.
///
/// # Errors
/// `LYX-POOLER` naming the first, or what keeps a file from being read.
pub fn refuse_journaled(steps: &[Step], options: &ApplyOptions, known: &Known) -> Result<()> {
    let prepared = prepare_all(steps, options, known)?;
    let Some(file) = prepared.iter().find(|file| file.mode == Mode::Journal) else { return Ok(()) };
    let at = file.statements.iter().position(|statement| statement.kind == super::splitter::Kind::Bare);
    Err(Error::new(Code::Pooler, format!("`{}` cannot run through a transaction pooler", file.step.script.path))
        .why("its statements run one by one, outside a transaction, and the lock must hold all the while")
        .at(file.place_of(at.unwrap_or(0)))
        .data("nothing was changed")
        .hint(DIRECT))
}
