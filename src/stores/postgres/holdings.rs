//! What a reset would remove and what it would keep: every object that stands by itself, and whose it is.

use std::collections::BTreeSet;

use super::connect::text;
use super::error::{catalog_error, sqlstate};
use super::ident::literal;
use super::splitter::{Lexer, Token};
use super::{PostgresStore, run};
use crate::engine::ledger::head;
use crate::error::{Error, Result};
use crate::stores::Holding;

const HOLDINGS: &str = include_str!("holdings.sql");

/// Up to so many rows are counted; beyond it the server's estimate is shown.
const COUNTED: u64 = 10_000;
/// So many tables are counted in one transaction: each is locked for reading meanwhile.
const COUNTED_AT_ONCE: usize = 200;

/// One object that stands by itself.
#[derive(Clone, Debug)]
pub struct Object {
    /// The catalog that holds it: `pg_class`, `pg_proc`, `pg_type`, ...
    pub class: String,
    /// Its number in that catalog.
    pub oid: String,
    /// `table`, `view`, `function`, ...
    pub kind: &'static str,
    /// Its name as snapshots have it.
    pub path: String,
    /// Its name alone.
    pub name: String,
    /// Its name as `DROP` wants it.
    pub quoted: String,
    /// Bytes on disk.
    pub bytes: Option<u64>,
    /// The server's estimate of its rows.
    pub estimate: Option<u64>,
    /// A count would not see every row, or means nothing.
    pub is_uncountable: bool,
    /// How many relations a `DROP` of it locks.
    pub weight: usize,
    /// How many foreign keys point at it.
    pub referenced: usize,
    /// The project's.
    pub is_owned: bool,
}

impl Object {
    /// `table User`: its key in snapshots.
    pub fn key(&self) -> String {
        format!("{} {}", if self.kind == "foreign table" { "table" } else { self.kind }, self.path)
    }
}

const KINDS: [&str; 13] = [
    "table",
    "view",
    "materialized view",
    "foreign table",
    "sequence",
    "function",
    "procedure",
    "aggregate",
    "type",
    "collation",
    "text search configuration",
    "text search dictionary",
    "schema",
];

impl PostgresStore {
    /// Lists the objects of the project's schemas, and whose they are.
    pub(super) async fn objects(&mut self) -> Result<Vec<Object>> {
        let schemas = self.schemas().await?;
        let mut objects = self.read_objects(&schemas).await?;
        self.tell_owners(&mut objects).await?;
        Ok(objects)
    }

    /// What is there before the first migrate, as a list for the ledger.
    pub(super) async fn foreign_list(&mut self) -> Result<String> {
        let schemas = [self.settings.schema.name().to_owned()];
        let keys: Vec<String> = self.read_objects(&schemas).await?.iter().map(Object::key).collect();
        serde_json::to_string(&keys).map_err(|error| Error::bug(format!("a list: {error}")))
    }

    async fn read_objects(&mut self, schemas: &[String]) -> Result<Vec<Object>> {
        let sql = self.fill(HOLDINGS, schemas);
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let mut objects = Vec::with_capacity(rows.len());
        for row in &rows {
            let word = |at| text(row, at).ok_or_else(|| Error::bug("the catalog left a name out"));
            let number = |at| text(row, at).and_then(|number| number.parse::<u64>().ok());
            let kind = word(2)?;
            objects.push(Object {
                class: word(0)?,
                oid: word(1)?,
                kind: KINDS.into_iter().find(|known| *known == kind).unwrap_or("object"),
                path: word(3)?,
                name: word(4)?,
                quoted: word(5)?,
                bytes: number(6),
                estimate: number(7),
                is_uncountable: text(row, 8).as_deref() == Some("t"),
                weight: number(9).and_then(|weight| usize::try_from(weight).ok()).unwrap_or(1),
                referenced: number(10).and_then(|count| usize::try_from(count).ok()).unwrap_or(0),
                is_owned: false,
            });
        }
        objects.sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        Ok(objects)
    }

    /// Owned is what the kept snapshot lists. What was there before the first migrate is not, unless a
    /// migration speaks of it; what a run made that was cut short before its snapshot is. During a reset
    /// everything is, except what was foreign when it began.
    async fn tell_owners(&mut self, objects: &mut [Object]) -> Result<()> {
        let (before, kept) = self.foreign().await?;
        if let Some(kept) = kept {
            for object in objects {
                object.is_owned = !kept.contains(&object.key());
            }
            return Ok(());
        }
        let snapshot = self.read_snapshot().await?;
        let rows = self.read_ledger().await?.rows;
        let is_stale =
            snapshot.as_ref().is_none_or(|snapshot| snapshot.head != head(&rows)) || !self.assumed.is_empty();
        let spoken = if is_stale || !before.is_empty() { self.spoken_names().await? } else { BTreeSet::new() };
        for object in objects {
            let key = object.key();
            let is_spoken = spoken.contains(&object.name.to_lowercase());
            let is_listed = snapshot.as_ref().is_some_and(|snapshot| snapshot.objects.contains_key(&key));
            object.is_owned = (is_listed && (!before.contains(&key) || is_spoken)) || (is_stale && is_spoken);
        }
        Ok(())
    }

    /// The objects that were there before the first migrate, and those that a running reset keeps.
    async fn foreign(&mut self) -> Result<(BTreeSet<String>, Option<BTreeSet<String>>)> {
        let sql = format!(
            "SELECT foreign_objects, kept_objects FROM lyrox.environment WHERE project = {}",
            literal(&self.project)
        );
        let rows = match run(&mut self.connection, sql).await {
            Ok(rows) => rows,
            Err(error) if matches!(sqlstate(&error), Some("42P01" | "3F000")) => Vec::new(),
            Err(error) => return Err(unreadable(&error)),
        };
        let list = |at| {
            let json = rows.first().and_then(|row| text(row, at))?;
            serde_json::from_str::<BTreeSet<String>>(&json).ok()
        };
        Ok((list(0).unwrap_or_default(), list(1)))
    }

    /// Every name that an applied migration speaks of, in lower case.
    async fn spoken_names(&mut self) -> Result<BTreeSet<String>> {
        let sql = format!(
            "SELECT text FROM lyrox.migrations WHERE {} AND store = 'postgres' AND state <> 'reverted' AND text IS NOT NULL",
            self.scope()
        );
        let rows = match run(&mut self.connection, sql).await {
            Ok(rows) => rows,
            Err(error) if matches!(sqlstate(&error), Some("42P01" | "3F000")) => Vec::new(),
            Err(error) => return Err(unreadable(&error)),
        };
        let mut names = BTreeSet::new();
        for script in rows.iter().filter_map(|row| text(row, 0)).chain(self.assumed.iter().cloned()) {
            let mut lexer = Lexer::new(&script, 0);
            while let Ok(Some((token, range))) = lexer.token() {
                let name = match token {
                    Token::Word => script[range].to_lowercase(),
                    Token::Name => script[range].trim_matches('"').replace("\"\"", "\"").to_lowercase(),
                    _ => continue,
                };
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// Lists what a reset would remove and keep, with row counts.
    pub(super) async fn list_holdings(&mut self) -> Result<Vec<Holding>> {
        let objects = self.objects().await?;
        let mut rows: Vec<Option<u64>> = objects.iter().map(|object| object.estimate).collect();
        let countable: Vec<usize> = (0..objects.len())
            .filter(|at| objects[*at].kind == "table" && !objects[*at].is_uncountable)
            .filter(|at| objects[*at].estimate.is_none_or(|estimate| estimate <= 10 * COUNTED))
            .collect();
        for batch in countable.chunks(COUNTED_AT_ONCE) {
            let counts: Vec<String> = batch
                .iter()
                .map(|at| {
                    format!(
                        "SELECT pg_catalog.count(*) FROM (SELECT FROM {} LIMIT {}) t",
                        objects[*at].quoted,
                        COUNTED + 1
                    )
                })
                .collect();
            // A table that is locked, or not ours to read, keeps its estimate.
            let Ok(answers) = run(&mut self.connection, counts.join("; ")).await else { continue };
            for (at, answer) in batch.iter().zip(&answers) {
                let count = text(answer, 0).and_then(|count| count.parse::<u64>().ok());
                rows[*at] = count.map(|count| if count > COUNTED { rows[*at].unwrap_or(0).max(count) } else { count });
            }
        }
        let holdings = objects.into_iter().zip(rows).map(|(object, rows)| Holding {
            kind: object.kind,
            name: object.path,
            rows: rows.filter(|_| matches!(object.kind, "table" | "materialized view")),
            bytes: object.bytes,
            is_owned: object.is_owned,
        });
        let mut holdings: Vec<Holding> = holdings.collect();
        if let (Some(name), Some(history)) = (self.found_history(), &self.history) {
            let count = format!("SELECT pg_catalog.count(*) FROM {}", history.table());
            let rows = run(&mut self.connection, count).await.unwrap_or_default();
            let rows = rows.first().and_then(|row| text(row, 0)?.parse().ok());
            holdings.push(Holding { kind: "history", name, rows, bytes: None, is_owned: true });
        }
        Ok(holdings)
    }
}

fn unreadable(error: &sqlx::Error) -> Error {
    catalog_error("the catalog cannot be read", error)
}
