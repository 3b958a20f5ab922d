//! sqlx-cli's folder and `_sqlx_migrations`.

use super::{project, rows};

/// SHA-384 of `CREATE TABLE t (id int);` and a line end.
const LF: &str = "e1cc0b49a7d453bb345d9fc52670c0bfd4a694b2befb7061a9bad55916701e1ef4ddd22ee7cb1c80b4317a1b5780422c";
/// The same with CR LF.
const CRLF: &str = "13ec31b9fdb54e368195d7bc842339dbb8844066c2781756dc6003d955e6a4199f83dbb6148cf8b6addef8ce34a3e985";

const TABLE: &str = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, \
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, \
    execution_time BIGINT NOT NULL)";

fn insert(version: i64, description: &str, success: bool, checksum: &str) -> String {
    format!(
        "INSERT INTO _sqlx_migrations VALUES ({version}, '{description}', '2024-01-02 03:04:05+00', {success}, decode('{checksum}', 'hex'), 5)"
    )
}

#[test]
fn what_its_history_says_is_taken_over_and_the_rest_applied() {
    let project = project("sqlx", "");
    project.write("migrations/1_init.sql", "CREATE TABLE t (id int);\n");
    project.write("migrations/2_more_of_it.sql", "CREATE TABLE u (id int);\n");
    project.sql(TABLE);
    project.sql(&insert(1, "init", true, LF));
    project.sql("CREATE TABLE t (id int)");

    project.lyrox(&["db", "status"]).ok().says("2024-01-02 03:04").says("1 applied, 1 pending");
    rows(&project, "SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'", &[&["0"]]);

    let run = project.lyrox(&["db", "migrate"]);
    run.ok().says("1 applied by sqlx").says("2_more_of_it");
    rows(
        &project,
        "SELECT version, description, success, length(checksum), execution_time > 0 FROM _sqlx_migrations ORDER BY 1",
        &[&["1", "init", "t", "48", "t"], &["2", "more of it", "t", "48", "t"]],
    );
    rows(
        &project,
        "SELECT version, name, state, actor = 'sqlx', text FROM lyrox.migrations ORDER BY 1",
        &[
            &["1", "init", "applied", "t", "CREATE TABLE t (id int);\n"],
            &["2", "more_of_it", "applied", "f", "CREATE TABLE u (id int);\n"],
        ],
    );
    // The history is no part of the schema: neither drift nor the application's.
    let snapshot = project.sql_value("SELECT objects FROM lyrox.snapshots");
    assert!(!snapshot.contains("_sqlx_migrations") && snapshot.contains("table u"), "{snapshot}");
    project.lyrox(&["db", "migrate"]).ok().says("up to date");
    project.lyrox(&["db", "smoke-test"]).ok();
}

#[test]
fn line_ends_count_as_they_do_in_sqlx() {
    let project = project("sqlx", "");
    project.write("migrations/1_init.sql", "CREATE TABLE t (id int);\r\n");
    project.sql(TABLE);
    project.sql(&insert(1, "init", true, CRLF));
    project.lyrox(&["db", "status", "--check"]).ok();

    project.write("migrations/1_init.sql", "CREATE TABLE t (id int);\n");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-DRIFT-EDITED").says(CRLF).says(LF).says("line ends");
    // sqlx.toml may say that they do not count; then its checksum is that of the rest.
    project.write("sqlx.toml", "[migrate]\nignored-chars = [\"\\r\"]\n");
    project.write("migrations/1_init.sql", "CREATE TABLE t (id int);\r\n");
    project.sql(&format!("UPDATE _sqlx_migrations SET checksum = decode('{LF}', 'hex')"));
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn another_table_is_read_where_sqlx_toml_or_lyrox_toml_names_one() {
    let project = project("sqlx", "");
    project.write("sqlx.toml", "[migrate]\ntable-name = \"ops.versions\"\ncreate-schemas = [\"ops\", \"app\"]\n");
    project.write("migrations/1_init.sql", "CREATE TABLE app.t (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT version FROM ops.versions", &[&["1"]]);
}

#[test]
fn a_version_that_was_not_a_success_stops_everything() {
    let project = project("sqlx", "");
    project.write("migrations/1_init.sql", "CREATE TABLE t (id int);\n");
    project.write("migrations/2_b.sql", "CREATE TABLE u (id int);\n");
    project.sql(TABLE);
    project.sql(&insert(1, "init", false, LF));
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-HISTORY-BROKEN").says("1_init").says("DELETE FROM").says("nothing was changed");
    rows(&project, "SELECT count(*) FROM pg_tables WHERE tablename = 'u'", &[&["0"]]);
    project.lyrox(&["db", "status", "--check"]).exit(6);
}

#[test]
fn a_recorded_version_without_a_file_is_missing_and_an_undone_one_is_pending_again() {
    let project = project("sqlx", "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE t (id int);\n");
    project.write("migrations/1_a.down.sql", "DROP TABLE t;\n");
    project.lyrox(&["db", "migrate"]).ok();
    // As `sqlx migrate revert` would, behind lyrox's back.
    project.sql("DROP TABLE t");
    project.sql("DELETE FROM _sqlx_migrations");
    project.lyrox(&["db", "status"]).ok().says("0 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok();
    rows(
        &project,
        "SELECT what FROM lyrox.events WHERE version = '1' ORDER BY id",
        &[&["applied"], &["undone elsewhere"], &["applied"]],
    );
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    rows(&project, "SELECT count(*) FROM _sqlx_migrations", &[&["0"]]);

    project.sql(&insert(7, "seven of them", true, LF));
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-DRIFT-MISSING").says("7_seven_of_them");
}

#[test]
fn a_failing_file_leaves_neither_table_nor_row() {
    let project = project("sqlx", "");
    project.write("migrations/1_a.sql", "CREATE TABLE t (id int);\n");
    project.write("migrations/2_b.sql", "CREATE TABLE u (id int);\nSELECT 1 / 0;\n");
    project.lyrox(&["db", "migrate"]).exit(1).says("division by zero").says("2_b.sql:2");
    rows(&project, "SELECT version FROM _sqlx_migrations", &[&["1"]]);
    rows(&project, "SELECT count(*) FROM pg_tables WHERE tablename = 'u'", &[&["0"]]);
}

#[test]
fn a_file_with_its_own_transactions_runs_alone_and_is_journaled() {
    let project = project("sqlx", "");
    project.write("migrations/1_a.sql", "CREATE TABLE t (id int);\n");
    let text = "BEGIN;\nCREATE TABLE u (id int);\nINSERT INTO u VALUES (1);\nCOMMIT;\nBEGIN;\nINSERT INTO u VALUES (2);\nINSERT INTO u SELECT 1 / (SELECT count(*) FROM t);\nCOMMIT;\nBEGIN; INSERT INTO u VALUES (9); ROLLBACK;\n";
    project.write("migrations/2_b.sql", text);
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(1).says("division by zero").says("stopped after step 4 of 11");
    rows(&project, "SELECT id FROM u", &[&["1"]]);
    rows(&project, "SELECT version FROM _sqlx_migrations", &[&["1"]]);
    project.sql("INSERT INTO t VALUES (1)");
    project.lyrox(&["db", "migrate"]).ok().says("going on at statement 5");
    rows(&project, "SELECT id FROM u ORDER BY 1", &[&["1"], &["1"], &["2"]]);
    rows(&project, "SELECT version FROM _sqlx_migrations", &[&["1"], &["2"]]);

    project.write("migrations/3_c.sql", "BEGIN;\nSELECT 1;\n");
    project.lyrox(&["db", "migrate"]).exit(2).says("never ended").says("3_c.sql:1");
}

#[test]
fn its_lock_keeps_lyrox_out() {
    let project = project("sqlx", "");
    project.write("migrations/1_a.sql", "CREATE TABLE t (id int);\n");
    let key = 0x3d32_ad9e_i64 * i64::from(crc32fast::hash(project.name.as_bytes()));
    let url = project.postgres.clone();
    let (begun, wait) = std::sync::mpsc::channel();
    let holder = std::thread::spawn(move || {
        begun.send(()).expect("a listener");
        crate::support::sql(&url, &format!("SELECT pg_advisory_lock({key}), pg_sleep(3)"))
    });
    wait.recv().expect("a thread");
    std::thread::sleep(std::time::Duration::from_millis(700));
    project.lyrox(&["db", "migrate", "--lock-wait", "0s"]).exit(5).says("sqlx's own lock");
    project.lyrox(&["db", "migrate", "--lock-wait", "20s"]).ok();
    holder.join().expect("a thread").expect("a lock");
    rows(
        &project,
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[&["0"]],
    );
}

#[test]
fn a_reset_takes_the_history_with_it_and_a_dropped_one_is_told() {
    let project = project("sqlx", "");
    project.write("migrations/1_a.sql", "CREATE TABLE t (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "reset", "--confirm", &project.name]).ok();
    rows(&project, "SELECT version FROM _sqlx_migrations", &[&["1"]]);

    project.sql("DROP TABLE _sqlx_migrations");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-HISTORY-GONE").says("lyrox db repair --record postgres");
    project.lyrox(&["db", "repair", "--record", "postgres"]).ok();
    rows(&project, "SELECT version, success FROM _sqlx_migrations", &[&["1", "t"]]);
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn parts_of_other_stores_are_merged_by_their_digits() {
    let project =
        crate::support::Project::new("f_parts", "[migrations]\nformat = \"sqlx\"\nparts_dir = \"migrations\"\n");
    project.write("migrations/0001_init.sql", "CREATE TABLE t (id int);\n");
    project.write("migrations/1_other.up.json", "[{ \"create\": \"things\" }]\n");
    project.write("migrations/2_alone.up.redis", "SET {{prefix}}a 1\n");
    project.write("migrations/3_last.sql", "CREATE TABLE u (id int);\n");
    let run = project.lyrox(&["--output", "json", "db", "migrate"]);
    run.ok();
    let report = run.json();
    let ids: Vec<&str> =
        report["items"].as_array().expect("items").iter().filter_map(|item| item["id"].as_str()).collect();
    assert_eq!(ids, ["postgres.0001", "mongodb.0001", "redis.2", "postgres.3"], "{run}");
    rows(&project, "SELECT version, description FROM _sqlx_migrations ORDER BY 1", &[&["1", "init"], &["3", "last"]]);
    project.lyrox(&["db", "status", "--check"]).ok().says("4 applied, 0 pending");
}
