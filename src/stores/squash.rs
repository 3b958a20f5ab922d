//! Many scripts of a store as one: their texts in order, nothing cut out, each behind a comment that names where it came
//! from. Pure; whether the result makes the same schema is for a replay to prove.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Header, Script, Version, read_header};

/// One of the scripts that become one: what its comment says, and the script.
pub type Piece<'a> = (String, &'a Script);

/// What a store's texts become.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// The text, without a header.
    pub text: String,
    /// It cannot run in one transaction.
    pub no_transaction: bool,
}

/// Makes one script of many. `replaces` are the versions that it stands for, for a way up.
///
/// # Errors
/// A script that cannot be read, or some that ask for variables beside some that only look as if they did.
pub fn join(store: StoreKind, path: &str, pieces: &[Piece<'_>], replaces: &[(Version, String)]) -> Result<Arc<Script>> {
    let joined = match store {
        StoreKind::Postgres => super::postgres::squash::join(pieces)?,
        StoreKind::Mongodb => super::mongodb::squash::join(pieces)?,
        StoreKind::Redis => Joined { text: lines(pieces), no_transaction: false },
    };
    let header = merged(pieces, joined.no_transaction)?;
    let text = written(store, &header, replaces) + &joined.text;
    let mut includes = BTreeMap::new();
    for (_, script) in pieces {
        includes.extend(script.includes.clone());
    }
    let header = read_header(path, &text, store)?;
    Ok(Arc::new(Script::of(path.to_owned(), text, header, includes)))
}

/// What the scripts ask for together: the longest limit, all that is ignored.
fn merged(pieces: &[Piece<'_>], no_transaction: bool) -> Result<Header> {
    let mut header = Header { no_transaction, ..Header::default() };
    for (_, script) in pieces {
        let one = &script.header;
        header.no_transaction |= one.no_transaction;
        header.vars |= one.vars;
        let longest = |a: Option<crate::config::Period>, b: Option<crate::config::Period>| {
            a.into_iter().chain(b).max_by_key(|limit| limit.millis())
        };
        header.lock_timeout = longest(header.lock_timeout, one.lock_timeout);
        header.statement_timeout = longest(header.statement_timeout, one.statement_timeout);
        for rule in one.lint_ignore.iter().filter(|rule| !header.lint_ignore.contains(rule)).collect::<Vec<_>>() {
            header.lint_ignore.push(rule.clone());
        }
    }
    if header.vars
        && let Some((_, script)) = pieces.iter().find(|(_, script)| !script.header.vars && script.text.contains("${"))
    {
        let at = script.text.find("${").unwrap_or(0);
        return Err(Error::new(
            Code::FileSyntax,
            format!("`{}` cannot be squashed with files that have `lyrox: vars`", script.path),
        )
        .why("its `${` is text, and would become a variable")
        .at(script.place(at, 2))
        .data("nothing was changed")
        .hint("squash up to the version before it: lyrox db squash --to VERSION NAME"));
    }
    Ok(header)
}

/// A header as text.
fn written(store: StoreKind, header: &Header, replaces: &[(Version, String)]) -> String {
    let comment = comment(store);
    let mut lines = Vec::new();
    if header.no_transaction {
        lines.push("no-transaction".to_owned());
    }
    if header.vars {
        lines.push("vars".to_owned());
    }
    lines.extend(header.lock_timeout.map(|limit| format!("lock-timeout {limit}")));
    lines.extend(header.statement_timeout.map(|limit| format!("statement-timeout {limit}")));
    if !header.lint_ignore.is_empty() {
        lines.push(format!("lint ignore {}", header.lint_ignore.join(", ")));
    }
    lines.extend(replaces.iter().map(|(version, checksum)| format!("replaces {version} {checksum}")));
    lines.iter().map(|line| format!("{comment} lyrox: {line}\n")).collect()
}

/// What begins a comment.
pub fn comment(store: StoreKind) -> &'static str {
    match store {
        StoreKind::Postgres => "--",
        StoreKind::Mongodb => "//",
        StoreKind::Redis => "#",
    }
}

/// The text with its leading directives made plain comments: the squashed file has its own.
pub fn without_directives(store: StoreKind, text: &str) -> String {
    let comment = comment(store);
    let mut is_header = true;
    let mut lines = Vec::new();
    for line in text.lines() {
        let rest = line.trim().strip_prefix(comment).map(str::trim);
        is_header &= rest.is_some() || line.trim().is_empty();
        match rest {
            Some(rest) if is_header && (rest.starts_with("lyrox:") || rest == "no-transaction") => {
                lines.push(format!("{comment} was: {rest}"));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

/// Texts of whole lines, one behind the other.
fn lines(pieces: &[Piece<'_>]) -> String {
    let piece = |(title, script): &Piece<'_>| {
        format!("\n# ---- {title}\n{}", without_directives(StoreKind::Redis, &script.text))
    };
    pieces.iter().map(piece).collect()
}

/// A text that cannot be joined with others.
pub fn unfit(script: &Script, why: impl Into<String>, offset: usize) -> Error {
    Error::new(Code::FileSyntax, format!("`{}` cannot be squashed", script.path))
        .why(why)
        .at(Place::at_offset(&script.path, &script.text, offset, 1))
        .data("nothing was changed")
        .hint("squash up to the version before it: lyrox db squash --to VERSION NAME")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(path: &str, text: &str, store: StoreKind) -> Script {
        Script::of(path.into(), text.into(), read_header(path, text, store).expect("a header"), BTreeMap::new())
    }

    fn joined(store: StoreKind, texts: &[&str]) -> Arc<Script> {
        let scripts: Vec<Script> = texts.iter().map(|text| script("f", text, store)).collect();
        let pieces: Vec<Piece<'_>> = scripts.iter().enumerate().map(|(at, script)| (format!("{at}"), script)).collect();
        join(store, "s", &pieces, &[(Version::new("1"), "abc".into())]).expect("one script")
    }

    #[test]
    fn sql_is_cut_between_statements_and_settings_do_not_leak() {
        let script = joined(
            StoreKind::Postgres,
            &[
                "-- lyrox: lock-timeout 5s\nSET search_path = a;\nCREATE TABLE t (id int) -- end",
                "-- lyrox: lock-timeout 9s\nSELECT 1;",
            ],
        );
        assert!(script.text.starts_with("-- lyrox: lock-timeout 9s\n-- lyrox: replaces 1 abc\n"), "{}", script.text);
        assert!(script.text.contains("-- was: lyrox: lock-timeout 5s"), "{}", script.text);
        let statements: Vec<&str> = crate::stores::postgres::splitter::split(&script.text)
            .expect("statements")
            .iter()
            .map(|statement| statement.text(&script.text))
            .collect();
        assert_eq!(statements.len(), 5, "{statements:?}");
        assert!(statements[0].contains("set_config") && statements[3].contains("set_config"), "{statements:?}");
        assert_eq!(script.header.replaces, [(Version::new("1"), "abc".to_owned())]);
    }

    #[test]
    fn what_no_transaction_can_hold_makes_the_whole_go_without() {
        let adds = joined(StoreKind::Postgres, &["ALTER TYPE mood ADD VALUE 'x';", "SELECT 1;"]);
        assert!(adds.header.no_transaction);
        assert!(joined(StoreKind::Postgres, &["VACUUM;", "SELECT 1;"]).header.no_transaction);
        assert!(!joined(StoreKind::Postgres, &["SELECT 1;", "SELECT 1;"]).header.no_transaction);
    }

    #[test]
    fn json_arrays_become_one_with_their_comments() {
        let script = joined(
            StoreKind::Mongodb,
            &["// first\n[{ \"create\": \"a\" } // last ]\n]\n// behind\n", "[\n  { \"create\": \"b\" }\n]"],
        );
        let commands = crate::stores::mongodb::script::read(&script, &crate::config::Variables::default());
        assert_eq!(commands.expect("commands").len(), 2, "{}", script.text);
        for comment in ["// first", "// last ]", "// behind"] {
            assert!(script.text.contains(comment), "{comment}: {}", script.text);
        }
    }
}
