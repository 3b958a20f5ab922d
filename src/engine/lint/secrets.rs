//! Passwords that stand in a file. A hit never quotes one, and the spans are handed to the excerpts'
//! masks even where the rule is off.

use std::ops::Range;

use squawk_syntax::SyntaxKind;

use super::Hit;
use super::json::Node;
use super::redis::Line;
use super::sql::Source;
use crate::project::migration::Script;

/// A password and the hit that tells of it.
pub struct Secret {
    /// Its bytes.
    pub at: Range<usize>,
    /// What is said.
    pub hit: Hit,
}

const RULE: &str = "literal-password";
const HINT: &str = "write ${NAME} in its place and `lyrox: vars` in the header; the value comes from the environment";

fn secret(at: Range<usize>, statement: usize, message: &str) -> Secret {
    let hit = Hit::new(RULE, at.clone(), message).hint(HINT).statement(statement);
    Secret { at, hit }
}

/// Drops secrets that lie in others, and hands out the spans.
pub fn spans(secrets: &mut Vec<Secret>) -> Vec<Range<usize>> {
    secrets.sort_by_key(|secret| (secret.at.start, std::cmp::Reverse(secret.at.end)));
    let mut end = 0;
    secrets.retain(|secret| {
        let is_new = secret.at.start >= end;
        end = end.max(secret.at.end);
        is_new
    });
    secrets.iter().map(|secret| secret.at.clone()).collect()
}

/// A value that is filled in, or says that it must be.
fn is_placeholder(value: &str) -> bool {
    value.is_empty()
        || value.contains("${")
        || value.contains("{{")
        || value.starts_with(['<', '*', '%', '$'])
        || value.chars().all(|letter| letter == '.')
}

/// `scheme://user:password@host` anywhere in a text, comments included.
pub fn urls(text: &str) -> Vec<Secret> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let scheme =
            text[..at].bytes().rev().take_while(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(byte)).count();
        let start = at + 3;
        let rest = &text[start..];
        let end =
            rest.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | '<' | '>')).unwrap_or(rest.len());
        let Some(sign) = rest[..end].rfind('@') else { continue };
        let Some(colon) = rest[..sign].find(':').filter(|_| scheme > 0) else { continue };
        let password = &rest[colon + 1..sign];
        // What looks like a port and a path is one: the `@` belongs to something behind it.
        let head = password.split(['/', '?', '#']).next().unwrap_or_default();
        let is_port = head.len() < password.len() && !head.is_empty() && head.bytes().all(|byte| byte.is_ascii_digit());
        if rest[..colon].contains('/') || is_port || is_placeholder(password) {
            continue;
        }
        found.push(secret(start + colon + 1..start + sign, start - 3 - scheme, "a URL holds a password"));
    }
    found
}

/// Passwords in SQL: behind PASSWORD, in connection strings, and in the bodies of functions and blocks.
pub fn sql(source: &Source, script: &Script) -> Vec<Secret> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut statement = 0;
    let mut is_first = true;
    let root = source.parse.syntax_node();
    for token in root.descendants_with_tokens().filter_map(|element| element.into_token()) {
        let kind = token.kind();
        if matches!(kind, SyntaxKind::WHITESPACE | SyntaxKind::COMMENT) {
            continue;
        }
        let at = usize::from(token.text_range().start())..usize::from(token.text_range().end());
        if std::mem::take(&mut is_first) {
            statement = at.start;
        }
        is_first = kind == SyntaxKind::SEMICOLON;
        // The text as it is in the file: `${NAME}` is no literal.
        let text = script.text.get(at.clone()).unwrap_or_default();
        let is_text = matches!(
            kind,
            SyntaxKind::STRING
                | SyntaxKind::ESC_STRING
                | SyntaxKind::UNICODE_ESC_STRING
                | SyntaxKind::NATIONAL_STRING
                | SyntaxKind::DOLLAR_QUOTED_STRING
        );
        if is_text {
            let (inner, from) = unquoted(text, at.start);
            if before.trim_matches('"').eq_ignore_ascii_case("password") {
                // A verifier is what the server keeps: no password can be read from it.
                if !is_placeholder(inner) && !inner.starts_with("SCRAM-SHA-256$") {
                    found.push(secret(from..from + inner.len(), statement, "a password is written into the file"));
                }
            } else {
                found.extend(keywords(inner, from, statement));
                found.extend(quoted(inner, from, statement));
            }
        }
        before = text.to_owned();
    }
    found
}

/// The text between the quotes, and where it begins.
fn unquoted(text: &str, at: usize) -> (&str, usize) {
    let (open, close) = match text.strip_prefix('$') {
        Some(tag) => {
            let quote = tag.find('$').map_or(1, |length| length + 2);
            (quote, quote)
        }
        None => (text.find('\'').map_or(0, |quote| quote + 1), 1),
    };
    let end = text.len().saturating_sub(close).max(open);
    (text.get(open..end).unwrap_or_default(), at + open)
}

/// `password=...` of a connection string.
fn keywords(text: &str, from: usize, statement: usize) -> Vec<Secret> {
    let lower = text.to_ascii_lowercase();
    let is_connection = ["host=", "dbname=", "user=", "port="].iter().any(|key| lower.replace(' ', "").contains(key));
    let mut found = Vec::new();
    for (at, key) in lower.match_indices("password") {
        let rest = &text[at + key.len()..];
        let trimmed = rest.trim_start();
        let Some(value) = trimmed.strip_prefix('=').map(str::trim_start).filter(|_| is_connection) else { continue };
        let value = value.trim_start_matches('\'');
        let end = value.find(|c: char| c.is_whitespace() || c == '\'').unwrap_or(value.len());
        let start = from + (value.as_ptr() as usize - text.as_ptr() as usize);
        if !is_placeholder(&value[..end]) {
            found.push(secret(start..start + end, statement, "a connection string holds a password"));
        }
    }
    found
}

/// `PASSWORD '...'` inside a body or a text that is executed, its quotes doubled or not.
fn quoted(text: &str, from: usize, statement: usize) -> Vec<Secret> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for (at, key) in lower.match_indices("password") {
        let rest = &text[at + key.len()..];
        let trimmed = rest.trim_start();
        if !rest.starts_with(char::is_whitespace) || !trimmed.starts_with('\'') {
            continue;
        }
        let value = trimmed.trim_start_matches('\'');
        let Some(end) = value.find('\'') else { continue };
        let start = from + (value.as_ptr() as usize - text.as_ptr() as usize);
        let value = &value[..end];
        // '' || quote_literal(...): nothing is written here.
        if !is_placeholder(value) && !value.trim_start().starts_with("||") && !value.starts_with("SCRAM-SHA-256$") {
            found.push(secret(start..start + end, statement, "a password is written into the file"));
        }
    }
    found
}

/// `pwd` of `createUser` and `updateUser`.
pub fn mongodb(commands: &[Node]) -> Vec<Secret> {
    let mut found = Vec::new();
    for command in commands {
        let Some((name, _)) = command.command() else { continue };
        if !matches!(name.name.as_str(), "createUser" | "updateUser") {
            continue;
        }
        if let Some(value) = command.get("pwd")
            && value.text().is_some_and(|text| !is_placeholder(text))
        {
            let at = value.at.start + 1..value.at.end - 1;
            found.push(secret(at, command.at.start, "a user's password is written into the file"));
        }
    }
    found
}

/// `ACL SETUSER name >password`, `CONFIG SET requirepass`, `AUTH`, `HELLO ... AUTH`, `MIGRATE ... AUTH`.
pub fn redis(lines: &[Line]) -> Vec<Secret> {
    let mut found = Vec::new();
    for line in lines {
        let name = line.name();
        let mut take = |at: usize, skip: usize, message: &str| {
            let Some(word) = line.words.get(at) else { return };
            if !is_placeholder(word.text.get(skip..).unwrap_or_default()) {
                // A quoted word hides where its first character stands: all of it is masked.
                let is_bare = word.at.len() == word.text.len();
                let start = word.at.start + if is_bare { skip } else { 0 };
                found.push(secret(start..word.at.end, line.at.start, message));
            }
        };
        match (name.as_str(), line.upper(1).as_str()) {
            ("ACL", "SETUSER") => {
                for (at, word) in line.words.iter().enumerate().skip(3) {
                    if word.text.starts_with(['>', '<']) {
                        take(at, 1, "a user's password is written into the file");
                    }
                }
            }
            ("CONFIG", "SET") => {
                for at in (2..line.words.len()).step_by(2) {
                    if matches!(line.upper(at).as_str(), "REQUIREPASS" | "MASTERAUTH" | "TLS-KEY-FILE-PASS") {
                        take(at + 1, 0, "the server's password is written into the file");
                    }
                }
            }
            ("AUTH", _) => take(line.words.len() - 1, 0, "a password is written into the file"),
            ("HELLO" | "MIGRATE", _) => {
                for at in 1..line.words.len() {
                    match line.upper(at).as_str() {
                        "AUTH" if name == "MIGRATE" => take(at + 1, 0, "a password is written into the file"),
                        "AUTH" | "AUTH2" => take(at + 2, 0, "a password is written into the file"),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    found
}
