//! LYROX OS: export, delete, import of one of its companies.

use std::path::Path;

use super::super::Own;
use super::{everything, keys, same, same_bundles, unpacked};
use crate::setup::copy;
use crate::support::Project;

/// LYROX OS on the shared servers, migrated and seeded, with names of its own.
pub fn lyrox_os(name: &str) -> Own {
    let own = Own(Project::new(name, ""));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["migrations", "seeds"] {
        copy(&root.join(part), &own.path(part));
    }
    let settings = std::fs::read_to_string(root.join("lyrox.toml")).expect("lyrox.toml");
    let settings = settings
        .replace("name = \"lyrox-os\"", &format!("name = \"{}\"", own.name))
        .replace("\"lyrox_app\"", &format!("\"{}_app\"", own.name))
        .replace("\"lyrox_db\"", &format!("\"{}\"", own.name))
        .replace("key_prefix = \"lyrox:\"", &format!("key_prefix = \"{}\"", own.prefix));
    own.write("lyrox.toml", &settings);
    let env = std::fs::read_to_string(own.path(".env")).expect(".env");
    own.write(".env", &format!("{env}DIRECT_URL='{}'\n", own.postgres));
    own.lyrox(&["-q", "db", "migrate"]).ok();
    own.lyrox(&["-q", "db", "seed"]).ok();
    own.lyrox(&["-q", "tenant", "adopt", "--all", "--no-credentials"]).ok();
    own
}

#[test]
fn a_company_goes_out_away_and_in_again_byte_for_byte_and_nobody_else_is_touched() {
    let own = lyrox_os("tb_os");
    let born = own.sql_value("SELECT id FROM \"Company\" WHERE name LIKE 'Emilio%'");
    let slug = own.sql_value(&format!("SELECT slug FROM lyrox.tenants WHERE key = '{born}'"));
    // What a running application has beside the seed: keys below its own prefix, of every type, with and without an end.
    let prefix = format!("{}{{{slug}}}:", own.prefix);
    let key = |name: &str| format!("{prefix}{name}");
    let later = "4102444800000";
    for words in [
        vec!["SET", &key("text"), "é \"quoted\"\n", "PXAT", later],
        vec!["HSET", &key("hash"), "b", "2", "a", "1"],
        vec!["RPUSH", &key("list"), "z", "a", "z"],
        vec!["SADD", &key("set"), "c", "a", "b"],
        vec!["ZADD", &key("zset"), "1.5", "b", "-inf", "a", "2", "c"],
        vec!["XADD", &key("stream"), "5-1", "f", "v", "g", "w"],
        vec!["XADD", &key("stream"), "6-1", "f", "v"],
        vec!["XDEL", &key("stream"), "6-1"],
        vec!["XGROUP", "CREATE", &key("stream"), "workers", "5-1"],
        vec!["SETBIT", &key("bits"), "7", "1"],
        vec!["SETBIT", &key("bits"), "8", "1"],
    ] {
        own.redis(&words);
    }
    let dry = own.lyrox(&["tenant", "export", &born, "--dry-run", "--output", "json"]);
    dry.ok();
    let out = own.export(&born, "one.lyrox");
    for part in
        ["Company", "Product", "Customer", "Sale", "AgentLog", "Subscription", "conversations", "keyspace cache"]
    {
        out.says(part);
    }
    out.never_says("User");
    let files = unpacked(&own, "one.lyrox");
    let manifest: serde_json::Value = serde_json::from_str(&files["manifest.json"]).expect("JSON");
    let parts = manifest["parts"].as_array().expect("parts");
    let rows: u64 = parts.iter().map(|part| part["rows"].as_u64().expect("a count")).sum();
    assert_eq!(dry.json()["data"]["rows"], rows, "a dry run counts the same");
    let of = |name: &str| parts.iter().find(|part| part["name"] == name).expect("a part")["rows"].clone();
    assert_eq!((of("Company"), of("Sale"), of("keys")), (1.into(), 3.into(), 7.into()), "{files:#?}");
    assert_eq!((of("keyspace sessions"), of("keyspace rate_limits")), (1.into(), 1.into()), "{files:#?}");
    let whole = files.values().map(String::as_str).collect::<String>();
    assert!(!whole.contains("Tidewater") && !whole.contains("passwordHash"), "another's, or a user's");
    assert!(files.keys().all(|name| !name.contains("User")));
    // Again: the same bytes.
    own.export(&born, "two.lyrox");
    same_bundles(&own, "one.lyrox", "two.lyrox", "two exports");

    let others = everything(&own, &born);
    let of_others: Vec<String> = others.into_keys().filter(|name| !name.contains(&slug)).collect();
    assert!(of_others.len() > 10, "{of_others:?}");
    let unchanged = |note: &str| {
        let now: Vec<String> = everything(&own, &born).into_keys().filter(|name| !name.contains(&slug)).collect();
        same(&of_others, &now, note);
    };
    own.lyrox(&["tenant", "delete", &born, "--dry-run"]).ok().says("a dry run");
    own.export(&born, "three.lyrox");
    same_bundles(&own, "one.lyrox", "three.lyrox", "after a dry run");
    own.delete(&born, &slug);
    unchanged("after the removal");
    assert_eq!(own.state(&born), None);
    for table in ["Company", "Product", "Customer", "Sale", "AgentLog", "Subscription"] {
        let column = if table == "Company" { "id" } else { "\"companyId\"" };
        let left = own.sql_value(&format!("SELECT count(*) FROM \"{table}\" WHERE {column} = '{born}'"));
        assert_eq!(left, "0", "{table}");
    }
    assert_eq!(
        own.mongo(bson::doc! { "count": "conversations", "query": { "companyId": &born } }).get_i32("n").ok(),
        Some(0)
    );
    assert!(keys(&own).iter().all(|key| !key.contains(&slug) && !key.contains(&born)), "{:?}", keys(&own));
    assert!(own.users(&format!("t_{slug}")).is_empty());

    own.import("one.lyrox", &["--dry-run"]).says("a dry run");
    assert_eq!(own.state(&born), None, "a dry run writes nothing");
    own.import("one.lyrox", &[]);
    unchanged("after the import");
    assert_eq!(own.state(&born).as_deref(), Some("active"));
    own.export(&born, "four.lyrox");
    same_bundles(&own, "one.lyrox", "four.lyrox", "after the import");
    own.lyrox(&["tenant", "import", "one.lyrox", "--no-credentials"]).exit(6).says("is there already");
    own.lyrox(&["db", "smoke-test"]).ok();
}

#[test]
fn a_second_company_is_made_of_the_first_with_new_ids_wherever_they_stand() {
    let own = lyrox_os("tb_map");
    let born = own.sql_value("SELECT id FROM \"Company\" WHERE name LIKE 'Emilio%'");
    let owner = own.sql_value("SELECT id FROM \"User\" WHERE email LIKE 'maya%'");
    let copy = "00000000-0000-4000-8000-0000000000aa";
    own.export(&born, "born.lyrox");
    let before = everything(&own, copy);
    // With its own ids it would be the same rows twice.
    own.lyrox(&[
        "tenant",
        "import",
        "born.lyrox",
        "--no-credentials",
        "--key",
        copy,
        "--set",
        &format!("ownerId={owner}"),
    ])
    .exit(1)
    .says("23505")
    .says("taken back");
    assert_eq!(own.state(copy).as_deref(), Some("failed"));
    let run = own.import("born.lyrox", &["--key", copy, "--ids", "map", "--set", &format!("ownerId={owner}")]);
    run.says("1 key left out");
    same(before.keys(), everything(&own, copy).keys(), "the first is as it was");
    let counts = |key: &str| {
        let of =
            |table: &str| own.sql_value(&format!("SELECT count(*) FROM \"{table}\" WHERE \"companyId\" = '{key}'"));
        ["Product", "Customer", "Sale", "AgentLog", "Subscription"].map(of)
    };
    assert_eq!(counts(copy), counts(&born));
    assert_eq!(own.sql_value(&format!("SELECT \"ownerId\" FROM \"Company\" WHERE id = '{copy}'")), owner);
    // A conversation names the customer of its own company.
    let found = own.mongo(bson::doc! { "find": "conversations", "filter": { "companyId": copy } });
    let found =
        found.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).expect("documents").clone();
    assert!(!found.is_empty());
    for document in found {
        let customer = document.as_document().and_then(|it| it.get_str("customerId").ok()).expect("an id").to_owned();
        let own_customer = format!("SELECT \"companyId\" FROM \"Customer\" WHERE id = '{customer}'");
        assert_eq!(own.sql_value(&own_customer), copy);
    }
    assert!(keys(&own).iter().any(|key| key.ends_with(&format!("cache:{copy}:products"))));
    own.lyrox(&["tenant", "verify", copy]).never_says("FAIL");
}
