//! What SQL makes and refers to, from its words alone: enough to put views and functions in order. Pure.

use super::splitter::{Lexer, Token};
use crate::stores::names::Names;

/// Words behind which a relation stands.
const BEFORE_RELATION: [&str; 9] =
    ["from", "join", "only", "on", "update", "into", "references", "function", "procedure"];

/// Words between CREATE and the kind of what is made.
const BETWEEN: [&str; 12] = [
    "or",
    "replace",
    "temp",
    "temporary",
    "recursive",
    "materialized",
    "unlogged",
    "foreign",
    "global",
    "local",
    "constraint",
    "trusted",
];

/// Kinds of things that others may refer to by name.
const KINDS: [&str; 7] = ["view", "function", "procedure", "aggregate", "type", "domain", "table"];

/// The names in a script.
pub fn of(text: &str) -> Names {
    let mut names = Names::default();
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    let is_name = |at: usize| matches!(tokens.get(at), Some((Token::Word | Token::Name, _)));
    let mut at = 0;
    while at < tokens.len() {
        let (token, text) = &tokens[at];
        if *token == Token::Text {
            // A body in dollar quotes is read by the server when the function runs.
            let body = text.strip_prefix('$').and_then(|rest| rest.split_once('$')).map(|(_, body)| body);
            let inside = body.map(self::tokens).unwrap_or_default();
            names.mentions.extend(inside.into_iter().filter(|(token, _)| *token != Token::Text).map(|(_, text)| text));
        }
        if !is_name(at) {
            at += 1;
            continue;
        }
        if text == "create"
            && let Some(end) = made(&tokens, at)
        {
            names.makes.insert(word(end).to_owned());
            at = end + 1;
            continue;
        }
        // `schema.name`: what counts is what stands before the whole and the last part of it.
        let first = at;
        while word(at + 1) == "." && is_name(at + 2) {
            at += 2;
        }
        let before = first.checked_sub(1).map_or("", word);
        let is_needed = word(at + 1) == "(" || BEFORE_RELATION.contains(&before);
        let into = if is_needed { &mut names.needs } else { &mut names.mentions };
        into.insert(word(at).to_owned());
        at += 1;
    }
    names
}

/// The token with the name of what `CREATE` at `at` makes.
fn made(tokens: &[(Token, String)], at: usize) -> Option<usize> {
    let word = |at: usize| tokens.get(at).map_or("", |(_, text)| text.as_str());
    let mut at = at + 1;
    while BETWEEN.contains(&word(at)) {
        at += 1;
    }
    if !KINDS.contains(&word(at)) {
        return None;
    }
    at += 1;
    if (word(at), word(at + 1), word(at + 2)) == ("if", "not", "exists") {
        at += 3;
    }
    while word(at + 1) == "." {
        at += 2;
    }
    matches!(tokens.get(at)?.0, Token::Word | Token::Name).then_some(at)
}

/// The tokens, names as the server stores them; what cannot be read ends the list.
fn tokens(text: &str) -> Vec<(Token, String)> {
    let mut lexer = Lexer::new(text, 0);
    let mut found = Vec::new();
    while let Ok(Some((token, range))) = lexer.token() {
        let text = &text[range];
        found.push(match token {
            Token::Word => (token, text.to_lowercase()),
            Token::Name => (token, text.trim_matches('"').replace("\"\"", "\"")),
            _ => (token, text.to_owned()),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_and_what_is_needed_are_found() {
        let names = of(
            "CREATE OR REPLACE VIEW public.\"Active\" AS SELECT u.total, f(x) FROM users u JOIN app.Orders o ON true; -- from nothing\n\
             CREATE MATERIALIZED VIEW IF NOT EXISTS m AS SELECT 'from string' AS kind;\n\
             CREATE FUNCTION g() RETURNS int LANGUAGE sql AS $$ SELECT count(*) FROM inner_view $$;",
        );
        assert_eq!(names.makes.iter().map(String::as_str).collect::<Vec<_>>(), ["Active", "g", "m"]);
        for needed in ["users", "orders", "f"] {
            assert!(names.needs.contains(needed), "{needed}: {names:?}");
        }
        for other in ["total", "kind", "string", "nothing", "inner_view"] {
            assert!(!names.needs.contains(other), "{other}: {names:?}");
        }
        assert!(names.mentions.contains("inner_view") && names.mentions.contains("total"));
    }
}
