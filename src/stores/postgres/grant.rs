//! Extensions, the application's role, and what it may do: brought to what the configuration says,
//! told as items, and untouched where nothing is missing.

use sqlx::postgres::PgRow;

use super::connect::text;
use super::error::{catalog_error, server_error, sqlstate};
use super::ident::{Ident, literal};
use super::{Path, PostgresStore, run};
use crate::engine::event::Events;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item};

const GRANTS: &str = include_str!("grant.sql");

impl PostgresStore {
    /// Makes the extensions that the project wants and the database lacks: migrations may need them.
    pub(super) async fn make_extensions(&mut self) -> Result<()> {
        for name in self.missing_extensions().await? {
            self.make_extension(&name).await?;
            self.made_extensions.push(name);
        }
        Ok(())
    }

    /// The extensions that the project wants and the database lacks; nothing is asked where it wants none.
    async fn missing_extensions(&mut self) -> Result<Vec<String>> {
        let wanted =
            self.config.settings.postgres.as_ref().map(|section| section.extensions.clone()).unwrap_or_default();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = wanted.iter().map(|name| format!("({})", literal(name))).collect();
        let sql = format!(
            "SELECT w.name FROM (VALUES {}) w (name) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = w.name)",
            names.join(", ")
        );
        let missing = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        Ok(missing.iter().filter_map(|row| text(row, 0)).collect())
    }

    /// Whether extensions, role and grants are as the configuration says. Reads only.
    pub(super) async fn has_grants(&mut self) -> Result<bool> {
        if !self.missing_extensions().await?.is_empty() {
            return Ok(false);
        }
        let section = self.config.settings.postgres.clone().unwrap_or_default();
        let Some(role) = section.app_role.as_deref() else { return Ok(true) };
        let found = self.role_row(role).await?;
        if found.is_none_or(|row| self.role_trouble(&row).is_some()) {
            return Ok(false);
        }
        let query = self.grants_query(&section).await?;
        let lacking = run(&mut self.connection, query).await.map_err(|error| unreadable(&error))?;
        Ok(lacking.is_empty())
    }

    async fn make_extension(&mut self, name: &str) -> Result<()> {
        // Where a provider keeps extensions in a schema of their own, they go there.
        let sql = format!(
            "SELECT pg_catalog.to_regnamespace('extensions') IS NOT NULL AND (SELECT v.schema IS NULL \
             FROM pg_catalog.pg_available_extension_versions v WHERE v.name = {name} LIMIT 1), \
             EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = {name})",
            name = literal(name)
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let is_true = |at| rows.first().and_then(|row| text(row, at)).as_deref() == Some("t");
        let missing = |what: String| Error::new(Code::Extension, what).data("no migration was run");
        if !is_true(1) {
            return Err(missing(format!("extension `{name}` is not installed on the server"))
                .why("`[postgres] extensions` asks for it")
                .hint(super::extension::how_to_get(name)));
        }
        let schema = if is_true(0) { " WITH SCHEMA extensions" } else { "" };
        let sql = format!("CREATE EXTENSION IF NOT EXISTS {}{schema} CASCADE", Ident::new(name)?);
        match run(&mut self.connection, sql).await {
            Ok(_) => Ok(()),
            // Made by another session at the same moment.
            Err(error) if matches!(sqlstate(&error), Some("42710" | "23505")) => Ok(()),
            Err(error) => Err(missing(format!("extension `{name}` cannot be created"))
                .why(super::error::words(&error))
                .hint(format!("let a superuser run: CREATE EXTENSION \"{name}\""))),
        }
    }

    /// Brings role and grants to what the configuration says: one round trip where nothing is missing.
    pub(super) async fn mend_grants(&mut self, has_pending: &dyn Fn() -> bool, events: &dyn Events) -> Result<()> {
        self.make_extensions().await?;
        for name in std::mem::take(&mut self.made_extensions) {
            let item = Item::pass(format!("postgres.extension.{name}"), name).store(StoreKind::Postgres);
            events.item(item.change(Change::Created).detail("extension"));
        }
        let Some(section) = self.config.settings.postgres.clone() else { return Ok(()) };
        let Some(role) = section.app_role.as_deref() else { return Ok(()) };
        let ident = Ident::new(role)?;
        let query = self.grants_query(&section).await?;
        let is_made = self.make_role(role, &ident).await?;
        if is_made {
            let item = Item::pass("postgres.role", role).store(StoreKind::Postgres);
            events.item(item.change(Change::Created).detail("application role"));
        }
        let rows = run(&mut self.connection, query).await.map_err(|error| unreadable(&error))?;
        let mut statements = Vec::new();
        let mut objects = std::collections::BTreeSet::new();
        let mut unknown = Vec::new();
        for row in &rows {
            let object = text(row, 0).unwrap_or_default();
            match text(row, 1) {
                Some(statement) => {
                    statements.push(statement);
                    objects.insert(object);
                }
                None => unknown.push(object.trim_start_matches("unknown ").to_owned()),
            }
        }
        // What a migration makes that is not applied, or not any more, is not there to be read either; it is said all the same,
        // for it may be a slip of the pen.
        if let Some(name) = unknown.first() {
            let what = format!("`[postgres] app_grants_except` names `{name}`, which does not exist");
            let hint = "mend the name in lyrox.toml; it is `table = [\"column\"]`";
            if !has_pending() {
                return Err(Error::new(Code::ConfigValue, what)
                    .why("a name that matches nothing would leave the column readable")
                    .data("no grant was changed")
                    .hint(hint));
            }
            let item = Item::warn("postgres.grants.except", name).store(StoreKind::Postgres);
            events.item(item.detail(format!("{what}; not all migrations are applied")).hint(hint));
        }
        if statements.is_empty() {
            return Ok(());
        }
        let begin = if self.path == Path::Pooled {
            self.begin_locked("").await?;
            ""
        } else {
            "BEGIN; "
        };
        run(&mut self.connection, format!("{begin}{}; COMMIT", statements.join("; "))).await.map_err(|error| {
            server_error(Code::Privilege, format!("`{role}` cannot be given its privileges"), &error)
        })?;
        let count = objects.len();
        let detail = format!("granted on {count} {}", if count == 1 { "object" } else { "objects" });
        let item = Item::pass("postgres.grants", role).store(StoreKind::Postgres);
        events.item(item.change(Change::Updated).detail(detail));
        Ok(())
    }

    /// What asks for every privilege that the role lacks, or has and must not have.
    async fn grants_query(&mut self, section: &crate::config::file::Postgres) -> Result<String> {
        let schemas = self.schemas().await?;
        let hidden: Vec<String> = section
            .app_grants_except
            .iter()
            .flat_map(|(table, columns)| columns.iter().map(move |column| (table, column)))
            .map(|(table, column)| format!("({}, {})", literal(table), literal(column)))
            .collect();
        let hidden = if hidden.is_empty() { "(NULL::text, NULL::text)".to_owned() } else { hidden.join(", ") };
        // Names may hold braces: they are put in last.
        let (before, after) = GRANTS.split_once("{hidden}").unwrap_or((GRANTS, ""));
        Ok(format!("{}{hidden}{}", self.fill(before, &schemas), self.fill(after, &schemas)))
    }

    /// Makes the role where it is missing; refuses one that row-level security could not hold.
    async fn make_role(&mut self, role: &str, ident: &Ident) -> Result<bool> {
        let Some(row) = self.role_row(role).await? else {
            return match run(&mut self.connection, format!("CREATE ROLE {ident} LOGIN")).await {
                Ok(_) => Ok(true),
                // Roles belong to the whole server: another project's run may have been first.
                Err(error) if matches!(sqlstate(&error), Some("42710" | "23505")) => Ok(false),
                Err(error) => Err(server_error(Code::Privilege, format!("role `{role}` cannot be created"), &error)
                    .hint(format!("let an administrator run: CREATE ROLE {ident} LOGIN"))),
            };
        };
        let Some(why) = self.role_trouble(&row) else { return Ok(false) };
        Err(Error::new(Code::Privilege, format!("`{role}` cannot be the application's role"))
            .why(why)
            .data("no grant was changed")
            .hint("name another role as `app_role` under [postgres] in lyrox.toml: lyrox makes it"))
    }

    pub(super) async fn role_row(&mut self, role: &str) -> Result<Option<PgRow>> {
        let sql = format!(
            "SELECT r.rolsuper, r.rolbypassrls, r.rolname = current_user, \
             NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, current_user, 'MEMBER'), \
             (SELECT pg_catalog.min(c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              WHERE c.relowner = r.oid AND n.nspname = {}) FROM pg_catalog.pg_roles r WHERE r.rolname = {}",
            literal(self.settings.schema.name()),
            literal(role)
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        Ok(rows.into_iter().next())
    }

    /// Why row-level security could not hold the role.
    pub(super) fn role_trouble(&self, row: &PgRow) -> Option<String> {
        let is = |at| text(row, at).as_deref() == Some("t");
        Some(if is(0) {
            "it is a superuser, which no row-level security holds".to_owned()
        } else if is(2) {
            "it is the role that lyrox itself works as: it owns the tables".to_owned()
        } else if is(1) {
            "it has BYPASSRLS, which no row-level security holds".to_owned()
        } else if is(3) {
            format!("it is a member of `{}`, the owner of the tables", self.facts.user)
        } else if let Some(table) = text(row, 4) {
            format!("it owns `{table}`; row-level security does not hold owners")
        } else {
            return None;
        })
    }
}

fn unreadable(error: &sqlx::Error) -> Error {
    catalog_error("roles and grants cannot be read", error)
}
