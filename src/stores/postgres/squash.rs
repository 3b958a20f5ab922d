//! SQL scripts as one: a statement that lacks its `;` gets one, and what a script set for its session does not reach the
//! next. Pure.

use std::collections::BTreeSet;

use super::splitter::{Kind, Lexer, Statement, Token, split};
use crate::error::Result;
use crate::kind::StoreKind;
use crate::stores::squash::{Joined, Piece, unfit, without_directives};

/// Joins scripts.
///
/// # Errors
/// One that cannot be cut into statements.
pub fn join(pieces: &[Piece<'_>]) -> Result<Joined> {
    let mut joined = Joined::default();
    let mut settings = BTreeSet::new();
    let mut becomes = false;
    let mut bodies = Vec::new();
    for (title, script) in pieces {
        let statements = split(&script.text).map_err(|problem| unfit(script, problem.what, problem.at))?;
        joined.no_transaction |= script.header.no_transaction
            || statements.iter().any(|found| matches!(found.kind, Kind::Bare | Kind::AddValue));
        let mut own = BTreeSet::new();
        for statement in &statements {
            match set(statement.text(&script.text)) {
                Some(name) if matches!(name.as_str(), "role" | "session") => becomes = true,
                Some(name) => {
                    own.insert(name);
                }
                None => {}
            }
        }
        let mut text = format!("\n-- ---- {title}\n{}", without_directives(StoreKind::Postgres, &script.text));
        if statements.last().is_some_and(|last| !is_ended(&script.text, last)) {
            text.push_str(";\n");
        }
        settings.extend(own.iter().cloned());
        bodies.push((text, own));
    }
    let last = bodies.len();
    if last > 1 {
        joined.text.extend(settings.iter().map(|name| keep(name)));
    }
    for (at, (text, own)) in bodies.into_iter().enumerate() {
        joined.text.push_str(&text);
        if at + 1 < last {
            if becomes {
                joined.text.push_str("SET SESSION AUTHORIZATION DEFAULT;\n");
            }
            joined.text.extend(own.iter().map(|name| restore(name)));
        }
    }
    Ok(joined)
}

/// The setting that a statement changes, in lower case; `role` and `session` for who it becomes.
fn set(statement: &str) -> Option<String> {
    let mut words = Vec::new();
    let mut lexer = Lexer::new(statement, 0);
    while words.len() < 8 {
        let Ok(Some((token, range))) = lexer.token() else { break };
        let text = &statement[range];
        words.push(match token {
            Token::Word => text.to_lowercase(),
            _ => text.trim_matches(['\'', '"']).to_lowercase(),
        });
    }
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    if word(0) == "select" {
        let at = words.iter().position(|word| word == "set_config")?;
        return Some(word(at + 2).to_owned()).filter(|name| !name.is_empty());
    }
    if word(0) != "set" || matches!(word(1), "constraints" | "transaction") {
        return None;
    }
    let at = if matches!(word(1), "local" | "session") && word(2) != "authorization" { 2 } else { 1 };
    match word(at) {
        "session" | "role" | "" => Some(if word(at) == "role" { "role".into() } else { "session".into() }),
        "time" => Some("timezone".into()),
        "names" => Some("client_encoding".into()),
        // `SET plpgsql.name = ..`
        name if word(at + 1) == "." => Some(format!("{name}.{}", word(at + 2))),
        name => Some(name.to_owned()),
    }
}

/// The custom setting that remembers another.
fn kept(name: &str) -> String {
    format!("lyrox.kept_{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}

fn keep(name: &str) -> String {
    format!("SELECT set_config('{}', coalesce(current_setting('{name}', true), ''), false);\n", kept(name))
}

fn restore(name: &str) -> String {
    format!("SELECT set_config('{name}', current_setting('{}'), false);\n", kept(name))
}

/// Whether a `;` stands behind a statement; the data of a COPY ends by itself.
fn is_ended(text: &str, statement: &Statement) -> bool {
    if statement.kind == Kind::CopyIn {
        return true;
    }
    matches!(Lexer::new(text, statement.range().end).token(), Ok(Some((Token::Symbol(b';'), _))))
}
