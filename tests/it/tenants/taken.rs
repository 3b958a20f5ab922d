//! What was there before lyrox, and what a reset leaves: tenants that are taken in with their migrations, seeds that find
//! the tenant by its key, ledgers that differ from the registry.

use super::Own;

/// What the first tenant migration makes in PostgreSQL, made by the application.
fn by_the_application(own: &Own, slug: &str) {
    own.sql(&format!(
        "CREATE SCHEMA t_{slug}; CREATE TABLE t_{slug}.sale (id int PRIMARY KEY, total int); \
         CREATE TABLE t_{slug}.setting (name text PRIMARY KEY, value text); INSERT INTO t_{slug}.sale VALUES (7, 7)"
    ));
}

fn ledger(own: &Own, key: &str) -> String {
    own.sql_value(&format!(
        "SELECT coalesce(string_agg(version || ' ' || store || ' ' || state, ', ' ORDER BY store, version), 'none') \
         FROM lyrox.migrations WHERE tenant = '{key}'"
    ))
}

#[test]
fn a_tenant_that_is_taken_in_has_its_migrations_recorded_and_the_rest_applied() {
    let own = Own::own_place("tk_adopt", "schema");
    let slug = own.slug("a");
    by_the_application(&own, &slug);
    own.lyrox(&["tenant", "adopt", &slug, "--no-credentials"]).ok().says("recorded");
    assert_eq!(ledger(&own, &slug), "1 mongodb applied, 1 postgres applied, 1 redis applied");
    assert_eq!(own.sql_value(&format!("SELECT total FROM t_{slug}.sale")), "7", "its rows are as they were");
    let key = format!("{}{{{slug}}}:settings", own.prefix);
    assert_eq!(
        own.redis(&["HGET", &key, "currency"]),
        redis::Value::BulkString(b"EUR".to_vec()),
        "Redis had nothing of it"
    );
    own.lyrox(&["tenant", "list"]).ok().never_says("behind");
    own.lyrox(&["tenant", "verify", "--all"]).ok();
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more (id int);");
    own.lyrox(&["tenant", "list"]).ok().says("behind");
}

#[test]
fn one_that_is_at_an_older_version_is_taken_in_as_behind() {
    let own = Own::own_place("tk_to", "schema");
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more (id int);");
    let slug = own.slug("a");
    by_the_application(&own, &slug);
    own.lyrox(&["tenant", "adopt", &slug, "--to", "1", "--no-credentials"]).ok();
    assert_eq!(ledger(&own, &slug), "1 mongodb applied, 1 postgres applied, 1 redis applied");
    own.lyrox(&["tenant", "list"]).ok().says("1 behind");
}

#[test]
fn a_kill_while_it_is_taken_in_is_made_good() {
    let own = Own::own_place("tk_kill", "schema");
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more (id int);");
    let slug = own.slug("a");
    by_the_application(&own, &slug);
    for point in ["recording", "migrated", "handed"] {
        let output = own
            .command(&["tenant", "adopt", &slug, "--to", "1", "--no-credentials"])
            .env("LYROX_TEST_KILL", point)
            .output()
            .expect("lyrox runs");
        assert!(!output.status.success(), "{point}");
    }
    own.lyrox(&["tenant", "adopt", &slug, "--to", "1", "--no-credentials"]).ok();
    assert_eq!(ledger(&own, &slug), "1 mongodb applied, 1 postgres applied, 1 redis applied");
    assert_eq!(own.state(&slug).as_deref(), Some("active"));
    assert_eq!(own.sql_value(&format!("SELECT total FROM t_{slug}.sale")), "7");
}

#[test]
fn seeds_find_the_tenant_by_its_key_whatever_its_slug() {
    let own = Own::own_place("tk_seed", "schema");
    let slug = own.slug("other");
    own.create("acme & sons", &["--slug", &slug, "--no-credentials"]);
    own.sql(&format!("DELETE FROM t_{slug}.setting"));
    own.lyrox(&["db", "seed", "--tenant", "acme & sons"]).ok().says("1 created");
    assert_eq!(own.sql_value(&format!("SELECT value FROM t_{slug}.setting")), "0.2");
    own.lyrox(&["db", "seed", "--tenant", "acme & sons", "--slug", "wrong"]).exit(6).says(&slug);
}

#[test]
fn a_ledger_that_the_registry_does_not_know_is_found() {
    let own = Own::own_place("tk_skew", "schema");
    let slugs = [own.slug("a"), own.slug("b")];
    for slug in &slugs {
        own.create(slug, &["--slug", slug, "--no-credentials"]);
    }
    own.lyrox(&["tenant", "verify", "--all"]).ok().says("what each tenant's ledgers say");
    own.sql(&format!("DELETE FROM lyrox.migrations WHERE tenant = '{}' AND store = 'postgres'", slugs[0]));
    own.lyrox(&["tenant", "list"]).ok().never_says("behind");
    let found = own.lyrox(&["tenant", "verify", "--all"]);
    found
        .exit(1)
        .says(&format!("ledgers of tenant {}", slugs[0]))
        .never_says(&format!("ledgers of tenant {}", slugs[1]));
}

#[test]
fn a_reset_leaves_tenants_with_places_of_their_own_as_they_are() {
    for model in ["schema", "database"] {
        let own = Own::own_place("tk_reset", model);
        own.write("migrations/1_shared.up.redis", "SET {{prefix}}shared 1\nSET {{prefix}}{tag}:shared 1\n");
        own.lyrox(&["-q", "db", "migrate"]).ok();
        let slug = own.slug("a");
        own.create(&slug, &["--slug", &slug, "--no-credentials"]);
        own.redis(&["SET", &format!("{}{{{slug}}}:cart", own.prefix), "full"]);
        own.redis(&["SET", &format!("{}stray", own.prefix), "1"]);
        own.redis(&["SET", &format!("{}{{other}}:stray", own.prefix), "1"]);
        own.lyrox(&["db", "reset", "--confirm", &own.name]).ok();
        assert_eq!(
            own.redis(&["GET", &format!("{}{{{slug}}}:cart", own.prefix)]),
            redis::Value::BulkString(b"full".to_vec())
        );
        for gone in ["stray", "{other}:stray"] {
            assert_eq!(own.redis(&["EXISTS", &format!("{}{gone}", own.prefix)]), redis::Value::Int(0), "{gone}");
        }
        own.lyrox(&["tenant", "list"]).ok().says("active").never_says("unmanaged");
        own.lyrox(&["tenant", "verify", "--all"]).ok();
    }
    let own = Own::row("tk_reset_row");
    own.create("a", &["--slug", &own.slug("a"), "--no-credentials"]);
    own.lyrox(&["db", "reset", "--confirm", &own.name, "--no-seed"]).ok();
    own.lyrox(&["tenant", "list"]).ok().says("0 tenants");
    assert!(own.users(&format!("t_{}", own.name)).is_empty(), "its user goes with it");
}
