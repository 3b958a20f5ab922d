//! A schema or a database for each tenant.

use bson::doc;

use super::{Act, Leak, each_is_named, sql};
use crate::tenants::Own;

/// Two tenants with a place of their own.
fn two(name: &str, model: &str) -> Own {
    let own = Own::own_place(name, model);
    for tenant in ["one", "two"] {
        own.lyrox(&["-q", "tenant", "create", &own.slug(tenant), "--no-credentials"]).ok();
    }
    own
}

fn names(own: &Own) -> (String, String, String, String) {
    let (one, two) = (own.slug("one"), own.slug("two"));
    (format!("t_{one}"), format!("t_{two}"), one, two)
}

fn mongodb(own: &Own) -> Vec<Leak> {
    let (a, b, one, two) = names(own);
    let grant = |kind: &str, role: &str, db: &str| {
        let roles = || vec![doc! { "role": role, "db": db }];
        Leak {
            id: format!("{one}.mongodb.{kind}.{a}.{a}"),
            open: vec![Act::Mongo(a.clone(), doc! { "grantRolesToUser": a.as_str(), "roles": roles() })],
            close: vec![Act::Mongo(a.clone(), doc! { "revokeRolesFromUser": a.as_str(), "roles": roles() })],
        }
    };
    vec![
        grant("user_role", "read", &b),
        grant("user_role", "readAnyDatabase", "admin"),
        grant("user_role", "clusterMonitor", "admin"),
        grant("user_admin", "dbOwner", &a),
        Leak {
            id: format!("{two}.mongodb.foreign_user.{b}.guest"),
            open: vec![Act::Mongo(b.clone(), doc! { "createUser": "guest", "pwd": "x", "roles": ["read"] })],
            close: vec![Act::Mongo(b.clone(), doc! { "dropUser": "guest" })],
        },
    ]
}

#[test]
fn every_leak_between_schemas_is_named() {
    let own = two("leakschema", "schema");
    let (a, b, one, two) = names(&own);
    let owner = own.sql_value("SELECT current_user");
    let grant = |kind: &str, privilege: &str, to: &str| {
        let (open, close) =
            (format!("GRANT {privilege} ON SCHEMA {b} TO {to}"), format!("REVOKE {privilege} ON SCHEMA {b} FROM {to}"));
        sql(format!("{two}.postgres.{kind}.{b}"), &open, &close)
    };
    let path = |set: &str| {
        sql(
            format!("{one}.postgres.search_path.of.{a}"),
            &format!("ALTER ROLE {a} IN DATABASE {} {set}", own.name),
            &format!("ALTER ROLE {a} IN DATABASE {} SET search_path = {a}", own.name),
        )
    };
    let mut leaks = vec![
        grant("schema_usage", "USAGE", "PUBLIC"),
        grant("schema_usage", "USAGE", &a),
        grant("schema_create", "CREATE", &a),
        sql(format!("postgres.member.{a}.in.{b}"), &format!("GRANT {b} TO {a}"), &format!("REVOKE {b} FROM {a}")),
        sql(
            format!("postgres.member.{a}.in.{owner}"),
            &format!("GRANT {owner} TO {a}"),
            &format!("REVOKE {owner} FROM {a}"),
        ),
        sql(
            format!("postgres.createrole.{a}"),
            &format!("ALTER ROLE {a} CREATEROLE"),
            &format!("ALTER ROLE {a} NOCREATEROLE"),
        ),
        path(&format!("SET search_path = {b}")),
        path(&format!("SET search_path = public, {a}")),
        path("RESET search_path"),
        sql(
            format!("postgres.across.{a}.spy"),
            &format!("CREATE VIEW {a}.spy AS SELECT * FROM {b}.sale"),
            &format!("DROP VIEW {a}.spy"),
        ),
        sql(
            format!("postgres.across.view.{a}.spies"),
            &format!("CREATE MATERIALIZED VIEW {a}.spies AS SELECT * FROM {b}.sale"),
            &format!("DROP MATERIALIZED VIEW {a}.spies"),
        ),
        sql(
            format!("postgres.across.key.other.on.{a}.setting"),
            &format!(
                "ALTER TABLE {a}.setting ADD COLUMN other int, ADD CONSTRAINT other FOREIGN KEY (other) REFERENCES {b}.sale (id)"
            ),
            &format!("ALTER TABLE {a}.setting DROP COLUMN other"),
        ),
        sql(
            format!("postgres.definer.{a}.peek"),
            &format!(
                "CREATE FUNCTION {a}.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = {a} AS 'SELECT count(*) FROM {b}.sale'"
            ),
            &format!("DROP FUNCTION {a}.peek()"),
        ),
        sql(
            format!("postgres.definer_path.{a}.loose"),
            &format!("CREATE FUNCTION {a}.loose() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'"),
            &format!("DROP FUNCTION {a}.loose()"),
        ),
        sql(
            format!("{two}.postgres.default_privilege.privileges.of.{owner}.in.{b}"),
            &format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {b} GRANT SELECT ON TABLES TO {a}"),
            &format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {b} REVOKE SELECT ON TABLES FROM {a}"),
        ),
        sql(
            format!("{two}.postgres.owned.{b}"),
            &format!(
                "GRANT {a} TO CURRENT_USER; GRANT CREATE ON DATABASE {} TO {a}; ALTER SCHEMA {b} OWNER TO {a}",
                own.name
            ),
            &format!(
                "ALTER SCHEMA {b} OWNER TO CURRENT_USER; REVOKE CREATE ON DATABASE {} FROM {a}; REVOKE {a} FROM CURRENT_USER; GRANT USAGE ON SCHEMA {b} TO {b}",
                own.name
            ),
        ),
    ];
    leaks.extend(mongodb(&own));
    each_is_named(&own, &leaks);
}

#[test]
fn every_leak_between_databases_is_named() {
    let own = two("leakdb", "database");
    let (a, b, one, two) = names(&own);
    let grant = |to: &str| {
        sql(
            format!("{two}.postgres.connect.{b}"),
            &format!("GRANT CONNECT ON DATABASE {b} TO {to}"),
            &format!("REVOKE CONNECT ON DATABASE {b} FROM {to}"),
        )
    };
    let mut leaks = vec![
        grant("PUBLIC"),
        grant(&a),
        sql(format!("postgres.member.{a}.in.{b}"), &format!("GRANT {b} TO {a}"), &format!("REVOKE {b} FROM {a}")),
        sql(
            format!("{one}.postgres.closed.{a}"),
            &format!("ALTER DATABASE {a} ALLOW_CONNECTIONS false"),
            &format!("ALTER DATABASE {a} ALLOW_CONNECTIONS true"),
        ),
    ];
    leaks.extend(mongodb(&own));
    each_is_named(&own, &leaks);
}
