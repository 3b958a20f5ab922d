//! Roles that no wall binds: what a role is, what it may become, what it owns. Pure but for the query's text.

use serde::Deserialize;

use super::super::super::ident::Ident;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;

/// Predefined roles that reach past SQL: the files and programs of the server.
const FILES: [&str; 3] = ["pg_read_server_files", "pg_write_server_files", "pg_execute_server_program"];

/// A role as the catalog has it.
#[derive(Debug, Deserialize)]
pub(super) struct Role {
    pub name: String,
    #[serde(rename = "super")]
    is_super: bool,
    bypass: bool,
    createrole: bool,
    replication: bool,
    /// Tables of the project that it owns.
    owns: Vec<String>,
    /// Who owns the rest.
    owner: Option<String>,
    members: Vec<Member>,
    /// `name=value` of its settings that concern tenants, with the statement's beginning that sets them.
    settings: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct Member {
    name: String,
    #[serde(rename = "super")]
    is_super: bool,
    bypass: bool,
    owns: bool,
    is_tenant: bool,
}

/// The query of one JSON array of [`Role`]: `names` and `schemas` are lists of literals, `setting` a literal.
pub(super) fn query(names: &str, schemas: &str, setting: &str) -> String {
    format!(
        "WITH rel AS (SELECT c.relname, n.nspname, c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE n.nspname IN ({schemas}) AND c.relkind IN ('r', 'p') AND NOT c.relispartition), \
         owners AS (SELECT DISTINCT relowner FROM rel), \
         named AS (SELECT r.* FROM pg_catalog.pg_roles r WHERE r.rolname IN ({names})), \
         up AS (WITH RECURSIVE walk (role, member) AS (SELECT a.member, a.roleid FROM pg_catalog.pg_auth_members a JOIN named ON named.oid = a.member \
          UNION SELECT w.role, a.roleid FROM walk w JOIN pg_catalog.pg_auth_members a ON a.member = w.member) SELECT * FROM walk) \
         SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', r.rolname, 'super', r.rolsuper, 'bypass', r.rolbypassrls, \
          'createrole', r.rolcreaterole, 'replication', r.rolreplication, \
          'owns', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.format('%I.%I', rel.nspname, rel.relname) ORDER BY 1) FROM rel WHERE rel.relowner = r.oid), '[]'), \
          'owner', (SELECT o.rolname FROM owners JOIN pg_catalog.pg_roles o ON o.oid = owners.relowner WHERE o.oid <> r.oid LIMIT 1), \
          'members', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', m.rolname, 'super', m.rolsuper, 'bypass', m.rolbypassrls, \
            'owns', EXISTS (SELECT FROM owners WHERE owners.relowner = m.oid), 'is_tenant', m.rolname ~ '^t_[a-z]') ORDER BY m.rolname) \
            FROM up JOIN pg_catalog.pg_roles m ON m.oid = up.member WHERE up.role = r.oid), '[]'), \
          'settings', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(e, CASE WHEN s.setrole = 0 THEN pg_catalog.format('ALTER DATABASE %I', d.datname) \
            WHEN s.setdatabase = 0 THEN pg_catalog.format('ALTER ROLE %I', r.rolname) ELSE pg_catalog.format('ALTER ROLE %I IN DATABASE %I', r.rolname, d.datname) END)) \
            FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, pg_catalog.unnest(s.setconfig) e \
            WHERE s.setrole IN (0, r.oid) AND (s.setdatabase = 0 OR d.datname = pg_catalog.current_database()) \
            AND (pg_catalog.starts_with(e, {setting} || '=') OR pg_catalog.starts_with(e, 'row_security='))), '[]')) ORDER BY r.rolname), '[]')::text \
         FROM named r"
    )
}

impl Role {
    /// Says what makes the role unbound; whether the tables' policies bind it.
    pub(super) fn judge(&self, setting: &str, what: &str, proof: &mut Proof) -> Result<bool> {
        let name = Ident::new(&self.name)?;
        let object = format!("role {name}");
        let mut is_bound = true;
        if self.is_super {
            is_bound = false;
            proof.leak(
                "superuser",
                object.clone(),
                format!("{what} connects as it, and it is a superuser: no policy and no grant binds it"),
                format!("ALTER ROLE {name} NOSUPERUSER"),
            );
        }
        if self.bypass {
            is_bound = false;
            proof.leak(
                "bypassrls",
                object.clone(),
                format!("{what} connects as it, and it has BYPASSRLS: no policy binds it"),
                format!("ALTER ROLE {name} NOBYPASSRLS"),
            );
        }
        if self.createrole && !self.is_super {
            proof.leak(
                "createrole",
                object.clone(),
                "it has CREATEROLE: it can give itself other roles",
                format!("ALTER ROLE {name} NOCREATEROLE"),
            );
        }
        if self.replication && !self.is_super {
            proof.leak(
                "replication",
                object.clone(),
                "it has REPLICATION: a replication connection streams every tenant's changes",
                format!("ALTER ROLE {name} NOREPLICATION"),
            );
        }
        for table in &self.owns {
            let owner = self.owner.as_deref().unwrap_or("postgres");
            proof.leak(
                "app_owns",
                format!("table {table}"),
                format!("{name} owns it: it can switch the policies off and grant itself anything"),
                format!("ALTER TABLE {table} OWNER TO {}", Ident::new(owner)?),
            );
        }
        // A superuser is a member of nothing and of everything.
        for member in self.members.iter().filter(|_| !self.is_super) {
            let of = Ident::new(&member.name)?;
            let why = if member.is_super {
                "a superuser"
            } else if member.bypass {
                "a role with BYPASSRLS"
            } else if member.owns {
                "the owner of the tables"
            } else if FILES.contains(&member.name.as_str()) {
                "a role that reads and writes the server's files or runs its programs, COPY included"
            } else if member.is_tenant && member.name != self.name {
                "another tenant's role"
            } else {
                continue;
            };
            proof.leak(
                "member",
                format!("role {name} in {of}"),
                format!("SET ROLE {of} makes it {why}"),
                format!("REVOKE {of} FROM {name}"),
            );
        }
        for (set, statement) in &self.settings {
            let (key, value) = set.split_once('=').unwrap_or((set, ""));
            if key == setting {
                proof.leak(
                    "default_tenant",
                    format!("setting {key} of {name}"),
                    format!("a session that names no tenant is `{value}`: what is forgotten shows that tenant's rows"),
                    format!("{statement} RESET \"{key}\""),
                );
            } else if value == "off" {
                proof.weak(
                    "row_security",
                    format!("setting {key} of {name}"),
                    "queries that a policy would filter fail instead",
                    format!("{statement} RESET {key}"),
                );
            }
        }
        Ok(is_bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_wall_binds_is_named() {
        let kinds = |change: serde_json::Value| {
            let mut role = serde_json::json!({ "name": "app", "super": false, "bypass": false, "createrole": false, "replication": false,
                "owns": [], "owner": "owner", "members": [], "settings": [] });
            for (name, value) in change.as_object().expect("an object") {
                role[name] = value.clone();
            }
            let role: Role = serde_json::from_value(role).expect("a role");
            let mut proof = Proof::default();
            proof.area("role", "a role");
            let is_bound = role.judge("app.tenant", "the application", &mut proof).expect("names");
            (proof.areas[0].findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), is_bound)
        };
        let member = |name: &str, what: &str| {
            let mut member =
                serde_json::json!({ "name": name, "super": false, "bypass": false, "owns": false, "is_tenant": false });
            member[what] = true.into();
            serde_json::json!({ "members": [member] })
        };
        assert_eq!(kinds(serde_json::json!({})), (vec![], true));
        assert_eq!(kinds(serde_json::json!({ "super": true })), (vec!["superuser"], false));
        assert_eq!(kinds(serde_json::json!({ "bypass": true })), (vec!["bypassrls"], false));
        assert_eq!(kinds(serde_json::json!({ "replication": true })), (vec!["replication"], true));
        assert_eq!(kinds(serde_json::json!({ "createrole": true })), (vec!["createrole"], true));
        assert_eq!(kinds(serde_json::json!({ "owns": ["public.t"] })), (vec!["app_owns"], true));
        assert_eq!(
            kinds(serde_json::json!({ "settings": [["app.tenant=x", "ALTER ROLE app"]] })),
            (vec!["default_tenant"], true)
        );
        for (name, what) in [
            ("a", "super"),
            ("a", "bypass"),
            ("a", "owns"),
            ("t_a", "is_tenant"),
            ("pg_write_server_files", "name_only"),
        ] {
            assert_eq!(kinds(member(name, what)), (vec!["member"], true), "{name} {what}");
        }
        assert_eq!(kinds(member("readers", "name_only")), (vec![], true));
    }
}
