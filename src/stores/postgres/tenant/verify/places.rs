//! A schema or a database for each tenant: nobody but its own role gets in. Asked of the catalog for all of them at once,
//! then tried: as each tenant's role at its neighbour's place, and as a role that is nobody's.

use serde::Deserialize;

use super::super::super::connect::{self, text};
use super::super::super::error::words;
use super::super::super::ident::{Ident, literal};
use super::super::super::{PostgresStore, run};
use super::super::list;
use super::role::{self, Role};
use crate::config::Endpoint;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::{Proof, Weight};
use crate::error::{Code, Result};
use crate::stores::tenant_verify::Ask;

/// So many databases are logged in to: each login costs both sides thousands of digests.
const LOGINS: usize = 16;

/// A privilege on a tenant's place that is not its role's.
#[derive(Debug, Deserialize)]
struct Grant {
    place: String,
    grantee: String,
    privilege: String,
    /// A tenant's role that gets it that way.
    reaches: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Schemas {
    grants: Vec<Grant>,
    /// Schemas and relations of one tenant that another tenant's role owns: kind, path, owner, schema.
    owned: Vec<(String, String, String, String)>,
    /// Role, and its `search_path` in this database; none: it has none of its own.
    paths: Vec<(String, Option<String>)>,
    /// Views and foreign keys that lead from one tenant's schema to another's: kind, path, the other's path.
    across: Vec<(String, String, String)>,
    functions: Vec<Function>,
    public_create: bool,
    default_grants: Vec<(String, String, String)>,
}

/// Roles and a table of each schema.
#[derive(Debug, Deserialize)]
struct There {
    roles: Vec<String>,
    relations: Vec<(String, String)>,
}

/// A function that runs with its owner's rights.
#[derive(Debug, Deserialize)]
struct Function {
    schema: String,
    path: String,
    has_path: bool,
    source: String,
}

/// What is open between these schemas.
fn schemas_query(names: &str, project: &str) -> String {
    format!(
        "WITH n AS (SELECT * FROM pg_catalog.pg_namespace WHERE nspname IN ({names})), \
         t AS (SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname IN ({names})), \
         rel AS (SELECT c.*, n.nspname, pg_catalog.format('%I.%I', n.nspname, c.relname) AS path FROM pg_catalog.pg_class c JOIN n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')), \
         raw AS (SELECT n.nspname, n.nspname AS place, n.nspowner AS owner, x.grantee, x.privilege_type FROM n, pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) x), \
         foreigners AS (SELECT raw.*, g.rolname, (SELECT t.rolname FROM t WHERE t.rolname <> raw.nspname AND (raw.grantee = 0 OR raw.grantee = t.oid \
           OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = t.oid AND m.roleid = raw.grantee)) ORDER BY 1 LIMIT 1) AS reaches \
           FROM raw LEFT JOIN pg_catalog.pg_roles g ON g.oid = raw.grantee WHERE raw.grantee <> raw.owner AND coalesce(g.rolname, '') <> raw.nspname) \
         SELECT pg_catalog.jsonb_build_object( \
         'grants', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('place', place, 'grantee', coalesce(rolname, 'PUBLIC'), 'privilege', privilege_type, 'reaches', reaches) \
            ORDER BY place, 2, privilege_type) FROM foreigners WHERE grantee = 0 OR reaches IS NOT NULL), '[]'), \
         'owned', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(k, path, rolname, nspname) ORDER BY path) FROM ( \
            SELECT 'schema' AS k, pg_catalog.quote_ident(n.nspname) AS path, t.rolname, n.nspname FROM n JOIN t ON t.oid = n.nspowner WHERE t.rolname <> n.nspname \
            UNION ALL SELECT 'table', rel.path, t.rolname, rel.nspname FROM rel JOIN t ON t.oid = rel.relowner WHERE t.rolname <> rel.nspname AND rel.relkind IN ('r', 'p', 'v', 'm')) o), '[]'), \
         'paths', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(t.rolname, (SELECT pg_catalog.substr(e, 13) FROM pg_catalog.pg_db_role_setting s \
            LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, pg_catalog.unnest(s.setconfig) e WHERE s.setrole = t.oid AND e LIKE 'search\\_path=%' \
            AND (s.setdatabase = 0 OR d.datname = pg_catalog.current_database()) ORDER BY s.setdatabase DESC LIMIT 1)) ORDER BY t.rolname) FROM t), '[]'), \
         'across', coalesce((SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_array(k, path, other)) FROM ( \
            SELECT CASE v.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END AS k, v.path, o.path AS other FROM rel v JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid \
             JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass \
             JOIN rel o ON o.oid = d.refobjid WHERE v.relkind IN ('v', 'm') AND o.nspname <> v.nspname \
            UNION ALL SELECT 'foreign key', pg_catalog.format('%I on %s', c.conname, a.path), b.path FROM pg_catalog.pg_constraint c JOIN rel a ON a.oid = c.conrelid \
             JOIN rel b ON b.oid = c.confrelid WHERE c.contype = 'f' AND a.nspname <> b.nspname \
            UNION ALL SELECT 'table', a.path, b.path FROM pg_catalog.pg_inherits i JOIN rel a ON a.oid = i.inhrelid JOIN rel b ON b.oid = i.inhparent WHERE a.nspname <> b.nspname \
            UNION ALL SELECT 'view', pg_catalog.format('%I.%I', p.nspname, v.relname), o.path FROM pg_catalog.pg_class v JOIN pg_catalog.pg_namespace p ON p.oid = v.relnamespace \
             JOIN pg_catalog.pg_rewrite w ON w.ev_class = v.oid JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid \
             AND d.refclassid = 'pg_catalog.pg_class'::regclass JOIN rel o ON o.oid = d.refobjid WHERE v.relkind IN ('v', 'm') AND p.nspname NOT IN ({names}) \
             AND EXISTS (SELECT FROM t WHERE t.rolname <> o.nspname AND pg_catalog.has_schema_privilege(t.oid, p.oid, 'USAGE') AND pg_catalog.has_table_privilege(t.oid, v.oid, 'SELECT'))) a), '[]'), \
         'functions', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('schema', p.nspname, 'path', pg_catalog.format('%I.%I(%s)', p.nspname, f.proname, pg_catalog.pg_get_function_identity_arguments(f.oid)), \
            'has_path', EXISTS (SELECT FROM pg_catalog.unnest(f.proconfig) e WHERE e LIKE 'search\\_path=%'), 'source', coalesce(f.prosrc, '') || CASE WHEN f.prokind = 'f' THEN pg_catalog.pg_get_functiondef(f.oid) ELSE '' END) ORDER BY 1) \
            FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace p ON p.oid = f.pronamespace WHERE f.prosecdef AND (p.nspname IN ({names}) OR p.nspname IN ({project}, 'public')) \
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e') \
            AND f.prorettype <> 'trigger'::regtype \
            AND EXISTS (SELECT FROM t WHERE pg_catalog.has_schema_privilege(t.oid, p.oid, 'USAGE') AND pg_catalog.has_function_privilege(t.oid, f.oid, 'EXECUTE'))), '[]'), \
         'public_create', EXISTS (SELECT FROM pg_catalog.pg_namespace p, t WHERE p.nspname = 'public' AND pg_catalog.has_schema_privilege(t.oid, p.oid, 'CREATE')), \
         'default_grants', coalesce((SELECT pg_catalog.jsonb_agg(DISTINCT pg_catalog.jsonb_build_array(n.nspname, o.rolname, coalesce(g.rolname, 'PUBLIC'))) FROM pg_catalog.pg_default_acl a JOIN n ON n.oid = a.defaclnamespace \
            JOIN pg_catalog.pg_roles o ON o.oid = a.defaclrole, pg_catalog.aclexplode(a.defaclacl) x LEFT JOIN pg_catalog.pg_roles g ON g.oid = x.grantee \
            WHERE a.defaclobjtype = 'r' AND (x.grantee = 0 OR g.rolname IN (SELECT rolname FROM t WHERE rolname <> n.nspname))), '[]'))::text"
    )
}

fn grantee(name: &str) -> Result<String> {
    if name == "PUBLIC" { Ok(name.to_owned()) } else { Ident::new(name).map(|ident| ident.to_string()) }
}

impl PostgresStore {
    /// The roles of the tenants, and what binds them.
    async fn judge_roles(&mut self, ask: &Ask<'_>, schemas: &str, proof: &mut Proof) -> Result<()> {
        proof.area("roles", "Each tenant's role is nothing but its own");
        if !ask.terms.tenancy.users {
            proof.untried(
                "no_users",
                "roles of the tenants",
                "`users = false`: all tenants share the application's role, and only what the application names keeps them apart",
                "users = true under [tenancy] in lyrox.toml, then: lyrox tenant create KEY",
            );
            return Ok(());
        }
        let names: Vec<String> = ask.tenants.iter().map(Tenant::name).collect();
        let setting = literal(&ask.terms.tenancy.setting);
        let roles: Vec<Role> = self.facts_of(role::query(&list(&names), schemas, &setting)).await?;
        for role in roles {
            let before = proof.areas.last().map_or(0, |area| area.findings.len());
            role.judge(&ask.terms.tenancy.setting, "the tenant", proof)?;
            if proof.areas.last().map_or(0, |area| area.findings.len()) == before {
                proof.held(1);
            }
        }
        Ok(())
    }

    /// A schema for each tenant.
    pub(super) async fn judge_schemas(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        if ask.tenants.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = ask.all.iter().map(Tenant::name).collect();
        let key_of =
            |name: &str| ask.all.iter().find(|tenant| tenant.name() == name).map(|tenant| tenant.key().to_owned());
        let is_asked = |name: &str| ask.is_all || ask.tenants.iter().any(|tenant| tenant.name() == name);
        self.judge_roles(ask, &list(&names), proof).await?;
        let facts: Schemas = self.facts_of(schemas_query(&list(&names), &self.schema_literal())).await?;
        proof.area("schemas", "Nobody but its role gets into a tenant's schema");
        let mut sound = ask.tenants.len();
        for grant in facts.grants.iter().filter(|grant| is_asked(&grant.place)) {
            sound = sound.saturating_sub(1);
            let (place, to) = (Ident::new(&grant.place)?, grantee(&grant.grantee)?);
            let who = grant.reaches.clone().unwrap_or_else(|| "everybody".into());
            let key = key_of(&grant.place).unwrap_or_default();
            proof.of(
                &key,
                Weight::Leak,
                if grant.privilege == "CREATE" { "schema_create" } else { "schema_usage" },
                format!("schema {place}"),
                format!("{to} has {} on it: `{who}` gets in", grant.privilege),
                format!("REVOKE {} ON SCHEMA {place} FROM {to}", grant.privilege),
            );
        }
        for (kind, path, owner, schema) in facts.owned.iter().filter(|(_, _, _, schema)| is_asked(schema)) {
            let what = if kind == "schema" { "SCHEMA" } else { "TABLE" };
            let key = key_of(schema).unwrap_or_default();
            proof.of(
                &key,
                Weight::Leak,
                "owned",
                format!("{kind} {path}"),
                format!("{} owns it: it can do anything with it", Ident::new(owner)?),
                format!("ALTER {what} {path} OWNER TO {}", Ident::new(&self.facts.user)?),
            );
        }
        for (schema, owner, to) in facts.default_grants.iter().filter(|(schema, ..)| is_asked(schema)) {
            let (schema_name, owner, to) = (Ident::new(schema)?, Ident::new(owner)?, grantee(to)?);
            proof.of(
                &key_of(schema).unwrap_or_default(),
                Weight::Leak,
                "default_privilege",
                format!("default privileges of {owner} in {schema_name}"),
                format!("the next table that {owner} makes there is {to}'s to use"),
                format!(
                    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema_name} REVOKE ALL ON TABLES FROM {to}"
                ),
            );
        }
        proof.held(sound);
        proof.area("search_path", "Each role finds its own schema and no other");
        let database = Ident::new(&self.facts.database)?;
        for (name, path) in facts.paths.iter().filter(|(name, _)| is_asked(name)) {
            let role = Ident::new(name)?;
            let parts: Vec<String> = path
                .iter()
                .flat_map(|path| path.split(','))
                .map(|part| part.trim().trim_matches('"').to_owned())
                .collect();
            let other = parts.iter().find(|part| names.contains(part) && *part != name);
            let why = match (other, parts.first()) {
                (Some(other), _) => format!("`{other}`, another tenant's schema, is in its search_path"),
                (None, Some(first)) if first == name => {
                    proof.held(1);
                    continue;
                }
                (None, Some(first)) => format!("`{first}` comes before its own schema in its search_path"),
                (None, None) => {
                    "it has no search_path of its own: tables are looked for where all tenants look".to_owned()
                }
            };
            proof.of(
                &key_of(name).unwrap_or_default(),
                Weight::Leak,
                "search_path",
                format!("search_path of {role}"),
                why,
                format!("ALTER ROLE {role} IN DATABASE {database} SET search_path = {role}"),
            );
        }
        if facts.public_create {
            proof.leak(
                "create",
                "schema public",
                "tenants' roles may create in it: what one of them puts there is found by all",
                "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            );
        }
        proof.area("across", "Nothing leads from one schema to another");
        if facts.across.is_empty() {
            proof.held(1);
        }
        for (kind, path, other) in &facts.across {
            let close = match kind.as_str() {
                "foreign key" => {
                    let (name, table) = path.split_once(" on ").unwrap_or((path, ""));
                    format!("ALTER TABLE {table} DROP CONSTRAINT {name}")
                }
                "table" => format!("ALTER TABLE {path} NO INHERIT {other}"),
                kind => format!("DROP {} {path}", kind.to_uppercase()),
            };
            proof.leak("across", format!("{kind} {path}"), format!("it leads to {other} of another tenant"), close);
        }
        for function in &facts.functions {
            let other = names.iter().find(|name| **name != function.schema && mentions(&function.source, name));
            if let Some(other) = other {
                proof.leak(
                    "definer",
                    format!("function {}", function.path),
                    format!("it is SECURITY DEFINER, tenants' roles may call it, and its text names `{other}`"),
                    format!("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC", function.path),
                );
            } else if !function.has_path {
                proof.leak(
                    "definer_path",
                    format!("function {}", function.path),
                    "it is SECURITY DEFINER without a search_path of its own: who calls it decides whose tables it works on, with the owner's rights",
                    format!("ALTER FUNCTION {} SET search_path = {}, pg_temp", function.path, Ident::new(&function.schema)?),
                );
            } else {
                proof.held(1);
            }
        }
        Ok(())
    }

    /// As the role of each of these tenants at its own table and at those of its neighbours.
    pub(super) async fn try_tenants(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        if !ask.terms.tenancy.users || ask.tenants.is_empty() {
            return Ok(());
        }
        let list_of = |tenants: &[Tenant]| list(&tenants.iter().map(Tenant::name).collect::<Vec<_>>());
        let (own, all) = (list_of(ask.tenants), list_of(ask.all));
        let sql = format!(
            "SELECT pg_catalog.jsonb_build_object('roles', coalesce((SELECT pg_catalog.jsonb_agg(rolname ORDER BY rolname) \
             FROM pg_catalog.pg_roles WHERE rolname IN ({own})), '[]'), 'relations', coalesce((SELECT pg_catalog.jsonb_agg( \
             pg_catalog.jsonb_build_array(nspname, path) ORDER BY nspname) FROM (SELECT DISTINCT ON (n.nspname) n.nspname, \
             pg_catalog.format('%I.%I', n.nspname, c.relname) AS path FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
             ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND n.nspname IN ({all}, {own}) ORDER BY 1, 2) r), '[]'))::text"
        );
        let there: There = self.facts_of(sql).await?;
        self.try_schemas(ask, &there.roles, &there.relations, proof).await
    }

    /// As each tenant's role at its neighbour's table, and at every table as a role that is nobody's.
    async fn try_schemas(
        &mut self,
        ask: &Ask<'_>,
        roles: &[String],
        relations: &[(String, String)],
        proof: &mut Proof,
    ) -> Result<()> {
        proof.area("tries", "Each role was tried at another tenant's tables");
        if roles.is_empty() || relations.is_empty() {
            return Ok(());
        }
        let nobody = format!("lyrox_verify_{}", ask.run.id);
        let mut tries: Vec<(String, String, String)> = Vec::new();
        for (at, role) in roles.iter().enumerate() {
            let own = relations.iter().find(|(schema, _)| schema == role);
            if let Some((_, path)) = own {
                tries.push((role.clone(), format!("SELECT FROM {path} LIMIT 1"), "own".into()));
            }
            // The neighbours on both sides; of a pair each is tried at the other.
            let others: Vec<&(String, String)> = relations.iter().filter(|(schema, _)| schema != role).collect();
            for other in [at, at.saturating_sub(1)].into_iter().filter_map(|at| others.get(at % others.len().max(1))) {
                if !tries.iter().any(|(known, sql, _)| known == role && sql.contains(&other.1)) {
                    tries.push((role.clone(), format!("SELECT FROM {} LIMIT 1", other.1), other.1.clone()));
                }
            }
        }
        if ask.run.may_write {
            tries.extend(
                relations.iter().map(|(_, path)| (nobody.clone(), format!("SELECT FROM {path} LIMIT 1"), path.clone())),
            );
        }
        let make =
            if ask.run.may_write { format!("CREATE ROLE {} NOLOGIN;", Ident::new(&nobody)?) } else { String::new() };
        let answers = self.tries_as(&make, &tries, ask.run.may_write).await?;
        for ((role, sql, what), answer) in tries.iter().zip(answers) {
            let name = Ident::new(role)?;
            match (answer.as_str(), what.as_str()) {
                ("", "own") | ("42501", "own") => proof.held(usize::from(answer.is_empty())),
                ("42501", _) => proof.held(1),
                ("", path) => proof.leak(
                    "reads",
                    format!("table {path}"),
                    format!(
                        "`{sql}` as {} answered",
                        if *role == nobody { "a role that is nobody's".into() } else { name.to_string() }
                    ),
                    format!("REVOKE ALL ON {path} FROM PUBLIC, {name}"),
                ),
                (code, _) => proof.untried(
                    "role_tried",
                    format!("role {name}"),
                    format!("`{sql}` as it ended with {code}"),
                    format!("GRANT {name} TO {}", Ident::new(&self.facts.user)?),
                ),
            }
        }
        Ok(())
    }

    /// Runs each statement as its role, in one transaction that is rolled back; answers the SQLSTATE of each, empty where
    /// it went through.
    async fn tries_as(
        &mut self,
        make: &str,
        tries: &[(String, String, String)],
        may_write: bool,
    ) -> Result<Vec<String>> {
        let json = serde_json::to_string(&tries.iter().map(|(role, sql, _)| [role, sql]).collect::<Vec<_>>());
        let json = literal(&json.unwrap_or_default());
        let grant = if self.facts.version >= 160_000 { " WITH SET TRUE" } else { "" };
        let body = format!(
            "DECLARE t pg_catalog.jsonb; answers pg_catalog.jsonb := '[]'; c pg_catalog.text; BEGIN \
             FOR t IN SELECT * FROM pg_catalog.jsonb_array_elements({json}::pg_catalog.jsonb) LOOP \
             BEGIN BEGIN EXECUTE pg_catalog.format('SET LOCAL ROLE %I', t->>0); EXCEPTION WHEN insufficient_privilege THEN \
             EXECUTE pg_catalog.format('GRANT %I TO CURRENT_USER{grant}', t->>0); EXECUTE pg_catalog.format('SET LOCAL ROLE %I', t->>0); END; \
             BEGIN EXECUTE t->>1; RAISE EXCEPTION USING ERRCODE = 'LX000'; \
             EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS c = RETURNED_SQLSTATE; END; \
             RAISE EXCEPTION USING ERRCODE = 'LX001'; \
             EXCEPTION WHEN SQLSTATE 'LX001' THEN NULL; WHEN OTHERS THEN GET STACKED DIAGNOSTICS c = RETURNED_SQLSTATE; c := 'role ' || c; END; \
             answers := answers || pg_catalog.to_jsonb(CASE c WHEN 'LX000' THEN '' ELSE c END); END LOOP; \
             PERFORM pg_catalog.set_config('lyrox.answers', answers::pg_catalog.text, true); END"
        );
        let mode = if may_write { "" } else { " READ ONLY" };
        let sql = format!(
            "BEGIN{mode}; SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '60s'; {make} DO {}; \
             SELECT pg_catalog.current_setting('lyrox.answers', true); ROLLBACK",
            literal(&body)
        );
        match run(&mut self.connection, sql).await {
            Ok(rows) => {
                let json = rows.iter().filter_map(|row| text(row, 0)).next_back().unwrap_or_default();
                let answers: Vec<String> = serde_json::from_str(&json).unwrap_or_default();
                if answers.len() == tries.len() {
                    return Ok(answers);
                }
                Ok(vec!["no answer".into(); tries.len()])
            }
            Err(error) if super::super::super::error::is_lost(&error) => Err(super::unreadable(&error)),
            Err(error) => {
                let said = words(&error);
                let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                Ok(vec![said; tries.len()])
            }
        }
    }

    /// A database for each tenant.
    pub(super) async fn judge_databases(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        if ask.tenants.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = ask.all.iter().map(Tenant::name).collect();
        let key_of =
            |name: &str| ask.all.iter().find(|tenant| tenant.name() == name).map(|tenant| tenant.key().to_owned());
        let is_asked = |name: &str| ask.tenants.iter().any(|tenant| tenant.name() == name);
        self.judge_roles(ask, &self.schema_literal(), proof).await?;
        let listed = list(&names);
        let sql = format!(
            "WITH t AS (SELECT r.oid, r.rolname FROM pg_catalog.pg_roles r WHERE r.rolname IN ({listed})), \
             raw AS (SELECT d.datname, d.datdba, x.grantee, x.privilege_type FROM pg_catalog.pg_database d, \
              pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) x WHERE d.datname IN ({listed})), \
             open AS (SELECT raw.*, g.rolname, (SELECT t.rolname FROM t WHERE t.rolname <> raw.datname AND (raw.grantee = 0 OR raw.grantee = t.oid \
              OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m WHERE m.member = t.oid AND m.roleid = raw.grantee)) ORDER BY 1 LIMIT 1) AS reaches \
              FROM raw LEFT JOIN pg_catalog.pg_roles g ON g.oid = raw.grantee WHERE raw.grantee <> raw.datdba AND coalesce(g.rolname, '') <> raw.datname) \
             SELECT pg_catalog.jsonb_build_object( \
             'grants', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('place', datname, 'grantee', coalesce(rolname, 'PUBLIC'), 'privilege', privilege_type, 'reaches', reaches) \
               ORDER BY datname, 2, privilege_type) FROM open WHERE grantee = 0 OR reaches IS NOT NULL), '[]'), \
             'owned', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(d.datname, t.rolname)) FROM pg_catalog.pg_database d JOIN t ON t.oid = d.datdba \
               WHERE d.datname IN ({listed}) AND t.rolname <> d.datname), '[]'), \
             'closed', coalesce((SELECT pg_catalog.jsonb_agg(d.datname) FROM pg_catalog.pg_database d WHERE d.datname IN ({listed}) AND NOT d.datallowconn), '[]'))::text"
        );
        #[derive(Deserialize)]
        struct Databases {
            grants: Vec<Grant>,
            owned: Vec<(String, String)>,
            closed: Vec<String>,
        }
        let facts: Databases = self.facts_of(sql).await?;
        proof.area("databases", "Nobody but its role connects to a tenant's database");
        let mut sound = ask.tenants.len();
        for grant in facts.grants.iter().filter(|grant| is_asked(&grant.place)) {
            sound = sound.saturating_sub(1);
            let (place, to) = (Ident::new(&grant.place)?, grantee(&grant.grantee)?);
            let who = grant.reaches.clone().unwrap_or_else(|| "everybody".into());
            proof.of(
                &key_of(&grant.place).unwrap_or_default(),
                Weight::Leak,
                "connect",
                format!("database {place}"),
                format!("{to} has {} on it: `{who}` gets in", grant.privilege),
                format!("REVOKE ALL ON DATABASE {place} FROM {to}"),
            );
        }
        proof.held(sound);
        for (database, owner) in facts.owned.iter().filter(|(database, _)| is_asked(database)) {
            let place = Ident::new(database)?;
            proof.of(
                &key_of(database).unwrap_or_default(),
                Weight::Leak,
                "owned",
                format!("database {place}"),
                format!("{} owns it, another tenant's role", Ident::new(owner)?),
                format!("ALTER DATABASE {place} OWNER TO {}", Ident::new(&self.facts.user)?),
            );
        }
        for database in facts.closed.iter().filter(|database| is_asked(database)) {
            let place = Ident::new(database)?;
            proof.of(
                &key_of(database).unwrap_or_default(),
                Weight::Astray,
                "closed",
                format!("database {place}"),
                "it takes no connections",
                format!("ALTER DATABASE {place} ALLOW_CONNECTIONS true"),
            );
        }
        self.try_databases(ask, proof).await
    }

    /// Logs in as a role that is nobody's, at the tenants' databases.
    async fn try_databases(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        proof.area("logins", "A role that is nobody's was refused by the tenants' databases");
        if !ask.run.may_write {
            proof.untried(
                "login",
                "logins",
                "a role would be made, and the environment is protected",
                "lyrox tenant verify --write",
            );
            return Ok(());
        }
        let (name, password) = match self.make_throwaway(&ask.run.id).await? {
            Ok(made) => made,
            Err(why) => {
                let close = format!("ALTER ROLE {} CREATEROLE", Ident::new(&self.facts.user)?);
                proof.untried("login", "logins", format!("no role can be made: {why}"), close);
                return Ok(());
            }
        };
        for tenant in ask.tenants.iter().take(LOGINS) {
            let place = Ident::new(&tenant.name())?;
            let direct = &self.target.direct;
            let url = direct.url.with_login(&name, password.clone()).with_database(&tenant.name());
            let endpoint = Endpoint { url, origin: direct.origin.clone() };
            match connect::connect(&endpoint, ask.ca_file.as_deref(), "verify").await {
                Err(error) if matches!(error.code(), Code::Privilege | Code::DatabaseClosed) => proof.held(1),
                Err(error) => {
                    let why = format!("{}: {}", error.what(), error.why_text().unwrap_or_default());
                    proof.untried("login", format!("database {place}"), why, "");
                }
                Ok(connection) => {
                    let _ = sqlx::Connection::close(connection).await;
                    proof.of(
                        tenant.key(),
                        Weight::Leak,
                        "connect",
                        format!("database {place}"),
                        "a role that is nobody's logged in to it",
                        format!("REVOKE ALL ON DATABASE {place} FROM PUBLIC"),
                    );
                }
            }
        }
        if ask.tenants.len() > LOGINS {
            proof.note(format!("the first {LOGINS}; what everybody may is the same for all and asked of the catalog"));
        }
        self.drop_throwaways().await.map(drop)
    }
}

/// Whether a text names a schema as a word of its own.
fn mentions(source: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    source
        .match_indices(name)
        .any(|(at, _)| !source[..at].ends_with(is_word) && !source[at + name.len()..].starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_named_as_a_word() {
        assert!(mentions("SELECT * FROM t_b.orders", "t_b"));
        assert!(mentions("format('\"t_b\".x')", "t_b"));
        assert!(!mentions("SELECT * FROM t_bc.orders, my_t_b.x", "t_b"));
    }
}
