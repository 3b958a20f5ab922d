//! The proof that nothing is left: counts before and after where the server is on this machine, and the
//! run's marker looked for in every row.

use std::collections::BTreeMap;

use sqlx::postgres::PgRow;

use super::PostgresSmoke;
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::{Ident, literal};

/// Every table of the user's, with whether the policies hide rows of it from this role.
const TABLES: &str = "SELECT n.nspname, c.relname, pg_catalog.row_security_active(c.oid) FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' \
    AND n.nspname <> 'lyrox' AND n.nspname NOT LIKE 'pg\\_%' AND pg_catalog.has_table_privilege(c.oid, 'SELECT') ORDER BY 1, 2";

impl PostgresSmoke<'_> {
    pub(super) async fn count_before(&mut self) -> Result<()> {
        if self.run.is_local {
            self.before =
                Some(self.count_all(false).await?.into_iter().map(|(table, (rows, _))| (table, rows)).collect());
        }
        Ok(())
    }

    pub(super) async fn find_leftovers(&mut self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let journal = format!("SELECT count(*) FROM lyrox.smoke_journal WHERE run = {}", literal(&self.run.id));
        // No journal, no rows.
        if let Ok(rows) = self.send(&journal).await? {
            let count = number(rows.first(), 0);
            if count > 0 {
                left.push(format!("{count} row(s) that `lyrox.smoke_journal` lists"));
            }
        }
        if let Some(before) = self.before.take() {
            for (table, (rows, marked)) in self.count_all(true).await? {
                let earlier = before.get(&table).copied().unwrap_or(0);
                if marked > 0 {
                    left.push(format!("{marked} row(s) with the run's marker in {table}"));
                } else if rows != earlier {
                    left.push(format!("{table} has {rows} rows, it had {earlier}"));
                }
            }
            return Ok(left);
        }
        for table in self.touched.clone() {
            let sql = format!(
                "BEGIN READ ONLY; SET LOCAL statement_timeout = '10s'; SELECT count(*) FROM {table} t WHERE t::text LIKE {}; ROLLBACK",
                literal(&format!("%{}%", self.run.marker()))
            );
            match self.send(&sql).await? {
                Ok(rows) if number(rows.first(), 0) > 0 => left.push(format!("rows with the run's marker in {table}")),
                Ok(_) => {}
                Err(_) => {
                    self.send("ROLLBACK").await?.ok();
                }
            }
        }
        Ok(left)
    }

    /// Rows of every table, and, looking for it, how many of them hold the run's marker.
    async fn count_all(&mut self, is_marker_sought: bool) -> Result<BTreeMap<String, (u64, u64)>> {
        let Ok(tables) = self.send(TABLES).await? else { return Ok(BTreeMap::new()) };
        let mut names = Vec::new();
        let mut lift = String::new();
        for row in &tables {
            let cell = |at| text(row, at).unwrap_or_default();
            let name = format!("{}.{}", Ident::new(&cell(0))?, Ident::new(&cell(1))?);
            if cell(2) == "t" {
                lift.push_str(&format!("ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY;"));
            }
            names.push(name);
        }
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let marker = literal(&format!("%{}%", self.run.marker()));
        let counts: Vec<String> = names
            .iter()
            .map(|name| {
                let marked = if is_marker_sought {
                    format!("count(*) FILTER (WHERE t::text LIKE {marker})")
                } else {
                    "0".into()
                };
                format!("SELECT count(*), {marked} FROM {name} t")
            })
            .collect();
        let counts = counts.join(";");
        // The owner whom the policies bind lifts them for this transaction only, to see every tenant's rows.
        let whole = format!(
            "BEGIN; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '60s'; {lift} {counts}; ROLLBACK"
        );
        let mut said = self.send(&whole).await?;
        if said.is_err() {
            let visible = format!("ROLLBACK; BEGIN READ ONLY; SET LOCAL statement_timeout = '60s'; {counts}; ROLLBACK");
            said = self.send(&visible).await?;
        }
        let rows = match said {
            Ok(rows) => rows,
            Err(_) => {
                self.send("ROLLBACK").await?.ok();
                return Ok(BTreeMap::new());
            }
        };
        Ok(names
            .into_iter()
            .zip(&rows)
            .map(|(name, row)| (name, (number(Some(row), 0), number(Some(row), 1))))
            .collect())
    }
}

fn number(row: Option<&PgRow>, at: usize) -> u64 {
    row.and_then(|row| text(row, at)).and_then(|text| text.parse().ok()).unwrap_or(0)
}
