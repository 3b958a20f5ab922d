//! The models `schema` and `database`: a place of the tenant's own goes out, away and comes in again.

use lyrox::kind::StoreKind;

use super::super::Own;
use super::{everything, keys, same, same_bundles};
use crate::support::sql;

fn goes_round(model: &str) {
    let own = Own::own_place(&format!("tb_{}", &model[..2]), model);
    let (one, two) = (own.slug("one"), own.slug("two"));
    own.create("one", &["--slug", &one, "--credentials", "one.ndjson"]);
    own.create("two", &["--slug", &two, "--no-credentials"]);
    let url = own.login("one.ndjson", "one", StoreKind::Postgres);
    sql(&url, "INSERT INTO sale VALUES (1, 2), (2, NULL)").expect("rows");
    let mongo = own.login("one.ndjson", "one", StoreKind::Mongodb);
    own.mongo_as(&mongo, &format!("t_{one}"), bson::doc! { "insert": "carts", "documents": [{ "_id": 1, "a": 1.5 }] })
        .expect("a document");
    own.redis(&["SET", &format!("{}{{{one}}}:x", own.prefix), "1"]);
    own.export("one", "a.lyrox").says("sale").says("carts").says("keys");
    let theirs = |all: std::collections::BTreeMap<String, String>| -> Vec<String> {
        all.into_keys().filter(|name| name.contains(&two)).collect()
    };
    let before = theirs(everything(&own, &one));
    own.delete("one", &one);
    same(&theirs(everything(&own, &one)), &before, "after the removal");
    let left = format!(
        "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 't_{one}') + (SELECT count(*) FROM pg_database WHERE datname = 't_{one}') \
         + (SELECT count(*) FROM pg_roles WHERE rolname = 't_{one}') + (SELECT count(*) FROM lyrox.migrations WHERE tenant = 'one') \
         + (SELECT count(*) FROM lyrox.snapshots WHERE tenant = 'one') + (SELECT count(*) FROM lyrox.tenants WHERE key = 'one')"
    );
    assert_eq!(own.sql_value(&left), "0");
    assert!(keys(&own).iter().all(|key| !key.contains(&one)), "{:?}", keys(&own));
    assert!(own.users(&format!("t_{one}")).is_empty());
    own.lyrox(&["tenant", "delete", "one", "--confirm", &one]).exit(2).says("no tenant `one`");

    own.lyrox(&["tenant", "import", "a.lyrox", "--credentials", "b.ndjson"]).ok().says("active");
    own.export("one", "b.lyrox");
    same_bundles(&own, "a.lyrox", "b.lyrox", model);
    let url = own.login("b.ndjson", "one", StoreKind::Postgres);
    assert_eq!(sql(&url, "SELECT count(*) FROM sale").expect("its own")[0][0].as_deref(), Some("2"));
    own.lyrox(&["tenant", "verify", "--all"]).ok();
    // Beside itself, under another name: nothing of it is another's.
    own.import("a.lyrox", &["--key", "three", "--slug", &own.slug("three")]);
    own.export("three", "c.lyrox");
    same(&theirs(everything(&own, &one)), &before, "after the imports");
    own.lyrox(&["tenant", "list"]).ok().says("3 tenants").never_says("behind");
}

#[test]
fn a_schema_goes_out_away_and_in_again() {
    goes_round("schema");
}

#[test]
fn a_database_goes_out_away_and_in_again() {
    goes_round("database");
}

#[test]
fn what_leans_on_a_schema_from_outside_stops_its_removal() {
    let own = Own::own_place("tb_lean", "schema");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.sql(&format!("CREATE VIEW public.peek AS SELECT * FROM t_{slug}.sale"));
    own.lyrox(&["tenant", "delete", "a", "--confirm", &slug]).exit(6).says("view public.peek").says("LYX-TENANT-HELD");
    assert_eq!(own.state("a").as_deref(), Some("active"));
    own.sql("DROP VIEW public.peek");
    own.delete("a", &slug);
}

#[test]
fn a_tenant_whose_migrations_fail_is_taken_back() {
    let own = Own::own_place("tb_back", "schema");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.export("a", "a.lyrox");
    own.delete("a", &slug);
    own.write("migrations/tenant/2_drop.up.sql", "DROP TABLE setting;");
    // The bundle has rows of a table that is no more.
    own.lyrox(&["tenant", "import", "a.lyrox", "--no-credentials"])
        .exit(2)
        .says("no table `setting`")
        .says("taken back");
    assert_eq!(own.state("a").as_deref(), Some("failed"));
    assert_eq!(own.sql_value(&format!("SELECT count(*) FROM pg_namespace WHERE nspname = 't_{slug}'")), "0");
    own.remove("migrations/tenant/2_drop.up.sql");
    own.import("a.lyrox", &[]);
    own.export("a", "b.lyrox");
    same_bundles(&own, "a.lyrox", "b.lyrox", "after a failure");
}
