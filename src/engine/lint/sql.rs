//! A PostgreSQL file read for lint: the syntax tree, how lyrox runs the file, and what cannot be read. Text
//! that is no SQL (data behind COPY, `${VAR}`) is blanked out in place, so that every offset stays.

use std::ops::Range;

use squawk_syntax::{Parse, SourceFile};

use super::Hit;
use crate::project::migration::Script;
use crate::stores::postgres::splitter::{Kind, Problem, split};

/// A file that was read.
pub struct Source {
    /// The text that was parsed: as long as the file's, byte by byte.
    pub text: String,
    /// The syntax tree; whole even where the text is wrong.
    pub parse: Parse<SourceFile>,
    /// lyrox runs it statement by statement, not as one transaction.
    pub is_journaled: bool,
    problem: Option<Problem>,
}

/// Reads a file.
pub fn read(script: &Script) -> Source {
    let (statements, problem) = match split(&script.text) {
        Ok(statements) => (statements, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let has = |kind: Kind| statements.iter().any(|found| found.kind == kind);
    // Another tool's file may begin and end transactions itself.
    let is_journaled =
        script.header.no_transaction || has(Kind::Bare) || (script.foreign.is_some() && has(Kind::Control));
    let mut bytes = script.text.clone().into_bytes();
    for statement in statements.iter().filter(|found| found.kind == Kind::CopyIn) {
        let data = statement.data();
        let closing = script.text[data.end..].strip_prefix("\\.").map_or(0, |_| 2);
        blank(&mut bytes, data.start..data.end + closing);
    }
    if script.header.vars {
        fill(&mut bytes);
    }
    // Whole characters were replaced by as many ASCII bytes as they had.
    let text = String::from_utf8(bytes).unwrap_or_else(|_| script.text.clone());
    let parse = SourceFile::parse(&text);
    Source { text, parse, is_journaled, problem }
}

fn blank(bytes: &mut [u8], range: Range<usize>) {
    if let Some(part) = bytes.get_mut(range) {
        part.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
}

/// `${NAME}` becomes the name `v_NAME_`, which can stand wherever a value or a name can.
fn fill(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(open) = bytes[at..].windows(2).position(|pair| pair == b"${").map(|found| at + found) {
        let Some(close) = bytes[open..].iter().position(|byte| *byte == b'}').map(|found| open + found) else { return };
        let is_name = bytes[open + 2..close].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if is_name {
            bytes[open] = b'v';
            bytes[open + 1] = b'_';
            bytes[close] = b'_';
        }
        at = close;
    }
}

/// What cannot be read.
pub fn syntax(source: &Source) -> Vec<Hit> {
    if let Some(problem) = &source.problem {
        return vec![Hit::new("syntax-error", problem.at..problem.at + 1, problem.what.clone()).hint(problem.hint)];
    }
    // One mistake makes a row of complaints: the first of each line says it.
    let mut lines = std::collections::BTreeSet::new();
    let mut hits = Vec::new();
    for error in source.parse.errors() {
        let range = usize::from(error.range().start())..usize::from(error.range().end());
        let before = source.text.get(..range.start).unwrap_or(&source.text);
        if lines.insert(before.matches('\n').count()) {
            let end = range.end.max(range.start + 1);
            let message = super::squawk::lower(error.message());
            hits.push(
                Hit::new("syntax-error", range.start..end, message)
                    .hint("if PostgreSQL accepts it: -- lyrox: lint ignore syntax-error"),
            );
        }
    }
    hits.truncate(5);
    hits
}
