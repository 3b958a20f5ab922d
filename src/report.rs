//! The one report that every command builds. Human text, JSON, JUnit, annotations and the exit code
//! all derive from it; nothing else decides them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Place};
use crate::exit::Exit;
use crate::kind::StoreKind;
use crate::typed::there;

/// The report of one command. The JSON is one such document; additive within a version.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The version of this document's form.
    pub version: u32,
    /// The command as typed, without flags: `db migrate`.
    pub command: String,
    /// The environment the command worked on; null where it has none.
    pub environment: Option<String>,
    /// Whether the exit code is 0.
    pub ok: bool,
    /// The exit code of the process.
    pub exit_code: u8,
    /// Wall time of the command, in milliseconds.
    pub elapsed_ms: u64,
    /// What was looked at or done, in order.
    pub items: Vec<Item>,
    /// The result of a command whose result is a value.
    pub data: Option<Value>,
    /// How many items had which outcome.
    pub totals: Totals,
    /// The exit cause decided so far.
    #[serde(skip)]
    pub exit: Exit,
    /// The value as a person reads it; printed on standard output in place of `data`.
    #[serde(skip)]
    pub text: Option<String>,
    /// The closing line; made from the totals where it is not set.
    #[serde(skip)]
    pub summary: Option<String>,
    /// The command exists to print a secret: its value is not redacted on standard output.
    #[serde(skip)]
    pub reveals: bool,
    /// What it prints that is secret: a CI runner is told to mask it, in each form that lyrox makes of it.
    #[serde(skip)]
    pub revealed: Vec<String>,
    /// How the human renderer lays the items out.
    #[serde(skip)]
    pub layout: Layout,
}

/// How items are laid out for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `verb  title  store  detail  time`, one line an item: migrate, seed, reset, setup.
    #[default]
    Lines,
    /// As `Lines`, with `applied` and `pending`: status.
    Status,
    /// Blocks per store with `ok  stage  detail  time`: check.
    Stages,
    /// `Test 1: title   PASS: detail`: smoke tests.
    Tests,
    /// Place, rule, excerpt, message: lint.
    Findings,
    /// `~ column User.email` with both definitions below; hints once, at the end: diff.
    Diff,
}

/// One thing that was looked at or done.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Item {
    /// Stable and unique within the report: `redis.auth`, `postgres.20251101090000`.
    pub id: String,
    /// What a person calls it.
    pub title: String,
    /// The store it concerns.
    pub store: Option<StoreKind>,
    /// The tenant it concerns.
    pub tenant: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it did to the data.
    pub change: Option<Change>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: Option<u64>,
    /// The error code of a failure or warning.
    pub code: Option<String>,
    /// One line more: counts, versions, names; for a failure what failed.
    pub detail: Option<String>,
    /// Why it failed, in the server's or the system's words.
    pub why: Option<String>,
    /// Where in a file it failed.
    pub location: Option<Location>,
    /// After a failure: what happened to the data.
    pub state: Option<String>,
    /// The next command to run.
    pub hint: Option<String>,
    /// What a failure asks for as the exit code, where that is not its code's own.
    #[serde(skip)]
    pub exit: Option<Exit>,
    /// Lines more for a person who asked for them with `-v`.
    #[serde(skip)]
    pub lines: Vec<String>,
}

/// A place in a file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Location {
    /// Relative to the project's root.
    pub file: String,
    /// 1-based; null when only the file is known.
    pub line: Option<usize>,
    /// 1-based, in characters.
    pub column: Option<usize>,
    /// The line and the caret, for people.
    #[serde(skip)]
    pub place: Option<Place>,
}

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Pass,
    /// Not as it should be.
    Fail,
    /// Works, and will hurt some day.
    Warn,
    /// Not done; the detail says why.
    Skip,
}

/// What was done to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Made new.
    Created,
    /// Changed.
    Updated,
    /// Found as it should be.
    Unchanged,
    /// A migration was run.
    Applied,
    /// A migration was written to the ledger without running it.
    Recorded,
    /// A migration was undone.
    Reverted,
    /// Removed.
    Dropped,
    /// Moved to another place.
    Moved,
    /// A server was started.
    Started,
    /// A server was stopped.
    Stopped,
    /// Would be done; nothing was changed.
    Planned,
}

/// `1 version`, `3 versions`.
pub fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

impl Change {
    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Applied => "applied",
            Self::Recorded => "recorded",
            Self::Reverted => "reverted",
            Self::Dropped => "dropped",
            Self::Moved => "moved",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Planned => "planned",
        }
    }
}

/// Items counted by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Totals {
    /// Passed.
    pub pass: usize,
    /// Failed.
    pub fail: usize,
    /// Warned.
    pub warn: usize,
    /// Skipped.
    pub skip: usize,
}

impl Item {
    /// An item that passed.
    pub fn pass(id: impl Into<String>, title: impl Into<String>) -> Self {
        Self::with(Outcome::Pass, id, title)
    }

    /// An item that passed with a warning.
    pub fn warn(id: impl Into<String>, title: impl Into<String>) -> Self {
        Self::with(Outcome::Warn, id, title)
    }

    /// An item that was not done; give the reason as detail.
    pub fn skip(id: impl Into<String>, title: impl Into<String>) -> Self {
        Self::with(Outcome::Skip, id, title)
    }

    /// An item that failed, from the error that says why.
    pub fn fail(id: impl Into<String>, title: impl Into<String>, error: &Error) -> Self {
        let mut item = Self::with(Outcome::Fail, id, title);
        item.code = Some(error.code().text().to_owned());
        item.detail = Some(error.what().to_owned());
        item.why = error.why_text().map(str::to_owned);
        item.state = error.data_text().map(str::to_owned);
        item.hint = error.hint_text().map(str::to_owned);
        item.location = error.place().map(|place| Location {
            file: place.file.clone(),
            line: (place.line > 0).then_some(place.line),
            column: (place.column > 0).then_some(place.column),
            place: Some(place.clone()),
        });
        item
    }

    fn with(outcome: Outcome, id: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            store: None,
            tenant: None,
            outcome,
            change: None,
            elapsed_ms: None,
            code: None,
            detail: None,
            why: None,
            location: None,
            state: None,
            hint: None,
            exit: None,
            lines: Vec::new(),
        }
    }

    /// Sets the store.
    pub fn store(mut self, store: StoreKind) -> Self {
        self.store = Some(store);
        self
    }

    /// Sets what was done.
    pub fn change(mut self, change: Change) -> Self {
        self.change = Some(change);
        self
    }

    /// Sets how long it took.
    pub fn elapsed(mut self, elapsed: Duration) -> Self {
        self.elapsed_ms = Some(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Sets the one line more.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Sets the next command to run.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(there(&hint.into()).into_owned());
        self
    }

    /// Sets the error code, for a warning.
    pub fn code(mut self, code: crate::error::Code) -> Self {
        self.code = Some(code.text().to_owned());
        self
    }
}

impl Report {
    /// An empty report of a command.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            version: 1,
            command: command.into(),
            environment: None,
            ok: true,
            exit_code: 0,
            elapsed_ms: 0,
            items: Vec::new(),
            data: None,
            totals: Totals::default(),
            exit: Exit::Done,
            text: None,
            summary: None,
            reveals: false,
            revealed: Vec::new(),
            layout: Layout::default(),
        }
    }

    /// Adds an item. A failed one moves the exit code by its error code.
    pub fn push(&mut self, item: Item) {
        match item.outcome {
            Outcome::Pass => self.totals.pass += 1,
            Outcome::Warn => self.totals.warn += 1,
            Outcome::Skip => self.totals.skip += 1,
            Outcome::Fail => {
                self.totals.fail += 1;
                let code = item.code.as_deref().and_then(|code| code.parse::<crate::error::Code>().ok());
                let own = code.map_or(Exit::Failed, crate::error::Code::exit);
                self.decide(item.exit.unwrap_or(own));
            }
        }
        self.items.push(item);
    }

    /// Lets a cause take part in the exit code.
    pub fn decide(&mut self, cause: Exit) {
        self.exit = self.exit.decide(cause);
        self.exit_code = self.exit.code();
        self.ok = self.exit == Exit::Done;
    }
}
