//! The model `schema`: a schema and a role of its own for each tenant, made in one transaction.

use super::super::connect::text;
use super::super::error::{is_lost, server_error};
use super::super::ident::{Ident, literal};
use super::super::{PostgresStore, run};
use super::{Named, list, refused, unreadable};
use crate::engine::tenant::Tenant;
use crate::error::{Code, Error, Result};
use crate::stores::tenant::{Clash, Made, Place, Terms};

impl PostgresStore {
    /// The schemas with these names.
    pub(super) async fn schemas_named(&mut self, names: &[String]) -> Result<Vec<Named>> {
        let sql = format!(
            "SELECT n.nspname, pg_catalog.obj_description(n.oid, 'pg_namespace') FROM pg_catalog.pg_namespace n WHERE n.nspname IN ({})",
            list(names)
        );
        self.named(sql).await
    }

    /// Schemas and roles of the same names.
    pub(super) async fn schema_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>> {
        let names: Vec<String> = tenants.iter().map(Tenant::name).collect();
        let mut clashes = self.role_clashes(tenants, terms).await?;
        for schema in self.schemas_named(&names).await? {
            if let Some(index) = names.iter().position(|name| *name == schema.name) {
                let why = format!("schema `{}` is there, and was not made for this tenant", schema.name);
                clashes.push(Clash { index, why, is_unmanaged: true, key: None });
            }
        }
        Ok(clashes)
    }

    /// Makes schemas and roles: a transaction each.
    pub(super) async fn make_schemas(&mut self, places: &[Place], terms: &Terms) -> Result<Made> {
        let names: Vec<String> = places.iter().map(|place| place.tenant.name()).collect();
        let roles = self.roles_named(&names).await?;
        let schemas = self.schemas_named(&names).await?;
        let own = self.own_mark();
        let mut made = Made::default();
        for (index, place) in places.iter().enumerate() {
            let name = &names[index];
            let role = roles.iter().find(|role| role.name == *name);
            let schema = schemas.iter().find(|schema| schema.name == *name);
            let foreign = role.filter(|role| place.password.is_some() && role.comment.as_deref() != Some(&own));
            if let Some(role) = foreign {
                made.failed.push((index, not_ours("role", role)));
                continue;
            }
            if let Some(schema) = schema.filter(|schema| !place.takes_in && schema.comment.as_deref() != Some(&own)) {
                made.failed.push((index, not_ours("schema", schema)));
                continue;
            }
            let ident = Ident::new(name)?;
            let mut sql = format!("BEGIN; {}", self.role_statements(place, role.is_some())?);
            if schema.is_none() {
                sql.push_str(&format!(" CREATE SCHEMA {ident};"));
            }
            sql.push_str(&format!(" COMMENT ON SCHEMA {ident} IS {};", literal(&own)));
            if place.password.is_some() {
                let database = Ident::new(&self.facts.database)?;
                sql.push_str(&format!(
                    " GRANT USAGE ON SCHEMA {ident} TO {ident}; ALTER ROLE {ident} IN DATABASE {database} SET search_path = {ident};"
                ));
            }
            sql.push_str(" COMMIT");
            match run(&mut self.connection, sql).await {
                Ok(_) => {
                    made.done.insert(index);
                }
                Err(error) if is_lost(&error) => {
                    return Err(server_error(Code::TenantFailed, "the place of a tenant cannot be made", &error));
                }
                Err(error) => {
                    let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                    made.failed.push((index, refused(&place.tenant, &error)));
                }
            }
        }
        let _ = terms;
        Ok(made)
    }

    /// Drops a tenant's schema and role, if lyrox made them: in a transaction of their own, so that the server's table of
    /// locks holds one tenant at a time.
    pub(super) async fn drop_schema(&mut self, tenant: &Tenant, terms: &Terms) -> Result<()> {
        let names = [tenant.name()];
        let own = self.own_mark();
        let is_own = |found: &[Named]| found.iter().any(|named| named.comment.as_deref() == Some(&own));
        let has_schema = is_own(&self.schemas_named(&names).await?);
        let has_role = is_own(&self.roles_named(&names).await?);
        let ident = Ident::new(&tenant.name())?;
        let mut sql = String::from("BEGIN;");
        if has_schema {
            sql.push_str(&format!(" DROP SCHEMA {ident} CASCADE;"));
        }
        if has_role && !terms.keeps_roles {
            sql.push_str(&Self::role_end(&ident));
        }
        sql.push_str(" COMMIT");
        if let Err(error) = run(&mut self.connection, sql).await {
            let _ = run(&mut self.connection, "ROLLBACK".into()).await;
            let what = format!("schema and role `{}` cannot be dropped", tenant.name());
            return Err(server_error(Code::TenantFailed, what, &error).data("they are still there"));
        }
        Ok(())
    }

    /// Slugs of schemas with a tenant's name that no record names.
    pub(super) async fn unmanaged_schemas(&mut self, limit: usize) -> Result<Vec<String>> {
        let sql = "SELECT pg_catalog.substr(n.nspname, 3) FROM pg_catalog.pg_namespace n \
                   WHERE n.nspname ~ '^t_[a-z][a-z0-9_]{0,39}$' ORDER BY 1"
            .to_owned();
        self.without_record(sql, limit).await
    }

    /// Those slugs of a query that no record has.
    pub(super) async fn without_record(&mut self, sql: String, limit: usize) -> Result<Vec<String>> {
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let records = self.read_registry(&crate::engine::tenant::Which::All).await?;
        let known: std::collections::HashSet<&str> = records.iter().map(|record| record.tenant.slug()).collect();
        Ok(rows
            .iter()
            .filter_map(|row| text(row, 0))
            .filter(|slug| !known.contains(slug.as_str()))
            .take(limit)
            .collect())
    }
}

/// Something with a tenant's name that lyrox did not make for it.
pub(super) fn not_ours(kind: &str, named: &Named) -> Error {
    Error::new(Code::TenantClash, format!("{kind} `{}` is there, and was not made for this tenant", named.name))
        .why("its comment is not the one that lyrox gives")
        .data("nothing was changed in PostgreSQL")
        .hint("lyrox tenant create KEY --slug NAME")
}
