//! The model `schema`: a schema, a MongoDB database and a key prefix each.

use lyrox::kind::StoreKind;

use super::Own;
use crate::support::sql;

#[test]
fn each_tenant_has_its_migrations_its_seeds_and_users_that_reach_nothing_else() {
    let own = Own::own_place("tn_schema", "schema");
    let (one, two) = (own.slug("one"), own.slug("two"));
    let made = own.create("one", &["--slug", &one, "--credentials", "one.ndjson"]);
    made.says("1_own").says("setting").says(&format!("schema t_{one}"));
    own.create("two", &["--slug", &two, "--no-credentials"]);
    let url = own.login("one.ndjson", "one", StoreKind::Postgres);
    let ask = |query: &str| sql(&url, query).map_err(|error| error.to_string());
    assert_eq!(
        ask("INSERT INTO sale VALUES (1, 2); SELECT count(*) FROM setting").expect("rows")[0][0].as_deref(),
        Some("1")
    );
    for query in [
        format!("SELECT * FROM t_{two}.sale"),
        format!("INSERT INTO t_{two}.sale VALUES (9, 9)"),
        "SELECT * FROM public.plan".into(),
        "SELECT * FROM lyrox.tenants".into(),
        "TRUNCATE sale".into(),
        "CREATE TABLE mine ()".into(),
        format!("SET ROLE t_{two}"),
        format!("ALTER TABLE t_{one}.sale ADD COLUMN x int"),
    ] {
        assert!(
            ask(&query).is_err_and(|why| why.contains("42501") || why.contains("ermission") || why.contains("owner")),
            "{query}"
        );
    }
    let mongo = own.login("one.ndjson", "one", StoreKind::Mongodb);
    own.mongo_as(&mongo, &format!("t_{one}"), bson::doc! { "insert": "carts", "documents": [{ "a": 1 }] })
        .expect("its own");
    for database in [format!("t_{two}"), own.name.clone(), "admin".into()] {
        let asked = own.mongo_as(&mongo, &database, bson::doc! { "find": "carts" });
        assert!(asked.is_err_and(|why| why.contains("Unauthorized") || why.contains("not authorized")), "{database}");
    }
    let redis = own.login("one.ndjson", "one", StoreKind::Redis);
    let key = |slug: &str| format!("{}{{{slug}}}:settings", own.prefix);
    own.redis_as(&redis, &["HGET", &key(&one), "currency"]).expect("its own");
    assert!(own.redis_as(&redis, &["HGET", &key(&two), "currency"]).is_err());
    // The ledger knows each tenant's migrations, in one table.
    let rows = "SELECT string_agg(tenant || ' ' || store, ',' ORDER BY tenant, store) FROM lyrox.migrations WHERE tenant <> ''";
    assert_eq!(own.sql_value(rows), "one mongodb,one postgres,one redis,two mongodb,two postgres,two redis");
    own.lyrox(&["db", "migrate"]).ok().says("up to date");
    own.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_tenant_that_lacks_a_new_migration_is_shown_as_behind() {
    let own = Own::own_place("tn_skew", "schema");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.lyrox(&["tenant", "list"]).ok().never_says("behind");
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more ();");
    own.lyrox(&["tenant", "list"]).ok().says("1  behind").says("1 behind");
}

#[test]
fn a_migration_that_fails_takes_the_tenant_back() {
    let own = Own::own_place("tn_poison", "schema");
    own.write("migrations/tenant/2_bad.up.sql", "SELECT 1 / 0;");
    let slug = own.slug("a");
    own.lyrox(&["tenant", "create", &slug, "--no-credentials"]).exit(1).says("division by zero").says("taken back");
    assert_eq!(own.state(&slug).as_deref(), Some("failed"));
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname ~ '^t_') || ' ' || \
        (SELECT count(*) FROM lyrox.migrations WHERE tenant <> '')";
    assert_eq!(own.sql_value(left), "0 0");
    assert_eq!(own.sql_value(&format!("SELECT count(*) FROM pg_roles WHERE rolname = 't_{slug}'")), "0");
    assert!(own.users(&format!("t_{slug}")).is_empty());
    own.remove("migrations/tenant/2_bad.up.sql");
    own.create(&slug, &["--no-credentials"]);
    assert_eq!(own.state(&slug).as_deref(), Some("active"));
}

#[test]
fn schemas_and_roles_of_others_are_never_taken() {
    let own = Own::own_place("tn_theirs", "schema");
    let (schema, role) = (own.slug("s"), own.slug("r"));
    own.sql(&format!("CREATE SCHEMA t_{schema}; CREATE TABLE t_{schema}.theirs (); CREATE ROLE t_{role}"));
    own.lyrox(&["tenant", "create", &schema, "--no-credentials"]).exit(6).says("schema `t_").says("adopt");
    own.lyrox(&["tenant", "create", &role, "--no-credentials"]).exit(6).says("role `t_").says("--slug");
    assert_eq!(
        own.sql_value(&format!("SELECT count(*) FROM pg_class WHERE relnamespace = 't_{schema}'::regnamespace")),
        "1"
    );
    own.lyrox(&["tenant", "list"]).ok().says(&schema).says("unmanaged");
    own.lyrox(&["tenant", "adopt", &schema, "--no-credentials"]).ok();
    assert_eq!(own.state(&schema).as_deref(), Some("active"));
    assert_eq!(
        own.sql_value(&format!("SELECT count(*) FROM pg_class WHERE relnamespace = 't_{schema}'::regnamespace")),
        "1"
    );
}

/// What travels and what the server keeps: never the password itself.
#[test]
fn the_server_is_given_a_verifier_and_no_password() {
    let own = Own::own_place("tn_scram", "schema");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--credentials", "a.ndjson"]);
    own.sql("SELECT 1");
    let url = own.login("a.ndjson", "a", StoreKind::Postgres);
    sql(&url, "SELECT 1").expect("the password is that of the verifier");
    let wrong = url.replacen(
        &url[url.find("t_").expect("a user")..url.rfind('@').expect("a host")],
        &format!("t_{slug}:wrong"),
        1,
    );
    assert!(sql(&wrong, "SELECT 1").is_err());
}
