//! Files of other tools that begin and end transactions by themselves: what stands between a BEGIN and its end is run
//! as one, with its journal entry in the same transaction. Pure.

use std::ops::Range;

use super::script::Prepared;
use super::splitter::Kind;
use crate::error::{Code, Error, Result};

/// What is run, and journaled, as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One statement.
    Single,
    /// From a BEGIN to its COMMIT, both included.
    Committed(Range<usize>),
    /// From a BEGIN to its ROLLBACK, both included: it leaves nothing behind.
    RolledBack(Range<usize>),
    /// The end of a transaction that was not begun: the server would only warn.
    Stray,
}

impl Unit {
    /// Where the unit at a statement ends.
    pub fn end(&self, at: usize) -> usize {
        match self {
            Self::Single | Self::Stray => at + 1,
            Self::Committed(range) | Self::RolledBack(range) => range.end,
        }
    }
}

/// The unit that begins at a statement.
pub fn unit(file: &Prepared<'_>, at: usize) -> Unit {
    if file.statements[at].kind != Kind::Control {
        return Unit::Single;
    }
    if !begins(file.statement(at)) {
        return Unit::Stray;
    }
    let ends = |found: &usize| file.statements[*found].kind == Kind::Control && !begins(file.statement(*found));
    match (at + 1..file.statements.len()).find(ends) {
        Some(end) if is_rollback(file.statement(end)) => Unit::RolledBack(at..end + 1),
        Some(end) => Unit::Committed(at..end + 1),
        // Refused by `check` before anything is sent.
        None => Unit::Single,
    }
}

/// Refuses what cannot be journaled.
///
/// # Errors
/// A transaction that is never ended, chained or prepared; a savepoint outside one.
pub fn check(file: &Prepared<'_>) -> Result<()> {
    let mut begun = None;
    for (at, statement) in file.statements.iter().enumerate() {
        let text = file.statement(at).to_ascii_lowercase();
        let refused = |what: &str, hint: &str| {
            Err(Error::new(Code::FileSyntax, what).at(file.place_of(at)).data("nothing was changed").hint(hint))
        };
        match statement.kind {
            Kind::Control if text.starts_with("prepare") => {
                return refused("a prepared transaction is left open", "end it with COMMIT");
            }
            Kind::Control if has_chain(&text) => {
                return refused("AND CHAIN begins a transaction behind the journal's back", "write COMMIT; BEGIN;");
            }
            Kind::Control => begun = if begins(&text) { begun.or(Some(at)) } else { None },
            Kind::Savepoint if begun.is_none() => {
                return refused("a savepoint needs a transaction", "put BEGIN before it and COMMIT behind it");
            }
            _ => {}
        }
    }
    match begun {
        None => Ok(()),
        Some(at) => Err(Error::new(Code::FileSyntax, "the transaction is begun and never ended")
            .at(file.place_of(at))
            .data("nothing was changed")
            .hint("end it with COMMIT, or take BEGIN out: the file then runs in one transaction")),
    }
}

fn begins(statement: &str) -> bool {
    let word: String = statement.chars().take_while(char::is_ascii_alphabetic).collect();
    matches!(word.to_ascii_lowercase().as_str(), "begin" | "start")
}

fn is_rollback(statement: &str) -> bool {
    let text = statement.to_ascii_lowercase();
    text.starts_with("rollback") || text.starts_with("abort")
}

fn has_chain(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).any(|pair| pair == ["and", "chain"])
}
