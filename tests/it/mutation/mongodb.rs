//! MongoDB, broken thing by thing.

use super::laboratory::project;
use super::{Break, try_all};
use bson::Document;
use serde_json::json;

const COLLECTIONS: &str = r#"[
  { "create": "notes", "validator": { "$jsonSchema": { "bsonType": "object", "required": ["orgId", "kind", "at"],
      "properties": { "orgId": { "bsonType": "string" }, "kind": { "enum": ["a", "b"] }, "at": { "bsonType": "date" },
                      "code": { "bsonType": "string", "maxLength": 30 } } } },
    "validationLevel": "strict", "validationAction": "error" },
  { "createIndexes": "notes", "indexes": [
      { "name": "org_at", "key": { "orgId": 1, "at": -1 } },
      { "name": "org_kind", "key": { "orgId": 1, "kind": 1 }, "sparse": true },
      { "name": "org_code", "key": { "orgId": 1, "code": 1 }, "unique": true, "partialFilterExpression": { "kind": "a" } } ] },
  { "create": "sessions", "validator": { "$jsonSchema": { "bsonType": "object", "required": ["orgId", "until"],
      "properties": { "orgId": { "bsonType": "string" }, "until": { "bsonType": "date" } } } } },
  { "createIndexes": "sessions", "indexes": [
      { "name": "until", "key": { "until": 1 }, "expireAfterSeconds": 3600 },
      { "name": "org_until", "key": { "orgId": 1, "until": 1 } } ] },
  { "create": "late", "viewOn": "sessions", "pipeline": [{ "$match": { "until": null } }] }
]"#;

fn of(own: &'static str, fault: serde_json::Value, repair: serde_json::Value) -> Break<Vec<serde_json::Value>> {
    let list = |value: serde_json::Value| match value {
        serde_json::Value::Array(commands) => commands,
        command => vec![command],
    };
    Break { own, schema: true, fault: list(fault), repair: list(repair) }
}

fn breaks() -> Vec<Break<Vec<serde_json::Value>>> {
    let create: Vec<serde_json::Value> = serde_json::from_str(COLLECTIONS).expect("commands");
    let (notes, sessions) = (create[0]["validator"].clone(), create[2].clone());
    let index = |collection: &str, at: usize, of: usize| json!({ "createIndexes": collection, "indexes": [create[at]["indexes"][of]] });
    let without = |collection: &str, name: &str| json!({ "dropIndexes": collection, "index": name });
    let mut loose = notes.clone();
    loose["$jsonSchema"]["required"] = json!(["orgId"]);
    vec![
        of("index.notes", without("notes", "org_at"), index("notes", 1, 0)),
        of(
            "index.notes",
            json!({ "collMod": "notes", "index": { "name": "org_at", "hidden": true } }),
            json!({ "collMod": "notes", "index": { "name": "org_at", "hidden": false } }),
        ),
        of(
            "index.notes",
            json!([without("notes", "org_kind"), { "createIndexes": "notes", "indexes": [{ "name": "org_kind", "key": { "orgId": 1, "kind": 1 } }] }]),
            json!([without("notes", "org_kind"), index("notes", 1, 1)]),
        ),
        of("index.sessions", without("sessions", "org_until"), index("sessions", 3, 1)),
        of("unique.notes", without("notes", "org_code"), index("notes", 1, 2)),
        of(
            "unique.notes",
            json!([without("notes", "org_code"), { "createIndexes": "notes", "indexes": [{ "name": "org_code", "key": { "orgId": 1, "code": 1 } }] }]),
            json!([without("notes", "org_code"), index("notes", 1, 2)]),
        ),
        of(
            "unique.notes",
            json!([without("notes", "org_code"), { "createIndexes": "notes", "indexes": [{ "name": "org_code", "key": { "orgId": 1, "code": 1 }, "unique": true, "partialFilterExpression": { "kind": "b" } }] }]),
            json!([without("notes", "org_code"), index("notes", 1, 2)]),
        ),
        of("ttl.sessions", without("sessions", "until"), index("sessions", 3, 0)),
        of(
            "ttl.sessions",
            json!({ "collMod": "sessions", "index": { "name": "until", "expireAfterSeconds": 86400 } }),
            json!({ "collMod": "sessions", "index": { "name": "until", "expireAfterSeconds": 3600 } }),
        ),
        of(
            "validator.notes",
            json!({ "collMod": "notes", "validator": {} }),
            json!({ "collMod": "notes", "validator": notes }),
        ),
        of(
            "validator.notes",
            json!({ "collMod": "notes", "validator": loose }),
            json!({ "collMod": "notes", "validator": notes }),
        ),
        of(
            "validator.notes",
            json!({ "collMod": "notes", "validationAction": "warn" }),
            json!({ "collMod": "notes", "validationAction": "error" }),
        ),
        of(
            "validator.notes",
            json!({ "collMod": "notes", "validationLevel": "off" }),
            json!({ "collMod": "notes", "validationLevel": "strict" }),
        ),
        of("validator.sessions", json!({ "drop": "sessions" }), json!([sessions, create[3]])),
        of("objects.views", json!({ "drop": "late" }), create[4].clone()),
        of(
            "objects.views",
            json!({ "collMod": "late", "viewOn": "notes", "pipeline": [] }),
            json!({ "collMod": "late", "viewOn": "sessions", "pipeline": [{ "$match": { "until": null } }] }),
        ),
    ]
}

#[test]
fn a_break_in_mongodb_fails_its_own_test_and_no_other() {
    let project = project("mutmongo", "[mongodb]\ndatabase = \"NAME\"\n", "");
    project.write("migrations/1_all.up.json", COLLECTIONS);
    project.lyrox(&["db", "migrate"]).ok();
    try_all(&project, "mongodb", &breaks(), |commands| {
        for command in commands {
            let command: Document = serde_json::from_value(command.clone()).expect("a command");
            project.mongo(command);
        }
    });
}
