//! dbmate's folder and `schema_migrations`.

use super::{project, rows};
use crate::support::Project;

/// As `dbmate up` makes it.
const TABLE: &str = "CREATE TABLE schema_migrations (version varchar PRIMARY KEY)";
const USERS: &str = "-- migrate:up\nCREATE TABLE users (id int);\n\n-- migrate:down\nDROP TABLE users;\n";
const POSTS: &str = "-- migrate:up\nCREATE TABLE posts (id int);\n\n-- migrate:down\nDROP TABLE posts;\n";

/// Two files, of which dbmate applied the first.
fn begun() -> Project {
    let project = project("dbmate", "dir = \"db/migrations\"");
    project.write("db/migrations/001_users.sql", USERS).write("db/migrations/20240102000000_posts.sql", POSTS);
    project.sql(TABLE);
    project.sql("INSERT INTO schema_migrations VALUES ('001')");
    project.sql("CREATE TABLE users (id int)");
    project
}

#[test]
fn what_dbmate_applied_counts_and_the_rest_is_written_as_dbmate_would() {
    let project = begun();
    project.lyrox(&["db", "status"]).ok().says("1 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok().says("20240102000000_posts");
    rows(&project, "SELECT version FROM schema_migrations ORDER BY 1", &[&["001"], &["20240102000000"]]);
    rows(
        &project,
        "SELECT version, name, state FROM lyrox.migrations ORDER BY 1",
        &[&["001", "users", "applied"], &["20240102000000", "posts", "applied"]],
    );
    project.lyrox(&["db", "migrate"]).ok().says("up to date");

    project.lyrox(&["db", "rollback", "--yes"]).ok();
    rows(&project, "SELECT version, to_regclass('posts') IS NULL FROM schema_migrations", &[&["001", "t"]]);
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    rows(&project, "SELECT count(*), to_regclass('users') IS NULL FROM schema_migrations", &[&["0", "t"]]);
}

#[test]
fn an_older_file_that_comes_late_is_applied_as_dbmate_applies_it() {
    let project = begun();
    project.lyrox(&["db", "migrate"]).ok();
    project.write("db/migrations/20230101000000_late.sql", "-- migrate:up\nCREATE TABLE late ();\n-- migrate:down\n");
    project.lyrox(&["db", "migrate"]).ok().says("20230101000000_late");
    rows(&project, "SELECT count(*) FROM schema_migrations", &[&["3"]]);
}

#[test]
fn an_edit_is_found_by_lyrox_own_row_and_an_edited_way_back_is_none() {
    let project = begun();
    project.lyrox(&["db", "migrate"]).ok();
    project.write(
        "db/migrations/20240102000000_posts.sql",
        &POSTS.replace("DROP TABLE posts", "DROP TABLE IF EXISTS posts"),
    );
    project.lyrox(&["db", "status", "--check"]).ok();
    project.write("db/migrations/20240102000000_posts.sql", &POSTS.replace("id int", "id bigint"));
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED").says("-CREATE TABLE posts (id int);");
    project.remove("db/migrations/20240102000000_posts.sql");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("20240102000000");
}

#[test]
fn several_blocks_run_together_and_one_without_a_transaction_alone() {
    let project = project("dbmate", "dir = \"db/migrations\"\nhistory = \"ops.versions\"");
    project.sql("CREATE SCHEMA ops");
    let two = "-- migrate:up\nCREATE TABLE a (id int);\n-- migrate:down\nDROP TABLE a;\n-- migrate:up\nCREATE TABLE b (id int);\n-- migrate:down\nDROP TABLE b;\n";
    project.write("db/migrations/1_two.sql", two);
    let bare = "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY a_id ON a (id);\n-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY a_id;\n";
    project.write("db/migrations/2_bare.sql", bare);
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT version FROM ops.versions ORDER BY 1", &[&["1"], &["2"]]);
    rows(&project, "SELECT to_regclass('a_id') IS NOT NULL, to_regclass('b') IS NOT NULL", &[&["t", "t"]]);
    project.lyrox(&["db", "rollback", "--steps", "2", "--yes"]).ok();
    rows(
        &project,
        "SELECT count(*), to_regclass('a') IS NULL, to_regclass('b') IS NULL FROM ops.versions",
        &[&["0", "t", "t"]],
    );
}

#[test]
fn an_error_names_the_line_of_the_file_and_leaves_nothing() {
    let project = begun();
    let text = "-- migrate:up\nCREATE TABLE posts (id int);\nINSERT INTO posts VALUES (oops);\n-- migrate:down\n";
    project.write("db/migrations/20240102000000_posts.sql", text);
    project.lyrox(&["db", "migrate"]).exit(1).says("20240102000000_posts.sql:3:27").says("rolled back");
    rows(&project, "SELECT version, to_regclass('posts') IS NULL FROM schema_migrations", &[&["001", "t"]]);
}

#[test]
fn tables_of_the_same_name_that_are_not_dbmates_are_refused() {
    let project = begun();
    project.sql("CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar)");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-HISTORY-FOREIGN").says("a table of Rails").says("nothing was changed");
    project.sql("DROP TABLE ar_internal_metadata, schema_migrations");
    // golang-migrate's, and empty: what it holds does not matter.
    project.sql("CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-HISTORY-FOREIGN").says("golang-migrate");
    rows(&project, "SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'", &[&["0"]]);
}

#[test]
fn a_new_file_is_dbmates() {
    let project = begun();
    project.lyrox(&["db", "new", "comments"]).ok().says("_comments.sql");
    let name = std::fs::read_dir(project.path("db/migrations"))
        .expect("a folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.ends_with("_comments.sql"))
        .expect("a file");
    let text = std::fs::read_to_string(project.path("db/migrations").join(name)).expect("a text");
    assert_eq!(text, "-- migrate:up\n\n\n-- migrate:down\n\n");
}
