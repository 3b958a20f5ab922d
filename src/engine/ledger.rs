//! The ledger's rows as the engine sees them: the same for every store.

use serde::{Deserialize, Serialize};

use super::adopt::Records;
use super::plan::Drift;
use crate::kind::StoreKind;
use crate::project::migration::Version;

/// The form of snapshots. It is part of every [`head`]: a snapshot of an older form counts as one of another
/// state, and the next migrate keeps a new one.
const SNAPSHOT_FORM: u32 = 2;

/// The version of the ledger's own layout. A store with a higher one was written by a newer lyrox.
pub const LAYOUT: i32 = 1;

/// The state of one migration in one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Begun and not finished: journaled work that was cut short, or is running now.
    Started,
    /// Done.
    Applied,
    /// A step failed; `steps_done` are in effect.
    Failed,
    /// Was applied and undone.
    Reverted,
}

impl State {
    /// The word in the ledger.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Applied => "applied",
            Self::Failed => "failed",
            Self::Reverted => "reverted",
        }
    }

    /// Reads the word of the ledger.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Started, Self::Applied, Self::Failed, Self::Reverted].into_iter().find(|state| state.word() == word)
    }
}

/// One row: a migration in one store. Updated in place; history is in the store's event log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The store the migration ran in (PostgreSQL also keeps a copy of the other stores' rows).
    pub store: StoreKind,
    /// Its version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// SHA-256 (hex) of the text that was applied.
    pub checksum: String,
    /// The text, where it was kept (up to 1 MB).
    pub text: Option<String>,
    /// Its state.
    pub state: State,
    /// How many steps are in effect.
    pub steps_done: u32,
    /// How many steps it has.
    pub steps_total: u32,
    /// Server time, RFC 3339.
    pub started_at: String,
    /// Server time, RFC 3339; none while it is not finished.
    pub finished_at: Option<String>,
    /// Who ran it: user@machine.
    pub actor: String,
    /// The lyrox that ran it.
    pub lyrox: String,
    /// The server's error code of a failure.
    pub error_code: Option<String>,
    /// The run that applied it: a UUID shared by all stores of one run, in the order of the runs.
    pub run: Option<String>,
    /// The ledger keeps the text of its way back.
    pub has_down: bool,
    /// That text, once it was asked for.
    pub down_text: Option<String>,
    /// A rollback was cut short: so many steps of the way back are in effect.
    pub undone: Option<u32>,
}

impl Row {
    /// Applied as a whole: no rollback of it was cut short.
    pub fn is_applied(&self) -> bool {
        self.state == State::Applied && self.undone.is_none()
    }
}

/// What a ledger keeps of a migration's texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What was applied.
    pub up: Option<String>,
    /// The way back, as [`Script::kept`](crate::project::migration::Script::kept) put it away.
    pub down: Option<String>,
}

/// The id of a new run: a UUID whose time is behind that of every run the ledgers know, whatever this machine's
/// clock says. Only under the lock.
pub fn next_run<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let of = |run: &str| uuid::Uuid::parse_str(run).ok()?.get_timestamp();
    let latest = rows.filter_map(|row| of(row.run.as_deref()?)).map(|time| {
        let (seconds, nanos) = time.to_unix();
        seconds * 1000 + u64::from(nanos) / 1_000_000
    });
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
    let millis = latest.max().map_or(now, |latest| now.max(latest + 1));
    let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, millis / 1000, nanos)).to_string()
}

/// A correction of one row that a person decided on; nothing of the migration is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// The step that was begun or is next took effect, or was made by hand.
    Done,
    /// The step that was begun did not take effect.
    NotDone,
    /// The file as it is now counts as what was applied.
    Accept,
    /// It counts as never applied; what it made stays.
    Forget,
}

/// What a store knows about the project. Reading it changes nothing.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// This store's own rows, in version order.
    pub rows: Vec<Row>,
    /// The copies of other stores' rows: PostgreSQL keeps them, or MongoDB where there is no PostgreSQL.
    pub copies: Vec<Row>,
    /// The environment the store remembers; none before the first migrate.
    pub mark: Option<Mark>,
    /// The `head` of the kept snapshot; none where no snapshot is kept.
    pub snapshot_head: Option<String>,
    /// A reset was begun and not finished.
    pub is_resetting: bool,
    /// No ledger row and nothing of the user's: chunks are safe.
    pub is_empty: bool,
    /// What another tool's history says, where the project keeps one in step; `rows` are then as
    /// [`adopt`](super::adopt::adopt) made them, once it has.
    pub foreign: Option<Records>,
    /// Rows that the store lacks or has otherwise than the other tool's history says: written by the next run.
    pub rebuild: Vec<Row>,
    /// Where that history and the files disagree.
    pub drift: Vec<Drift>,
}

/// The environment a store remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub environment: String,
    /// It was protected when it was marked.
    pub is_protected: bool,
}

/// Which of the stores of a run keeps copies of the others' rows, so that one that was emptied is noticed:
/// PostgreSQL, else MongoDB. Redis, which may evict, bears witness for nobody.
pub fn witness(stores: impl IntoIterator<Item = StoreKind>) -> Option<StoreKind> {
    stores.into_iter().filter(|store| *store != StoreKind::Redis).min()
}

/// A digest of what is applied: two stores of the same project and kind with equal heads have run the
/// same migrations. A kept snapshot carries it, so that a run cut short before its snapshot is noticed.
pub fn head(rows: &[Row]) -> String {
    let applied = rows.iter().filter(|row| row.state == State::Applied);
    head_of(applied.map(|row| (&row.version, row.checksum.as_str())))
}

/// The digest of a store to which exactly these versions, with these checksums, are applied.
pub fn head_of<'a>(applied: impl Iterator<Item = (&'a Version, &'a str)>) -> String {
    let mut applied: Vec<(&Version, &str)> = applied.collect();
    applied.sort_by(|a, b| a.0.cmp(b.0));
    let lines: Vec<String> = applied.iter().map(|(version, checksum)| format!("{version} {checksum}\n")).collect();
    crate::project::text::sha256(format!("form {SNAPSHOT_FORM}\n{}", lines.concat()).as_bytes())
}

/// The name that the system's own list gives to the user of this process; the number where it gives none.
fn user_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    let list = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = list.lines().find(|line| line.split(':').nth(2).is_some_and(|id| id == uid.to_string()));
    line.and_then(|line| line.split(':').next()).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

/// Who runs this: `user@machine`, without asking anyone.
pub fn actor() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| user_name());
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{machine}")
}
