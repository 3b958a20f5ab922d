//! node-pg-migrate's SQL files and `pgmigrations`.

use super::{project, rows};

const TABLE: &str =
    "CREATE TABLE pgmigrations (id SERIAL PRIMARY KEY, name varchar(255) NOT NULL, run_on timestamp NOT NULL)";

fn file(up: &str, down: &str) -> String {
    format!("-- Up Migration\n{up}\n\n-- Down Migration\n{down}\n")
}

#[test]
fn what_its_history_says_is_taken_over_and_the_rest_applied_in_its_order() {
    let project = project("node-pg-migrate", "");
    project.sql(&format!("ALTER DATABASE {} SET timezone = 'America/New_York'", project.name));
    project.write("migrations/1704067200000_a.sql", &file("CREATE TABLE t (id int);", "DROP TABLE t;"));
    project.write("migrations/20240101000001000_b.sql", &file("CREATE TABLE u (id int);", "DROP TABLE u;"));
    project.write("migrations/1704067202000_c.sql", "CREATE TABLE v (id int);\n");
    project.sql(TABLE);
    project.sql("CREATE TABLE t (id int)");
    project.sql("INSERT INTO pgmigrations (name, run_on) VALUES ('1704067200000_a', '2024-01-02 03:04:05')");
    // Local time of the database, not of lyrox's session.
    project.lyrox(&["db", "status"]).ok().says("2024-01-02 08:04").says("1 applied, 2 pending");
    project.lyrox(&["db", "migrate"]).ok().says("1 applied by node-pg-migrate");
    rows(
        &project,
        "SELECT name, abs(extract(epoch FROM run_on - now() AT TIME ZONE 'America/New_York')) < 300 FROM pgmigrations ORDER BY run_on, id",
        &[&["1704067200000_a", "f"], &["20240101000001000_b", "t"], &["1704067202000_c", "t"]],
    );
    project.lyrox(&["db", "status", "--check"]).ok().says("3 applied, 0 pending");
    project.lyrox(&["db", "rollback", "--steps", "2", "--yes"]).exit(2).says("has no way back");
}

#[test]
fn the_newest_is_undone_by_its_own_down_part() {
    let project = project("node-pg-migrate", "");
    project.write("migrations/1_a.sql", &file("CREATE TABLE t (id int);", "DROP TABLE t;"));
    project.write("migrations/2_b.up.sql", "CREATE TABLE u (id int);\n");
    project.write("migrations/2_b.down.sql", "DROP TABLE u;\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT name FROM pgmigrations ORDER BY run_on, id", &[&["1_a"], &["2_b"]]);
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    rows(&project, "SELECT name FROM pgmigrations", &[&["1_a"]]);
    rows(&project, "SELECT to_regclass('u') IS NULL AND to_regclass('t') IS NOT NULL", &[&["t"]]);
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    rows(&project, "SELECT to_regclass('t') IS NULL", &[&["t"]]);
}

#[test]
fn an_error_names_the_line_of_the_file() {
    let project = project("node-pg-migrate", "");
    project.write("migrations/1_a.sql", &file("CREATE TABLE t (id int);\nSELECT 1 / 0;", "DROP TABLE t;"));
    project.lyrox(&["db", "migrate"]).exit(1).says("1_a.sql:3").says("division by zero");
    rows(&project, "SELECT count(*) FROM pgmigrations", &[&["0"]]);
}

#[test]
fn edits_are_seen_though_its_history_has_no_checksum_and_missing_files_as_well() {
    let project = project("node-pg-migrate", "");
    project.write("migrations/1_a.sql", &file("CREATE TABLE t (id int);", "DROP TABLE t;"));
    project.lyrox(&["db", "migrate"]).ok();
    project.write("migrations/1_a.sql", &file("CREATE TABLE t (id bigint);", "DROP TABLE t;"));
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED");
    // The way back may change.
    project.write("migrations/1_a.sql", &file("CREATE TABLE t (id int);", "DROP TABLE IF EXISTS t;"));
    project.lyrox(&["db", "status", "--check"]).ok();
    project.write("migrations/2_b.sql", "SELECT 1;\n");
    project.sql("INSERT INTO pgmigrations (name, run_on) VALUES ('3_c', now())");
    project.lyrox(&["db", "migrate"]).exit(6).says("3_c was applied to postgres and has no file");
    project.sql("DELETE FROM pgmigrations WHERE name = '3_c'");
    project.lyrox(&["db", "migrate"]).ok();
    project.write("migrations/1_late.sql", "SELECT 2;\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-ORDER").says("1_late");
}

#[test]
fn programs_are_refused_and_its_lock_is_heeded() {
    let project = project("node-pg-migrate", "");
    project.write("migrations/1_a.sql", "CREATE TABLE t (id int);\n");
    project.write("migrations/2_b.js", "export const up = () => {};\n");
    project.write("migrations/3_c.ts", "export const up = () => {};\n");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(2).says("migrations/2_b.js").says("3_c.ts").says("nothing was changed");
    project.remove("migrations/2_b.js").remove("migrations/3_c.ts");
    let url = project.postgres.clone();
    let holder =
        std::thread::spawn(move || crate::support::sql(&url, "SELECT pg_advisory_lock(7241865325823964), pg_sleep(3)"));
    std::thread::sleep(std::time::Duration::from_millis(900));
    project.lyrox(&["db", "migrate", "--lock-wait", "0s"]).exit(5).says("node-pg-migrate's own lock");
    project.lyrox(&["db", "migrate", "--lock-wait", "20s"]).ok();
    holder.join().expect("a thread").expect("a lock");
}

#[test]
fn a_new_migration_has_its_markers() {
    let project = project("node-pg-migrate", "");
    project.lyrox(&["db", "new", "first"]).ok().says("_first.sql");
    let name =
        std::fs::read_dir(project.path("migrations")).expect("a folder").next().expect("a file").expect("a file");
    let text = std::fs::read_to_string(name.path()).expect("a text");
    assert!(text.starts_with("-- Up Migration") && text.contains("-- Down Migration"), "{text}");
    assert_eq!(name.file_name().to_string_lossy().find('_'), Some(13));
}
