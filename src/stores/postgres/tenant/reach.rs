//! Reaching a tenant: one message that reads its ledger, takes its role and looks what the role finds. A database of its own
//! takes a session of its own.

use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::super::connect::{connect, text};
use super::super::error::server_error;
use super::super::ident::{Ident, literal};
use super::super::{PostgresStore, run};
use crate::config::Endpoint;
use crate::config::file::TenancyModel;
use crate::engine::tenant::plan::quoted;
use crate::error::{Code, Error, Result};
use crate::project::migration::Version;
use crate::stores::tenant_reach::{Aim, ReachStore, Reached, Way};

impl ReachStore for PostgresStore {
    async fn reach_tenant(&mut self, aim: &Aim<'_>) -> Result<Option<Reached>> {
        let sql = self.question(aim)?;
        let own = match (aim.login, aim.terms.model()) {
            (Some(login), _) => Some(login),
            (None, TenancyModel::Database) => Some(&aim.target.direct),
            (None, _) => None,
        };
        let Some(endpoint) = own else {
            let asked = ask(&mut self.connection, aim, &sql).await;
            return judge(aim, &asked?).map(Some);
        };
        let mut session = self.session(endpoint, aim).await?;
        let asked = ask(&mut session, aim, &sql).await;
        let _ = session.close().await;
        judge(aim, &asked?).map(Some)
    }
}

impl PostgresStore {
    async fn session(&self, endpoint: &Endpoint, aim: &Aim<'_>) -> Result<PgConnection> {
        connect(endpoint, aim.target.ca_file.as_deref(), &self.project).await
    }

    /// All that is asked about a tenant. Each row begins with a word that says what it is.
    fn question(&self, aim: &Aim<'_>) -> Result<String> {
        let (model, name) = (aim.terms.model(), aim.tenant.name());
        let schema = if model == TenancyModel::Schema { name.as_str() } else { self.settings.schema.name() };
        let mut sql = "BEGIN READ ONLY; SET LOCAL statement_timeout = '4s';".to_owned();
        if aim.has_ledger && aim.login.is_none() {
            sql.push_str(&format!(
                " SELECT 'row', m.version, m.checksum FROM lyrox.migrations m WHERE m.project = {} AND m.tenant = {} \
                 AND m.store = 'postgres' AND m.state = 'applied';",
                literal(&self.project),
                literal(&aim.target.tenant),
            ));
        }
        let role = match model {
            TenancyModel::Row => aim.app_role.map(str::to_owned),
            _ => aim.terms.tenancy.users.then_some(name.clone()),
        };
        if let Some(role) = role.as_deref().filter(|_| aim.login.is_none()) {
            let role = literal(role);
            // What a password that is known would show by itself.
            sql.push_str(&format!(
                " SELECT 'role', r.rolcanlogin, coalesce(r.rolvaliduntil > pg_catalog.now(), true), \
                 pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT') \
                 FROM pg_catalog.pg_roles r WHERE r.rolname = {role}; \
                 SELECT 'become', pg_catalog.set_config('role', r.rolname, true) FROM pg_catalog.pg_roles r \
                 WHERE r.rolname = {role} AND pg_catalog.pg_has_role(r.oid, CASE WHEN \
                 pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END);"
            ));
        }
        // Where lyrox may not take the role, the catalog says what the role may.
        let own = "pg_catalog.has_schema_privilege(n.oid, 'USAGE')";
        let may = role.as_deref().filter(|_| aim.login.is_none()).map_or_else(
            || own.to_owned(),
            |role| {
                let role = literal(role);
                format!(
                    "coalesce((SELECT pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE') FROM pg_catalog.pg_roles r \
                     WHERE r.rolname = {role}), {own})"
                )
            },
        );
        sql.push_str(&format!(
            " SELECT 'place', {may} FROM pg_catalog.pg_namespace n WHERE n.nspname = {};",
            literal(schema)
        ));
        if let (TenancyModel::Row, Some(table)) = (model, &aim.terms.tenancy.table) {
            sql.push_str(&format!(
                " SELECT 'enter', pg_catalog.set_config({}, {key}, true); SELECT 'own', pg_catalog.count(*) FROM {}.{} WHERE {} = {key};",
                literal(&aim.terms.tenancy.setting),
                self.settings.schema,
                Ident::new(table)?,
                Ident::new(&aim.terms.tenancy.key_column)?,
                key = literal(aim.tenant.key()),
            ));
        }
        sql.push_str(" ROLLBACK");
        Ok(sql)
    }
}

async fn ask(session: &mut PgConnection, aim: &Aim<'_>, sql: &str) -> Result<Vec<PgRow>> {
    match run(session, sql.to_owned()).await {
        Ok(rows) => Ok(rows),
        Err(error) => {
            let _ = run(session, "ROLLBACK".into()).await;
            let what = format!("PostgreSQL refuses what is asked for tenant `{}`", aim.tenant.shown());
            Err(server_error(Code::TenantAstray, what, &error))
        }
    }
}

fn judge(aim: &Aim<'_>, rows: &[PgRow]) -> Result<Reached> {
    let of = |word: &'static str| rows.iter().filter(move |row| text(row, 0).as_deref() == Some(word));
    let is = |row: &PgRow, at| text(row, at).as_deref() == Some("t");
    let (name, key) = (aim.tenant.name(), quoted(aim.tenant.key()));
    let astray = |what: String| Error::new(Code::TenantAstray, what).hint(format!("lyrox tenant verify {key}"));
    if let Some(role) = of("role").next() {
        let why = match (is(role, 1), is(role, 2), is(role, 3)) {
            (false, ..) => "it has no LOGIN",
            (_, false, _) => "its password has expired: VALID UNTIL lies in the past",
            (_, _, false) => "it has no CONNECT on the database",
            _ => "",
        };
        if !why.is_empty() {
            return Err(astray("its role cannot log in to PostgreSQL".into()).why(why));
        }
    }
    match (of("place").next(), aim.terms.model()) {
        (None, TenancyModel::Schema) => return Err(astray(format!("schema {name} is not there"))),
        (Some(place), TenancyModel::Schema) if !is(place, 1) => {
            return Err(astray(format!("its role may not use its schema {name}"))
                .why(format!("the role has no USAGE on it: GRANT USAGE ON SCHEMA \"{name}\" TO \"{name}\"")));
        }
        _ => {}
    }
    if let Some(own) = of("own").next()
        && text(own, 1).as_deref() == Some("0")
    {
        let table = aim.terms.tenancy.table.as_deref().unwrap_or_default();
        return Err(astray(format!("its row in `{table}` is not to be seen as the tenant itself"))
            .why("it is not there, or a policy hides it from the tenant"));
    }
    let way = match (aim.login, of("become").next()) {
        (Some(_), _) => Way::Login,
        (None, Some(_)) => Way::Role,
        (None, None) => Way::Connection,
    };
    let applied = (aim.has_ledger && aim.login.is_none())
        .then(|| of("row").filter_map(|row| Some((Version::new(text(row, 1)?.as_str()), text(row, 2)?))).collect());
    Ok(Reached { way, applied })
}
