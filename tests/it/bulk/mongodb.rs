//! Many documents: batches over two connections, a journal, rows set aside.

use std::fmt::Write as _;

use bson::doc;

use super::{detail, killed};
use crate::support::Project;

fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    project.write("lyrox.toml", &format!("[project]\nname = \"{0}\"\n[mongodb]\ndatabase = \"{0}\"\n", project.name));
    project
}

fn documents(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        let _ = writeln!(
            text,
            "{{\"_id\": {{\"$numberLong\": \"{n}\"}}, \"name\": \"name {n}\", \"at\": {{\"$date\": \"2025-01-01T00:00:00Z\"}}, \"tags\": [\"a\", {{\"b\": {n}}}], \"note\": \"{}\"}}",
            "x".repeat(100)
        );
    }
    text
}

const SEED: [&str; 6] = ["db", "seed", "--from", "doc.ndjson", "--into", "mongodb.doc"];

fn count(project: &Project) -> i32 {
    project.mongo(doc! { "count": "doc" }).get_i32("n").unwrap_or(-1)
}

#[test]
fn types_are_those_of_extended_json() {
    let project = project("bulk_bson");
    project.write("doc.ndjson", &documents(25_000));
    assert_eq!(detail(&project, &SEED, "mongodb.doc.ndjson"), "25000 created");
    let query = doc! { "count": "doc", "query": {
    "_id": { "$type": "long" }, "at": { "$type": "date" }, "tags.b": { "$type": "int" }, "note": { "$type": "string" } } };
    assert_eq!(project.mongo(query).get_i32("n").ok(), Some(25_000));
    assert_eq!(detail(&project, &SEED, "mongodb.doc.ndjson"), "25000 unchanged");
    assert_eq!(project.mongo(doc! { "count": "lyrox_seeds" }).get_i32("n").ok(), Some(0), "the journal is gone");
}

#[test]
fn a_kill_is_gone_on_from() {
    for name in ["keyed", "keyless"] {
        let project = project(&format!("bulk_mongo_{name}"));
        let text = documents(150_000);
        let text = if name == "keyed" { text } else { text.replace("\"_id\"", "\"n\"") };
        project.write("doc.ndjson", &text);
        let journaled = || {
            let reply = project.mongo(doc! { "find": "lyrox_seeds", "filter": { "loading.rows": { "$gt": 0_i64 } } });
            reply
                .get_document("cursor")
                .and_then(|cursor| cursor.get_array("firstBatch"))
                .is_ok_and(|rows| !rows.is_empty())
        };
        killed(&project, &SEED, journaled);
        let stored = count(&project);
        assert!(stored > 0 && stored < 150_000, "{name}: it was killed in the middle, at {stored}");
        // What the journal says is written is passed over, not compared.
        project.mongo(doc! { "update": "doc", "updates": [{ "q": { "name": "name 0" }, "u": { "$set": { "note": "changed" } } }] });
        let said = detail(&project, &SEED, "mongodb.doc.ndjson");
        assert!(said.contains("unchanged") && said.contains("created") && !said.contains("updated"), "{name}: {said}");
        assert_eq!(count(&project), 150_000, "{name}");
        let distinct = project.mongo(doc! { "aggregate": "doc", "pipeline": [{ "$group": { "_id": "$name" } }, { "$count": "n" }], "cursor": {} });
        let first =
            distinct.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).expect("an answer")[0]
                .clone();
        assert_eq!(first.as_document().and_then(|row| row.get_i32("n").ok()), Some(150_000), "{name}: no duplicates");
    }
}

#[test]
fn what_is_refused_is_set_aside() {
    let project = project("bulk_mongo_reject");
    project.mongo(doc! { "create": "doc", "validator": { "name": { "$ne": "name 77" } } });
    let text = documents(500);
    let mut lines: Vec<&str> = text.lines().collect();
    lines[10] = "{\"_id\": 1";
    lines[20] = "{\"name\": \"without\"}";
    lines[30] = lines[31];
    lines[40] = "{\"_id\": {\"$oid\": \"short\"}}";
    project.write("doc.ndjson", &(lines.join("\n") + "\n"));
    project.lyrox(&SEED).exit(2).says("doc.ndjson:11").says("nothing was changed");
    let arguments: Vec<&str> = SEED.into_iter().chain(["--reject", "bad.ndjson"]).collect();
    project.lyrox(&arguments).exit(1).says("495 created").says("5 rows are set aside in `bad.ndjson`");
    let bad = std::fs::read_to_string(project.path("bad.ndjson")).expect("a file");
    for why in ["line 11:", "lacks `_id`", "line 32: MongoDB refused", "line 41:", "line 78:"] {
        assert!(bad.contains(why), "{why} in {bad}");
    }
    // Over what is there, the same five.
    std::fs::remove_file(project.path("bad.ndjson")).expect("a file");
    project.lyrox(&arguments).exit(1).says("unchanged").says("set aside in `bad.ndjson`");
    assert_eq!(count(&project), 495);
}
