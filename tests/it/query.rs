//! `lyrox query`: one question to one store, read-only unless told otherwise.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Output, Project};

#[test]
fn postgres_prints_any_type_and_only_reads() {
    let project = Project::new("query_pg", "[tenancy]\nmodel = \"row\"\nsetting = \"app.tenant\"\n");
    let sql = "SELECT 1 AS one, 1.50 AS price, true AS yes, NULL AS none, '{1,2}'::int[] AS list, \
               '{\"a\": [1]}'::jsonb AS doc, int4range(1,3) AS span, 'x y' AS \"Some name\"";
    let table = project.lyrox(&["query", "postgres", sql]);
    let lines: Vec<&str> = table.ok().stdout.lines().collect();
    assert_eq!(lines[0], "one  price  yes   none  list   doc        span   Some name", "{table}");
    assert_eq!(lines[2], "  1  1.50   true        {1,2}  {\"a\":[1]}  [1,3)  x y", "{table}");
    assert_eq!(lines[3], "(1 row)");
    let json = project.lyrox(&["query", "postgres", sql, "--output", "json"]).json();
    assert_eq!(
        json["data"]["rows"][0],
        serde_json::json!([1, "1.50", true, null, "{1,2}", {"a": [1]}, "[1,3)", "x y"])
    );

    for text in ["CREATE TABLE t (a int)", "SELECT 1; CREATE TABLE t (a int)", "VACUUM", "SELECT setval('s', 1)"] {
        let run = project.lyrox(&["query", "postgres", text]);
        assert!([1, 2].contains(&run.code), "{run}");
    }
    for text in ["COMMIT; CREATE TABLE t (a int)", "BEGIN READ WRITE; CREATE TABLE t (a int)", "ROLLBACK", "END", ""] {
        project.lyrox(&["query", "postgres", text]).exit(2);
    }
    assert_eq!(project.sql_value("SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");

    project.lyrox(&["query", "postgres", "--write", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)"]).ok();
    project.lyrox(&["query", "postgres", "--write", "INSERT INTO t VALUES (3); SELECT 1/0"]).exit(1).says("22012");
    assert_eq!(project.sql_value("SELECT count(*) FROM t"), "2");
    project.lyrox(&["query", "postgres", "--write", "VACUUM t"]).ok();
    let cut = project.lyrox(&["query", "postgres", "SELECT a FROM t ORDER BY a", "--limit", "1"]);
    cut.ok().says("(1 row)").says("there is more");
    let tenant = ["query", "postgres", "--as-tenant", "o'brien", "SELECT current_setting('app.tenant')"];
    project.lyrox(&tenant).ok().says("o'brien");
}

#[test]
fn postgres_errors_point_at_the_place() {
    let project = Project::new("query_caret", "");
    let run = project.lyrox(&["query", "postgres", "SELECT 'é';\nSELECT  totl FROM pg_class"]);
    run.exit(1).says("column \"totl\" does not exist (42703)").says("query:2:9").says("        ^^^^");
    let slow = project.lyrox(&["query", "postgres", "SELECT pg_sleep(9)", "--timeout", "1s"]);
    slow.exit(1).says("57014");
}

#[test]
fn mongodb_runs_commands_and_only_reads() {
    let project = Project::new("query_mongo", "");
    let insert = r#"{"insert": "things", "documents": [{"_id": 1, "n": {"$numberLong": "5"}}, {"_id": 2}]}"#;
    project.lyrox(&["query", "mongodb", insert]).exit(2).says("--write").says("nothing was sent");
    project.lyrox(&["query", "mongodb", insert, "--write"]).ok();
    let found = project.lyrox(&["query", "mongodb", r#"{"find": "things", "sort": {"_id": 1}}"#, "--output", "json"]);
    assert_eq!(found.ok().json()["data"], serde_json::json!([{"_id": 1, "n": 5}, {"_id": 2}]));
    let piped = r#"{"aggregate": "things", "pipeline": [{"$match": {"_id": 1}}, {"$out": "others"}]}"#;
    project.lyrox(&["query", "mongodb", piped]).exit(2).says("$out");
    let counted = project.lyrox(&["query", "mongodb", r#"{"count": "things"}"#, "--output", "json"]);
    assert_eq!(counted.ok().json()["data"], serde_json::json!({"n": 2}));
    project.lyrox(&["query", "mongodb", r#"{"find": "things", "filter": {"$no": 1}}"#]).exit(1).says("BadValue");
    project.lyrox(&["query", "mongodb", r#"{"find": "things",}"#]).exit(2).says("query:1:19");
    assert_eq!(project.mongo(bson::doc! { "count": "others" }).get_i32("n").expect("a count"), 0);
}

#[test]
fn redis_runs_lines_and_only_reads() {
    let project = Project::new("query_redis", "");
    project.lyrox(&["query", "redis", "SET {{prefix}}a 1"]).exit(2).says("--write");
    for text in
        ["FLUSHALL", "EVAL \"return redis.call('SET', KEYS[1], 1)\" 1 {{prefix}}a", "CONFIG SET maxmemory 0", "MULTI"]
    {
        project.lyrox(&["query", "redis", text]).exit(2);
    }
    project.lyrox(&["query", "redis", "RPUSH {{prefix}}list 'a b' \"\\xff\"", "--write"]).ok().says("(integer) 2");
    let shown = project.lyrox(&["query", "redis", "LRANGE {{prefix}}list 0 -1"]);
    assert_eq!(shown.ok().stdout, "1) \"a b\"\n2) \"\\xff\"\n");
    assert_eq!(project.lyrox(&["query", "redis", "PING"]).ok().stdout, "PONG\n");
    project.lyrox(&["query", "redis", "GET {{prefix}}list"]).exit(1).says("WRONGTYPE");
    project.lyrox(&["query", "redis", "GET \"open"]).exit(2).says("query:1:5");

    let mut child = project
        .command(&["query", "redis", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lyrox runs");
    child.stdin.take().expect("a pipe").write_all(b"LLEN {{prefix}}list\n").expect("input");
    let run = Output::new(&["query", "redis", "-"], &child.wait_with_output().expect("an end"));
    assert_eq!(run.ok().stdout, "(integer) 2\n");
}

#[test]
fn a_protected_environment_takes_no_writes() {
    let project = Project::new("query_protected", "[env.live]\nprotected = true\n");
    project.lyrox(&["-e", "live", "query", "postgres", "SELECT 1"]).ok();
    project.lyrox(&["-e", "live", "query", "postgres", "--write", "CREATE TABLE t ()"]).exit(3).says("LYX-PROTECTED");
    project.lyrox(&["query", "redis", "--direct", "PING"]).exit(2);
    assert_eq!(project.sql_value("SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");
}

/// Variables that PostgreSQL's own tools read decide nothing here.
#[test]
fn nothing_but_the_configuration_decides_how_it_connects() {
    let project = Project::new("query_env", "");
    let arguments = ["query", "postgres", "SELECT current_setting('statement_timeout')"];
    let mut command = project.command(&arguments);
    command.env("PGOPTIONS", "-c statement_timeout=4711").env("PGHOST", "no-such-host.invalid").env("PGPORT", "1");
    command.env("PGUSER", "nobody").env("PGPASSWORD", "nothing").env("PGDATABASE", "none").env("PGSSLMODE", "require");
    let run = Output::new(&arguments, &command.output().expect("lyrox"));
    run.ok().never_says("4711");
}
