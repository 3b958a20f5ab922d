//! The model `database`: a database from a template, and a role that alone may connect to it.

use super::super::connect::text;
use super::super::error::{is_lost, server_error};
use super::super::ident::{Ident, literal};
use super::super::{PostgresStore, run};
use super::schema::not_ours;
use super::{Named, list, refused, unreadable};
use crate::engine::tenant::Tenant;
use crate::error::{Code, Result};
use crate::stores::tenant::{Clash, Made, Place, Terms};

impl PostgresStore {
    /// The databases with these names.
    pub(super) async fn databases_named(&mut self, names: &[String]) -> Result<Vec<Named>> {
        let sql = format!(
            "SELECT d.datname, pg_catalog.shobj_description(d.oid, 'pg_database'), d.datallowconn FROM pg_catalog.pg_database d WHERE d.datname IN ({})",
            list(names)
        );
        self.named(sql).await
    }

    /// Databases and roles of the same names.
    pub(super) async fn database_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>> {
        let names: Vec<String> = tenants.iter().map(Tenant::name).collect();
        let mut clashes = self.role_clashes(tenants, terms).await?;
        for database in self.databases_named(&names).await? {
            if let Some(index) = names.iter().position(|name| *name == database.name) {
                let why = format!("database `{}` is there, and was not made for this tenant", database.name);
                clashes.push(Clash { index, why, is_unmanaged: true, key: None });
            }
        }
        Ok(clashes)
    }

    /// Makes databases and roles. A database is made closed, and opened once nobody but its role and the owner may
    /// connect: that is also how a half-made one is told, after a kill, from one that is complete.
    pub(super) async fn make_databases(&mut self, places: &[Place], terms: &Terms) -> Result<Made> {
        let names: Vec<String> = places.iter().map(|place| place.tenant.name()).collect();
        let roles = self.roles_named(&names).await?;
        let databases = self.databases_named(&names).await?;
        let own = self.own_mark();
        let mut made = Made::default();
        for (index, place) in places.iter().enumerate() {
            let name = &names[index];
            let role = roles.iter().find(|role| role.name == *name);
            let database = databases.iter().find(|database| database.name == *name);
            let foreign = role.filter(|role| place.password.is_some() && role.comment.as_deref() != Some(&own));
            if let Some(role) = foreign {
                made.failed.push((index, not_ours("role", role)));
                continue;
            }
            if let Some(database) = database.filter(|named| !place.takes_in && !is_ours(named, &own)) {
                made.failed.push((index, not_ours("database", database)));
                continue;
            }
            match self.make_database(place, role.is_some(), database.is_some(), terms).await {
                Ok(()) => {
                    made.done.insert(index);
                }
                Err(error) if is_lost(&error) => {
                    return Err(server_error(Code::TenantFailed, "the place of a tenant cannot be made", &error));
                }
                Err(error) => {
                    let refused = refused(&place.tenant, &error);
                    // What the application made stays.
                    let refused = match place.takes_in {
                        true => refused.data("the application's database is as it was"),
                        false => match self.drop_database(&place.tenant, terms).await {
                            Ok(()) => refused,
                            Err(_) => refused.data(format!("database or role `{name}` may be left; run it again")),
                        },
                    };
                    made.failed.push((index, refused));
                }
            }
        }
        Ok(made)
    }

    async fn make_database(
        &mut self,
        place: &Place,
        has_role: bool,
        is_there: bool,
        terms: &Terms,
    ) -> Result<(), sqlx::Error> {
        let quoted = |name: &str| Ident::new(name).map(|ident| ident.to_string()).unwrap_or_default();
        let name = quoted(&place.tenant.name());
        let role = self.role_statements(place, has_role).unwrap_or_default();
        if !role.is_empty() {
            run(&mut self.connection, format!("BEGIN; {role} COMMIT")).await?;
        }
        if !is_there {
            let template =
                terms.template.as_deref().map_or_else(String::new, |name| format!(" TEMPLATE {}", quoted(name)));
            let sql = format!("CREATE DATABASE {name}{template} ALLOW_CONNECTIONS false");
            run(&mut self.connection, sql).await?;
        }
        let mut sql = format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC;");
        if place.password.is_some() {
            sql.push_str(&format!(
                " GRANT CONNECT ON DATABASE {name} TO {name}; ALTER ROLE {name} IN DATABASE {name} SET search_path = {};",
                self.settings.schema
            ));
        }
        sql.push_str(&format!(
            " COMMENT ON DATABASE {name} IS {}; ALTER DATABASE {name} ALLOW_CONNECTIONS true",
            literal(&self.own_mark())
        ));
        run(&mut self.connection, sql).await.map(drop)
    }

    /// Drops a tenant's database and role, if lyrox made them.
    pub(super) async fn drop_database(&mut self, tenant: &Tenant, terms: &Terms) -> Result<()> {
        let names = [tenant.name()];
        let own = self.own_mark();
        let ident = Ident::new(&tenant.name())?;
        let databases = self.databases_named(&names).await?;
        let failed = |error: &sqlx::Error| {
            let what = format!("database and role `{}` cannot be dropped", tenant.name());
            server_error(Code::TenantFailed, what, error).data("they may be there still")
        };
        if databases.iter().any(|named| is_ours(named, &own)) {
            let sql = format!("DROP DATABASE {ident} WITH (FORCE)");
            run(&mut self.connection, sql).await.map_err(|error| failed(&error))?;
        }
        let is_role_ours = self.roles_named(&names).await?.iter().any(|named| named.comment.as_deref() == Some(&own));
        if is_role_ours && !terms.keeps_roles {
            let dropped = run(&mut self.connection, format!("BEGIN;{} COMMIT", Self::role_end(&ident))).await;
            if let Err(error) = dropped {
                let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                return Err(failed(&error));
            }
        }
        Ok(())
    }

    /// Begins a template; false where it is complete. A complete one takes no connections.
    pub(super) async fn open_template(&mut self, name: &str) -> Result<bool> {
        let ident = Ident::new(name)?;
        let sql = format!("SELECT d.datallowconn FROM pg_catalog.pg_database d WHERE d.datname = {}", literal(name));
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let failed = |error: &sqlx::Error| {
            server_error(Code::TenantFailed, format!("the template database {ident} cannot be made"), error)
                .data("no tenant was made")
                .hint_if_none(format!("let an administrator run: ALTER ROLE \"{}\" CREATEDB", self.facts.user))
        };
        match rows.first().and_then(|row| text(row, 0)).as_deref() {
            Some("t") => {
                // A kill cut its making short.
                let drop = format!("DROP DATABASE {ident} WITH (FORCE)");
                run(&mut self.connection, drop).await.map_err(|error| failed(&error))?;
            }
            Some(_) => return Ok(false),
            None => {}
        }
        run(&mut self.connection, format!("CREATE DATABASE {ident}")).await.map_err(|error| failed(&error))?;
        Ok(true)
    }

    /// Closes a template.
    pub(super) async fn close_template(&mut self, name: &str) -> Result<()> {
        let ident = Ident::new(name)?;
        let sql = format!(
            "REVOKE ALL ON DATABASE {ident} FROM PUBLIC; COMMENT ON DATABASE {ident} IS {}; ALTER DATABASE {ident} ALLOW_CONNECTIONS false",
            literal(&format!("lyrox: the template of the tenants of {}", self.project))
        );
        self.write(sql, "the template database cannot be closed").await
    }

    /// Slugs of databases with a tenant's name that lyrox did not make, or made and lost.
    pub(super) async fn unmanaged_databases(&mut self, limit: usize) -> Result<Vec<String>> {
        let own = literal(&self.own_mark());
        // Databases of other projects on the server are none of ours.
        let sql = format!(
            "SELECT pg_catalog.substr(d.datname, 3) FROM pg_catalog.pg_database d WHERE d.datname ~ '^t_[a-z][a-z0-9_]{{0,39}}$' \
             AND d.datdba = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user) \
             AND coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), {own}) = {own} ORDER BY 1"
        );
        self.without_record(sql, limit).await
    }
}

/// Whether a database is one that lyrox made for a tenant. It gets its comment in the moment in which it is opened: what is
/// closed and has none was cut short by a kill, and what is open and has none is another's.
fn is_ours(named: &Named, own: &str) -> bool {
    named.comment.as_deref().map_or(!named.is_open, |comment| comment == own)
}
