//! Shared tables (model `row`): what the catalog lets the application's role reach although policies stand there, or
//! because they do not.

use serde::Deserialize;

use super::super::super::PostgresStore;
use super::super::super::ident::{Ident, literal};
use super::role::{self, Role};
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::stores::tenant_verify::Ask;

/// What the catalog says of one table.
#[derive(Debug, Deserialize)]
struct Table {
    name: String,
    rls: bool,
    forced: bool,
    partition: bool,
    /// The application can read or change it at all.
    reachable: bool,
    columns: Vec<String>,
    /// Privileges that policies do not look at.
    beyond: Vec<String>,
    /// The tables that its foreign keys refer to.
    parents: Vec<String>,
    policies: Vec<Policy>,
}

#[derive(Debug, Deserialize)]
struct Policy {
    name: String,
    /// `*`, `r`, `a`, `w`, `d`.
    cmd: String,
    permissive: bool,
    /// It applies to the application's role.
    applies: bool,
    qual: Option<String>,
    check: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Sequence {
    name: String,
    privileges: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Shared {
    tables: Vec<Table>,
    /// Materialized views that the role may read and that hold rows of these tables.
    matviews: Vec<(String, Vec<String>)>,
    sequences: Vec<Sequence>,
    may_create: bool,
    default_grants: Vec<(String, String)>,
}

/// Which tables the role reaches, with policies, privileges and what is built on them.
fn query(role: &str, schema: &str) -> String {
    format!(
        "WITH RECURSIVE app AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = {role}), \
         rel AS (SELECT c.* FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {schema} \
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')), \
         held (view, relation) AS (SELECT v.oid, d.refobjid FROM rel v JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid \
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass \
          WHERE v.relkind IN ('v', 'm') AND d.refobjid <> v.oid \
          UNION SELECT h.view, d.refobjid FROM held h JOIN pg_catalog.pg_rewrite w ON w.ev_class = h.relation \
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass \
          WHERE d.refobjid <> h.relation) \
         SELECT pg_catalog.jsonb_build_object( \
         'tables', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', t.relname, 'rls', t.relrowsecurity, 'forced', t.relforcerowsecurity, \
          'partition', t.relispartition, \
          'reachable', pg_catalog.has_any_column_privilege(app.oid, t.oid, 'SELECT, INSERT, UPDATE') OR pg_catalog.has_table_privilege(app.oid, t.oid, 'DELETE'), \
          'columns', (SELECT coalesce(pg_catalog.jsonb_agg(a.attname), '[]') FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped), \
          'beyond', (SELECT coalesce(pg_catalog.jsonb_agg(p), '[]') FROM pg_catalog.unnest(ARRAY['TRUNCATE', 'TRIGGER', 'REFERENCES']) p \
            WHERE t.relowner <> app.oid AND pg_catalog.has_table_privilege(app.oid, t.oid, p)), \
          'parents', (SELECT coalesce(pg_catalog.jsonb_agg(DISTINCT r.relname), '[]') FROM pg_catalog.pg_constraint k JOIN rel r ON r.oid = k.confrelid WHERE k.conrelid = t.oid AND k.contype = 'f'), \
          'policies', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', p.polname, 'cmd', p.polcmd, 'permissive', p.polpermissive, \
            'applies', 0 = ANY (p.polroles) OR EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) x WHERE x <> 0 AND pg_catalog.pg_has_role(app.oid, x, 'MEMBER')), \
            'qual', pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'check', pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.polname), '[]') \
            FROM pg_catalog.pg_policy p WHERE p.polrelid = t.oid)) ORDER BY t.relname) FROM rel t, app WHERE t.relkind IN ('r', 'p')), '[]'), \
         'matviews', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(v.relname, (SELECT coalesce(pg_catalog.jsonb_agg(DISTINCT c.relname), '[]') FROM held h \
            JOIN pg_catalog.pg_class c ON c.oid = h.relation WHERE h.view = v.oid AND c.relkind IN ('r', 'p'))) ORDER BY v.relname) \
            FROM rel v, app WHERE v.relkind = 'm' AND pg_catalog.has_any_column_privilege(app.oid, v.oid, 'SELECT')), '[]'), \
         'sequences', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', s.relname, 'privileges', (SELECT coalesce(pg_catalog.jsonb_agg(p), '[]') \
            FROM pg_catalog.unnest(ARRAY['UPDATE', 'SELECT']) p WHERE pg_catalog.has_sequence_privilege(app.oid, s.oid, p))) ORDER BY s.relname) \
            FROM rel s, app WHERE s.relkind = 'S' AND s.relowner <> app.oid), '[]'), \
         'may_create', (SELECT pg_catalog.has_schema_privilege(app.oid, n.oid, 'CREATE') FROM pg_catalog.pg_namespace n, app WHERE n.nspname = {schema}), \
         'default_grants', coalesce((SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_array(x.privilege_type, o.rolname)) FROM pg_catalog.pg_default_acl a \
            JOIN pg_catalog.pg_roles o ON o.oid = a.defaclrole LEFT JOIN pg_catalog.pg_namespace n ON n.oid = a.defaclnamespace, pg_catalog.aclexplode(a.defaclacl) x, app \
            WHERE a.defaclobjtype = 'r' AND x.grantee IN (0, app.oid) AND x.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES') \
            AND (n.nspname IS NULL OR n.nspname = {schema}) AND o.oid <> app.oid), '[]'))::text"
    )
}

impl PostgresStore {
    /// Judges the application's role and the shared tables. Answers the role, and whether policies bind it; none: it is
    /// not known, and nothing can be tried.
    pub(super) async fn judge_shared(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<Option<(String, bool)>> {
        proof.area("role", "Policies bind the application's role");
        let section = ask.run.config.settings.postgres.as_ref();
        let Some(app) = section.and_then(|section| section.app_role.clone()) else {
            proof.untried(
                "no_role",
                "role of the application",
                "lyrox.toml does not say as which role the application works",
                "app_role = \"NAME\" under [postgres] in lyrox.toml",
            );
            return Ok(None);
        };
        let (setting, schema) = (&ask.terms.tenancy.setting, self.schema_literal());
        let roles: Vec<Role> = self.facts_of(role::query(&literal(&app), &schema, &literal(setting))).await?;
        let Some(role) = roles.first() else {
            proof.untried(
                "no_role",
                format!("role {}", Ident::new(&app)?),
                "the server has no such role",
                "lyrox db migrate",
            );
            return Ok(None);
        };
        let is_bound = role.judge(setting, "the application", proof)?;
        if is_bound && !proof.leaks(&format!("role {}", Ident::new(&app)?)) {
            proof.held(1);
        }
        let shared: Shared = self.facts_of(query(&literal(&app), &schema)).await?;
        self.judge_tables(ask, &app, &shared, proof)?;
        Ok(Some((app, is_bound)))
    }

    fn judge_tables(&self, ask: &Ask<'_>, app: &str, shared: &Shared, proof: &mut Proof) -> Result<()> {
        let tenancy = &ask.terms.tenancy;
        let is_tenants = |name: &str| {
            if tenancy.global.iter().any(|global| global == name) {
                return false;
            }
            let mut seen = vec![name];
            let mut at = 0;
            // A table belongs to tenants by its own column, or by a foreign key to one that does.
            while at < seen.len() {
                let Some(table) = shared.tables.iter().find(|table| table.name == seen[at]) else { break };
                let has = tenancy.column.as_ref().is_some_and(|column| table.columns.contains(column));
                if has || tenancy.table.as_deref() == Some(table.name.as_str()) {
                    return true;
                }
                seen.extend(
                    table
                        .parents
                        .iter()
                        .map(String::as_str)
                        .filter(|parent| !seen.contains(parent))
                        .collect::<Vec<_>>(),
                );
                at += 1;
            }
            false
        };
        let role = Ident::new(app)?;
        let schema = &self.settings.schema;
        proof.area("tables", "Row-level security stands on every tenant's table");
        for table in &shared.tables {
            let name = Ident::new(&table.name)?;
            let object = format!("table {name}");
            let full = format!("{schema}.{name}");
            if !is_tenants(&table.name) {
                if tenancy.global.contains(&table.name) || !table.reachable {
                    proof.held(1);
                    continue;
                }
                let column = tenancy.column.as_deref().unwrap_or("tenant_id");
                proof.leak(
                    "no_tenant",
                    object,
                    format!("{role} reaches it, it has no `{column}` and no foreign key to a tenant's table: nothing tells whose its rows are"),
                    format!("ALTER TABLE {full} ADD COLUMN {} ...; or name it in `global` under [tenancy]", Ident::new(column)?),
                );
                continue;
            }
            for privilege in &table.beyond {
                let what = match privilege.as_str() {
                    "TRUNCATE" => "TRUNCATE empties it for every tenant: no policy is asked",
                    "TRIGGER" => "a trigger of its own would run with every other tenant's rows",
                    _ => "a foreign key of its own would tell which rows of others exist: no policy is asked",
                };
                proof.leak(
                    if privilege == "TRUNCATE" { "truncate" } else { "privilege" },
                    format!("{object}, {privilege}"),
                    format!("{role} has {privilege}: {what}"),
                    format!("REVOKE {privilege} ON {full} FROM {role}, PUBLIC"),
                );
            }
            if !table.rls {
                // A partition is asked by its own policies only where it is read by its own name.
                if table.partition && !table.reachable {
                    proof.held(1);
                    continue;
                }
                proof.leak(
                    "rls_off",
                    object,
                    format!("SELECT as {role} shows every tenant's rows: row-level security is not enabled"),
                    format!("ALTER TABLE {full} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"),
                );
                continue;
            }
            if !table.forced {
                proof.leak(
                    "rls_unforced",
                    object.clone(),
                    "row-level security does not bind its owner: views and functions that the owner made, and whoever becomes the owner, see every tenant's rows",
                    format!("ALTER TABLE {full} FORCE ROW LEVEL SECURITY"),
                );
            } else {
                proof.held(1);
            }
            self.judge_policies(ask, table, &role, &full, proof)?;
        }
        proof.area("views", "What is built on the tables shows no other tenant's rows");
        for (view, tables) in &shared.matviews {
            let name = Ident::new(view)?;
            if !tables.iter().any(|table| is_tenants(table)) {
                proof.held(1);
                continue;
            }
            proof.leak(
                "matview",
                format!("materialized view {name}"),
                format!(
                    "SELECT as {role}: it holds every tenant's rows of {}, and no policy is asked",
                    tables.join(", ")
                ),
                format!("REVOKE ALL ON {schema}.{name} FROM {role}, PUBLIC"),
            );
        }
        proof.area("sequences", "Sequences cannot be moved");
        for sequence in &shared.sequences {
            let name = Ident::new(&sequence.name)?;
            if sequence.privileges.iter().any(|privilege| privilege == "UPDATE") {
                proof.leak(
                    "sequence",
                    format!("sequence {name}"),
                    format!(
                        "{role} may call setval: the next rows of every tenant fail or take numbers that are known"
                    ),
                    format!("REVOKE UPDATE ON SEQUENCE {schema}.{name} FROM {role}, PUBLIC"),
                );
            } else if sequence.privileges.iter().any(|privilege| privilege == "SELECT") {
                proof.leak(
                    "sequence_read",
                    format!("sequence {name}"),
                    format!("SELECT last_value as {role} tells how many rows all tenants made"),
                    format!("REVOKE SELECT ON SEQUENCE {schema}.{name} FROM {role}, PUBLIC"),
                );
            } else {
                proof.held(1);
            }
        }
        proof.area("schema", "The application's role makes nothing in the schema");
        if shared.may_create {
            proof.leak(
                "create",
                format!("schema {schema}"),
                format!(
                    "{role} may create in it: a function or table of its own stands before the real one for everybody"
                ),
                format!("REVOKE CREATE ON SCHEMA {schema} FROM {role}, PUBLIC"),
            );
        } else {
            proof.held(1);
        }
        for (privilege, owner) in &shared.default_grants {
            let owner = Ident::new(owner)?;
            proof.leak(
                "default_privilege",
                format!("default privileges of {owner}"),
                format!("the next table that {owner} makes gives {role} {privilege}"),
                format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} REVOKE {privilege} ON TABLES FROM {role}, PUBLIC"),
            );
        }
        Ok(())
    }

    /// What a policy's text alone says: open for a command, an error where the setting is not there.
    fn judge_policies(&self, ask: &Ask<'_>, table: &Table, role: &Ident, full: &str, proof: &mut Proof) -> Result<()> {
        let setting = &ask.terms.tenancy.setting;
        let is_open = |expression: Option<&str>| {
            expression.is_some_and(|text| matches!(text.trim_matches(['(', ')']).trim(), "true" | "1 = 1"))
        };
        for policy in table.policies.iter().filter(|policy| policy.applies) {
            let name = Ident::new(&policy.name)?;
            let object = format!("policy {name} on {}", Ident::new(&table.name)?);
            if policy.permissive && (is_open(policy.qual.as_deref()) || is_open(policy.check.as_deref())) {
                let command = match policy.cmd.as_str() {
                    "r" => "SELECT",
                    "a" => "INSERT",
                    "w" => "UPDATE",
                    "d" => "DELETE",
                    _ => "every command",
                };
                proof.leak(
                    "policy_open",
                    object,
                    format!("{command} as {role}: the policy is permissive and true, and permissive policies are joined by OR"),
                    format!("DROP POLICY {name} ON {full}"),
                );
                continue;
            }
            let strict = format!("current_setting('{}'::text)", setting.replace('\'', "''"));
            let texts = [policy.qual.as_deref(), policy.check.as_deref()];
            if texts.into_iter().flatten().any(|text| text.contains(&strict)) {
                proof.leak(
                    "setting_strict",
                    object,
                    format!("where `{setting}` was never set it raises 42704: a session that names no tenant fails instead of seeing nothing"),
                    format!("ALTER POLICY {name} ON {full} ... nullif(current_setting({}, true), '')", literal(setting)),
                );
            }
        }
        Ok(())
    }
}
