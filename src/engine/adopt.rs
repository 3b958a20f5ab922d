//! Another tool's history beside lyrox's ledger: what that history says is applied is applied. Pure.

/// What another tool's history says of one migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The key, as [`Foreign::key`](crate::project::migration::Foreign::key) has it.
    pub key: String,
    /// The checksum as it is written there; none where the tool writes none.
    pub checksum: Option<String>,
    /// The name or description as it is written there.
    pub name: Option<String>,
    /// Whether it is applied.
    pub state: RecordedState,
    /// When, as the table says it; server time, RFC 3339 where the table holds a time.
    pub at: Option<String>,
}

/// The state of a migration in another tool's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedState {
    /// This one is applied.
    Applied,
    /// This one and every one before it in the tool's order: a high-water mark.
    AppliedUpTo,
    /// Everything up to this version is taken as applied, whether or not there is a file of it: a baseline.
    Baseline,
    /// Applied by means that lyrox does not have (Flyway's Java migrations): no file need be there.
    Elsewhere,
    /// Begun and not finished, or failed: the tool itself would refuse to go on. What to say and the way on
    /// in that tool's own words.
    Broken {
        /// Why: `the history says dirty`.
        why: String,
        /// The command of that tool, or of lyrox, that settles it.
        hint: String,
    },
}
