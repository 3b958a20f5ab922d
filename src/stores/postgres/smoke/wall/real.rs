//! The real tenants, reading only: as the application for each of them, no table shows a row that is another's. All
//! tenants of a hundred are one message.

use std::collections::BTreeMap;

use super::super::PostgresSmoke;
use super::super::row::tenant_column;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::{Proof, Weight};
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::tenant_verify::Ask;

/// So many tenants in one message.
const AT_ONCE: usize = 100;

impl PostgresSmoke<'_> {
    pub(super) async fn try_real(
        &mut self,
        ask: &Ask<'_>,
        role: &str,
        judged: &Proof,
        proof: &mut Proof,
    ) -> Result<()> {
        let tables = self.carrying(ask, judged)?;
        if tables.is_empty() {
            return Ok(());
        }
        for tenants in ask.tenants.chunks(AT_ONCE) {
            self.try_these(ask, role, &tables, tenants, proof).await?;
        }
        Ok(())
    }

    /// The tables that carry the tenant themselves and are not known to be open, with the column.
    fn carrying(&self, ask: &Ask<'_>, judged: &Proof) -> Result<BTreeMap<String, String>> {
        let mut tables: BTreeMap<String, String> = BTreeMap::new();
        for name in self.tenant_tables() {
            let Some(table) = self.catalog.tables.get(&name) else { continue };
            if let Some(column) = tenant_column(table, &ask.terms.tenancy)
                && !judged.leaks(&format!("table {}", Ident::new(&name)?))
            {
                tables.insert(name, column);
            }
        }
        Ok(tables)
    }

    /// Rows whose tenant nobody knows, in the tables that no leak is known of.
    pub(super) async fn look_for_orphans(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        let tables = self.carrying(ask, proof)?;
        if tables.is_empty() || ask.tenants.is_empty() { Ok(()) } else { self.find_orphans(ask, &tables, proof).await }
    }

    async fn try_these(
        &mut self,
        ask: &Ask<'_>,
        role: &str,
        tables: &BTreeMap<String, String>,
        tenants: &[Tenant],
        proof: &mut Proof,
    ) -> Result<()> {
        let setting = literal(&ask.terms.tenancy.setting);
        let mode = if ask.run.may_write { "" } else { " READ ONLY" };
        self.queue(&format!("BEGIN{mode}; SET LOCAL statement_timeout = '60s';"));
        if let Err(why) = self.become_application(role).await? {
            self.end_test();
            self.flush().await?;
            let close = format!("GRANT {} TO {}", Ident::new(role)?, Ident::new(&self.store.facts.user)?);
            proof.untried("become", format!("role {}", Ident::new(role)?), why, close);
            return Ok(());
        }
        let keys: Vec<&str> = tenants.iter().map(Tenant::key).collect();
        let keys = literal(&serde_json::to_string(&keys).unwrap_or_default());
        let mut body = format!(
            "DECLARE k pg_catalog.text; found pg_catalog.jsonb := '[]'; c pg_catalog.text; is_there pg_catalog.bool; BEGIN \
             FOR k IN SELECT * FROM pg_catalog.jsonb_array_elements_text({keys}::pg_catalog.jsonb) LOOP \
             PERFORM pg_catalog.set_config({setting}, k, true);"
        );
        for (name, column) in tables {
            let (table, column) = (Ident::new(name)?, Ident::new(column)?);
            body.push_str(&format!(
                "\nBEGIN SELECT EXISTS (SELECT FROM {table} WHERE {column}::pg_catalog.text IS DISTINCT FROM k) INTO is_there; \
                 IF is_there THEN found := found || pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_array(k, {0}, '')); END IF; \
                 EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS c = RETURNED_SQLSTATE; \
                 IF c <> '42501' THEN found := found || pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_array(k, {0}, c)); END IF; END;",
                literal(name)
            ));
        }
        body.push_str(" END LOOP; PERFORM pg_catalog.set_config('lyrox.answers', found::pg_catalog.text, true); END");
        let sql = format!("DO {}; SELECT pg_catalog.current_setting('lyrox.answers', true)", literal(&body));
        let said = self.send(&sql).await?;
        self.end_test();
        self.flush().await?;
        let found: Option<Vec<(String, String, String)>> = match &said {
            Ok(rows) => rows.last().and_then(|row| text(row, 0)).and_then(|json| serde_json::from_str(&json).ok()),
            Err(_) => None,
        };
        let Some(found) = found else {
            let why = said.err().map_or_else(|| "no answer".to_owned(), |refused| refused.words);
            proof.untried("real", "real tenants", format!("they could not be read: {why}"), "");
            return Ok(());
        };
        proof.held((tenants.len() * tables.len()).saturating_sub(found.len()));
        for (key, name, code) in found {
            let object = format!("table {}", Ident::new(&name)?);
            if code.is_empty() {
                let close = self.policy_of(&name, &ask.terms.tenancy)?;
                let why = format!("SELECT as {role} for this tenant shows rows of others");
                proof.of(&key, Weight::Leak, "reads", object, why, close);
            } else {
                proof.of(
                    &key,
                    Weight::Untried,
                    "reads",
                    object,
                    format!("reading it as this tenant ended with {code}"),
                    "",
                );
            }
        }
        Ok(())
    }

    /// Rows whose tenant is in no record. Where the policies bind this role as well, a foreign key to the tenant table
    /// says as much.
    async fn find_orphans(
        &mut self,
        ask: &Ask<'_>,
        tables: &BTreeMap<String, String>,
        proof: &mut Proof,
    ) -> Result<()> {
        proof.area("orphans", "Every row belongs to a tenant that is there");
        let keys: Vec<&str> = ask.all.iter().map(Tenant::key).collect();
        let keys = literal(&serde_json::to_string(&keys).unwrap_or_default());
        let mut parts = Vec::new();
        for (name, column) in tables {
            let Some(table) = self.catalog.tables.get(name) else { continue };
            let tenants = ask.terms.tenancy.table.as_ref();
            if tenants == Some(name) {
                continue;
            }
            if table.is_guarded {
                let refers =
                    table.foreign_keys().any(|key| key.parent.as_ref() == tenants && key.columns == [column.clone()]);
                if refers {
                    proof.held(1);
                } else {
                    proof.weak(
                        "orphans",
                        format!("table {}", Ident::new(name)?),
                        "policies bind this role too, and no foreign key says that its tenants are there",
                        "",
                    );
                }
                continue;
            }
            let (shown, column) = (Ident::new(name)?, Ident::new(column)?);
            parts.push(format!(
                "(SELECT {}, {column}::pg_catalog.text FROM {shown} WHERE {column}::pg_catalog.text NOT IN (SELECT * FROM keys) OR {column} IS NULL GROUP BY 2 ORDER BY 2 LIMIT 20)",
                literal(name)
            ));
        }
        if parts.is_empty() {
            return Ok(());
        }
        let looked = parts.len();
        let sql = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = '60s'; WITH keys AS (SELECT * FROM pg_catalog.jsonb_array_elements_text({keys}::pg_catalog.jsonb)) {}",
            parts.join(" UNION ALL ")
        );
        let said = self.send(&sql).await?;
        self.end_test();
        self.flush().await?;
        let rows = match said {
            Ok(rows) => rows,
            Err(refused) => {
                proof.untried("orphans", "rows without a tenant", refused.words, "");
                return Ok(());
            }
        };
        proof.held(looked.saturating_sub(rows.len().min(looked)));
        for row in rows {
            let (name, key) = (text(&row, 0).unwrap_or_default(), text(&row, 1));
            let column = tables.get(&name).map(String::as_str).unwrap_or_default();
            let (shown, column) = (Ident::new(&name)?, Ident::new(column)?);
            let (of, test) = match &key {
                Some(key) => (crate::engine::tenant::shown(key), format!("{column} = {}", literal(key))),
                None => ("nobody".to_owned(), format!("{column} IS NULL")),
            };
            proof.of(
                key.as_deref().unwrap_or_default(),
                Weight::Astray,
                "orphan_rows",
                format!("rows of {of} in {shown}"),
                "no record names the tenant whose rows these are",
                format!("DELETE FROM {}.{shown} WHERE {test}, or: lyrox tenant adopt", self.store.settings.schema),
            );
        }
        Ok(())
    }
}
