//! What stopped a migration, told so that a person can act: the statement with a caret, the server's
//! words, and the truth about the data.

use super::error::{detail, hint, is_lost, reported, sqlstate, words};
use super::message::{Role, Stop, Where};
use super::script::Prepared;
use super::splitter::{Kind, Lexer, Token};
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Place};

/// The error of a stopped batch; `data` says what happened to the data.
pub fn error(stop: &Stop, files: &[Prepared<'_>], data: String) -> Error {
    let code = code(&stop.error);
    let found = Error::new(code, words(&stop.error)).data(data);
    let found = match detail(&stop.error) {
        Some(detail) => found.why(detail),
        None => found,
    };
    let own = hint(&stop.error);
    match stop.place {
        Where::Statement { file, statement, offset } => {
            let prepared = &files[file];
            let place = match offset {
                Some(offset) => prepared.place(offset),
                None => in_body(&stop.error, prepared, statement)
                    .or_else(|| named(&stop.error, prepared, statement))
                    .unwrap_or_else(|| prepared.place_of(statement)),
            };
            let found = found.at(place);
            match special_hint(&stop.error, prepared, statement).or(own) {
                Some(hint) => found.hint(hint),
                None => found.hint_if_none(format!("mend the file, then run {} again", command(prepared.step))),
            }
        }
        Where::Own { file, role } => {
            let found = found.at(Place::file(&files[file].step.script.path));
            let found = match role {
                Role::Constraints | Role::Commit if code == Code::MigrationFailed && detail(&stop.error).is_none() => {
                    found.why("a deferred constraint is checked when the file ends")
                }
                Role::History => {
                    found.why("the other tool's history could not be written; the file was run as it should")
                }
                Role::Ledger => found.hint_if_none("the role that runs lyrox must own schema `lyrox`"),
                _ => found,
            };
            match own {
                Some(hint) => found.hint(hint),
                None => found,
            }
        }
    }
}

fn code(error: &sqlx::Error) -> Code {
    let is_extension = reported(error).is_some_and(|report| {
        report.message().starts_with("extension ") && report.message().contains("is not available")
            || report.message().contains("extension control file")
    });
    match sqlstate(error) {
        _ if is_extension => Code::Extension,
        _ if is_lost(error) => Code::ConnectClosed,
        Some("42501") => Code::Privilege,
        _ => Code::MigrationFailed,
    }
}

/// The command that runs a step again.
pub fn command(step: &Step) -> &'static str {
    if step.action == Action::Revert { "lyrox db rollback" } else { "lyrox db migrate" }
}

/// Hints that need the statement to be known.
fn special_hint(error: &sqlx::Error, prepared: &Prepared<'_>, statement: usize) -> Option<String> {
    let kind = prepared.statements[statement].kind;
    if let Some(name) = reported(error).and_then(|report| super::extension::unavailable(report.message())) {
        return Some(super::extension::how_to_get(name));
    }
    match sqlstate(error)? {
        "25001" | "2D000" => Some(format!(
            "write `-- lyrox: no-transaction` at the top of `{}`: its statements then run one by one",
            prepared.step.script.path
        )),
        "55P04" => Some("use the new value in a later migration: it must be committed first".into()),
        "42601" if kind == Kind::Plain && prepared.statements.len() == 1 => {
            Some("mend the file, then run lyrox db migrate again; the file may be half written".into())
        }
        // 42P06, 42P07, 42710: a schema, a table, a type or another object of that name is there.
        "42P06" | "42P07" | "42710" if prepared.step.action == Action::Apply => Some(format!(
            "if it was made before lyrox came, lyrox db baseline --only postgres --to {} records it as applied; else mend the file",
            prepared.step.version
        )),
        "40P01" => Some("another session locks the same tables in another order; run it again".into()),
        _ => None,
    }
}

/// The name that the server says is missing, where the statement has it once; the server points at names in
/// queries, but not at those in definitions.
fn named(error: &sqlx::Error, prepared: &Prepared<'_>, statement: usize) -> Option<Place> {
    matches!(sqlstate(error)?, "42703" | "42704" | "42P01" | "42883").then_some(())?;
    let message = reported(error)?.message();
    let name = message.split('"').nth(1).filter(|name| !name.is_empty())?;
    let range = prepared.statements[statement].range();
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let text = &prepared.text[range.clone()];
    let mut found = text
        .match_indices(name)
        .filter(|(at, _)| !text[..*at].ends_with(is_word) && !text[at + name.len()..].starts_with(is_word));
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Some(prepared.place(range.start + at - usize::from(text[..at].ends_with('"')))),
        _ => None,
    }
}

/// The line inside a `DO` block that the server's context names.
fn in_body(error: &sqlx::Error, prepared: &Prepared<'_>, statement: usize) -> Option<Place> {
    let context = reported(error)?.r#where()?;
    let (_, after) = context.rsplit_once("inline_code_block line ")?;
    let line: usize = after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let range = prepared.statements[statement].range();
    let mut lexer = Lexer::new(&prepared.text, range.start);
    loop {
        let (token, found) = lexer.token().ok()??;
        if found.start >= range.end {
            return None;
        }
        if token == Token::Text && prepared.text[found.clone()].starts_with('$') {
            let body = &prepared.text[found.clone()];
            let skipped: usize = body.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
            let text = body[skipped..].lines().next()?;
            let indent = text.len() - text.trim_start().len();
            return Some(prepared.place(found.start + skipped + indent));
        }
    }
}

/// Whether the whole transaction is worth another try.
pub fn is_passing(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error), Some("55P03" | "40P01" | "40001"))
}

/// `a stays applied`, for what was done before.
pub fn stays(done: &[String]) -> String {
    match done {
        [] => String::new(),
        [one] => format!("; {one} stays applied"),
        [first, .., last] if done.len() <= 3 => match done {
            [_, middle, _] => format!("; {first}, {middle} and {last} stay applied"),
            _ => format!("; {first} and {last} stay applied"),
        },
        [.., last] => format!("; {last} and the {} before it stay applied", done.len() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::stays;

    #[test]
    fn what_stays_is_named_shortly() {
        let names = |count: usize| (1..=count).map(|n| format!("{n}_a")).collect::<Vec<_>>();
        assert_eq!(stays(&names(0)), "");
        assert_eq!(stays(&names(1)), "; 1_a stays applied");
        assert_eq!(stays(&names(2)), "; 1_a and 2_a stay applied");
        assert_eq!(stays(&names(3)), "; 1_a, 2_a and 3_a stay applied");
        assert_eq!(stays(&names(9)), "; 9_a and the 8 before it stay applied");
    }
}
