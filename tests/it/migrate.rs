//! `db migrate`, `status`, `rollback`, `new`: one plan over three stores, and the state after each failure.

use crate::support::Project;

const ITEM: &str = "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);\nINSERT INTO item VALUES (1, 'one');\n";
const EVENTS: &str =
    r#"[{ "create": "events" }, { "createIndexes": "events", "indexes": [{ "key": { "at": 1 }, "name": "at" }] }]"#;
const SETTINGS: &str = "HSET {{prefix}}settings theme light\nSET {{prefix}}answer 42\n";

/// A project with one version in all three stores.
fn core(name: &str) -> Project {
    let project = Project::new(name, "");
    project.write("migrations/1_core.up.sql", ITEM).write("migrations/1_core.down.sql", "DROP TABLE item;\n");
    project
        .write("migrations/1_core.up.json", EVENTS)
        .write("migrations/1_core.down.json", r#"[{ "drop": "events" }]"#);
    project.write("migrations/1_core.up.redis", SETTINGS);
    project.write("migrations/1_core.down.redis", "DEL {{prefix}}settings {{prefix}}answer\n");
    project
}

fn text(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::SimpleString(text) => text.clone(),
        redis::Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn collections(project: &Project) -> Vec<String> {
    let mut names =
        crate::support::block_on(async { project.database().list_collection_names().await }).expect("names");
    names.retain(|name| !name.starts_with("lyrox_"));
    names.sort();
    names
}

#[test]
fn one_version_is_applied_to_three_stores_and_a_second_run_does_nothing() {
    let project = core("mig_core");
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.ok();
    for store in ["postgres", "mongodb", "redis"] {
        assert_eq!(run.item(&format!("{store}.1"))["change"], "applied", "{run}");
    }
    assert_eq!(project.sql_value("SELECT name FROM item"), "one");
    assert_eq!(collections(&project), ["events"]);
    assert_eq!(text(&project.redis(&["HGET", &format!("{}settings", project.prefix), "theme"])), "light");
    // PostgreSQL keeps a copy of the other stores' rows.
    assert_eq!(project.sql_value("SELECT count(*) FROM lyrox.migrations WHERE state = 'applied'"), "3");

    let again = project.lyrox(&["db", "migrate", "--output", "json"]);
    again.ok();
    assert_eq!(again.json()["items"].as_array().map(Vec::len), Some(0), "{again}");
    project.lyrox(&["db", "status", "--check"]).ok().says("3 applied, 0 pending");
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let project = core("mig_dry");
    let run = project.lyrox(&["db", "migrate", "--dry-run"]);
    run.ok().says("CREATE TABLE item").says("createIndexes").says("HSET").says("nothing was changed");
    assert_eq!(project.sql_value("SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'"), "0");
    assert!(collections(&project).is_empty());
    project.lyrox(&["db", "status", "--check"]).exit(8).says("3 pending");
}

#[test]
fn a_first_migration_broken_in_postgres_leaves_nothing() {
    let project = core("mig_pg_first");
    project.write("migrations/1_core.up.sql", "CREATE TABLE item (id int);\nINSERT INTO item (nme) VALUES (1);\n");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(1).says("migrations/1_core.up.sql:2:19").says("42703").says("rolled back");
    assert_eq!(project.sql_value("SELECT to_regclass('item') IS NULL"), "t");
    assert!(collections(&project).is_empty(), "the later stores are not touched");
    project.write("migrations/1_core.up.sql", ITEM);
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "1");
}

#[test]
fn a_later_migration_broken_in_postgres_is_rolled_back_and_the_first_stays() {
    let project = core("mig_pg_later");
    project.lyrox(&["db", "migrate"]).ok();
    project.write(
        "migrations/2_more.up.sql",
        "ALTER TABLE item ADD price numeric;\nINSERT INTO item VALUES (1, 'twice', 2);\n",
    );
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.exit(1);
    let item = run.item("postgres.2");
    assert_eq!(item["outcome"], "fail");
    assert_eq!(item["location"]["line"], 2, "{run}");
    assert!(item["state"].as_str().is_some_and(|state| state.contains("rolled back")), "{run}");
    assert_eq!(
        project.sql_value(
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'item' AND column_name = 'price'"
        ),
        "0"
    );
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "1");
}

#[test]
fn a_migration_broken_in_mongodb_says_how_far_it_came_and_goes_on_there() {
    let project = core("mig_mongo");
    let broken = r#"[{ "create": "events" },
  { "createIndexes": "events", "indexes": [{ "key": { "at": "sideways" }, "name": "at" }] },
  { "create": "later" }]"#;
    project.write("migrations/1_core.up.json", broken);
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.exit(1);
    let item = run.item("mongodb.1");
    assert_eq!(item["location"]["line"], 2, "{run}");
    assert!(item["state"].as_str().is_some_and(|state| state.contains("step 1 of 3")), "{run}");
    assert_eq!(collections(&project), ["events"]);
    assert_eq!(run.item("postgres.1")["change"], "applied");
    assert!(!run.json()["items"].as_array().expect("items").iter().any(|item| item["id"] == "redis.1"), "{run}");

    let mended = broken.replace("\"sideways\"", "1");
    project.write("migrations/1_core.up.json", &mended);
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(collections(&project), ["events", "later"]);
}

#[test]
fn a_later_migration_broken_in_redis_says_how_far_it_came_and_goes_on_there() {
    let project = core("mig_redis");
    project.lyrox(&["db", "migrate"]).ok();
    let broken = "INCR {{prefix}}counter\nINCR {{prefix}}settings\nINCR {{prefix}}counter\n";
    project.write("migrations/2_count.up.redis", broken);
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.exit(1);
    let item = run.item("redis.2");
    assert_eq!(item["location"]["line"], 2, "{run}");
    assert!(item["state"].as_str().is_some_and(|state| state.contains("step 1 of 3")), "{run}");
    let counter = format!("{}counter", project.prefix);
    assert_eq!(text(&project.redis(&["GET", &counter])), "1");
    project.write("migrations/2_count.up.redis", &broken.replace("settings", "other"));
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(text(&project.redis(&["GET", &counter])), "2", "the first step ran once");
}

#[test]
fn rollback_asks_and_undoes_in_reverse_order() {
    let project = core("mig_back");
    project
        .write("migrations/2_more.up.sql", "CREATE TABLE more (id int);")
        .write("migrations/2_more.down.sql", "DROP TABLE more;");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "rollback"]).exit(3).says("nothing was sent").says("--yes");
    assert_eq!(project.sql_value("SELECT to_regclass('more') IS NULL"), "f");
    project.lyrox(&["db", "rollback", "--yes"]).ok().says("reverted");
    assert_eq!(project.sql_value("SELECT to_regclass('more') IS NULL"), "t");
    assert_eq!(project.sql_value("SELECT to_regclass('item') IS NULL"), "f");
    project.lyrox(&["db", "rollback", "--to", "0", "--yes"]).ok();
    assert_eq!(project.sql_value("SELECT to_regclass('item') IS NULL"), "t");
    assert!(collections(&project).is_empty());
    assert_eq!(text(&project.redis(&["EXISTS", &format!("{}settings", project.prefix)])), "0");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_migration_without_a_way_back_is_not_rolled_back() {
    let project = core("mig_noback");
    project.write("migrations/2_more.up.sql", "CREATE TABLE more (id int);");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "rollback", "--yes"]).exit(2).says("has no way back").says("2_more.down.sql");
    assert_eq!(project.sql_value("SELECT to_regclass('more') IS NULL"), "f");
}

#[test]
fn edited_missing_renamed_and_late_files_each_have_their_code() {
    let project = core("mig_drift");
    project.write("migrations/3_last.up.sql", "CREATE TABLE last (id int);");
    project.lyrox(&["db", "migrate"]).ok();
    let edited = project.write("migrations/1_core.up.sql", &format!("{ITEM}-- a change\n")).lyrox(&["db", "migrate"]);
    edited.exit(6).says("LYX-DRIFT-EDITED").says("nothing was changed").says("+-- a change");
    project.write("migrations/1_core.up.sql", &ITEM.replace('\n', "\r\n"));
    project.lyrox(&["db", "migrate"]).ok();
    project.write("migrations/1_core.up.sql", ITEM);

    project.write("migrations/2_late.up.sql", "CREATE TABLE late (id int);");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-ORDER");
    assert_eq!(project.sql_value("SELECT to_regclass('late') IS NULL"), "t");
    project.write("migrations/2_late.up.sql", "-- lyrox: allow out-of-order\nCREATE TABLE late (id int);");
    project.lyrox(&["db", "migrate"]).ok();

    std::fs::rename(project.path("migrations/3_last.up.sql"), project.path("migrations/3_final.up.sql"))
        .expect("a rename");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-RENAMED");
    project.remove("migrations/3_final.up.sql");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING");
    project.lyrox(&["db", "status"]).ok().says("3_last");
    project.lyrox(&["db", "status", "--check"]).exit(6);
}

#[test]
fn the_store_remembers_its_environment() {
    let project = core("mig_mark");
    let extra =
        format!("{}\n[env.staging]\n", std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml"));
    project.write("lyrox.toml", &extra);
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["-e", "staging", "db", "migrate"]).exit(6).says("LYX-MARK-DIFFERS").says("`local`");
    project.lyrox(&["env", "mark", "staging"]).exit(3);
    project.lyrox(&["env", "mark", "staging", "--confirm", "staging"]).ok();
    project.lyrox(&["-e", "staging", "db", "migrate"]).ok();
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-MARK-DIFFERS");
}

#[test]
fn an_emptied_redis_is_noticed_and_replayed() {
    let project = core("mig_evicted");
    project.lyrox(&["db", "migrate"]).ok();
    let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end";
    project.redis(&["EVAL", script, "0", &format!("{}*", project.prefix)]);
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-LEDGER-BEHIND").says("lyrox db repair --replay redis");
    project.lyrox(&["db", "repair", "--replay", "redis"]).ok();
    assert_eq!(text(&project.redis(&["GET", &format!("{}answer", project.prefix)])), "42");
    project.lyrox(&["db", "status", "--check"]).ok();
    project.redis(&["DEL", &format!("{}lyrox:migrations", project.prefix)]);
    project.lyrox(&["db", "repair", "--record", "redis"]).ok().says("recorded");
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn new_makes_files_that_are_pending_once_written() {
    let project = Project::new("mig_new", "");
    project.lyrox(&["db", "new", "add invoices", "--store", "postgres,redis"]).ok().says("add_invoices.up.sql");
    let files: Vec<_> = std::fs::read_dir(project.path("migrations")).expect("migrations").collect();
    assert_eq!(files.len(), 4);
    project.lyrox(&["db", "new", "../evil"]).exit(2);
}
