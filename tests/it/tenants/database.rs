//! The model `database`: a database from a template, and one role that may connect to it.

use lyrox::kind::StoreKind;

use super::Own;
use crate::support::sql;

#[test]
fn each_tenant_has_a_database_from_a_template_and_nobody_else_may_connect() {
    let own = Own::own_place("tn_db", "database");
    let (one, two) = (own.slug("one"), own.slug("two"));
    own.create("one", &["--slug", &one, "--credentials", "one.ndjson"]).says(&format!("database t_{one}"));
    own.create("two", &["--slug", &two, "--no-credentials"]);
    let templates = "SELECT string_agg(datallowconn::text, ',') FROM pg_database WHERE datname ~ '^lyrox_template_' \
        AND shobj_description(oid, 'pg_database') = 'lyrox: the template of the tenants of ";
    assert_eq!(
        own.sql_value(&format!("{templates}{}'", own.name)),
        "false",
        "one template, which takes no connections"
    );
    let url = own.login("one.ndjson", "one", StoreKind::Postgres);
    let ask = |url: &str, query: &str| sql(url, query).map_err(|error| error.to_string());
    assert_eq!(ask(&url, "SELECT count(*) FROM setting").expect("rows")[0][0].as_deref(), Some("1"));
    assert!(ask(&url, "CREATE TABLE mine ()").is_err() && ask(&url, "TRUNCATE sale").is_err());
    let other = format!("{}/t_{two}", url.rsplit_once('/').expect("a database").0);
    assert!(ask(&other, "SELECT 1").is_err_and(|why| why.contains("42501") || why.contains("denied")), "{other}");
    let public = format!("SELECT has_database_privilege('public', 't_{one}', 'CONNECT, TEMPORARY')");
    assert_eq!(own.sql_value(&public), "f");
    // The copy knows its migrations: nothing is pending in it.
    let inside = own.postgres.replace(&format!("/{}", own.name), &format!("/t_{one}"));
    assert_eq!(
        sql(&inside, "SELECT count(*) FROM lyrox.migrations WHERE store = 'postgres'").expect("rows")[0][0].as_deref(),
        Some("1")
    );
    own.lyrox(&["tenant", "list"]).ok().says("active").never_says("behind").never_says("unmanaged");
    // A new migration makes a new template; a new tenant has it from the first.
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more ();");
    let three = own.slug("three");
    own.create("three", &["--slug", &three, "--no-credentials"]);
    assert_eq!(own.sql_value(&format!("{templates}{}'", own.name)), "false,false");
    own.lyrox(&["tenant", "list"]).ok().says("2 behind");
}

#[test]
fn a_template_that_cannot_be_made_stops_before_any_tenant() {
    let own = Own::own_place("tn_tpl", "database");
    own.write("migrations/tenant/2_bad.up.sql", "SELECT 1 / 0;");
    let slug = own.slug("a");
    own.lyrox(&["tenant", "create", &slug, "--no-credentials"])
        .exit(1)
        .says("division by zero")
        .says("no tenant was made");
    assert_eq!(own.state(&slug), None);
    own.remove("migrations/tenant/2_bad.up.sql");
    own.create(&slug, &["--no-credentials"]);
}
