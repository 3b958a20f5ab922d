//! Hooks: before and after a run and each of its migrations, in every store.

use crate::support::{Project, block_on};

/// Tells in a table what ran; the table is the first thing a run makes.
fn told(project: &Project) -> String {
    project.sql_value("SELECT string_agg(what, ' ' ORDER BY id) FROM told")
}

fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    project.write(
        "migrations/hooks/before_run.sql",
        "CREATE TABLE IF NOT EXISTS told (id serial, what text);\nINSERT INTO told (what) VALUES ('br');",
    );
    for (moment, what) in [("before_migration", "bm"), ("after_migration", "am"), ("after_run", "ar")] {
        project
            .write(&format!("migrations/hooks/{moment}.sql"), &format!("INSERT INTO told (what) VALUES ('{what}');"));
    }
    project.write("migrations/1_a.up.sql", "CREATE TABLE a (id int); INSERT INTO told (what) VALUES ('1');");
    project.write("migrations/2_b.up.sql", "CREATE TABLE b (id int); INSERT INTO told (what) VALUES ('2');");
    project
}

#[test]
fn they_run_around_the_run_and_around_each_migration() {
    let project = project("hook_order");
    project.write("migrations/1_a.up.redis", "SET {{prefix}}a 1\n");
    project.write("migrations/hooks/after_migration.redis", "INCR {{prefix}}after\n");
    project.write("migrations/hooks/before_run.json", r#"[{ "insert": "told", "documents": [{ "what": "br" }] }]"#);
    let dry = project.lyrox(&["db", "migrate", "--dry-run", "--output", "json"]);
    dry.ok();
    assert_eq!(dry.item("postgres.1.before_migration")["change"], "planned");
    assert_eq!(dry.item("mongodb.before_run")["change"], "planned");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(told(&project), "br bm 1 am bm 2 am ar");
    assert_eq!(project.redis(&["GET", &format!("{}after", project.prefix)]), redis::Value::BulkString(b"1".to_vec()));
    assert_eq!(project.mongo(bson::doc! { "count": "told" }).get_i32("n").ok(), Some(1));
    let logged =
        project.sql_value("SELECT string_agg(what, ' ' ORDER BY id) FROM lyrox.events WHERE what <> 'prepared'");
    assert_eq!(
        logged,
        "before_run before_migration applied after_migration before_migration applied after_migration after_run"
    );
    let rows = project.sql_value("SELECT count(*) FROM lyrox.migrations");
    assert_eq!(rows, "3", "hooks are in no ledger");
    // A run with nothing to do runs no hook.
    project.lyrox(&["db", "migrate"]).ok().says("up to date");
    assert_eq!(told(&project), "br bm 1 am bm 2 am ar");
    project.write("migrations/3_c.up.sql", "INSERT INTO told (what) VALUES ('3');");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(told(&project), "br bm 1 am bm 2 am ar br bm 3 am ar");
}

#[test]
fn a_hook_that_fails_takes_its_migration_with_it() {
    let project = project("hook_fail");
    project.lyrox(&["db", "migrate", "--to", "1"]).ok();
    project.write("migrations/hooks/after_migration.sql", "INSERT INTO told (what) VALUES ('am');\nSELECT nothing;");
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.exit(1);
    let item = run.item("postgres.2.after_migration");
    assert_eq!(item["location"]["file"], "migrations/hooks/after_migration.sql", "{run}");
    assert_eq!(item["location"]["line"], 2);
    assert!(item["state"].as_str().is_some_and(|state| state.contains("rolled back")), "{run}");
    assert_eq!(project.sql_value("SELECT to_regclass('b') IS NULL"), "t");
    assert_eq!(told(&project), "br bm 1 am ar br", "after_run only after success");
    project.write("migrations/hooks/after_migration.sql", "INSERT INTO told (what) VALUES ('am');");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(told(&project), "br bm 1 am ar br br bm 2 am ar");
}

#[test]
fn a_failing_hook_in_an_empty_database_leaves_the_migrations_before_it() {
    let project = project("hook_chunk");
    project
        .write("migrations/hooks/after_migration.sql", "SELECT 1 / (1 - count(*)) FROM pg_class WHERE relname = 'b';");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(1).says("hooks/after_migration.sql").says("1_a");
    assert_eq!(project.sql_value("SELECT to_regclass('a') IS NULL"), "f");
    assert_eq!(project.sql_value("SELECT to_regclass('b') IS NULL"), "t");
    assert_eq!(project.sql_value("SELECT string_agg(version, ' ') FROM lyrox.migrations"), "1");
}

#[test]
fn a_migration_without_a_transaction_has_its_hooks_in_their_own() {
    let project = project("hook_journal");
    project.write(
        "migrations/2_b.up.sql",
        "-- lyrox: no-transaction\nCREATE TABLE b (id int);\nCREATE INDEX CONCURRENTLY b_id ON b (id);\nINSERT INTO told (what) VALUES ('2');",
    );
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(told(&project), "br bm 1 am bm 2 am ar");
    project.write("migrations/hooks/before_migration.sql", "CREATE INDEX CONCURRENTLY x ON told (id);");
    project.write("migrations/3_c.up.sql", "SELECT 3;");
    project.lyrox(&["db", "migrate"]).exit(2).says("before_migration.sql").says("cannot run in a transaction");
}

#[test]
fn hooks_of_the_other_stores_stop_the_run_with_their_place() {
    let project = project("hook_stores");
    project
        .write("migrations/1_a.up.json", r#"[{ "create": "a" }]"#)
        .write("migrations/1_a.up.redis", "SET {{prefix}}a 1\n");
    project.write("migrations/hooks/before_migration.json", "[\n  { \"collMod\": \"nothing\", \"validator\": {} }\n]");
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.exit(1);
    assert_eq!(run.item("mongodb.1.before_migration")["location"]["line"], 2, "{run}");
    let names = block_on(async { project.database().list_collection_names().await }).expect("names");
    assert!(!names.contains(&"a".to_owned()), "{names:?}");
    project.write("migrations/hooks/before_migration.json", r#"[{ "ping": 1 }]"#);
    project.write("migrations/hooks/before_migration.redis", "SET {{prefix}}s x\nINCR {{prefix}}s\n");
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.exit(1);
    assert_eq!(run.item("redis.1.before_migration")["location"]["line"], 2, "{run}");
    project.write("migrations/hooks/before_migration.redis", "SET other:key x\n");
    project.lyrox(&["db", "migrate"]).exit(1).says("key prefix");
    project.remove("migrations/hooks/before_migration.redis");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_file_that_is_no_hook_is_refused_and_variables_are_filled_in() {
    let project = project("hook_names");
    project.write("migrations/hooks/beforeMigrate.sql", "SELECT 1;");
    project.lyrox(&["db", "migrate"]).exit(2).says("LYX-FILE-NAME").says("before_run");
    project.remove("migrations/hooks/beforeMigrate.sql");
    project
        .write("migrations/hooks/after_run.sql", "-- lyrox: vars\nINSERT INTO told (what) VALUES ('${DEPLOYED_BY}');");
    let output = project.command(&["db", "migrate"]).env("DEPLOYED_BY", "ana").output().expect("lyrox");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(told(&project).ends_with("ana"), "{}", told(&project));
}
