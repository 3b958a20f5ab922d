//! golang-migrate's folder and `schema_migrations`: one number, and whether it is dirty.

use super::{project, rows};
use crate::support::Project;

const TABLE: &str = "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)";

/// Three files, of which golang-migrate applied the first two.
fn begun() -> Project {
    let project = project("golang-migrate", "");
    for (file, table) in [("000001_a", "a"), ("000002_b", "b"), ("000010_c", "c")] {
        project.write(&format!("migrations/{file}.up.sql"), &format!("CREATE TABLE {table} (id int);\n"));
        project.write(&format!("migrations/{file}.down.sql"), &format!("DROP TABLE {table};\n"));
    }
    project.sql(TABLE);
    project.sql("INSERT INTO schema_migrations VALUES (2, false)");
    project.sql("CREATE TABLE a (id int)");
    project.sql("CREATE TABLE b (id int)");
    project
}

#[test]
fn the_mark_says_what_is_applied_and_moves_with_every_step() {
    let project = begun();
    project.lyrox(&["db", "status"]).ok().says("2 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok().says("000010_c");
    rows(&project, "SELECT version, dirty FROM schema_migrations", &[&["10", "f"]]);
    rows(
        &project,
        "SELECT version, state FROM lyrox.migrations ORDER BY 1",
        &[&["000001", "applied"], &["000002", "applied"], &["000010", "applied"]],
    );
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    rows(&project, "SELECT version, dirty FROM schema_migrations", &[&["2", "f"]]);
    project.lyrox(&["db", "rollback", "--steps", "2", "--yes"]).ok();
    rows(&project, "SELECT count(*) FROM schema_migrations", &[&["0"]]);
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT version, dirty FROM schema_migrations", &[&["10", "f"]]);
}

#[test]
fn what_the_tool_undid_meanwhile_is_pending_again() {
    let project = begun();
    project.lyrox(&["db", "migrate"]).ok();
    // `migrate down 1`.
    project.sql("DROP TABLE c");
    project.sql("UPDATE schema_migrations SET version = 2");
    project.lyrox(&["db", "status"]).ok().says("2 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT version, to_regclass('c') IS NOT NULL FROM schema_migrations", &[&["10", "t"]]);
}

#[test]
fn a_dirty_version_stops_everything_and_says_the_way_on() {
    let project = begun();
    project.sql("UPDATE schema_migrations SET dirty = true");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6)
        .says("LYX-HISTORY-BROKEN")
        .says("000002_b")
        .says("dirty")
        .says("migrate force")
        .says("nothing was changed");
    rows(&project, "SELECT to_regclass('c') IS NULL", &[&["t"]]);
    project
        .lyrox(&[
            "query",
            "postgres",
            "--write",
            "UPDATE \"public\".\"schema_migrations\" SET version = 2, dirty = false",
        ])
        .ok();
    project.lyrox(&["db", "migrate"]).ok();
}

#[test]
fn a_file_below_the_mark_never_runs_and_is_told() {
    let project = begun();
    project.lyrox(&["db", "migrate"]).ok();
    project.write("migrations/000005_late.up.sql", "-- lyrox: allow out-of-order\nCREATE TABLE late (id int);\n");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-DRIFT-ORDER").says("000005_late").says("new version");
}

#[test]
fn what_no_transaction_covers_is_dirty_while_it_runs() {
    let project = begun();
    project.sql("INSERT INTO a VALUES (1), (1)");
    let text = "CREATE UNIQUE INDEX CONCURRENTLY a_id ON a (id);\n";
    project.write("migrations/000011_bare.up.sql", text);
    project.lyrox(&["db", "migrate"]).exit(1).says("000011_bare");
    rows(&project, "SELECT version, dirty FROM schema_migrations", &[&["11", "t"]]);
    // lyrox knows where it stopped and goes on there.
    project.sql("TRUNCATE a");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT version, dirty FROM schema_migrations", &[&["11", "f"]]);
}

#[test]
fn several_statements_and_own_transactions_run() {
    let project = begun();
    project
        .write("migrations/000010_c.up.sql", "BEGIN;\nCREATE TABLE c (id int);\nCREATE TABLE d (id int);\nCOMMIT;\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT to_regclass('d') IS NOT NULL, version, dirty FROM schema_migrations", &[&["t", "10", "f"]]);
}

#[test]
fn a_missing_file_and_a_table_of_another_tool_are_told() {
    let project = begun();
    project.sql("UPDATE schema_migrations SET version = 7");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("7");
    project.sql("DROP TABLE schema_migrations");
    project.sql("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-HISTORY-FOREIGN").says("dbmate or Rails");
}

#[test]
fn its_lock_keeps_lyrox_out() {
    let project = begun();
    let names = format!("public\0schema_migrations\0{}", project.name);
    let key = i64::from(crc32fast::hash(names.as_bytes()).wrapping_mul(1_486_364_155));
    super::held(&project, key, || {
        project.lyrox(&["db", "migrate", "--lock-wait", "0s"]).exit(5).says("golang-migrate's own lock");
    });
    project.lyrox(&["db", "migrate"]).ok();
}

#[test]
fn new_files_are_counted_on() {
    let project = begun();
    project.lyrox(&["db", "new", "more"]).ok().says("000011_more.up.sql").says("000011_more.down.sql");
}
