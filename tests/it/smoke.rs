//! `lyrox db smoke-test` against real servers: a hard little schema, a laboratory of faults, the report.

mod declared;
mod features;

use std::collections::BTreeSet;

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
CREATE VIEW calm WITH (security_invoker = true) AS SELECT * FROM member WHERE mood = 'calm';
ALTER TABLE org ENABLE ROW LEVEL SECURITY;
ALTER TABLE org FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON org USING (id = nullif(current_setting('app.tenant', true), '')::uuid);
"#;

const COLLECTION: &str = r#"[
  { "create": "notes", "validator": { "$jsonSchema": { "bsonType": "object", "required": ["orgId", "kind", "at"],
      "properties": { "orgId": { "bsonType": "string" }, "kind": { "enum": ["a", "b"] }, "at": { "bsonType": "date" },
                      "code": { "bsonType": "string", "maxLength": 30 } } } },
    "validationLevel": "strict", "validationAction": "error" },
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
        let _ = crate::support::sql(
            &project.postgres,
            &format!("GRANT {0}_app TO CURRENT_USER; DROP OWNED BY {0}_app; DROP ROLE {0}_app", project.name),
        );
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
         ADD FOREIGN KEY (\"orgId\", manager) REFERENCES member (\"orgId\", id) ON DELETE SET NULL (manager);\n\
         CREATE MATERIALIZED VIEW everybody AS SELECT * FROM member;",
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
    output.exit(1).says("reads another tenant's row").says("`by_kind`").says("materialized view `everybody`");
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
    output.ok().says("Test 1: Ping").says("PASS: 1 step").says("Nothing is left behind").says("PASSED: 2   FAILED: 0");
    project.lyrox(&["db", "smoke-test", "--tag", "nothing-has-it"]).exit(2).says("--list");
    let list = project.lyrox(&["db", "smoke-test", "--list"]);
    list.ok().says("item: tenants are apart").says("declared, redis");
    let junit = project.lyrox(&["db", "smoke-test", "--tag", "quick", "--output", "junit"]);
    junit.ok().says("<testcase name=\"Ping\"");
}
