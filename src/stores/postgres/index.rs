//! What a statement that cannot run in a transaction leaves behind when it is cut short, and how to
//! find out whether it took effect. It reads the catalog; it mends only what this journal started.

use super::connect::text;
use super::ident::literal;
use super::splitter::{Lexer, Token};
use super::{PostgresStore, run};

/// A statement by what has to be looked at after it was cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `CREATE INDEX CONCURRENTLY name ON table`; both as written. Without a name the server makes one.
    CreateIndex {
        /// The index.
        name: Option<String>,
        /// The table.
        table: String,
    },
    /// `DROP INDEX CONCURRENTLY name`.
    DropIndex(String),
    /// `CREATE DATABASE name` and `DROP DATABASE name`.
    Database {
        /// The database, as written.
        name: String,
        /// It is made, not dropped.
        is_made: bool,
    },
    /// Running it again does no harm: `VACUUM`, `REINDEX`, `CLUSTER`, `ALTER SYSTEM`.
    Repeatable,
    /// Only a person can tell.
    Unknown,
}

/// What is known of a statement that was begun and not seen to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It took effect.
    Done,
    /// It did not; it can be run.
    Absent,
    /// It left an INVALID index of this name, quoted for SQL.
    Invalid(String),
    /// It cannot be known; the words say why.
    Unknown(String),
}

/// Reads the shape of a statement.
pub fn shape(statement: &str) -> Shape {
    let mut lexer = Lexer::new(statement, 0);
    let mut tokens = Vec::new();
    while let Ok(Some((token, range))) = lexer.token() {
        tokens.push((token, &statement[range]));
        if tokens.len() == 40 {
            break;
        }
    }
    let is = |at: usize, word: &str| {
        tokens.get(at).is_some_and(|(token, text)| *token == Token::Word && text.eq_ignore_ascii_case(word))
    };
    let skip = |at: usize, words: &[&str]| {
        if words.iter().enumerate().all(|(ahead, word)| is(at + ahead, word)) { at + words.len() } else { at }
    };
    // A name with its dots, as written.
    let name = |at: usize| {
        let mut end = at;
        while matches!(tokens.get(end), Some((Token::Word | Token::Name, _))) {
            end += 1;
            if !matches!(tokens.get(end), Some((Token::Symbol(b'.'), _))) {
                break;
            }
            end += 1;
        }
        tokens.get(at..end).unwrap_or_default().iter().map(|(_, text)| *text).collect::<String>()
    };
    let index = skip(1, &["unique"]);
    if is(0, "create") && is(index, "index") && is(index + 1, "concurrently") {
        let at = skip(index + 2, &["if", "not", "exists"]);
        let (index_name, on) = if is(at, "on") { (None, at) } else { (Some(name(at)), at + 1) };
        return Shape::CreateIndex { name: index_name, table: name(skip(on + 1, &["only"])) };
    }
    if is(0, "drop") && is(1, "index") && is(2, "concurrently") {
        return Shape::DropIndex(name(skip(3, &["if", "exists"])));
    }
    if is(1, "database") && (is(0, "create") || is(0, "drop")) {
        return Shape::Database { name: name(skip(2, &["if", "exists"])), is_made: is(0, "create") };
    }
    let is_repeatable = ["vacuum", "reindex", "cluster"].iter().any(|word| is(0, word))
        || (is(0, "alter") && !is(1, "subscription") && !is(1, "table"));
    if is_repeatable { Shape::Repeatable } else { Shape::Unknown }
}

impl PostgresStore {
    /// Looks in the catalog for what a statement left. `has_failed`: the server said that it failed.
    pub(super) async fn look_for(&mut self, statement: &str, has_failed: bool) -> Result<Found, sqlx::Error> {
        match shape(statement) {
            Shape::CreateIndex { name: Some(name), table } => self.index(&name, &table).await,
            Shape::CreateIndex { name: None, table } => self.unnamed_index(&table, has_failed).await,
            Shape::DropIndex(name) => {
                let sql = format!("SELECT pg_catalog.to_regclass({}) IS NULL", literal(&name));
                Ok(if self.is_true(sql).await? { Found::Done } else { Found::Absent })
            }
            Shape::Database { name, is_made } => {
                let sql = format!(
                    "SELECT EXISTS (SELECT FROM pg_catalog.pg_database \
                     WHERE datname = (pg_catalog.parse_ident({}))[1]::name)",
                    literal(&name)
                );
                Ok(if self.is_true(sql).await? == is_made { Found::Done } else { Found::Absent })
            }
            Shape::Repeatable => Ok(Found::Absent),
            Shape::Unknown if has_failed => Ok(Found::Absent),
            Shape::Unknown => {
                Ok(Found::Unknown("it was begun, and the connection was lost before its end was seen".into()))
            }
        }
    }

    async fn is_true(&mut self, sql: String) -> Result<bool, sqlx::Error> {
        let rows = run(&mut self.connection, sql).await?;
        Ok(rows.first().and_then(|row| text(row, 0)).as_deref() == Some("t"))
    }

    async fn index(&mut self, name: &str, table: &str) -> Result<Found, sqlx::Error> {
        let sql = format!(
            "SELECT i.indisvalid AND i.indisready, pg_catalog.format('%I.%I', n.nspname, c.relname) \
             FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE i.indrelid = pg_catalog.to_regclass({}) AND c.relname = (pg_catalog.parse_ident({}))[1]::name",
            literal(table),
            literal(name)
        );
        let rows = run(&mut self.connection, sql).await?;
        Ok(match rows.first() {
            None => Found::Absent,
            Some(row) if text(row, 0).as_deref() == Some("t") => Found::Done,
            Some(row) => Found::Invalid(text(row, 1).unwrap_or_default()),
        })
    }

    async fn unnamed_index(&mut self, table: &str, has_failed: bool) -> Result<Found, sqlx::Error> {
        let sql = format!(
            "SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', n.nspname, c.relname), ', ') \
             FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE NOT i.indisvalid AND i.indrelid = pg_catalog.to_regclass({})",
            literal(table)
        );
        let rows = run(&mut self.connection, sql).await?;
        Ok(match rows.first().and_then(|row| text(row, 0)) {
            Some(names) => Found::Unknown(format!("the index has no name of its own, and {names} is INVALID: drop it")),
            None if has_failed => Found::Absent,
            None => Found::Unknown("the index has no name of its own, so it cannot be looked for".into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_with_names_as_written() {
        let create = |name: Option<&str>, table: &str| Shape::CreateIndex {
            name: name.map(str::to_owned),
            table: table.to_owned(),
        };
        for (statement, expected) in [
            ("CREATE INDEX CONCURRENTLY i ON t (a)", create(Some("i"), "t")),
            (
                "create unique index concurrently if not exists \"I x\" on only a.\"B\" using btree (a)",
                create(Some("\"I x\""), "a.\"B\""),
            ),
            ("CREATE INDEX CONCURRENTLY ON public.t(a)", create(None, "public.t")),
            ("DROP INDEX CONCURRENTLY IF EXISTS a.i", Shape::DropIndex("a.i".into())),
            ("CREATE DATABASE \"D\"", Shape::Database { name: "\"D\"".into(), is_made: true }),
            ("DROP DATABASE IF EXISTS d WITH (FORCE)", Shape::Database { name: "d".into(), is_made: false }),
            ("VACUUM t", Shape::Repeatable),
            ("REINDEX TABLE CONCURRENTLY t", Shape::Repeatable),
            ("ALTER SYSTEM SET work_mem = 1", Shape::Repeatable),
            ("ALTER TABLE p DETACH PARTITION c CONCURRENTLY", Shape::Unknown),
            ("CALL p()", Shape::Unknown),
        ] {
            assert_eq!(shape(statement), expected, "{statement}");
        }
    }
}
