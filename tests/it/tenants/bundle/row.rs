//! Shared tables of every shape: trees, tables that refer to each other, odd types, tables without a key.

use super::super::{Own, ROW};
use super::{everything, same_bundles, unpacked};
use crate::support::Project;

/// Tables that refer to themselves and to each other, values of odd types, names that need quotes.
const ODD: &str = r#"
CREATE TABLE company (id text PRIMARY KEY, name text NOT NULL DEFAULT 'new', best int);
CREATE TABLE item (id serial PRIMARY KEY, company_id text NOT NULL REFERENCES company (id), parent int REFERENCES item (id));
ALTER TABLE company ADD FOREIGN KEY (best) REFERENCES item (id);
CREATE TABLE line (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item_id int NOT NULL REFERENCES item (id), twice int GENERATED ALWAYS AS (item_id * 2) STORED);
CREATE TYPE mood AS ENUM ('so-so', 'a,b', '"q"');
CREATE TABLE "Odd ""one""" (company_id text NOT NULL, "Key ""x""" bytea, a text[], n numeric, f float8, j json, b jsonb, t timestamptz,
    i interval, r int4range, m mood, bits bit(3), c char(4), u uuid, p point, x xml, "null" text);
CREATE TABLE journal (company_id text NOT NULL, at date NOT NULL, what text COLLATE "C", PRIMARY KEY (company_id, at)) PARTITION BY RANGE (at);
CREATE TABLE journal_a PARTITION OF journal FOR VALUES FROM ('2025-01-01') TO ('2025-06-01');
CREATE TABLE journal_b PARTITION OF journal DEFAULT;
CREATE TABLE plan (name text PRIMARY KEY);
"#;

fn odd(name: &str) -> Own {
    let own = Own(Project::new(name, ROW));
    own.write("migrations/1_odd.up.sql", ODD);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    own
}

fn fill(own: &Own, key: &str, base: i32) {
    let quoted = key.replace('\'', "''");
    own.sql(&format!(
        r#"INSERT INTO item (id, company_id, parent) VALUES ({base}, '{quoted}', NULL), ({0}, '{quoted}', {base}), ({1}, '{quoted}', {0});
        UPDATE item SET parent = {1} WHERE id = {base}; UPDATE company SET best = {0} WHERE id = '{quoted}';
        INSERT INTO line (item_id) SELECT id FROM item WHERE company_id = '{quoted}';
        INSERT INTO "Odd ""one""" VALUES ('{quoted}', '\xff00', '{{"a,\"b",NULL,c}}', 'NaN', '-Infinity', '{{ "b":1, "a" : 2}}', '{{"b":1}}',
            '2025-02-30'::text::date - 0 , '1 mon 2 days 03:04:05.6', '[1,5)', '"q"', B'101', 'x', '3f2a0000-0000-4000-8000-000000000001', '(1,2)',
            '<a b="1">é</a>', NULL);
        INSERT INTO "Odd ""one""" (company_id, a, f, "null") VALUES ('{quoted}', '{{}}', 0.1, E'tab\t \\ "q" \n end \x7f'), ('{quoted}', NULL, 1e300, 'null');
        INSERT INTO journal VALUES ('{quoted}', '2025-03-01', 'b'), ('{quoted}', '2026-03-01', 'B')"#,
        base + 1,
        base + 2
    ).replace("'2025-02-30'::text::date - 0", "'2025-02-28 12:00:00.123456+05:30'"));
}

#[test]
fn trees_cycles_and_odd_values_come_back_byte_for_byte() {
    let own = odd("tb_odd");
    let (one, two) = (own.slug("one"), own.slug("two"));
    let key = "Acme's \"one\"\\";
    own.create(key, &["--slug", &one, "--no-credentials"]);
    own.create("two", &["--slug", &two, "--no-credentials"]);
    fill(&own, key, 100);
    fill(&own, "two", 200);
    own.mongo(bson::doc! { "insert": "notes", "documents": [
        { "_id": 1, "company_id": key, "odd": { "$numberLong": "1" }, "nan": f64::NAN, "long": 1_i64 },
        { "_id": "two", "company_id": "two" }, { "_id": bson::oid::ObjectId::from_bytes([1; 12]), "company_id": key },
    ] });
    let out = own.export(key, "a.lyrox");
    out.says("Odd \"one\"").says("journal").never_says("journal_a").never_says("plan");
    let before = everything(&own, "no such text");
    let theirs: Vec<&String> = before.keys().filter(|name| name.contains("two")).collect();
    assert!(theirs.len() >= 6, "{theirs:?}");
    own.delete(key, &one);
    let after = everything(&own, "no such text");
    assert!(theirs.iter().all(|name| after.contains_key(*name)), "two's rows are as they were");
    assert_eq!(own.sql_value("SELECT count(*) FROM line"), "3", "the other's lines");
    own.import("a.lyrox", &[]);
    own.export(key, "b.lyrox");
    same_bundles(&own, "a.lyrox", "b.lyrox", "odd values");
    let after = everything(&own, "no such text");
    assert!(theirs.iter().all(|name| after.contains_key(*name)), "two's rows are as they were");
    // What gives out numbers stands behind those that came.
    own.sql("INSERT INTO item (company_id) SELECT id FROM company WHERE id = 'two'");
    // Another installation of the same project.
    let other = odd("tb_odd_b");
    std::fs::copy(own.path("a.lyrox"), other.path("a.lyrox")).expect("a copy");
    let slug = other.slug("x");
    other.import("a.lyrox", &["--slug", &slug]);
    let advanced = other.sql_value("INSERT INTO item (company_id) SELECT id FROM company RETURNING id");
    assert_eq!(advanced, "103", "the sequence went on behind the rows");
    other.sql("DELETE FROM item WHERE id = 103");
    other.export(&slug, "c.lyrox");
    let (a, c) = (unpacked(&other, "a.lyrox"), unpacked(&other, "c.lyrox"));
    for (name, text) in a.iter().filter(|(name, _)| *name != "manifest.json") {
        assert_eq!(Some(text), c.get(name), "{name}");
    }
    // Another key: it is changed where it is the key, in all stores.
    let renamed = odd("tb_odd_c");
    std::fs::copy(own.path("a.lyrox"), renamed.path("a.lyrox")).expect("a copy");
    renamed.import("a.lyrox", &["--key", "new", "--slug", &renamed.slug("new")]);
    assert_eq!(renamed.sql_value("SELECT string_agg(DISTINCT company_id, ',') FROM item"), "new");
    let count = renamed.mongo(bson::doc! { "count": "notes", "query": { "company_id": "new" } });
    assert_eq!(count.get_i32("n").ok(), Some(2));
}

#[test]
fn memory_stays_flat_and_large_tenants_go_in_many_files() {
    let own = Own::row("tb_flat");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.sql("CREATE INDEX ON line (sale_id); INSERT INTO sale SELECT n, 'a', n FROM generate_series(1, 120000) n; INSERT INTO line SELECT n, n FROM generate_series(1, 120000) n");
    let measured = |arguments: &[&str]| -> u64 {
        let mut command = own.command(arguments);
        let mut child =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("lyrox");
        let status = format!("/proc/{}/status", child.id());
        let mut most = 0;
        while child.try_wait().expect("a state").is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
            most = most.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(child.wait().expect("an end").success(), "{arguments:?}");
        most
    };
    let export = measured(&["tenant", "export", "a", "a.lyrox"]);
    assert!(unpacked(&own, "a.lyrox").len() > 8, "files of about a megabyte");
    own.delete("a", &slug);
    let import = measured(&["tenant", "import", "a.lyrox", "--no-credentials"]);
    assert_eq!(own.sql_value("SELECT count(*) FROM line"), "120000");
    crate::promises::figure("export, import", format!("240,000 rows, {export} and {import} KiB at most"));
    assert!(export < 200_000 && import < 200_000, "export {export} KiB, import {import} KiB");
}
