//! Putting saved values into the SQL of a declared step, so that none can leave its place. Pure.

use crate::project::smoke::{placeholders, plain};
use crate::stores::postgres::ident::literal;
use crate::stores::smoke::Variables;

/// Puts the values in: a literal of unknown type where a value stands, plain text within quotes.
pub fn substitute(sql: &str, variables: &Variables) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut from = 0;
    for (range, name) in placeholders(sql) {
        text.push_str(&sql[from..range.start]);
        let value = variables.get(name).map(plain).unwrap_or_default();
        match quoting(&text) {
            Quoting::None => text.push_str(&literal(&value)),
            Quoting::Text => text.push_str(&value.replace('\'', "''")),
            Quoting::Escaped => text.push_str(&value.replace('\\', "\\\\").replace('\'', "''")),
            Quoting::Name => text.push_str(&value.replace('"', "\"\"")),
            Quoting::Inert => text.push_str(&value.replace(['$', '\n', '*'], " ")),
        }
        from = range.end;
    }
    text.push_str(&sql[from..]);
    text
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoting {
    None,
    Text,
    Escaped,
    Name,
    Inert,
}

/// Within what the end of this SQL stands.
fn quoting(sql: &str) -> Quoting {
    let bytes = sql.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &sql[at..];
        let is_escaped = (bytes[at] == b'e' || bytes[at] == b'E')
            && bytes.get(at + 1) == Some(&b'\'')
            && (at == 0 || !bytes[at - 1].is_ascii_alphanumeric());
        if is_escaped || bytes[at] == b'\'' {
            let mut end = at + 1 + usize::from(is_escaped);
            loop {
                match bytes.get(end) {
                    None => return if is_escaped { Quoting::Escaped } else { Quoting::Text },
                    Some(b'\\') if is_escaped => end += 2,
                    Some(b'\'') if bytes.get(end + 1) == Some(&b'\'') => end += 2,
                    Some(b'\'') => break,
                    Some(_) => end += 1,
                }
            }
            at = end + 1;
        } else if bytes[at] == b'"' {
            match rest[1..].find('"') {
                Some(end) => at += end + 2,
                None => return Quoting::Name,
            }
        } else if rest.starts_with("--") {
            match rest.find('\n') {
                Some(end) => at += end,
                None => return Quoting::Inert,
            }
        } else if rest.starts_with("/*") {
            match rest.find("*/") {
                Some(end) => at += end + 2,
                None => return Quoting::Inert,
            }
        } else if bytes[at] == b'$' {
            let tag = rest[1..].find('$').map(|end| &rest[..end + 2]);
            let tag = tag
                .filter(|tag| tag[1..tag.len() - 1].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
            match tag {
                Some(tag) => match rest[tag.len()..].find(tag) {
                    Some(end) => at += tag.len() * 2 + end,
                    None => return Quoting::Inert,
                },
                None => at += 1,
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Quoting::None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_cannot_leave_their_place() {
        let variables = Variables::from([
            ("a".to_owned(), json!("it's")),
            ("n".to_owned(), json!(7)),
            ("oid".to_owned(), json!({ "$oid": "65f0" })),
            ("evil".to_owned(), json!("x'; DROP TABLE t; --\\")),
        ]);
        for (sql, expected) in [
            ("SELECT {{a}}", "SELECT 'it''s'"),
            ("SELECT 'x {{a}}'", "SELECT 'x it''s'"),
            ("SELECT {{n}} + 1", "SELECT '7' + 1"),
            ("SELECT {{oid}}", "SELECT '65f0'"),
            ("SELECT 'a''b', {{n}}", "SELECT 'a''b', '7'"),
            ("SELECT \"c{{n}}\"", "SELECT \"c7\""),
            ("SELECT '{{evil}}'", "SELECT 'x''; DROP TABLE t; --\\'"),
            ("SELECT E'{{evil}}'", "SELECT E'x''; DROP TABLE t; --\\\\'"),
            ("SELECT {{evil}}", "SELECT  E'x''; DROP TABLE t; --\\\\'"),
            ("/* {{a}} */ SELECT $${{n}}$$", "/* it's */ SELECT $$7$$"),
            ("SELECT 'ä{{n}}', {{n}}", "SELECT 'ä7', '7'"),
        ] {
            assert_eq!(substitute(sql, &variables), expected);
        }
    }
}
