//! libpq's other form: `host=db.example.com port=5432 user='me' password='it\'s'`.

use super::parameters::LIBPQ;
use super::parse::{invalid, place};
use super::problem::Problem;
use super::{SecretUrl, postgres};
use crate::error::{Error, Result};
use crate::kind::StoreKind;

const KIND: StoreKind = StoreKind::Postgres;

/// Whether a text is of this form: it begins with a word that libpq knows and a `=`.
pub(super) fn is_form(text: &str) -> bool {
    text.split_once('=').is_some_and(|(word, _)| LIBPQ.iter().any(|(name, _)| *name == word.trim()))
}

/// Reads the whole text.
///
/// # Errors
/// `LYX-URL-INVALID`, naming the word that is wrong by its place: it may be a piece of a password.
pub(super) fn parse(text: &str, problems: Vec<Problem>) -> Result<SecretUrl> {
    let options = pairs(text)?;
    if let Some((at, _)) = options.iter().enumerate().find(|(_, (key, _))| !LIBPQ.iter().any(|(name, _)| name == key)) {
        return Err(refused(at + 1, "is none that libpq knows"));
    }
    if options.iter().any(|(_, value)| value.contains('\0')) {
        return Err(invalid(KIND, "a value holds a NUL byte"));
    }
    let url = SecretUrl {
        kind: KIND,
        scheme: "postgresql".into(),
        user: None,
        password: None,
        hosts: vec![place("", None)],
        database: None,
        options: options.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        is_insecure: false,
        problems,
    };
    postgres::settle(url, None)
}

fn refused(at: usize, what: &str) -> Error {
    invalid(KIND, format!("keyword {at} {what}"))
        .hint("keyword=value pairs with spaces between; a value with spaces stands between single quotes, `'` and `\\` after a `\\`")
}

/// Cuts the text into its pairs.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let at = found.len() + 1;
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let after = after.trim_start().strip_prefix('=').ok_or_else(|| refused(at, "has no `=` after it"))?;
        if key.is_empty() {
            return Err(refused(at, "is missing before its `=`"));
        }
        let (value, after) =
            value(after.trim_start()).ok_or_else(|| refused(at, "has a value whose quote never ends"))?;
        found.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(found)
}

/// One value and what follows it; none where a quote never ends.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let is_quoted = text.starts_with('\'');
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if is_quoted => return Some((value, &text[at + 1..])),
            _ if !is_quoted && c.is_whitespace() => return Some((value, &text[at..])),
            _ => value.push(c),
        }
    }
    (!is_quoted).then_some((value, ""))
}
