//! Declared tests: their grammar, what they leave behind, also after `kill -9`, and protected environments.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Cleanup, everything, project, smoke, with_outcome};

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
