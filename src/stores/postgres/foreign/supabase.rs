//! `supabase_migrations.schema_migrations`, as the Supabase CLI's history.go keeps it. Its columns came one by one: a table
//! that lacks the later ones gets them, as the CLI adds them on every push.

use ::sqlx::postgres::PgRow;

use super::{Found, History, Table, ToolLock, foreign, text};
use crate::config::Config;
use crate::engine::adopt::{Recorded, RecordedState};
use crate::engine::plan::Step;
use crate::error::Result;
use crate::project::formats::supabase::digest;
use crate::stores::postgres::ident::literal;
use crate::stores::postgres::splitter::{Lexer, Statement, Token, split};

/// The Supabase CLI's history.
#[derive(Debug)]
pub struct Supabase {
    table: Table,
}

impl Supabase {
    /// The history of a project.
    ///
    /// # Errors
    /// A name that PostgreSQL could not keep.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self { table: Table::of(config, "supabase_migrations.schema_migrations")? })
    }

    fn columns(&self, found: &Found) -> String {
        let missing = ["statements text[]", "name text"].into_iter();
        missing
            .filter(|column| !found.has(column.split(' ').next().unwrap_or_default()))
            .map(|column| format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {column};\n", self.table))
            .collect()
    }
}

impl History for Supabase {
    fn tool(&self) -> &'static str {
        "Supabase CLI"
    }

    fn table(&self) -> &Table {
        &self.table
    }

    fn create(&self) -> String {
        format!(
            "CREATE SCHEMA IF NOT EXISTS {};\n\
             CREATE TABLE IF NOT EXISTS {} (version text NOT NULL PRIMARY KEY, statements text[], name text);",
            self.table.schema, self.table
        )
    }

    fn select(&self, found: &Found) -> String {
        let column = |name: &str, sql: &str| if found.has(name) { sql.to_owned() } else { "NULL".to_owned() };
        format!(
            "SELECT version, {}, {} FROM {} ORDER BY version",
            column("name", "name"),
            column("statements", "pg_catalog.array_to_json(statements)"),
            self.table
        )
    }

    fn read(&self, _found: &Found, row: &PgRow) -> Result<Option<Recorded>> {
        let key = text(row, 0).unwrap_or_default();
        let statements: Vec<String> =
            text(row, 2).and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let checksum = (!statements.is_empty()).then(|| digest(&statements.join("\n")));
        Ok(Some(Recorded { key, checksum, name: text(row, 1), state: RecordedState::Applied, at: None }))
    }

    fn applied(&self, found: &Found, step: &Step) -> String {
        let foreign = foreign(step);
        let statements: Vec<String> = cut(&step.up.text).iter().map(|statement| literal(statement)).collect();
        format!(
            "{}INSERT INTO {} (version, name, statements) VALUES ({}, {}, ARRAY[{}]::text[]);",
            self.columns(found),
            self.table,
            literal(&foreign.key),
            literal(&foreign.name),
            statements.join(", ")
        )
    }

    fn reverted(&self, _found: &Found, step: &Step) -> String {
        format!("DELETE FROM {} WHERE version = {};", self.table, literal(&foreign(step).key))
    }

    fn lock(&self, _database: &str) -> ToolLock {
        ToolLock::None
    }
}

/// The statements of a file as the CLI keeps them: from one `;` to the next with the comments between, blanks at the ends
/// left out.
fn cut(script: &str) -> Vec<String> {
    let found = split(script).unwrap_or_default();
    let mut inside = found.iter().map(Statement::range).peekable();
    let mut statements = Vec::new();
    let mut from = 0;
    let mut lexer = Lexer::new(script, 0);
    while let Ok(Some((token, range))) = lexer.token() {
        while inside.peek().is_some_and(|statement| statement.end <= range.start) {
            inside.next();
        }
        // Behind a statement, and between two, every `;` ends what stands before it.
        let is_inside = inside.peek().is_some_and(|statement| statement.contains(&range.start));
        if token == Token::Symbol(b';') && !is_inside {
            statements.push(script[from..range.start].trim().to_owned());
            from = range.end;
        }
    }
    statements.push(script[from..].trim().to_owned());
    statements.retain(|statement| !statement.is_empty());
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the CLI (3.1.0) itself recorded for these files.
    #[test]
    fn statements_are_cut_as_the_cli_cuts_them() {
        let odd = "create table w (id int -- c1\n) -- c2\n;\n-- c3\n;;\nSELECT (1 /* ; */) ; select 2;\nselect\n 3;\n-- trailing comment\n/* block */\n";
        let expected = [
            "create table w (id int -- c1\n) -- c2",
            "-- c3",
            "SELECT (1 /* ; */)",
            "select 2",
            "select\n 3",
            "-- trailing comment\n/* block */",
        ];
        assert_eq!(cut(odd), expected);
        let bodies = "create function g() returns int language sql begin atomic select 1; select 2; end;\n\
            create table \"we;ird\" (a text default 'x;''y');\n  select 1";
        let expected = [
            "create function g() returns int language sql begin atomic select 1; select 2; end",
            "create table \"we;ird\" (a text default 'x;''y')",
            "select 1",
        ];
        assert_eq!(cut(bodies), expected);
        assert!(cut(" ;\n; ").is_empty());
    }
}
