//! Tenants in PostgreSQL: the registry, and a place for each by model.
//!
//! Whatever lyrox makes for a tenant bears a comment ([`mark`]) that tells it from what others made under the same name:
//! roles and databases belong to the whole server.

mod bundle;
mod database;
mod lease;
mod policies;
mod reach;
mod registry;
mod row;
mod run;
mod schema;
mod scram;
mod verify;

use super::connect::text;
use super::error::server_error;
use super::ident::{Ident, literal};
use super::{PostgresStore, run};
use crate::config::file::TenancyModel;
use crate::engine::tenant::policies::Table;
use crate::engine::tenant::{Record, Tenant, Which};
use crate::error::{Code, Error, Result};
use crate::stores::tenant::{Clash, Made, Place, TenantStore, Terms};

/// The comment on what lyrox made for a tenant of the project.
pub fn mark(project: &str) -> String {
    format!("lyrox: a tenant of {project}")
}

impl TenantStore for PostgresStore {
    async fn prepare_tenants(&mut self) -> Result<()> {
        self.make_registry().await
    }
    async fn read_tenants(&mut self, which: &Which) -> Result<Vec<Record>> {
        self.read_registry(which).await
    }
    async fn tenants_by_shard(&mut self) -> Result<Vec<(String, u64)>> {
        self.count_by_shard().await
    }
    async fn write_tenants(&mut self, records: &[Record]) -> Result<()> {
        self.write_registry(records).await
    }
    async fn forget_tenants(&mut self, tenants: &[Tenant]) -> Result<()> {
        self.strike_out(tenants).await
    }
    async fn tenant_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>> {
        match terms.model() {
            TenancyModel::Row => self.row_clashes(tenants, terms).await,
            TenancyModel::Schema => self.schema_clashes(tenants, terms).await,
            TenancyModel::Database => self.database_clashes(tenants, terms).await,
        }
    }
    async fn make_places(&mut self, places: &[Place], terms: &Terms) -> Result<Made> {
        match terms.model() {
            TenancyModel::Row => self.make_rows(places, terms).await,
            TenancyModel::Schema => self.make_schemas(places, terms).await,
            TenancyModel::Database => self.make_databases(places, terms).await,
        }
    }
    async fn keep_places(&mut self, _terms: &Terms) -> Result<Option<String>> {
        Ok(None)
    }
    async fn take_places(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<()> {
        for tenant in tenants {
            match terms.model() {
                TenancyModel::Row => self.delete_row(tenant, terms).await?,
                TenancyModel::Schema => self.drop_schema(tenant, terms).await?,
                TenancyModel::Database => self.drop_database(tenant, terms).await?,
            }
        }
        self.forget_ledger(tenants).await
    }
    async fn look_at_tenant(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<(&'static str, String)>> {
        let mut found = Vec::new();
        match terms.model() {
            TenancyModel::Row => {
                if let Some(table) = &terms.tenancy.table
                    && !self.keys_with_row(std::slice::from_ref(tenant), terms).await?.is_empty()
                {
                    found.push(("row", format!("in {table}")));
                }
                return Ok(found);
            }
            TenancyModel::Schema => {
                if self.schemas_named(&[tenant.name()]).await?.iter().any(|known| known.name == tenant.name()) {
                    found.push(("schema", tenant.name()));
                }
            }
            TenancyModel::Database => {
                if !self.databases_named(&[tenant.name()]).await?.is_empty() {
                    found.push(("database", tenant.name()));
                }
            }
        }
        if !self.roles_named(&[tenant.name()]).await?.is_empty() {
            found.push(("role", tenant.name()));
        }
        Ok(found)
    }
    async fn tenant_tables(&mut self) -> Result<Vec<Table>> {
        self.read_tables().await
    }
    async fn application_role_trouble(&mut self, role: &str) -> Result<Option<String>> {
        self.role_of_application(role).await
    }
    async fn begin_template(&mut self, name: &str) -> Result<bool> {
        self.open_template(name).await
    }
    async fn finish_template(&mut self, name: &str) -> Result<()> {
        self.close_template(name).await
    }
    async fn unmanaged_tenants(&mut self, terms: &Terms, limit: usize) -> Result<Vec<String>> {
        match terms.model() {
            TenancyModel::Row => self.unmanaged_rows(terms, limit).await,
            TenancyModel::Schema => self.unmanaged_schemas(limit).await,
            TenancyModel::Database => self.unmanaged_databases(limit).await,
        }
    }
}

/// Something of the server that has a tenant's name.
pub(super) struct Named {
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
    /// A database that takes connections; everything else is open.
    pub is_open: bool,
}

impl PostgresStore {
    /// What a catalog query finds: names and comments.
    async fn named(&mut self, sql: String) -> Result<Vec<Named>> {
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let each = |row| Named {
            name: text(row, 0).unwrap_or_default(),
            comment: text(row, 1),
            is_open: text(row, 2).as_deref() != Some("f"),
        };
        Ok(rows.iter().map(each).collect())
    }

    /// The roles with these names.
    pub(super) async fn roles_named(&mut self, names: &[String]) -> Result<Vec<Named>> {
        let sql = format!(
            "SELECT r.rolname, pg_catalog.shobj_description(r.oid, 'pg_authid') FROM pg_catalog.pg_roles r WHERE r.rolname IN ({})",
            list(names)
        );
        self.named(sql).await
    }

    /// Statements that make a tenant's role, or give it its present password; none where it gets no user.
    pub(super) fn role_statements(&self, place: &Place, is_there: bool) -> Result<String> {
        let Some(password) = &place.password else { return Ok(String::new()) };
        let role = Ident::new(&place.tenant.name())?;
        // The server gets the verifier: its log may hold statements.
        let verifier = literal(&scram::verifier(password.expose()));
        let way = if is_there { "ALTER" } else { "CREATE" };
        Ok(format!(
            "{way} ROLE {role} LOGIN NOCREATEDB NOCREATEROLE NOINHERIT PASSWORD {verifier}; COMMENT ON ROLE {role} IS {};",
            literal(&mark(&self.project))
        ))
    }

    /// The comment that tells lyrox's own of this project.
    pub(super) fn own_mark(&self) -> String {
        mark(&self.project)
    }

    /// A statement that drops a tenant's role, with the rights that it was given on what others share.
    pub(super) fn role_end(role: &Ident) -> String {
        // Whoever is to drop what belongs to a role must be a member of it.
        format!(" GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role};")
    }

    /// Clashes with roles of the same names that others made.
    pub(super) async fn role_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>> {
        if !terms.tenancy.users {
            return Ok(Vec::new());
        }
        let names: Vec<String> = tenants.iter().map(Tenant::name).collect();
        let roles = self.roles_named(&names).await?;
        let own = self.own_mark();
        // A role of this project without a record was left by a reset: it is given to its tenant again.
        let clash = |role: &Named| {
            if role.comment.as_deref() == Some(&own) {
                return None;
            }
            let index = names.iter().position(|name| *name == role.name)?;
            Some(Clash {
                index,
                why: format!("role `{}` is there on the server, and was not made for this tenant", role.name),
                is_unmanaged: false,
                key: None,
            })
        };
        Ok(roles.iter().filter_map(clash).collect())
    }
}

/// Names as a list of literals.
pub(super) fn list(names: &[String]) -> String {
    names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
}

/// The catalog could not be read.
pub(super) fn unreadable(error: &sqlx::Error) -> Error {
    super::error::catalog_error("the catalog cannot be read", error)
}

/// A tenant's place could not be made: one tenant, one refusal.
pub(super) fn refused(tenant: &Tenant, error: &sqlx::Error) -> Error {
    let what = format!("PostgreSQL refuses the place of tenant `{}`", tenant.shown());
    server_error(Code::TenantFailed, what, error).data("rolled back: PostgreSQL has nothing of it")
}
