//! `lyrox db smoke-test` against real servers: a hard little schema, a laboratory of faults, what is left
//! behind after runs and after `kill -9`, and declared tests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bson::doc;

use crate::support::{Output, Project};

/// A type of each hard kind, keys in all shapes, policies, triggers; and one table that cannot be filled.
const SCHEMA: &str = r#"
CREATE TYPE mood AS ENUM ('calm', 'busy');
CREATE DOMAIN address AS text CHECK (VALUE ~ '^[^@ ]+@[^@ ]+\.[a-z]{2,}$');
CREATE DOMAIN cents AS integer NOT NULL CHECK (VALUE >= 0);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE FUNCTION is_odd(n integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT n < 0 $$;

CREATE TABLE org (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name varchar(12) NOT NULL UNIQUE,
    chief bigint
);
CREATE TABLE member (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "orgId" uuid NOT NULL REFERENCES org ON DELETE CASCADE,
    email address NOT NULL,
    mood mood NOT NULL,
    manager bigint,
    UNIQUE ("orgId", id),
    UNIQUE ("orgId", email),
    FOREIGN KEY ("orgId", manager) REFERENCES member ("orgId", id) ON DELETE SET NULL (manager)
);
ALTER TABLE org ADD FOREIGN KEY (chief) REFERENCES member ON DELETE SET NULL;
CREATE TABLE profile (
    "orgId" uuid NOT NULL REFERENCES org ON DELETE CASCADE,
    member bigint NOT NULL UNIQUE REFERENCES member ON DELETE RESTRICT,
    code char(3) NOT NULL CHECK (code ~ '^[A-Z]{3}$'),
    PRIMARY KEY ("orgId", member)
);
CREATE TABLE hen (id integer PRIMARY KEY, "orgId" uuid NOT NULL REFERENCES org ON DELETE CASCADE, egg integer NOT NULL);
CREATE TABLE egg (id integer PRIMARY KEY, "orgId" uuid NOT NULL REFERENCES org ON DELETE CASCADE,
    hen integer NOT NULL REFERENCES hen ON DELETE CASCADE);
ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg ON DELETE CASCADE;
CREATE TABLE item (
    id serial PRIMARY KEY,
    "orgId" uuid NOT NULL REFERENCES org ON DELETE CASCADE,
    slug text NOT NULL,
    price cents,
    quantity smallint NOT NULL CHECK (quantity BETWEEN 1 AND 10),
    total integer GENERATED ALWAYS AS (price * quantity) STORED,
    tags text[] NOT NULL CHECK (cardinality(tags) > 0),
    starts date NOT NULL,
    ends date NOT NULL CHECK (ends <= '2999-01-01'),
    kind text NOT NULL CHECK (kind IN ('x', 'y')),
    meta jsonb NOT NULL CHECK (jsonb_typeof(meta) = 'object'),
    a text, b text,
    rate numeric(3, 2) NOT NULL CHECK (rate > 0 AND rate < 1),
    during int4range NOT NULL,
    deleted_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (ends > starts),
    CHECK (num_nonnulls(a, b) = 1),
    EXCLUDE USING gist (during WITH &&)
);
CREATE UNIQUE INDEX item_slug_live ON item ("orgId", lower(slug)) WHERE deleted_at IS NULL;
CREATE INDEX item_starts ON item ("orgId", starts);
CREATE TRIGGER touch BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TABLE puzzle (id integer PRIMARY KEY, "orgId" uuid NOT NULL REFERENCES org ON DELETE CASCADE,
    n integer NOT NULL CHECK (is_odd(n)));

DO $$ DECLARE t text; BEGIN
    FOREACH t IN ARRAY ARRAY['member', 'profile', 'hen', 'egg', 'item', 'puzzle'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY tenant ON %I USING ("orgId" = nullif(current_setting(''app.tenant'', true), '''')::uuid)', t);
    END LOOP;
END $$;
ALTER TABLE org ENABLE ROW LEVEL SECURITY;
ALTER TABLE org FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON org USING (id = nullif(current_setting('app.tenant', true), '')::uuid);
"#;

const COLLECTION: &str = r#"[
  { "create": "notes", "validator": { "$jsonSchema": { "bsonType": "object", "required": ["orgId", "kind", "at"],
      "properties": { "orgId": { "bsonType": "string" }, "kind": { "enum": ["a", "b"] }, "at": { "bsonType": "date" },
                      "code": { "bsonType": "string", "maxLength": 30 } } } } },
  { "createIndexes": "notes", "indexes": [
      { "name": "org_at", "key": { "orgId": 1, "at": -1 } },
      { "name": "org_code", "key": { "orgId": 1, "code": 1 }, "unique": true, "partialFilterExpression": { "kind": "a" } } ] }
]"#;

const FUNCTIONS: &str = "FUNCTION LOAD REPLACE @lib.lua\n";

fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    project.write(
        "lyrox.toml",
        &format!(
            r#"[project]
name = "{name}"
[postgres]
app_role = "{name}_app"
[mongodb]
database = "{name}"
[redis]
key_prefix = "{prefix}"
[redis.keyspaces.sessions]
pattern = "session:{{id}}"
type = "hash"
ttl = "1h"
[redis.keyspaces.queue]
pattern = "queue:{{id}}"
type = "list"
[redis.channels]
news = ["news.made", "news.gone"]
[tenancy]
table = "org"
key_column = "id"
column = "orgId"
"#,
            name = project.name,
            prefix = project.prefix
        ),
    );
    project.write("migrations/1_all.up.sql", SCHEMA).write("migrations/1_all.up.json", COLLECTION);
    let library = format!(
        "#!lua name={0}\nredis.register_function('{0}_twice', function(keys, args) return args[1] * 2 end)\n",
        project.name
    );
    project.write("migrations/lib.lua", &library).write("migrations/1_all.up.redis", FUNCTIONS);
    project.lyrox(&["db", "migrate"]).ok();
    project
}

/// Roles and functions are shared by the whole server.
struct Cleanup<'a>(&'a Project);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let project = self.0;
        let _ =
            crate::support::sql(&project.postgres, &format!("DROP OWNED BY {0}_app; DROP ROLE {0}_app", project.name));
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            project.redis(&["FUNCTION", "DELETE", &project.name])
        }));
    }
}

fn smoke(project: &Project, more: &[&str]) -> Output {
    project.lyrox(&[&["db", "smoke-test", "--output", "json"], more].concat())
}

/// The ids of the items with this outcome.
#[track_caller]
fn with_outcome(output: &Output, outcome: &str) -> BTreeSet<String> {
    let report = output.json();
    let items = report["items"].as_array().unwrap_or_else(|| panic!("{output}")).clone();
    let ids = items.iter().filter(|item| item["outcome"] == outcome);
    ids.map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Every row, document and key of the project.
fn everything(project: &Project) -> String {
    let tables = project.sql(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg_%' AND n.nspname <> 'information_schema' ORDER BY 1",
    );
    let mut all = String::new();
    for table in tables.iter().filter_map(|row| row[0].clone()) {
        let count = project.sql(&format!(
            "BEGIN; ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; SELECT count(*) FROM {table}; ROLLBACK"
        ));
        all.push_str(&format!("{table} {count:?}\n"));
    }
    let listed = project.mongo(doc! { "listCollections": 1, "nameOnly": true });
    let mut names: Vec<String> = listed
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"))
        .map(|batch| {
            batch.iter().filter_map(|entry| Some(entry.as_document()?.get_str("name").ok()?.to_owned())).collect()
        })
        .unwrap_or_default();
    names.sort();
    for name in names {
        let count = project.mongo(doc! { "count": &name });
        all.push_str(&format!("{name} {:?}\n", count.get("n")));
    }
    all.push_str(&format!(
        "{:?}",
        project.redis(&[
            "EVAL",
            "local k = redis.call('KEYS', ARGV[1]) table.sort(k) return k",
            "0",
            &format!("{}*", project.prefix)
        ])
    ));
    all
}

#[test]
fn a_hard_schema_passes_and_nothing_is_left() {
    let project = project("smokehard");
    let _cleanup = Cleanup(&project);
    let before = everything(&project);
    let output = smoke(&project, &[]);
    output.ok();
    assert_eq!(with_outcome(&output, "fail"), BTreeSet::new(), "{output}");
    // What cannot be made up is said, with the file to write, and is no failure.
    let skipped = with_outcome(&output, "skip");
    assert!(skipped.contains("postgres.row.puzzle"), "{output}");
    assert!(skipped.iter().all(|id| id.ends_with(".puzzle")), "{skipped:?}\n{output}");
    let hint = output.item("postgres.row.puzzle")["hint"].as_str().unwrap_or_default().to_owned();
    assert!(hint.contains("smoke/puzzle.toml") && hint.contains("INSERT INTO \"puzzle\""), "{hint}");
    // Every table was filled, every key tried.
    for (id, says) in [
        ("postgres.row.item", "1 row"),
        ("postgres.row.egg", "1 row"),
        ("postgres.check.item", "refusals"),
        ("postgres.foreign_key.member", "2 keys, cascade, set NULL"),
        ("postgres.foreign_key.profile", "refuse the delete of a parent"),
        ("postgres.unique.item", "3 keys"),
        ("postgres.unique.profile", "2 keys"),
        ("postgres.touch.item", "1 column"),
        ("postgres.tenant.item", "7 attempts"),
        ("mongodb.validator.notes", "wrong ones refused"),
        ("mongodb.unique.notes", "1 index"),
        ("redis.keyspace.sessions", "hash, expires within 1h"),
        ("redis.channel.news", "2 channels"),
    ] {
        let detail = output.item(id)["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(says), "{id}: `{detail}` does not say `{says}`\n{output}");
        assert!(!detail.contains("not tried"), "{id}: {detail}");
    }
    assert_eq!(everything(&project), before);
}

#[test]
fn each_fault_fails_its_own_test_and_schema() {
    let project = project("smokelab");
    let _cleanup = Cleanup(&project);
    smoke(&project, &[]).ok();
    let policy =
        r#"CREATE POLICY tenant ON item USING ("orgId" = nullif(current_setting('app.tenant', true), '')::uuid)"#;
    for (fault, undo, own) in [
        (
            r#"ALTER TABLE member DROP CONSTRAINT "member_orgId_fkey""#,
            r#"ALTER TABLE member ADD FOREIGN KEY ("orgId") REFERENCES org ON DELETE CASCADE"#,
            "foreign_key.member",
        ),
        (
            "ALTER TABLE profile DROP CONSTRAINT profile_member_fkey, ADD FOREIGN KEY (member) REFERENCES member ON DELETE CASCADE",
            "ALTER TABLE profile DROP CONSTRAINT profile_member_fkey, ADD FOREIGN KEY (member) REFERENCES member ON DELETE RESTRICT",
            "foreign_key.profile",
        ),
        ("DROP INDEX item_starts", r#"CREATE INDEX item_starts ON item ("orgId", starts)"#, "index.item"),
        (
            "DROP INDEX item_slug_live",
            r#"CREATE UNIQUE INDEX item_slug_live ON item ("orgId", lower(slug)) WHERE deleted_at IS NULL"#,
            "unique.item",
        ),
        (
            "DROP TRIGGER touch ON item",
            "CREATE TRIGGER touch BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch()",
            "touch.item",
        ),
        ("ALTER TABLE item DISABLE TRIGGER touch", "ALTER TABLE item ENABLE TRIGGER touch", "touch.item"),
        ("DROP POLICY tenant ON item", policy, "tenant.item"),
        (
            "DROP POLICY tenant ON item; CREATE POLICY tenant ON item USING (true)",
            &format!("DROP POLICY tenant ON item; {policy}"),
            "tenant.item",
        ),
        ("ALTER TABLE egg NO FORCE ROW LEVEL SECURITY", "ALTER TABLE egg FORCE ROW LEVEL SECURITY", "row_security"),
        ("ALTER TABLE item ALTER kind DROP NOT NULL", "ALTER TABLE item ALTER kind SET NOT NULL", "check.item"),
        (
            "ALTER TABLE item DROP CONSTRAINT item_kind_check",
            "ALTER TABLE item ADD CHECK (kind IN ('x', 'y'))",
            "check.item",
        ),
        (
            "CREATE OR REPLACE FUNCTION is_odd(n integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT n < 1 $$",
            "CREATE OR REPLACE FUNCTION is_odd(n integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT n < 0 $$",
            "objects.functions",
        ),
    ] {
        project.sql(fault);
        let output = smoke(&project, &["--only", "postgres"]);
        let expected = BTreeSet::from(["postgres.schema".to_owned(), format!("postgres.{own}")]);
        assert_eq!(with_outcome(&output, "fail"), expected, "{fault}\n{output}");
        output.exit(1);
        project.sql(undo);
    }
    let validator = project.mongo(doc! { "listCollections": 1, "filter": { "name": "notes" } });
    let validator = validator.get_document("cursor").expect("a cursor").get_array("firstBatch").expect("a batch")[0]
        .as_document()
        .and_then(|entry| entry.get_document("options").ok()?.get_document("validator").ok().cloned())
        .expect("a validator");
    for (fault, undo, own) in [
        (
            doc! { "collMod": "notes", "validator": {} },
            doc! { "collMod": "notes", "validator": validator },
            "validator.notes",
        ),
        (
            doc! { "dropIndexes": "notes", "index": "org_at" },
            doc! { "createIndexes": "notes", "indexes": [{ "name": "org_at", "key": { "orgId": 1, "at": -1 } }] },
            "index.notes",
        ),
        (
            doc! { "dropIndexes": "notes", "index": "org_code" },
            doc! { "createIndexes": "notes", "indexes": [{ "name": "org_code", "key": { "orgId": 1, "code": 1 }, "unique": true, "partialFilterExpression": { "kind": "a" } }] },
            "unique.notes",
        ),
    ] {
        project.mongo(fault.clone());
        let output = smoke(&project, &["--only", "mongodb"]);
        let expected = BTreeSet::from(["mongodb.schema".to_owned(), format!("mongodb.{own}")]);
        assert_eq!(with_outcome(&output, "fail"), expected, "{fault}\n{output}");
        project.mongo(undo);
    }
    project.redis(&["FUNCTION", "DELETE", &project.name]);
    let output = smoke(&project, &["--only", "redis"]);
    let failed = with_outcome(&output, "fail");
    assert!(
        failed.contains("redis.schema")
            && failed.iter().all(|id| id == "redis.schema" || id.starts_with("redis.object.")),
        "{output}"
    );
    assert!(failed.len() >= 2, "{output}");
    // Keys that are not as declared are no drift of the schema.
    let library = std::fs::read_to_string(project.path("migrations/lib.lua")).expect("the library");
    project.redis(&["FUNCTION", "LOAD", &library]);
    for wrong in
        [&["HSET", "session:1", "a", "1"][..], &["SET", "session:1", "a", "EX", "60"], &["HSETEX", "session:1"]]
    {
        let key = format!("{}session:1", project.prefix);
        match wrong[0] {
            "HSETEX" => {
                project.redis(&["HSET", &key, "a", "1"]);
                project.redis(&["EXPIRE", &key, "7200"]);
            }
            _ => {
                let words: Vec<&str> =
                    wrong.iter().map(|word| if *word == "session:1" { key.as_str() } else { word }).collect();
                project.redis(&words);
            }
        }
        let output = smoke(&project, &["--only", "redis"]);
        assert_eq!(
            with_outcome(&output, "fail"),
            BTreeSet::from(["redis.keyspace.sessions".to_owned()]),
            "{wrong:?}\n{output}"
        );
        project.redis(&["DEL", &key]);
    }
    smoke(&project, &[]).ok();
}

#[test]
fn a_leak_is_found_by_trying() {
    // The snapshot itself holds the hole: only trying can tell.
    let project = project("smokeleak");
    let _cleanup = Cleanup(&project);
    project.write(
        "migrations/2_hole.up.sql",
        "DROP POLICY tenant ON item; CREATE POLICY tenant ON item USING (true);\n\
         ALTER TABLE egg NO FORCE ROW LEVEL SECURITY;\n\
         DROP TRIGGER touch ON item; CREATE FUNCTION lazy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := OLD.updated_at; RETURN NEW; END $$;\n\
         CREATE TRIGGER touch BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION lazy();\n\
         ALTER TABLE member DROP CONSTRAINT \"member_orgId_manager_fkey\", ALTER manager SET NOT NULL,\n\
         ADD FOREIGN KEY (\"orgId\", manager) REFERENCES member (\"orgId\", id) ON DELETE SET NULL (manager);",
    );
    project.write(
        "migrations/2_hole.up.json",
        r#"[{ "createIndexes": "notes", "indexes": [{ "name": "by_kind", "key": { "kind": 1 } }] }]"#,
    );
    project.lyrox(&["db", "migrate"]).ok();
    let output = smoke(&project, &[]);
    let failed = with_outcome(&output, "fail");
    let expected = [
        "postgres.tenant.item",
        "postgres.row_security",
        "postgres.touch.item",
        "postgres.foreign_key.member",
        "postgres.no_tenant",
        "mongodb.tenant.notes",
    ];
    // Without rows in `item` a reading without a tenant shows nothing.
    for id in expected.iter().filter(|id| **id != "postgres.no_tenant") {
        assert!(failed.contains(*id), "{id} did not fail\n{output}");
    }
    assert!(failed.iter().all(|id| expected.contains(&id.as_str())), "{failed:?}\n{output}");
    output.exit(1).says("reads another tenant's row").says("`by_kind`");
}

#[test]
fn declared_tests_hold_to_their_grammar() {
    let project = project("smokedeclared");
    let _cleanup = Cleanup(&project);
    project.redis(&["SET", &format!("{}kept", project.prefix), "old", "EX", "500"]);
    let before = everything(&project);
    project.write(
        "smoke/a.toml",
        r#"
[[test]]
name = "Values go from store to store"
tags = ["all"]
  [[test.step]]
  postgres = "SELECT gen_random_uuid() AS id, 7 AS n, 'it''s' AS t, NULL AS nothing"
  save = { id = "rows[0].id", n = "rows[0].n", t = "rows[0].t" }
  expect = { rows = 1, value = { "rows[0].n" = 7, "rows[0].nothing" = "" }, within = "5s" }
  [[test.step]]
  postgres = "SELECT set_config('app.tenant', {{id}}, true)"
  [[test.step]]
  postgres = "INSERT INTO org (id, name) VALUES ({{id}}, 'x{{n}}')"
  expect = { rows = 1 }
  [[test.step]]
  postgres = "INSERT INTO org (id, name) VALUES ({{id}}, 'y')"
  expect = { error = "23505" }
  [[test.step]]
  postgres = "SELECT name, {{t}} FROM org"
  expect = { rows = 1, value = "x7" }
  [[test.step]]
  mongodb = '{ "insert": "notes", "documents": [{ "orgId": "{{id}}", "kind": "a", "at": { "$date": "2025-01-01T00:00:00Z" }, "code": "c-{{n}}" }] }'
  expect = { value = 1 }
  [[test.step]]
  mongodb = '{ "insert": "notes", "documents": [{ "orgId": {{id}}, "kind": "z", "at": 1 }] }'
  expect = { error = "DocumentValidationFailure" }
  [[test.step]]
  mongodb = '{ "find": "notes", "filter": { "orgId": {{id}} } }'
  save = { note = "cursor.firstBatch[0]._id" }
  expect = { rows = 1, value = { "cursor.firstBatch[0].code" = "c-7" } }
  [[test.step]]
  mongodb = '{ "count": "notes", "query": { "_id": "{{note}}" } }'
  expect = { rows = 1, value = 1 }
  [[test.step]]
  redis = "SET {{prefix}}kept {{t}} EX 60"
  expect = { value = "OK", ttl = "50s..60s" }
  [[test.step]]
  redis = "RPUSH {{prefix}}new {{id}} 'two words'"
  expect = { value = 2 }
  [[test.step]]
  redis = "LRANGE {{prefix}}new 0 -1"
  expect = { rows = 2, value = { "[1]" = "two words" } }
  [[test.step]]
  redis = "INCR {{prefix}}new"
  expect = { error = "WRONGTYPE" }

[[test]]
name = "What is committed is seen by others and removed"
tags = ["commit"]
commit = true
  [[test.step]]
  postgres = "SELECT gen_random_uuid() AS id, pg_backend_pid() AS pid"
  save = { id = "rows[0].id", pid = "rows[0].pid" }
  [[test.step]]
  postgres = "SELECT set_config('app.tenant', {{id}}, true); INSERT INTO org (id, name) VALUES ({{id}}, 'committed'); INSERT INTO hen (id, \"orgId\", egg) SELECT 1, {{id}}, 1 WHERE false"
  [[test.step]]
  postgres = "SELECT set_config('app.tenant', {{id}}, true); SELECT name, pg_backend_pid() <> {{pid}}::int AS other FROM org"
  expect = { rows = 1, value = { "rows[0].name" = "committed", "rows[0].other" = true } }
  [[test.step]]
  postgres = "SELECT set_config('app.tenant', {{id}}, true); UPDATE org SET name = 'changed' WHERE id = {{id}}"
  expect = { rows = 1 }
  [[test.step]]
  mongodb = '{ "insert": "notes", "documents": [{ "orgId": "{{id}}", "kind": "b", "at": { "$date": "2025-01-01T00:00:00Z" } }] }'
  [[test.step]]
  mongodb = '{ "update": "notes", "updates": [{ "q": { "orgId": "{{id}}" }, "u": { "$set": { "kind": "a" } } }] }'
  expect = { rows = 1 }
"#,
    );
    let output = smoke(&project, &["--tag", "declared"]);
    output.ok();
    assert_eq!(with_outcome(&output, "pass").len(), 3, "{output}");
    assert_eq!(everything(&project), before);
    let redis::Value::Int(left) = project.redis(&["TTL", &format!("{}kept", project.prefix)]) else {
        panic!("a time to live")
    };
    assert!(left > 60 && left <= 500, "{left}");
    assert_eq!(format!("{:?}", project.redis(&["GET", &format!("{}kept", project.prefix)])), "bulk-string('\"old\"')");

    // Each expectation can fail, with its place.
    for (step, says) in [
        ("postgres = \"SELECT 1\"\nexpect = { rows = 2 }", "expected 2 rows, found 1"),
        ("postgres = \"SELECT 1\"\nexpect = { value = 2 }", "expected 2, found"),
        ("postgres = \"SELECT 1/0\"", "division by zero"),
        ("postgres = \"SELECT 1\"\nexpect = { error = \"22012\" }", "and it was done"),
        ("postgres = \"SELECT pg_sleep(0.1)\"\nexpect = { within = \"10ms\" }", "expected an answer within 10 ms"),
        ("postgres = \"COMMIT\"", "ends a transaction"),
        ("mongodb = '{ \"drop\": \"notes\" }'", "could not be undone"),
        ("redis = \"SET other:x 1\"", "not below the project's prefix"),
        ("redis = \"FLUSHALL\"", "names no key"),
        ("redis = \"SET {{prefix}}x 1\"\nexpect = { ttl = \"1s..2s\" }", "the key never expires"),
        ("redis = \"CONFIG SET maxmemory 0\"", "cannot be a step"),
    ] {
        project.write("smoke/a.toml", &format!("[[test]]\nname = \"one\"\n[[test.step]]\n{step}\n"));
        let output = smoke(&project, &["--tag", "declared"]);
        assert_eq!(with_outcome(&output, "fail"), BTreeSet::from(["declared.one".to_owned()]), "{step}\n{output}");
        output.says(says);
        assert_eq!(output.item("declared.one")["location"]["file"], "smoke/a.toml", "{output}");
    }
    assert_eq!(everything(&project), before);

    // What a committed step may not do is undone at once.
    project.sql("INSERT INTO lyrox.events (project, store, what, actor, lyrox) VALUES ('x', 'postgres', 'x', 'x', 'x'); CREATE TABLE global_list (id int PRIMARY KEY); INSERT INTO global_list VALUES (1)");
    for step in ["UPDATE global_list SET id = 2", "DELETE FROM global_list"] {
        project.write(
            "smoke/a.toml",
            &format!("[[test]]\nname = \"one\"\ncommit = true\n[[test.step]]\npostgres = \"{step}\"\n"),
        );
        smoke(&project, &["--tag", "declared"]).exit(1).says("could not be undone");
        assert_eq!(project.sql_value("SELECT string_agg(id::text, ',') FROM global_list"), "1");
    }

    // A file that cannot be read is said before anything is contacted.
    project.write("smoke/a.toml", "[[test]]\nname = \"one\"\n[[test.step]]\npostgrse = \"SELECT 1\"\n");
    project.lyrox(&["db", "smoke-test"]).exit(2).says("smoke/a.toml:4").says("did you mean `postgres`?");
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let project = project("smokekill");
    let _cleanup = Cleanup(&project);
    let kept = format!("{}kept", project.prefix);
    project.redis(&["SET", &kept, "old"]);
    let before = everything(&project);
    project.write(
        "smoke/a.toml",
        r#"
[[test]]
name = "Long"
tags = ["long"]
commit = true
  [[test.step]]
  postgres = "SELECT gen_random_uuid() AS id"
  save = { id = "rows[0].id" }
  [[test.step]]
  postgres = "SELECT set_config('app.tenant', {{id}}, true); INSERT INTO org (id, name) VALUES ({{id}}, 'committed')"
  [[test.step]]
  mongodb = '{ "insert": "notes", "documents": [{ "orgId": "{{id}}", "kind": "b", "at": { "$date": "2025-01-01T00:00:00Z" } }] }'
  [[test.step]]
  redis = "SET {{prefix}}kept new EX 5000"
  [[test.step]]
  redis = "SET {{prefix}}made {{run}}"
  [[test.step]]
  postgres = "SELECT pg_sleep(60)"
[[test]]
name = "Short"
tags = ["short"]
  [[test.step]]
  redis = "PING"
"#,
    );
    let mut child = project
        .command(&["db", "smoke-test", "--tag", "long"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("lyrox runs");
    let until = Instant::now() + Duration::from_secs(30);
    while project.redis(&["EXISTS", &format!("{}made", project.prefix)]) != redis::Value::Int(1) {
        assert!(Instant::now() < until, "the run did not come so far");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
    child.kill().expect("a kill");
    child.wait().expect("an end");
    assert_ne!(everything(&project), before);
    // The server notices within half a second that the client of the sleeping statement is gone.
    let output = smoke(&project, &["--tag", "short"]);
    output.ok().says("a row of `org`").says("a document of `notes`").says("made");
    assert_eq!(everything(&project), before);
    assert_eq!(project.redis(&["TTL", &kept]), redis::Value::Int(-1));
    project.remove("smoke/a.toml");
    smoke(&project, &[]).ok();
    assert_eq!(everything(&project), before);
}

#[test]
fn where_it_is_protected_only_reading_tests_run() {
    let project = project("smokeprotected");
    let _cleanup = Cleanup(&project);
    let toml = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    project.write("lyrox.toml", &format!("{toml}\n[env.local]\nprotected = true\n"));
    project.write(
        "smoke/a.toml",
        "[[test]]\nname = \"reads\"\n[[test.step]]\npostgres = \"SELECT 1\"\n[[test]]\nname = \"writes\"\n[[test.step]]\npostgres = \"CREATE TABLE t (i int)\"\n\
         [[test]]\nname = \"writes a key\"\n[[test.step]]\nredis = \"SET {{prefix}}a 1\"\n[[test]]\nname = \"writes a document\"\n[[test.step]]\nmongodb = '{ \"insert\": \"notes\", \"documents\": [{}] }'\n",
    );
    let before = everything(&project);
    let output = smoke(&project, &[]);
    output.ok();
    let (passed, skipped) = (with_outcome(&output, "pass"), with_outcome(&output, "skip"));
    for id in
        ["postgres.schema", "postgres.index.item", "postgres.row_security", "mongodb.tenant.notes", "declared.reads"]
    {
        assert!(passed.contains(id), "{id}\n{output}");
    }
    for id in [
        "postgres.row.item",
        "postgres.tenant.item",
        "mongodb.validator.notes",
        "redis.lock",
        "declared.writes",
        "declared.writes_a_key",
        "declared.writes_a_document",
    ] {
        assert!(skipped.contains(id), "{id}\n{output}");
    }
    assert_eq!(everything(&project), before);
    let output = smoke(&project, &["--write", "--tag", "row"]);
    assert!(with_outcome(&output, "pass").contains("postgres.row.item"), "{output}");
}

#[test]
fn without_a_snapshot_there_is_one_failure_that_says_what_to_do() {
    let project = Project::new("smokenone", "");
    let output = smoke(&project, &[]);
    output.exit(1).says("lyrox db migrate");
    assert_eq!(with_outcome(&output, "fail"), BTreeSet::from(["snapshot".to_owned()]), "{output}");
}

#[test]
fn the_report_reads_as_people_know_it() {
    let project = project("smokereport");
    let _cleanup = Cleanup(&project);
    project.write("smoke/a.toml", "[[test]]\nname = \"Ping\"\ntags = [\"quick\"]\n[[test.step]]\nredis = \"PING\"\nexpect = { value = \"PONG\" }\n");
    let output = project.lyrox(&["db", "smoke-test", "--tag", "quick"]);
    output
        .ok()
        .says("Test 1: Ping")
        .says("PASS: 1 step")
        .says("Nothing is left behind")
        .says("PASSED: 2   FAILED: 0   SKIPPED: 0");
    project.lyrox(&["db", "smoke-test", "--tag", "nothing-has-it"]).exit(2).says("--list");
    let list = project.lyrox(&["db", "smoke-test", "--list"]);
    list.ok().says("item: tenants are apart").says("declared, redis");
    let junit = project.lyrox(&["db", "smoke-test", "--tag", "quick", "--output", "junit"]);
    junit.ok().says("<testcase name=\"Ping\"");
}
