//! golang-migrate's folder of MongoDB commands, its `schema_migrations` and its lock.

use bson::{Document, doc};

use crate::support::{Project, block_on};

const USERS: &str =
    r#"[{ "create": "users" }, { "createIndexes": "users", "indexes": [{ "key": { "a": 1 }, "name": "a" }] }]"#;
const ROWS: &str = r#"[{ "insert": "users", "documents": [{ "_id": 1, "a": { "$numberLong": "7" } }] }]"#;

/// A project with MongoDB alone, or with PostgreSQL files of another folder beside it.
fn project(with_postgres: bool) -> Project {
    let project = Project::new("f_gm_mongo", "");
    let postgres = if with_postgres {
        "[postgres]\n[migrations]\nformat = \"golang-migrate\"\ndir = \"db/postgres\"\n"
    } else {
        ""
    };
    project.write(
        "lyrox.toml",
        &format!(
            "[project]\nname = \"{0}\"\n{postgres}[mongodb]\ndatabase = \"{0}\"\nformat = \"golang-migrate\"\nmigrations_dir = \"db/mongodb\"\n",
            project.name
        ),
    );
    project.write("db/mongodb/000001_users.up.json", USERS);
    project.write("db/mongodb/000001_users.down.json", r#"[{ "drop": "users" }]"#);
    project.write("db/mongodb/000002_rows.up.json", ROWS);
    project
        .write("db/mongodb/000002_rows.down.json", r#"[{ "delete": "users", "deletes": [{ "q": {}, "limit": 0 }] }]"#);
    project
}

/// As golang-migrate would have left it.
fn set(project: &Project, version: i32, dirty: bool) {
    let database = project.database();
    block_on(async {
        let collection = database.collection::<Document>("schema_migrations");
        collection.drop().await.expect("no collection");
        collection.insert_one(doc! { "version": version, "dirty": dirty }).await.expect("a document");
    });
}

/// What the history says.
#[track_caller]
fn says(project: &Project, wanted: &[(i32, bool)]) {
    let found = project.mongo(doc! { "find": "schema_migrations" });
    let found: Vec<(i32, bool)> = found
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"))
        .expect("documents")
        .iter()
        .filter_map(|document| document.as_document())
        .map(|document| (document.get_i32("version").expect("a number"), document.get_bool("dirty").expect("a flag")))
        .collect();
    assert_eq!(found, wanted);
}

fn count(project: &Project, collection: &str) -> i32 {
    project.mongo(doc! { "count": collection }).get_i32("n").expect("a number")
}

#[test]
fn what_the_tool_applied_counts_and_the_mark_moves_with_every_step() {
    let project = project(false);
    project.mongo(doc! { "create": "users" });
    set(&project, 1, false);
    project.lyrox(&["db", "status"]).ok().says("1 applied, 1 pending");
    assert_eq!(count(&project, "lyrox_migrations"), 0, "status writes nothing");
    project.lyrox(&["db", "migrate"]).ok().says("000002_rows").says("1 applied by golang-migrate");
    says(&project, &[(2, false)]);
    assert_eq!(count(&project, "lyrox_migrations"), 2);
    assert_eq!(count(&project, "migrate_advisory_lock"), 0, "the lock was given back");
    project.lyrox(&["db", "migrate"]).ok().says("up to date");
    project.lyrox(&["db", "status", "--check"]).ok();
    let snapshot = project.mongo(doc! { "find": "lyrox_meta" }).to_string();
    assert!(snapshot.contains("collection users") && !snapshot.contains("schema_migrations"), "{snapshot}");

    project.lyrox(&["db", "rollback", "--yes"]).ok();
    says(&project, &[(1, false)]);
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    says(&project, &[(-1, false)]);
    project.lyrox(&["db", "status"]).ok().says("0 applied, 2 pending");
    project.lyrox(&["db", "migrate"]).ok();
    says(&project, &[(2, false)]);
    // What the tool undoes meanwhile is pending again.
    project.mongo(doc! { "delete": "users", "deletes": [{ "q": {}, "limit": 0 }] });
    set(&project, 1, false);
    project.lyrox(&["db", "migrate"]).ok().says("000002_rows");
    assert_eq!(count(&project, "users"), 1);
}

#[test]
fn a_dirty_version_stops_everything_and_says_the_way_on() {
    let project = project(false);
    set(&project, 1, true);
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6)
        .says("LYX-HISTORY-BROKEN")
        .says("000001_users")
        .says("dirty")
        .says("migrate force")
        .says("nothing was changed");
    assert_eq!(count(&project, "users"), 0);
    let command = r#"{ "update": "schema_migrations", "updates": [{ "q": {}, "u": { "$set": { "version": 1, "dirty": false } } }] }"#;
    project.lyrox(&["query", "mongodb", "--write", command]).ok();
    project.lyrox(&["db", "migrate"]).ok();
    says(&project, &[(2, false)]);
}

#[test]
fn a_file_that_fails_halfway_is_dirty_and_goes_on_where_it_stopped() {
    let project = project(false);
    let broken = r#"[{ "create": "things" }, { "createIndexes": "things", "indexes": [{ "key": { "a": "no" }, "name": "a" }] }]"#;
    project.write("db/mongodb/000003_things.up.json", broken);
    project.lyrox(&["db", "migrate"]).exit(1).says("000003_things.up.json:1:");
    says(&project, &[(3, true)]);
    project.write("db/mongodb/000003_things.up.json", &broken.replace("\"no\"", "1"));
    project.lyrox(&["db", "migrate"]).ok();
    says(&project, &[(3, false)]);
    // One of which nothing took effect leaves the mark where it was.
    project.write("db/mongodb/000004_never.up.json", r#"[{ "collMod": "nowhere", "validator": {} }]"#);
    project.lyrox(&["db", "migrate"]).exit(1);
    says(&project, &[(3, false)]);
    project.lyrox(&["db", "status"]).says("3 applied, 1 pending");
}

#[test]
fn its_lock_keeps_lyrox_out_and_one_that_lyrox_left_does_not() {
    let project = project(false);
    let held = doc! { "locking_key": 0, "pid": 4711, "hostname": "elsewhere", "created_at": bson::DateTime::now() };
    project.mongo(doc! { "insert": "migrate_advisory_lock", "documents": [held] });
    let run = project.lyrox(&["db", "migrate", "--lock-wait", "0s"]);
    run.exit(5).says("golang-migrate's own lock").says("process 4711 on elsewhere");
    project.mongo(doc! { "update": "migrate_advisory_lock", "updates": [{ "q": {}, "u": { "$set": { "lyrox": "a run that was killed" } } }] });
    project.lyrox(&["db", "migrate", "--lock-wait", "0s"]).ok();
    assert_eq!(count(&project, "migrate_advisory_lock"), 0);
    let indexes = project.mongo(doc! { "listIndexes": "migrate_advisory_lock" }).to_string();
    assert!(indexes.contains("lock_unique_key"), "{indexes}");
}

#[test]
fn a_late_file_a_missing_one_and_a_foreign_collection_are_told() {
    let project = project(false);
    project.lyrox(&["db", "migrate"]).ok();
    project.write("db/mongodb/000005_e.up.json", r#"[{ "create": "e" }]"#);
    project.lyrox(&["db", "migrate"]).ok();
    project.write("db/mongodb/000004_d.up.json", r#"[{ "create": "d" }]"#);
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-ORDER").says("000004_d");
    project.remove("db/mongodb/000004_d.up.json").remove("db/mongodb/000005_e.up.json");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("5");
    project.mongo(doc! { "update": "schema_migrations", "updates": [{ "q": {}, "u": { "version": "1" } }] });
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-HISTORY-FOREIGN");
}

#[test]
fn new_files_are_the_tools() {
    let project = project(false);
    project.lyrox(&["db", "new", "more"]).ok().says("db/mongodb/000003_more.up.json").says("000003_more.down.json");
    let text = std::fs::read_to_string(project.path("db/mongodb/000003_more.up.json")).expect("a text");
    assert_eq!(text, "[\n]\n");
}

#[test]
fn a_reset_takes_the_history_with_it() {
    let project = project(false);
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "reset", "--confirm", &project.name]).ok();
    says(&project, &[(2, false)]);
    assert_eq!(count(&project, "users"), 1);
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn both_stores_have_their_folder_and_one_timeline() {
    let project = project(true);
    project.write("db/postgres/1_users.up.sql", "CREATE TABLE users (id int);\n");
    project.write("db/postgres/3_more.up.sql", "CREATE TABLE more (id int);\n");
    let run = project.lyrox(&["--output", "json", "db", "migrate"]);
    run.ok();
    let report = run.json();
    let ids: Vec<&str> =
        report["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_str()).collect();
    assert_eq!(ids, ["postgres.1", "mongodb.1", "mongodb.000002", "postgres.3"], "{run}");
    says(&project, &[(2, false)]);
    assert_eq!(project.sql_value("SELECT version FROM schema_migrations"), "3");
    project.lyrox(&["db", "status", "--check"]).ok();
}
