//! What the catalog says of row-level security on the project's tables, and of the role that it is to hold.

use super::super::connect::text;
use super::super::ident::literal;
use super::super::{PostgresStore, run};
use super::unreadable;
use crate::engine::tenant::policies::{Column, ForeignKey, Policy, Table};
use crate::error::Result;

impl PostgresStore {
    /// The tables of the project's schema, with columns, foreign keys and policies: four queries, one round trip.
    pub(super) async fn read_tables(&mut self) -> Result<Vec<Table>> {
        let of = format!(
            "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = {} \
             AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e \
             WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')",
            literal(self.settings.schema.name())
        );
        let quoted = "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)";
        let names = |table: &str, numbers: &str| {
            format!(
                "(SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), E'\\x1f' ORDER BY u.at) \
                 FROM pg_catalog.unnest({numbers}) WITH ORDINALITY u (num, at) \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = {table} AND a.attnum = u.num)"
            )
        };
        let sql = format!(
            "SELECT 'table', c.relname, {quoted}, c.relrowsecurity::text, c.relforcerowsecurity::text, NULL {of} ORDER BY 2; \
             SELECT 'column', c.relname, a.attname, pg_catalog.quote_ident(a.attname), \
             pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull::text {of} \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 2, a.attnum; \
             SELECT 'key', c.relname, {own}, p.relname, {its}, \
             (NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey) \
             AND NOT a.attnotnull))::text {of} \
             JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' \
             JOIN pg_catalog.pg_class p ON p.oid = k.confrelid AND p.relnamespace = c.relnamespace ORDER BY 2, k.conname; \
             SELECT 'policy', c.relname, l.polname, l.polpermissive::text, pg_catalog.pg_get_expr(l.polqual, l.polrelid), \
             pg_catalog.pg_get_expr(l.polwithcheck, l.polrelid) {of} \
             JOIN pg_catalog.pg_policy l ON l.polrelid = c.oid ORDER BY 2, 3",
            own = names("k.conrelid", "k.conkey"),
            its = names("k.confrelid", "k.confkey"),
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let mut tables: Vec<Table> = Vec::new();
        for row in &rows {
            let word = |at| text(row, at).unwrap_or_default();
            let is = |at| text(row, at).as_deref() == Some("true");
            let kind = word(0);
            if kind == "table" {
                let (name, quoted) = (word(1), word(2));
                tables.push(Table { name, quoted, has_rls: is(3), is_forced: is(4), ..Table::default() });
                continue;
            }
            let Some(table) = tables.iter_mut().find(|table| table.name == word(1)) else { continue };
            let split = |text: String| text.split('\u{1f}').map(str::to_owned).collect();
            match kind.as_str() {
                "column" => {
                    table.columns.push(Column { name: word(2), quoted: word(3), kind: word(4), is_required: is(5) })
                }
                "key" => table.keys.push(ForeignKey {
                    columns: split(word(2)),
                    parent: word(3),
                    parent_columns: split(word(4)),
                    is_required: is(5),
                }),
                _ => table.policies.push(Policy {
                    name: word(2),
                    is_permissive: is(3),
                    expressions: [text(row, 4), text(row, 5)].into_iter().flatten().collect(),
                }),
            }
        }
        Ok(tables)
    }

    /// Why policies would not hold the application's role; none where they do, or there is none yet.
    pub(super) async fn role_of_application(&mut self, role: &str) -> Result<Option<String>> {
        let found = self.role_row(role).await?;
        Ok(found.and_then(|row| self.role_trouble(&row)))
    }
}
