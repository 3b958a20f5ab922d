//! Repeatable migrations: they run after the versions, again when their text changes, in the order of what they need.

use bson::doc;

use crate::support::{Project, block_on};

fn events(project: &Project, version: &str) -> String {
    project.sql_value(&format!(
        "SELECT count(*) FROM lyrox.events WHERE version = '{version}' AND what = 'applied' AND store = 'postgres'"
    ))
}

#[test]
fn they_run_after_the_versions_and_again_only_when_they_change() {
    let project = Project::new("rep_change", "");
    project.write("migrations/1_t.up.sql", "CREATE TABLE t (id int, name text);\nINSERT INTO t VALUES (1, 'one');");
    project.write("migrations/repeatable/names.sql", "CREATE OR REPLACE VIEW names AS SELECT name FROM t;");
    project.write("migrations/repeatable/ids.sql", "CREATE OR REPLACE VIEW ids AS SELECT id FROM t;");
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.ok();
    assert_eq!(run.item("postgres.R__names")["change"], "applied");
    project.lyrox(&["db", "migrate"]).ok().says("up to date");
    assert_eq!(events(&project, "R__names"), "1");
    project
        .write("migrations/repeatable/names.sql", "CREATE OR REPLACE VIEW names AS SELECT upper(name) AS name FROM t;");
    project.lyrox(&["db", "status"]).ok().says("R__names").says("changed").says("1 pending").never_says("--forget");
    project.lyrox(&["db", "status", "--check"]).exit(8);
    project
        .lyrox(&["db", "migrate", "--dry-run"])
        .ok()
        .says("R__names")
        .never_says("R__ids")
        .never_says("irreversible");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(project.sql_value("SELECT name FROM names"), "ONE");
    assert_eq!((events(&project, "R__names"), events(&project, "R__ids")), ("2".into(), "1".into()));
    // A version that comes later is no late one because of them.
    project.write("migrations/2_u.up.sql", "CREATE TABLE u (id int);");
    project.lyrox(&["db", "migrate"]).ok();
    // A file that is gone is told and is no error.
    project.remove("migrations/repeatable/ids.sql");
    project.lyrox(&["db", "migrate"]).ok().says("R__ids").says("no file any more");
    project.lyrox(&["db", "status", "--check"]).ok().says("its file is gone");
}

#[test]
fn they_run_in_the_order_of_what_they_need() {
    let project = Project::new("rep_order", "");
    project.write("migrations/1_t.up.sql", "CREATE TABLE t (id int);");
    project
        .write("migrations/repeatable/a_total.sql", "CREATE OR REPLACE VIEW a_total AS SELECT sum(n) FROM z_counts;");
    project.write(
        "migrations/repeatable/z_counts.sql",
        "CREATE OR REPLACE VIEW z_counts AS SELECT m_twice(id) AS n FROM t;",
    );
    project.write(
        "migrations/repeatable/m_twice.sql",
        "CREATE OR REPLACE FUNCTION m_twice(int) RETURNS int LANGUAGE sql AS $$ SELECT $1 * 2 $$;",
    );
    // Nothing in its text says so: it is said.
    project.write(
        "migrations/repeatable/b_first.sql",
        "-- lyrox: after c_second\nSELECT 1 / count(*) FROM pg_class WHERE relname = 'c';",
    );
    project.write("migrations/repeatable/c_second.sql", "CREATE OR REPLACE VIEW c AS SELECT 1 AS one;");
    // Two functions that call each other when they run.
    for (one, other) in [("f", "g"), ("g", "f")] {
        project.write(
            &format!("migrations/repeatable/{one}.sql"),
            &format!("CREATE OR REPLACE FUNCTION {one}(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN {other}(n); END $$;"),
        );
    }
    project.lyrox(&["db", "migrate"]).ok();
    let order = project.sql_value(
        "SELECT string_agg(version, ' ' ORDER BY id) FROM lyrox.events WHERE version LIKE 'R\\_\\_%' AND what = 'applied'",
    );
    assert_eq!(order, "R__c_second R__b_first R__m_twice R__z_counts R__a_total R__f R__g");
}

#[test]
fn a_cycle_and_an_unknown_name_are_refused_before_anything_is_sent() {
    let project = Project::new("rep_cycle", "");
    project.write("migrations/repeatable/a.sql", "CREATE OR REPLACE VIEW a AS SELECT * FROM b;");
    project.write("migrations/repeatable/b.sql", "CREATE OR REPLACE VIEW b AS SELECT * FROM a;");
    project
        .lyrox(&["db", "migrate"])
        .exit(2)
        .says("LYX-REPEATABLE-CYCLE")
        .says("repeatable/a.sql")
        .says("repeatable/b.sql");
    project
        .write("migrations/repeatable/b.sql", "-- lyrox: after nothing\nCREATE OR REPLACE VIEW b AS SELECT 1 AS id;");
    project.lyrox(&["db", "migrate"]).exit(2).says("`nothing`, which does not exist");
    project.write("migrations/repeatable/b.sql", "CREATE OR REPLACE VIEW b AS SELECT 1 AS id;");
    project.write("migrations/repeatable/c.down.sql", "SELECT 1;");
    project.lyrox(&["db", "migrate"]).exit(2).says("LYX-FILE-NAME").says("c.down.sql");
    project.remove("migrations/repeatable/c.down.sql");
    project.lyrox(&["db", "migrate"]).ok();
}

#[test]
fn mongodb_brings_views_and_validators_to_what_the_file_says() {
    let project = Project::new("rep_mongo", "");
    project.write(
        "migrations/1_e.up.json",
        r#"[{ "create": "events" }, { "insert": "events", "documents": [{ "n": 1 }, { "n": 2 }] }]"#,
    );
    let view = |least: i32| {
        format!(
            r#"[{{ "create": "big", "viewOn": "events", "pipeline": [{{ "$match": {{ "n": {{ "$gte": {least} }} }} }}] }},
  {{ "create": "events", "validator": {{ "n": {{ "$gte": {least} }} }} }}]"#
        )
    };
    project.write("migrations/repeatable/big.json", &view(2));
    // It needs the view, and its name comes first.
    project.write(
        "migrations/repeatable/all.json",
        r#"[{ "drop": "all" }, { "create": "all", "viewOn": "big", "pipeline": [] }]"#,
    );
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(project.mongo(doc! { "count": "big" }).get_i32("n").ok(), Some(1));
    project.write("migrations/repeatable/big.json", &view(1));
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(project.mongo(doc! { "count": "big" }).get_i32("n").ok(), Some(2));
    let refused = project.mongo(doc! { "insert": "events", "documents": [{ "n": 0 }] });
    assert!(refused.contains_key("writeErrors"), "{refused}");
    project.lyrox(&["db", "migrate"]).ok().says("up to date");

    // Halfway: what took effect stays, and the mended file runs from its beginning.
    project.write(
        "migrations/repeatable/big.json",
        r#"[{ "create": "big", "viewOn": "events", "pipeline": [] }, { "collMod": "nothing", "validator": {} }]"#,
    );
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.exit(1);
    let item = run.item("mongodb.R__big");
    assert_eq!(item["location"]["file"], "migrations/repeatable/big.json", "{run}");
    assert!(item["state"].as_str().is_some_and(|state| state.contains("step 1 of 2")), "{run}");
    project.lyrox(&["db", "status"]).ok().says("did not end");
    project.write("migrations/repeatable/big.json", &view(2));
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(project.mongo(doc! { "count": "big" }).get_i32("n").ok(), Some(1));
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_repeatable_that_fails_in_postgres_leaves_what_was_there() {
    let project = Project::new("rep_fail", "");
    project.write("migrations/1_t.up.sql", "CREATE TABLE t (id int);");
    project.write("migrations/repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT id FROM t;");
    project.write("migrations/repeatable/lib.redis", "FUNCTION LOAD REPLACE @lib.lua\n");
    let library = |value: i32| {
        let name = format!("{}_lib", project.name);
        format!("#!lua name={name}\nredis.register_function('{name}_f', function() return {value} end)\n")
    };
    project.write("migrations/lib.lua", &library(1));
    project.lyrox(&["db", "migrate"]).ok();
    let call = || project.redis(&["FCALL", &format!("{}_lib_f", project.name), "0"]);
    assert_eq!(call(), redis::Value::Int(1));
    project.write(
        "migrations/repeatable/v.sql",
        "CREATE OR REPLACE VIEW v AS SELECT id, 1 AS one FROM t;\nSELECT nothing FROM v;",
    );
    project.write("migrations/lib.lua", &library(2));
    project.lyrox(&["db", "migrate"]).exit(1).says("repeatable/v.sql:2:8").says("rolled back");
    assert_eq!(call(), redis::Value::Int(1), "the later store is not touched");
    project.write("migrations/repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT id, 1 AS one FROM t;");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(call(), redis::Value::Int(2));
    project.redis(&["FUNCTION", "DELETE", &format!("{}_lib", project.name)]);
}

#[test]
fn after_a_rollback_they_run_again() {
    let project = Project::new("rep_back", "");
    project
        .write("migrations/1_t.up.sql", "CREATE TABLE t (id int);")
        .write("migrations/1_t.down.sql", "DROP TABLE t CASCADE;");
    project.write("migrations/repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT id FROM t;");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "rollback", "--yes"]).ok().says("1 repeatable migration will run again");
    assert_eq!(project.sql_value("SELECT to_regclass('v') IS NULL"), "t");
    project.lyrox(&["db", "status"]).ok().says("runs again after a rollback").says("2 pending");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(project.sql_value("SELECT count(*) FROM v"), "0");
}

#[test]
fn they_wait_for_versions_that_are_left_for_later() {
    let project = Project::new("rep_to", "");
    project
        .write("migrations/1_t.up.sql", "CREATE TABLE t (id int);")
        .write("migrations/2_u.up.sql", "CREATE TABLE u (id int);");
    project.write("migrations/repeatable/v.sql", "CREATE OR REPLACE VIEW v AS SELECT id FROM u;");
    project.lyrox(&["db", "migrate", "--to", "1"]).ok().never_says("R__v");
    project.lyrox(&["db", "migrate", "--steps", "1"]).ok().says("R__v");
    let names = block_on(async { project.database().list_collection_names().await }).expect("names");
    assert!(names.iter().all(|name| name.starts_with("lyrox_")), "{names:?}");
}

#[test]
fn new_makes_a_repeatable() {
    let project = Project::new("rep_new", "");
    project.lyrox(&["db", "new", "--repeatable", "active users", "--store", "postgres,mongodb"]).ok();
    assert!(project.path("migrations/repeatable/active_users.sql").is_file());
    assert!(project.path("migrations/repeatable/active_users.json").is_file());
    project.lyrox(&["db", "new", "--repeatable", "active users"]).exit(1).says("File exists");
}
