//! Files with many rows.

use std::fmt::Write as _;

use bson::doc;

use super::{BULK, detail, migrated, postgres_only, versions};

fn csv(count: usize) -> String {
    let mut text = String::from("id,name,price,data\n");
    for id in 1..=count {
        let _ = writeln!(text, "{id},\"name, {id}\",{id}.50,\"{{\"\"n\"\": {id}}}\"");
    }
    text
}

#[test]
fn fifty_thousand_rows_of_csv() {
    let project = postgres_only("seed_csv", BULK);
    project.write("seeds/dev/postgres/item.csv", &csv(50_000));
    let seed = || detail(&project, &["db", "seed"], "postgres.item.csv");
    assert_eq!(detail(&project, &["db", "seed", "--dry-run"], "postgres.item.csv"), "50000 to create");
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "0");
    assert_eq!(seed(), "50000 created");
    let sum = || project.sql_value("SELECT md5(string_agg(xmin::text || item::text, ',' ORDER BY id)) FROM item");
    let before = sum();
    assert_eq!(seed(), "50000 unchanged");
    assert_eq!(sum(), before);
    project.sql("UPDATE item SET price = 7 WHERE id = 17; DELETE FROM item WHERE id IN (18, 19)");
    assert_eq!(seed(), "2 created, 1 updated, 49997 unchanged");
    assert_eq!(project.sql_value("SELECT price FROM item WHERE id = 17"), "17.50");
    // Empty is NULL unless it is quoted.
    project.write("seeds/dev/postgres/item.csv", "id,name,price\n1,\"\",\n");
    assert_eq!(seed(), "1 updated");
    assert_eq!(project.sql_value("SELECT name = '' AND price IS NULL FROM item WHERE id = 1"), "t");
}

#[test]
fn lines_of_json_keep_types_and_digits() {
    let project = postgres_only("seed_lines", BULK);
    let lines = "{\"id\": 1, \"name\": \"a\\nb\", \"price\": 12345678.91, \"data\": {\"x\": [1, null]}, \"tags\": [\"p\", \"q,r\"]}\n\n{\"id\": 2, \"name\": \"ü\"}\n";
    project.write("seeds/dev/postgres/item.ndjson", lines);
    let seed = || detail(&project, &["db", "seed"], "postgres.item.ndjson");
    assert_eq!(seed(), "2 created");
    assert_eq!(
        project.sql_value("SELECT price || data::text || tags[2] FROM item WHERE id = 1"),
        "12345678.91{\"x\": [1, null]}q,r"
    );
    let before = versions(&project, "item");
    assert_eq!(seed(), "2 unchanged");
    assert_eq!(versions(&project, "item"), before);
}

#[test]
fn a_bad_row_is_named_by_file_and_line() {
    let project = postgres_only("seed_bad", BULK);
    let refused = |file: &str, text: &str, place: &str, words: &str| {
        project.write(file, text);
        let output = project.lyrox(&["db", "seed"]);
        output.exit(1).says(place).says(words).says("rolled back; nothing was changed");
        assert_eq!(
            project.sql_value("SELECT (SELECT count(*) FROM item) + (SELECT count(*) FROM part)"),
            "0",
            "{output}"
        );
        project.remove(file);
    };
    let item = "seeds/dev/postgres/item.csv";
    refused(item, &csv(900).replace("\n700,", "\nx700,"), "item.csv:701", "invalid input syntax for type integer");
    refused(item, &csv(900).replace("\n700,", "\n699,"), "item.csv:701", "duplicate key value");
    let lines: String = (1..=300)
        .map(|id| format!("{{\"id\": {id}, \"name\": {}}}\n", if id == 222 { "null" } else { "\"n\"" }))
        .collect();
    refused("seeds/dev/postgres/item.ndjson", &lines, "item.ndjson:222", "null value in column");
    let lines = lines.replace("null", "\"n\"").replace("\"id\": 77,", "\"id\": \"seven\",");
    refused("seeds/dev/postgres/item.jsonl", &lines, "item.jsonl:77", "invalid input syntax for type integer");
    // A foreign key has no line of its own: the row is found again. Line ends within quotes count.
    project.write("seeds/dev/postgres/item.toml", "[rows.one]\nid = 1\nname = \"one\"\n");
    let parts: String = (1..=500).map(|id| format!("{id},{}\n", if id == 321 { 999 } else { 1 })).collect();
    refused("seeds/dev/postgres/part.csv", &format!("id,item\n{parts}"), "part.csv:322", "is not present in table");
    refused(
        "seeds/dev/postgres/part.toml",
        "[rows.a]\nid = 1\nitem = 1\n[rows.b]\nid = 2\nitem = 999\n",
        "part.toml:4",
        "is not present in table",
    );
    refused(
        "seeds/dev/postgres/part.toml",
        "[rows.a]\nid = 1\nitem = 1\n[rows.b]\nid = 2\nitem = \"x\"\n",
        "part.toml:4",
        "invalid input syntax",
    );
}

#[test]
fn bulk_files_of_documents_and_keys() {
    let project =
        migrated("seed_bulk", "[redis.keyspaces.cache]\npattern = \"cache:{id}\"\ntype = \"hash\"\nttl = \"1h\"\n");
    let lines: String = (1..=2500).map(|n| format!("{{\"n\": {n}, \"name\": \"x{n}\"}}\n")).collect();
    let keyed = lines.replace("{\"n\": ", "{\"_id\": ");
    project.write("seeds/dev/mongodb/free.ndjson", &lines);
    project.write("seeds/dev/mongodb/keyed.ndjson", &keyed);
    project.write(
        "seeds/dev/redis/cache.csv",
        &format!("id,name\n{}", (1..=2500).map(|n| format!("{n},x{n}\n")).collect::<String>()),
    );
    let seed = |id: &str| detail(&project, &["db", "seed"], id);
    assert_eq!(seed("mongodb.keyed.ndjson"), "2500 created");
    let again = project.lyrox(&["db", "seed", "--output", "json"]);
    again.ok();
    assert_eq!(again.item("mongodb.keyed.ndjson")["detail"], "2500 unchanged");
    assert_eq!(again.item("redis.cache.csv")["detail"], "2500 unchanged");
    assert!(
        again.item("mongodb.free.ndjson")["detail"].as_str().is_some_and(|text| text.starts_with("2500 unchanged"))
    );
    assert_eq!(project.mongo(doc! { "count": "free" }).get_i32("n").ok(), Some(2500));
    project.mongo(doc! { "update": "keyed", "updates": [{ "q": { "_id": 7 }, "u": { "$set": { "name": "y" } } }] });
    project.redis(&["DEL", &format!("{}cache:9", project.prefix)]);
    let mended = project.lyrox(&["db", "seed", "--output", "json"]);
    assert_eq!(mended.item("mongodb.keyed.ndjson")["detail"], "1 updated, 2499 unchanged");
    assert_eq!(mended.item("redis.cache.csv")["detail"], "1 created, 2499 unchanged");
    // A validator's refusal is named by its line, and what was written before it is said.
    project.mongo(doc! { "drop": "keyed" });
    project.mongo(doc! { "create": "keyed", "validator": { "name": { "$ne": "x1234" } } });
    let refused = project.lyrox(&["db", "seed"]);
    refused.exit(1).says("keyed.ndjson:1234").says("running it again goes on");
}
