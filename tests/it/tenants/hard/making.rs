//! Names and places that are somebody's already.

use super::super::{Own, ROW};
use crate::support::{Project, sql};

/// Shared tables, and a seed of each new tenant that is refused.
fn with_bad_seed(name: &str) -> Own {
    let own = Own::row(name);
    own.sql("ALTER TABLE plan ADD CHECK (name <> 'bad')");
    own.write("seeds/tenant/postgres/plan.toml", "[rows.bad]\nname = \"bad\"\n");
    own
}

#[test]
fn keys_that_a_column_holds_for_equal_are_one_tenants() {
    let own = Own(Project::new("th_equal", ROW));
    own.write(
        "migrations/1_shop.up.sql",
        "CREATE EXTENSION IF NOT EXISTS citext;\nCREATE TABLE company (id citext PRIMARY KEY, name text NOT NULL DEFAULT 'new');\nCREATE TABLE plan (name text PRIMARY KEY);\n",
    );
    own.lyrox(&["-q", "db", "migrate"]).ok();
    own.create("acme", &["--slug", &own.slug("a"), "--no-credentials"]);
    let other = own.slug("b");
    own.lyrox(&["tenant", "create", "ACME", "--slug", &other, "--no-credentials"]).exit(6).says("LYX-TENANT-CLASH");
    assert_eq!(own.state("ACME"), None);
    // Both new, in one file.
    let (one, two) = (own.slug("c"), own.slug("d"));
    own.write("both.csv", &format!("key,slug\nbeta,{one}\nBeta,{two}\n"));
    own.lyrox(&["tenant", "create", "--from-file", "both.csv", "--no-credentials"]).exit(7);
    assert_eq!(own.state("beta").as_deref(), Some("active"));
    assert_ne!(own.state("Beta").as_deref(), Some("active"), "it has no row");
    assert_eq!(own.sql_value("SELECT count(*) FROM company"), "2");
}

#[test]
fn a_key_that_is_there_twice_in_a_file_is_made_once_whoever_works_side_by_side() {
    let own = Own::own_place("th_twice", "schema");
    let mut file = String::from("key,slug\n");
    for number in 0..16 {
        file.push_str(&format!("{0},{0}\n", own.slug(&format!("a{number}"))));
    }
    for number in 0..8 {
        file.push_str(&format!("{0},{0}\n", own.slug(&format!("a{number}"))));
    }
    // Another key with a slug that is being taken.
    file.push_str(&format!("other,{}\n", own.slug("a9")));
    own.write("twice.csv", &file);
    own.lyrox(&["tenant", "create", "--from-file", "twice.csv", "--jobs", "2", "--credentials", "all.ndjson"]).exit(7);
    for number in 0..16 {
        let slug = own.slug(&format!("a{number}"));
        assert_eq!(own.state(&slug).as_deref(), Some("active"), "{slug}");
        let url = own.login("all.ndjson", &slug, lyrox::kind::StoreKind::Postgres);
        sql(&url, "SELECT count(*) FROM setting").unwrap_or_else(|error| panic!("{slug}: {error}"));
    }
    assert_eq!(own.state("other"), None);
}

#[test]
fn what_the_application_made_after_a_failure_is_the_applications() {
    let own = with_bad_seed("th_after");
    let slug = own.slug("a");
    own.lyrox(&["tenant", "create", "a", "--slug", &slug, "--no-credentials"]).exit(1).says("taken back");
    assert_eq!(own.state("a").as_deref(), Some("failed"));
    assert_eq!(own.sql_value("SELECT count(*) FROM company"), "0");
    own.sql("INSERT INTO company (id, name) VALUES ('a', 'theirs')");
    own.mongo(bson::doc! { "insert": "notes", "documents": [{ "_id": 1, "company_id": "a" }] });
    own.lyrox(&["tenant", "create", "a", "--slug", &slug, "--no-credentials"]).exit(6).says("lyrox tenant adopt a");
    assert_eq!(own.sql_value("SELECT name FROM company"), "theirs");
    assert_eq!(own.mongo(bson::doc! { "count": "notes" }).get_i32("n").ok(), Some(1));
    // It can be taken in, and a mended seed lets the next one through.
    own.lyrox(&["tenant", "adopt", "a", "--slug", &slug, "--no-credentials"]).ok();
    assert_eq!(own.state("a").as_deref(), Some("active"));
}

#[test]
fn a_database_that_another_made_is_not_taken_for_a_half_made_one() {
    let own = Own::own_place("th_other", "database");
    let slug = own.slug("a");
    own.write("seeds/tenant/postgres/setting.toml", "[rows.tax]\nname = \"tax\"\nvalue = \"0.2\"\nno_such = 1\n");
    own.lyrox(&["tenant", "create", "a", "--slug", &slug, "--no-credentials"]).says("taken back");
    assert_eq!(own.state("a").as_deref(), Some("failed"));
    own.sql(&format!("CREATE DATABASE t_{slug}"));
    let url = own.postgres.replace(&format!("/{}", own.name), &format!("/t_{slug}"));
    sql(&url, "CREATE TABLE precious (x int)").expect("a table");
    own.write("seeds/tenant/postgres/setting.toml", "key = [\"name\"]\n[rows.tax]\nname = \"tax\"\nvalue = \"0.2\"\n");
    own.lyrox(&["tenant", "create", "a", "--slug", &slug, "--no-credentials"]).exit(6);
    sql(&url, "SELECT * FROM precious").expect("the other's table");
    own.lyrox(&["tenant", "delete", "a", "--confirm", &slug]);
    sql(&url, "SELECT * FROM precious").expect("the other's table");
}

#[test]
fn a_tenant_of_the_same_name_begins_with_all_its_seeds() {
    for model in ["schema", "database"] {
        let own = Own::own_place(&format!("th_seed_{}", &model[..1]), model);
        // One of all tenants, of the same name.
        own.sql("CREATE TABLE setting (name text, value text)");
        own.write("seeds/tenant/postgres/more.sql", "INSERT INTO setting VALUES ('more', '1');\n");
        let slug = own.slug("a");
        for _ in 0..2 {
            own.create("a", &["--slug", &slug, "--credentials", "a.ndjson"]);
            let url = own.login("a.ndjson", "a", lyrox::kind::StoreKind::Postgres);
            let rows = sql(&url, "SELECT count(*) FROM setting").expect("its own");
            assert_eq!(rows[0][0].as_deref(), Some("2"), "{model}");
            assert_eq!(own.sql_value("SELECT count(*) FROM public.setting"), "0", "{model}: it is nobody's");
            own.remove("a.ndjson");
            own.delete("a", &slug);
        }
    }
}

#[test]
fn a_hint_names_the_whole_key() {
    let own = Own::row("th_hint");
    let long = "k ".repeat(100);
    let slug = own.slug("a");
    own.sql(&format!("INSERT INTO company (id) VALUES ('{long}')"));
    own.lyrox(&["tenant", "create", &long, "--slug", &slug, "--no-credentials"])
        .exit(6)
        .says(&format!("lyrox tenant adopt '{long}'"));
}

#[test]
fn new_passwords_make_no_place() {
    for model in ["schema", "database"] {
        let own = Own::own_place(&format!("th_renew_{}", &model[..1]), model);
        let slug = own.slug("a");
        own.create("a", &["--slug", &slug, "--no-credentials"]);
        own.sql(&match model {
            "schema" => format!("DROP SCHEMA t_{slug} CASCADE"),
            _ => format!("DROP DATABASE t_{slug} WITH (FORCE)"),
        });
        own.lyrox(&["tenant", "credentials", "a", "--credentials", "a.ndjson"]).exit(6).says("LYX-TENANT-STATE");
        let count = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 't_X') + (SELECT count(*) FROM pg_database WHERE datname = 't_X')";
        assert_eq!(own.sql_value(&count.replace("t_X", &format!("t_{slug}"))), "0", "{model}");
    }
}
