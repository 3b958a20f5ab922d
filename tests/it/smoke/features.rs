//! What declared tests can say: variables, tenants, retries, budgets, tags, sessions, JSONPath; and the formats of
//! the report.

use std::collections::BTreeSet;

use super::{Cleanup, everything, project, smoke, with_outcome};
use crate::support::Project;

/// One file with these tests, and nothing else.
fn declare(project: &Project, text: &str) {
    project.write("smoke/a.toml", text);
}

#[test]
fn variables_come_from_the_file_the_environment_and_the_run() {
    let project = project("smokevars");
    let _cleanup = Cleanup(&project);
    declare(
        &project,
        r#"
[vars]
mail = "{{run}}@example.invalid"
limit = 3
token = { env = "SMOKE_TOKEN" }
city = { env = "SMOKE_CITY", default = "Belo Horizonte" }

[[test]]
name = "Variables"
say = "Found {{n}} in {{city}} (limit {{limit}})"
  [[test.step]]
  postgres = "SELECT {{mail}} AS mail, {{limit}}::int AS n, {{city}} AS city, {{token}} AS token"
  save = { n = "$.rows[0].n" }
  expect = { value = { "rows[0].mail" = "{{mail}}", "rows[0].n" = "{{limit}}" } }
  [[test.step]]
  redis = "ECHO {{city}}"
  expect = { value = "{{city}}" }
  [[test.step]]
  mongodb = '{ "aggregate": "notes", "pipeline": [{ "$match": { "code": "{{mail}}" } }, { "$limit": {{limit}} }], "cursor": {} }'
  expect = { rows = 0 }
"#,
    );
    // A variable that is not set and has no default: the test cannot be tried.
    let output = smoke(&project, &["--tag", "declared"]);
    assert_eq!(with_outcome(&output, "skip"), BTreeSet::from(["declared.variables".to_owned()]), "{output}");
    output.ok().says("`SMOKE_TOKEN` is not set");
    let env = std::fs::read_to_string(project.path(".env")).expect(".env");
    project.write(".env", &format!("{env}SMOKE_TOKEN=planted-token-9\n"));
    let output = smoke(&project, &["--tag", "declared"]);
    output.ok().says("Found 3 in Belo Horizonte (limit 3)");
    // What comes from the environment may be a secret: no failure shows it.
    declare(
        &project,
        "[vars]\ntoken = { env = \"SMOKE_TOKEN\" }\n[[test]]\nname = \"a\"\n[[test.step]]\npostgres = \"SELECT {{token}} AS t\"\nexpect = { value = 1 }\n",
    );
    let output = smoke(&project, &["--tag", "declared"]);
    output.exit(1).says("expected 1, found");
    assert!(!output.stdout.contains("planted-token-9") && !output.stderr.contains("planted-token-9"), "{output}");
}

#[test]
fn tests_of_tenants_act_as_the_application_for_each() {
    let project = project("smoketenants");
    let _cleanup = Cleanup(&project);
    declare(
        &project,
        r#"
[[test]]
name = "None yet"
tenants = "all"
  [[test.step]]
  postgres = "SELECT 1"
"#,
    );
    smoke(&project, &["--tag", "declared"]).ok().says("there is no tenant yet");
    let (one, two) = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002");
    project.sql(&format!("INSERT INTO org (id, name) VALUES ('{one}', 'one'), ('{two}', 'two')"));
    let before = everything(&project);
    declare(
        &project,
        &format!(
            r#"
[[test]]
name = "Each sees itself"
tenants = "all"
say = "one organisation ({{{{tenant}}}})"
  [[test.step]]
  postgres = "SELECT current_user = '{app}' AS app, current_setting('app.tenant') = {{{{tenant}}}} AS set, (SELECT count(*) FROM org)::int AS n, (SELECT id FROM org) AS id"
  expect = {{ value = {{ "rows[0].app" = true, "rows[0].set" = true, "rows[0].n" = 1, "rows[0].id" = "{{{{tenant}}}}" }} }}
  [[test.step]]
  postgres = "INSERT INTO member (\"orgId\", email, mood) VALUES ({{{{tenant}}}}, 'a@example.invalid', 'calm')"
  expect = {{ rows = 1 }}
  [[test.step]]
  postgres = "DROP TABLE member"
  expect = {{ error = "42501" }}
  [[test.step]]
  mongodb = '{{ "count": "notes", "query": {{ "orgId": {{{{tenant}}}} }} }}'
  [[test.step]]
  redis = "GET {{{{prefix}}}}{{{{tenant}}}}"
  expect = {{ value = "" }}
[[test]]
name = "One, committed"
tenant = "{one}"
commit = true
  [[test.step]]
  postgres = "INSERT INTO member (\"orgId\", email, mood) VALUES ({{{{tenant}}}}, '{{{{run}}}}@example.invalid', 'calm') RETURNING current_user"
  expect = {{ value = "{app}" }}
  [[test.step]]
  postgres = "SELECT count(*) FROM member"
  expect = {{ value = 1 }}
[[test]]
name = "Another's"
tenant = "{one}"
  [[test.step]]
  postgres = "INSERT INTO member (\"orgId\", email, mood) VALUES ('{two}', 'a@example.invalid', 'calm')"
  expect = {{ error = "42501" }}
"#,
            app = format!("{}_app", project.name),
        ),
    );
    let output = smoke(&project, &["--tag", "declared"]);
    output.ok();
    for tenant in [one, two] {
        let item = output.item(&format!("declared.each_sees_itself.{tenant}"));
        assert_eq!(item["tenant"], tenant);
        assert_eq!(item["detail"], format!("one organisation ({tenant})"));
    }
    assert_eq!(output.item(&format!("declared.one_committed.{one}"))["outcome"], "pass", "{output}");
    assert_eq!(everything(&project), before);
    // Nothing of the grant by which the test acted stays.
    let member = format!(
        "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname = '{}_app'",
        project.name
    );
    let members = project.sql_value(&member);
    smoke(&project, &["--tag", "declared"]).ok();
    assert_eq!(project.sql_value(&member), members);
    let shown = project.lyrox(&["db", "smoke-test", "--tag", "declared"]);
    shown.ok().says(&format!("Each sees itself ({one})")).says(&format!("PASS: one organisation ({two})"));
    let junit = project.lyrox(&["db", "smoke-test", "--tag", "declared", "--output", "junit"]);
    junit.ok().says(&format!("name=\"Each sees itself ({two})\""));
}

#[test]
fn what_fails_is_tried_again_within_its_budget() {
    let project = project("smokeretry");
    let _cleanup = Cleanup(&project);
    let before = everything(&project);
    // The sequence counts on, whatever is rolled back.
    project.sql("CREATE SEQUENCE tries; GRANT USAGE ON tries TO PUBLIC");
    for (text, says) in [
        (
            "retries = 4\nevery = \"10ms\"\n[[test.step]]\npostgres = \"SELECT nextval('tries')\"\nexpect = { value = 3 }",
            None,
        ),
        (
            "[[test.step]]\npostgres = \"SELECT nextval('tries')\"\nretries = 4\nevery = \"10ms\"\nexpect = { value = 3 }",
            None,
        ),
        ("[[test.step]]\nredis = \"INCR {{prefix}}n\"\nretries = 4\nevery = \"10ms\"\nexpect = { value = 3 }", None),
        (
            "[[test.step]]\npostgres = \"INSERT INTO org (name) SELECT 'n' || nextval('tries')\"\nretries = 2\nexpect = { rows = 2 }\n[[test.step]]\npostgres = \"SELECT 1\"",
            Some("tried 3 times"),
        ),
        (
            "[[test.step]]\nmongodb = '{ \"count\": \"notes\" }'\nretries = 2\nevery = \"1ms\"\nexpect = { value = 7 }",
            Some("expected 7, found 0 (tried 3 times)"),
        ),
        (
            "within = \"150ms\"\n[[test.step]]\npostgres = \"SELECT pg_sleep(0.1)\"\n[[test.step]]\npostgres = \"SELECT pg_sleep(0.1)\"",
            Some("expected the test within 150 ms, it took"),
        ),
        ("within = \"30s\"\n[[test.step]]\npostgres = \"SELECT 1\"", None),
    ] {
        project.sql("SELECT setval('tries', 1, false)");
        declare(&project, &format!("[[test]]\nname = \"one\"\n{text}\n"));
        let output = smoke(&project, &["--tag", "declared"]);
        match says {
            None => output.ok(),
            Some(says) => output.exit(1).says(says),
        };
        assert_eq!(output.item("leftover")["outcome"], "pass", "{output}");
    }
    // A retry of a step takes back what the attempt before wrote.
    declare(
        &project,
        "[[test]]\nname = \"one\"\n[[test.step]]\npostgres = \"SELECT set_config('app.tenant', '00000000-0000-4000-8000-000000000001', true)\"\n\
         [[test.step]]\npostgres = \"INSERT INTO org (id, name) SELECT '00000000-0000-4000-8000-000000000001', 'x' RETURNING nextval('tries')\"\nretries = 5\nevery = \"1ms\"\nexpect = { value = 4 }\n\
         [[test.step]]\npostgres = \"SELECT count(*) FROM org\"\nexpect = { value = 1 }\n",
    );
    project.sql("SELECT setval('tries', 1, false)");
    smoke(&project, &["--tag", "declared"]).ok();
    project.sql("DROP SEQUENCE tries");
    assert_eq!(everything(&project), before);
}

#[test]
fn sessions_stand_beside_each_other() {
    let project = project("smokesessions");
    let _cleanup = Cleanup(&project);
    project.sql("CREATE TABLE seat (id int PRIMARY KEY, taken int); INSERT INTO seat VALUES (1), (2)");
    let before = everything(&project);
    declare(
        &project,
        r#"
[[test]]
name = "A row that is locked is passed over"
  [[test.step]]
  session = "a"
  postgres = "SELECT id FROM seat ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1"
  expect = { value = 1 }
  [[test.step]]
  session = "b"
  postgres = "SELECT id FROM seat ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1"
  expect = { value = 2 }
  [[test.step]]
  postgres = "SELECT id FROM seat WHERE id = 1 FOR UPDATE NOWAIT"
  expect = { error = "55P03" }
  [[test.step]]
  session = "a"
  postgres = "UPDATE seat SET taken = 1 WHERE id = 1 RETURNING taken"
  expect = { value = 1 }
  [[test.step]]
  session = "b"
  postgres = "SELECT taken FROM seat WHERE id = 1"
  expect = { value = "" }
[[test]]
name = "A session that connects anew has forgotten"
  [[test.step]]
  session = "a"
  postgres = "SELECT set_config('lyrox.seen', 'yes', false), pg_backend_pid() AS pid"
  save = { pid = "rows[0].pid" }
  [[test.step]]
  session = "a"
  postgres = "SELECT current_setting('lyrox.seen', true)"
  expect = { value = "yes" }
  [[test.step]]
  session = "a"
  reconnect = true
  postgres = "SELECT current_setting('lyrox.seen', true) AS seen, pg_backend_pid() <> {{pid}}::int AS other"
  expect = { value = { "rows[0].seen" = "", "rows[0].other" = true } }
  [[test.step]]
  reconnect = true
  postgres = "SELECT pg_backend_pid() <> {{pid}}::int"
  expect = { value = true }
[[test]]
name = "A transaction of MongoDB is seen by its own session only"
  [[test.step]]
  session = "a"
  mongodb = '{ "insert": "notes", "documents": [{ "orgId": "{{run}}", "kind": "b", "at": { "$date": "2025-01-01T00:00:00Z" } }] }'
  [[test.step]]
  session = "a"
  mongodb = '{ "count": "notes", "query": { "orgId": "{{run}}" } }'
  expect = { value = 1 }
  [[test.step]]
  session = "b"
  mongodb = '{ "count": "notes", "query": { "orgId": "{{run}}" } }'
  expect = { value = 0 }
  [[test.step]]
  session = "a"
  reconnect = true
  mongodb = '{ "count": "notes", "query": { "orgId": "{{run}}" } }'
  expect = { value = 0 }
[[test]]
name = "A watched key stops a transaction of Redis"
  [[test.step]]
  session = "a"
  redis = "WATCH {{prefix}}stock"
  [[test.step]]
  redis = "SET {{prefix}}stock 1"
  [[test.step]]
  session = "a"
  redis = "MULTI"
  [[test.step]]
  session = "a"
  redis = "SET {{prefix}}stock 2"
  expect = { value = "QUEUED" }
  [[test.step]]
  session = "a"
  redis = "EXEC"
  expect = { value = "" }
  [[test.step]]
  redis = "GET {{prefix}}stock"
  expect = { value = "1" }
[[test]]
name = "Committed sessions keep their connection"
commit = true
  [[test.step]]
  session = "a"
  postgres = "SELECT pg_backend_pid() AS pid"
  save = { pid = "rows[0].pid" }
  [[test.step]]
  session = "a"
  postgres = "INSERT INTO seat VALUES (9) RETURNING pg_backend_pid() = {{pid}}::int"
  expect = { value = true }
  [[test.step]]
  session = "b"
  postgres = "SELECT count(*) FROM seat"
  expect = { value = 3 }
"#,
    );
    let output = smoke(&project, &["--tag", "declared"]);
    output.ok();
    assert_eq!(with_outcome(&output, "pass").len(), 6, "{output}");
    assert_eq!(everything(&project), before);
    declare(&project, "[[test]]\nname = \"one\"\n[[test.step]]\nredis = \"MULTI\"\n");
    smoke(&project, &["--tag", "declared"]).exit(2).says("session = ");
}

#[test]
fn claims_at_json_paths_say_what_was_expected_and_found() {
    let project = project("smokejson");
    let _cleanup = Cleanup(&project);
    let step = "[[test]]\nname = \"one\"\n[[test.step]]\npostgres = '''SELECT n, 'u' || n || '@x' AS mail, jsonb_build_object('tags', ARRAY['a', 'b']) AS meta FROM generate_series(1, 3) n'''\n";
    for (expect, says) in [
        (
            "rows = \"1..3\", json = [{ path = \"$.rows[?@.n > 1].n\", equals = [2, 3] }, { path = \"$.rows[*].mail\", matches = \"^u[0-9]@x$\", count = 3 }, { path = \"$.rows[0].meta.tags\", contains = \"b\", count = 2 }, { path = \"$.rows[*].n\", min = 1, max = 3 }, { path = \"$.rows[7]\", exists = false }]",
            None,
        ),
        ("value = { \"$.rows[?@.n == 2].mail\" = \"u2@x\" }", None),
        ("rows = \"4..\"", Some("expected at least 4 rows, found 3")),
        (
            "json = [{ path = \"$.rows[*].n\", equals = [1, 2] }]",
            Some("expected [1,2] at `$.rows[*].n`, found 3: [1,2,3]"),
        ),
        (
            "json = [{ path = \"$.rows[0].mail\", matches = \"^v\" }]",
            Some("expected what matches `^v` at `$.rows[0].mail`, found \\\"u1@x\\\""),
        ),
        (
            "json = [{ path = \"$.rows[9].n\", exists = true }]",
            Some("expected something at `$.rows[9].n`, found nothing"),
        ),
    ] {
        declare(&project, &format!("{step}expect = {{ {expect} }}\n"));
        let output = smoke(&project, &["--tag", "declared"]);
        match says {
            None => output.ok(),
            Some(says) => output.exit(1).says(says),
        };
    }
    declare(&project, &format!("{step}expect = {{ json = [{{ path = \"$.rows[\", count = 1 }}] }}\n"));
    project.lyrox(&["db", "smoke-test"]).exit(2).says("is no JSONPath").says("smoke/a.toml:5");
}

#[test]
fn tags_choose_and_leave_out_and_every_format_names_the_failure() {
    let project = project("smoketags");
    let _cleanup = Cleanup(&project);
    declare(
        &project,
        "[[test]]\nname = \"Quick\"\ntags = [\"quick\"]\n[[test.step]]\nredis = \"PING\"\n\n\
         [[test]]\nname = \"Slow & \\\"odd\\\" <one>\"\ntags = [\"quick\", \"slow\"]\n[[test.step]]\npostgres = \"SELECT 1\"\nexpect = { value = 2 }\n",
    );
    let ids = |arguments: &[&str]| {
        let output = smoke(&project, arguments);
        output.json()["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["id"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--tag", "quick", "--skip-tag", "slow"]), ["declared.quick", "leftover"]);
    assert_eq!(ids(&["--tag", "declared", "--only", "postgres"]).len(), 3, "what speaks to Redis is skipped");
    project.lyrox(&["db", "smoke-test", "--tag", "slow", "--skip-tag", "quick"]).exit(2).says("the tags leave no test");
    let list = project.lyrox(&["db", "smoke-test", "--list", "--tag", "slow"]);
    list.ok().says("quick, slow, declared, postgres");
    let junit =
        project.lyrox(&["db", "smoke-test", "--tag", "quick", "--output", "junit", "--output-file", "smoke.xml"]);
    junit.exit(1);
    let xml = std::fs::read_to_string(project.path("smoke.xml")).expect("smoke.xml");
    for part in [
        "<testsuites name=\"lyrox db smoke-test\" tests=\"3\" skipped=\"0\" failures=\"1\" errors=\"0\"",
        "<testcase name=\"Slow &amp; &quot;odd&quot; &lt;one&gt;\" classname=\"lyrox.db.smoke-test.postgres\"",
        "file=\"smoke/a.toml\"",
        "line=\"11\"",
        "<failure message=\"expected 2, found 1\"",
    ] {
        assert!(xml.contains(part), "{part} is not in\n{xml}");
    }
    let github = project.lyrox(&["db", "smoke-test", "--tag", "quick", "--output", "github"]);
    github
        .exit(1)
        .says("::error title=Slow & \"odd\" <one>,file=smoke/a.toml,line=11,col=")
        .says("expected 2, found 1");
}
