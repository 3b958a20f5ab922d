//! What a rehearsal saw of one migration: time, rows, locks, rewrites, and what follows from them for others. Pure.

use std::time::Duration;

use serde::Serialize;

use crate::error::Error;

/// What one migration did when it was tried.
#[derive(Debug, Default)]
pub struct Trial {
    /// How long its statements took together.
    pub elapsed: Duration,
    /// Each statement that was tried, in order.
    pub statements: Vec<Tried>,
    /// The locks it took on relations that were there before it, strongest first.
    pub locks: Vec<Lock>,
    /// Rows it wrote, by relation.
    pub rows: Vec<Rows>,
    /// Relations whose files it wrote anew.
    pub rewrites: Vec<String>,
    /// What taking it back does not undo.
    pub lasting: Vec<String>,
    /// What stopped it.
    pub failure: Option<Error>,
}

/// One statement of a trial.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// Its number, from 1.
    pub number: usize,
    /// Its beginning, on one line.
    pub text: String,
    /// How long it took, in milliseconds.
    pub elapsed_ms: f64,
}

/// A lock on a relation that others may use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lock {
    /// The relation.
    pub relation: String,
    /// The strongest mode that was held on it.
    pub mode: LockMode,
    /// The statement that took it, from 1; the first in the strongest mode.
    pub statement: usize,
    /// From when it was taken to the end of the transaction, in milliseconds.
    pub held_ms: f64,
    /// What the live server says of the relation; none where it was not asked.
    pub live: Option<Live>,
}

/// A relation as the live server has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Live {
    /// Rows, as the statistics estimate them; none before the first ANALYZE.
    pub rows: Option<u64>,
    /// Size on disk with indexes, in bytes.
    pub bytes: u64,
    /// Sessions that hold a lock on it now with which this one conflicts.
    pub sessions: u64,
    /// The age of the oldest of their transactions, in seconds.
    pub oldest_seconds: Option<f64>,
}

/// Rows written in one relation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rows {
    /// The relation.
    pub relation: String,
    /// Inserted.
    pub inserted: u64,
    /// Updated.
    pub updated: u64,
    /// Deleted.
    pub deleted: u64,
}

impl Rows {
    /// `3 inserted, 1 deleted`.
    pub fn words(&self) -> String {
        let counts = [(self.inserted, "inserted"), (self.updated, "updated"), (self.deleted, "deleted")];
        let words = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// The table-level lock modes of PostgreSQL, weakest first
/// (<https://www.postgresql.org/docs/current/explicit-locking.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum LockMode {
    /// `SELECT`.
    AccessShare,
    /// `SELECT ... FOR UPDATE`.
    RowShare,
    /// `INSERT`, `UPDATE`, `DELETE`.
    RowExclusive,
    /// `VACUUM`, `ANALYZE`, `CREATE INDEX CONCURRENTLY`.
    ShareUpdateExclusive,
    /// `CREATE INDEX`.
    Share,
    /// `CREATE TRIGGER`, many forms of `ALTER TABLE`.
    ShareRowExclusive,
    /// `REFRESH MATERIALIZED VIEW CONCURRENTLY`.
    Exclusive,
    /// `DROP TABLE`, `TRUNCATE`, most forms of `ALTER TABLE`.
    AccessExclusive,
}

impl LockMode {
    /// Every mode, weakest first.
    pub const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// The words that `LOCK TABLE` knows.
    pub const fn words(self) -> &'static str {
        match self {
            Self::AccessShare => "ACCESS SHARE",
            Self::RowShare => "ROW SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::Exclusive => "EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// Reads `pg_locks.mode`: `AccessShareLock`.
    pub fn parse(word: &str) -> Option<Self> {
        let folded = |mode: Self| mode.words().replace(' ', "");
        let word = word.strip_suffix("Lock")?.to_ascii_uppercase();
        Self::ALL.into_iter().find(|mode| folded(*mode) == word)
    }

    /// Whether two sessions cannot hold both at once.
    pub fn conflicts(self, other: Self) -> bool {
        let least = match self {
            Self::AccessShare => Self::AccessExclusive,
            Self::RowShare => Self::Exclusive,
            Self::RowExclusive => Self::Share,
            Self::ShareUpdateExclusive => Self::ShareUpdateExclusive,
            // Two of these go together, but not with what writes.
            Self::Share => {
                return matches!(other, Self::RowExclusive | Self::ShareUpdateExclusive) || other > Self::Share;
            }
            Self::ShareRowExclusive => Self::RowExclusive,
            Self::Exclusive => Self::RowShare,
            Self::AccessExclusive => Self::AccessShare,
        };
        other >= least
    }

    /// What an application cannot do meanwhile; none where it notices nothing.
    pub fn blocks(self) -> Option<&'static str> {
        if self.conflicts(Self::AccessShare) {
            Some("reads and writes")
        } else if self.conflicts(Self::RowExclusive) {
            Some("writes")
        } else if self.conflicts(Self::ShareUpdateExclusive) {
            Some("VACUUM, index builds and other schema changes")
        } else {
            None
        }
    }
}

impl Trial {
    /// The lock that hurts others most; none where nobody is kept from anything.
    pub fn worst(&self) -> Option<&Lock> {
        let hurting = self.locks.iter().filter(|lock| lock.mode.blocks().is_some());
        hurting.max_by(|a, b| a.mode.cmp(&b.mode).then(a.held_ms.total_cmp(&b.held_ms)))
    }

    /// A lock that it needs is held on the live server by others now.
    pub fn waits(&self) -> bool {
        self.locks.iter().any(|lock| lock.live.as_ref().is_some_and(|live| live.sessions > 0))
    }

    /// The one line of the report.
    pub fn words(&self) -> String {
        // A store that cannot look into its own work says nothing of locks.
        if self.statements.is_empty() {
            return "ran".into();
        }
        let mut words = Vec::new();
        match self.worst() {
            Some(lock) => words.push(format!("blocks {} on {}", lock.mode.blocks().unwrap_or_default(), lock.relation)),
            None => words.push("blocks nothing".to_owned()),
        }
        if !self.rewrites.is_empty() {
            words.push(format!("rewrites {}", self.rewrites.join(", ")));
        }
        words.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_the_table_of_the_manual() {
        // Rows and columns weakest first; x: the two conflict.
        let table = ["       x", "      xx", "    xxxx", "   xxxxx", "  xx xxx", "  xxxxxx", " xxxxxxx", "xxxxxxxx"];
        for (row, line) in LockMode::ALL.into_iter().zip(table) {
            for (column, mark) in LockMode::ALL.into_iter().zip(line.chars()) {
                assert_eq!(row.conflicts(column), mark == 'x', "{row:?} and {column:?}");
            }
        }
    }

    #[test]
    fn modes_are_read_as_the_server_writes_them() {
        assert_eq!(LockMode::parse("ShareRowExclusiveLock"), Some(LockMode::ShareRowExclusive));
        assert_eq!(LockMode::parse("SIReadLock"), None);
        assert_eq!(LockMode::AccessExclusive.blocks(), Some("reads and writes"));
        assert_eq!(LockMode::RowExclusive.blocks(), None);
    }
}
