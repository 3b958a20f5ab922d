//! Which histories of migration tools there are in the database. Reads the catalog.

use super::text;
use crate::engine::histories::{Seen, TABLES};
use crate::error::Result;
use crate::stores::postgres::error::catalog_error;
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::postgres::{PostgresStore, run};

impl PostgresStore {
    /// The tables that go by the name of a tool's history.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn histories(&mut self) -> Result<Vec<Seen>> {
        let names: Vec<String> = TABLES.iter().map(|table| literal(table)).collect();
        let sql = format!(
            "SELECT n.nspname, c.relname, (SELECT pg_catalog.string_agg(a.attname, ',' ORDER BY a.attnum) \
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
             EXISTS (SELECT FROM pg_catalog.pg_class r WHERE r.relnamespace = n.oid AND r.relname = 'ar_internal_metadata') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'lyrox' AND pg_catalog.lower(c.relname) IN ({}) ORDER BY 1, 2",
            names.join(", ")
        );
        let unreadable = |error: &sqlx::Error| catalog_error("the catalog cannot be read", error);
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let mut found = Vec::new();
        for row in &rows {
            let word = |at| text(row, at).unwrap_or_default();
            let (schema, table) = (word(0), word(1));
            let count = format!("SELECT pg_catalog.count(*) FROM {}.{}", Ident::new(&schema)?, Ident::new(&table)?);
            // One that is not ours to read is there all the same.
            let count = run(&mut self.connection, count).await.unwrap_or_default();
            found.push(Seen {
                schema,
                table: table.to_lowercase(),
                columns: word(2).split(',').map(str::to_owned).collect(),
                is_beside_rails: word(3) == "t",
                rows: count.first().and_then(|row| text(row, 0)?.parse().ok()),
            });
        }
        Ok(found)
    }
}
