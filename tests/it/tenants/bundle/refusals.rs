//! What is not classified, what others hold, what is not whole: nothing is changed.

use super::super::{Own, ROW, SHOP};
use super::{everything, same};
use crate::support::Project;

#[test]
fn consent_is_the_exact_name() {
    let own = Own::row("tb_yes");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.lyrox(&["tenant", "delete", "a"]).exit(3).says("LYX-CONSENT").says(&format!("--confirm {slug}"));
    own.lyrox(&["tenant", "delete", "a", "--yes"]).exit(3);
    own.lyrox(&["tenant", "delete", "a", "--confirm", "a"]).exit(3).says("another was given");
    own.lyrox(&["tenant", "delete", "nobody", "--confirm", "nobody"]).exit(2).says("LYX-TENANT-UNKNOWN");
    own.lyrox(&["tenant", "export", "nobody", "x"]).exit(2);
    assert_eq!(own.state("a").as_deref(), Some("active"));
    assert_eq!(own.sql_value("SELECT count(*) FROM company"), "1");
}

#[test]
fn what_nobody_says_stops_the_command_and_is_named() {
    let own = Own::row("tb_odd");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    let stops = |what: &str| {
        for arguments in [
            &["tenant", "export", "a", "a.lyrox"][..],
            &["tenant", "delete", "a", "--confirm", &slug],
            &["tenant", "delete", "a", "--dry-run"],
        ] {
            own.lyrox(arguments).exit(6).says("LYX-TENANT-UNCLASSIFIED").says(what);
        }
        assert!(!own.path("a.lyrox").exists() && !own.path("a.lyrox.partial").exists());
        assert_eq!(own.state("a").as_deref(), Some("active"));
        assert_eq!(own.sql_value("SELECT count(*) FROM company"), "1");
    };
    own.sql("CREATE TABLE loose (x int)");
    stops("table public.loose");
    own.sql("DROP TABLE loose; CREATE TABLE loose (x int, sale_id int REFERENCES sale (id))");
    stops("table public.loose");
    own.sql("DROP TABLE loose; CREATE SCHEMA other; CREATE TABLE other.more (company_id text)");
    stops("table other.more");
    own.sql("DROP SCHEMA other CASCADE");
    own.mongo(bson::doc! { "insert": "loose", "documents": [{ "_id": 1 }] });
    stops("collection `loose`");
    own.mongo(bson::doc! { "drop": "loose" });
    own.redis(&["SET", &format!("{}cache:x", own.prefix), "1"]);
    stops("cache:*");
    own.redis(&["DEL", &format!("{}cache:x", own.prefix)]);
    own.export("a", "a.lyrox");
    own.delete("a", &slug);
}

#[test]
fn a_key_space_that_does_not_say_whose_it_is_stops_the_command() {
    let spaces = "[redis.keyspaces.cache]\npattern = \"cache:{id}\"\ntype = \"string\"\n";
    let own = Own(Project::new("tb_space", &format!("{ROW}\n{spaces}")));
    own.write("migrations/1_shop.up.sql", SHOP);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.redis(&["SET", &format!("{}cache:a", own.prefix), "1"]);
    own.redis(&["SET", &format!("{}cache:b", own.prefix), "1"]);
    own.lyrox(&["tenant", "export", "a", "a.lyrox"]).exit(6).says("does not say `tenant`");
    let settings = std::fs::read_to_string(own.path("lyrox.toml")).expect("lyrox.toml");
    own.write("lyrox.toml", &settings.replace("type = \"string\"", "type = \"string\"\ntenant = \"{id}\""));
    own.export("a", "a.lyrox").says("keyspace cache");
    own.delete("a", &slug);
    let exists = |name: &str| format!("{:?}", own.redis(&["EXISTS", &format!("{}cache:{name}", own.prefix)]));
    assert!(exists("a").contains('0') && exists("b").contains('1'));
    own.write("lyrox.toml", &settings.replace("type = \"string\"", "type = \"string\"\ntenant = \"{other}\""));
    own.lyrox(&["tenant", "export", "a", "b.lyrox"]).exit(2);
}

#[test]
fn rows_of_others_that_refer_to_the_tenants_stop_its_removal() {
    let own = Own::row("tb_held");
    let (a, b) = (own.slug("a"), own.slug("b"));
    own.create("a", &["--slug", &a, "--no-credentials"]);
    own.create("b", &["--slug", &b, "--no-credentials"]);
    // Another tenant's row, by a key without the tenant: deleted with it, if nobody looked.
    own.sql(
        "INSERT INTO sale VALUES (1, 'a', 1), (2, 'b', 1); \
         ALTER TABLE sale ADD COLUMN after int REFERENCES sale (id) ON DELETE CASCADE; UPDATE sale SET after = 1 WHERE id = 2",
    );
    let before = everything(&own, "no such text");
    own.lyrox(&["tenant", "delete", "a", "--confirm", &a]).exit(6).says("LYX-TENANT-HELD").says("1 row of public.sale");
    same(everything(&own, "no such text").keys(), before.keys(), "after a refusal");
    own.sql("UPDATE sale SET after = NULL");
    // A table that is nobody's.
    own.sql("ALTER TABLE plan ADD COLUMN best int REFERENCES sale (id) ON DELETE SET NULL; INSERT INTO plan VALUES ('p', 1)");
    own.lyrox(&["tenant", "delete", "a", "--confirm", &a]).exit(6).says("public.plan");
    own.sql("UPDATE plan SET best = NULL");
    own.delete("a", &a);
    assert_eq!(own.sql_value("SELECT string_agg(company_id, ',') FROM sale"), "b");
}

#[test]
fn a_bundle_is_whole_or_refused_before_anything_is_contacted() {
    let own = Own::row("tb_whole");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.export("a", "a.lyrox");
    own.lyrox(&["tenant", "export", "a", "a.lyrox"]).exit(2).says("there already");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(own.path("a.lyrox")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner reads it");
    own.delete("a", &slug);
    let bytes = std::fs::read(own.path("a.lyrox")).expect("bytes");
    std::fs::write(own.path("cut.lyrox"), &bytes[..bytes.len() - 10]).expect("a file");
    own.lyrox(&["tenant", "import", "cut.lyrox", "--no-credentials"]).exit(2).says("LYX-BUNDLE");
    assert_eq!(own.state("a"), None);
    // Of another model.
    let other = Own::own_place("tb_whole_s", "schema");
    std::fs::copy(own.path("a.lyrox"), other.path("a.lyrox")).expect("a copy");
    other.lyrox(&["tenant", "import", "a.lyrox", "--no-credentials"]).exit(2).says("another tenancy model");
    // What is there without a record is nobody's to empty.
    own.mongo(bson::doc! { "insert": "notes", "documents": [{ "_id": 1, "company_id": "a" }] });
    own.lyrox(&["tenant", "import", "a.lyrox", "--no-credentials"]).exit(6).says("there is something of tenant `a`");
    assert_eq!(own.mongo(bson::doc! { "count": "notes" }).get_i32("n").ok(), Some(1));
}

#[test]
fn a_row_that_is_refused_takes_everything_back() {
    let own = Own::row("tb_back");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.sql("INSERT INTO sale VALUES (1, 'a', 5)");
    own.redis(&["SET", &format!("{}{{{slug}}}:x", own.prefix), "1"]);
    own.export("a", "a.lyrox");
    own.delete("a", &slug);
    own.sql("ALTER TABLE sale ADD CHECK (total < 5)");
    own.lyrox(&["tenant", "import", "a.lyrox", "--no-credentials"]).exit(1).says("23514").says("taken back");
    assert_eq!(own.state("a").as_deref(), Some("failed"));
    assert_eq!(own.sql_value("SELECT count(*) FROM company"), "0");
    assert!(own.users(&format!("t_{slug}")).is_empty());
    // A column that cuts what comes is seen: the digests differ.
    own.sql("ALTER TABLE sale DROP CONSTRAINT sale_total_check; ALTER TABLE company ALTER name TYPE varchar(2)");
    own.lyrox(&["tenant", "import", "a.lyrox", "--no-credentials"]).exit(1).says("values differ").says("taken back");
    own.sql("ALTER TABLE company ALTER name TYPE text");
    own.import("a.lyrox", &[]);
    assert_eq!(own.sql_value("SELECT total FROM sale"), "5");
}
