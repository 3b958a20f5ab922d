//! drizzle's folders, with and without a journal, and `drizzle.__drizzle_migrations`.

use super::{project, rows};
use crate::support::Project;

/// SHA-256 of `CREATE TABLE t (id int);` and a line end.
const LF: &str = "12c83f983b0c94b9c7010dcc92149589d5fb01a3d32af8f6d699545d95db9040";

const OLD: &str = "CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, \
    created_at bigint)";
const NEW: &str = "CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, \
    created_at bigint, name text, applied_at timestamp with time zone DEFAULT now())";

fn journal(project: &Project, entries: &[(u32, i64, &str)]) {
    let entries: Vec<String> = entries
        .iter()
        .map(|(idx, when, tag)| {
            format!("{{\"idx\":{idx},\"version\":\"7\",\"when\":{when},\"tag\":\"{tag}\",\"breakpoints\":true}}")
        })
        .collect();
    let text = format!("{{\"version\":\"7\",\"dialect\":\"postgresql\",\"entries\":[{}]}}\n", entries.join(","));
    project.write("drizzle/meta/_journal.json", &text);
}

/// A folder of 0.x with three migrations.
fn zero() -> Project {
    let project = project("drizzle", "dir = \"drizzle\"");
    journal(&project, &[(0, 1000, "0000_a"), (1, 2000, "0001_b"), (2, 3000, "0002_c")]);
    project.write("drizzle/0000_a.sql", "CREATE TABLE t (id int);\n");
    project
        .write("drizzle/0001_b.sql", "CREATE TABLE u (id int)\n--> statement-breakpoint\nCREATE TABLE v (id int);\r\n");
    project.write("drizzle/0002_c.sql", "CREATE TABLE w (id int);\n");
    project
}

/// A folder of 1.0 with two migrations.
fn one() -> Project {
    let project = project("drizzle", "dir = \"drizzle\"");
    project.write("drizzle/20240101000000_a/migration.sql", "CREATE TABLE t (id int);\n");
    project.write("drizzle/20240102000000_b/migration.sql", "CREATE TABLE u (id int);\n");
    project
}

const BY_MOMENT: &str = "SELECT created_at, length(hash) FROM drizzle.__drizzle_migrations ORDER BY created_at";

#[test]
fn the_history_of_0_x_is_taken_over_and_the_rest_applied() {
    let project = zero();
    project.sql(OLD);
    project.sql("CREATE TABLE t (id int)");
    project.sql(&format!("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('{LF}', 1000)"));
    project.lyrox(&["db", "status"]).ok().says("1 applied, 2 pending");
    project.lyrox(&["db", "migrate"]).ok().says("1 applied by drizzle");
    rows(&project, BY_MOMENT, &[&["1000", "64"], &["2000", "64"], &["3000", "64"]]);
    // The hash is of the file as it is, breakpoints and line ends included.
    let text = "CREATE TABLE u (id int)\\n--> statement-breakpoint\\nCREATE TABLE v (id int);\\r\\n";
    let sql = format!(
        "SELECT hash = encode(sha256(convert_to(E'{text}', 'UTF8')), 'hex') FROM drizzle.__drizzle_migrations WHERE created_at = 2000"
    );
    rows(&project, &sql, &[&["t"]]);
    project.lyrox(&["db", "status", "--check"]).ok().says("3 applied, 0 pending");
    project.write("drizzle/0000_a.sql", "CREATE TABLE t (id int);\r\n");
    project.lyrox(&["db", "status", "--check"]).ok();
    project.write("drizzle/0000_a.sql", "CREATE TABLE t (id bigint);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED");
}

#[test]
fn its_mark_covers_what_was_there_before_the_history() {
    let project = zero();
    project.sql(OLD);
    // As people baseline by hand: one row, for the newest that is there.
    project.sql("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('by hand', 2000)");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-DRIFT-EDITED").says("0001_b");
    project.sql("UPDATE drizzle.__drizzle_migrations SET hash = encode(sha256(convert_to(E'CREATE TABLE u (id int)\\n--> statement-breakpoint\\nCREATE TABLE v (id int);\\n', 'UTF8')), 'hex')");
    project.lyrox(&["db", "status"]).ok().says("2 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT created_at FROM drizzle.__drizzle_migrations ORDER BY 1", &[&["2000"], &["3000"]]);
    rows(&project, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", &[&["1"]]);
}

#[test]
fn a_file_below_the_mark_is_refused_and_a_row_without_a_file_missing() {
    let project = zero();
    journal(&project, &[(0, 1000, "0000_a"), (1, 3000, "0002_c")]);
    project.lyrox(&["db", "migrate"]).ok();
    journal(&project, &[(0, 1000, "0000_a"), (1, 2000, "0001_b"), (2, 3000, "0002_c")]);
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-DRIFT-ORDER").says("0001_b").says("would never run it");
    rows(&project, "SELECT to_regclass('u') IS NULL", &[&["t"]]);
    journal(&project, &[(0, 1000, "0000_a")]);
    let run = project.lyrox(&["--output", "json", "db", "migrate"]);
    run.exit(6);
    let report = run.json();
    assert_eq!(report["items"].as_array().map(Vec::len), Some(1), "{run}");
}

#[test]
fn the_history_of_1_0_goes_by_name() {
    let project = one();
    project.sql(NEW);
    project.sql(&format!(
        "INSERT INTO drizzle.__drizzle_migrations (hash, created_at, name, applied_at) \
         VALUES ('{LF}', 1704067200000, '20240101000000_a', '2024-01-02 03:04:05+00')"
    ));
    project.lyrox(&["db", "status"]).ok().says("2024-01-02 03:04").says("1 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok();
    rows(
        &project,
        "SELECT created_at, name, applied_at > now() - interval '5 minutes', length(hash) FROM drizzle.__drizzle_migrations ORDER BY id DESC LIMIT 1",
        &[&["1704153600000", "20240102000000_b", "t", "64"]],
    );
    // A name is what counts: an earlier one that comes late is applied.
    project.write("drizzle/20230101000000_late/migration.sql", "CREATE TABLE late (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "status", "--check"]).ok().says("3 applied, 0 pending");
    project.write("drizzle/20240101000000_a/migration.sql", "CREATE TABLE t (id bigint);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED");
}

#[test]
fn a_history_of_0_x_under_a_folder_of_1_0_is_read_by_moments() {
    let project = one();
    project.sql(OLD);
    project.sql(&format!("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('{LF}', 1704067200789)"));
    project.lyrox(&["db", "status"]).ok().says("1 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, BY_MOMENT, &[&["1704067200789", "64"], &["1704153600000", "64"]]);
    project.lyrox(&["db", "status", "--check"]).ok();
}

/// drizzle-kit makes several migrations a second, and its step to 1.0 keeps only the second of each.
#[test]
fn rows_of_0_x_find_their_folders_of_one_second_by_the_text() {
    let project = project("drizzle", "dir = \"drizzle\"");
    let second = "20240101000000";
    for (name, text) in [("a", "CREATE TABLE t (id int);\n"), ("b", "CREATE TABLE u (id int);\n"), ("c", "SELECT 3;\n")]
    {
        project.write(&format!("drizzle/{second}_{name}/migration.sql"), text);
    }
    project.sql(OLD);
    let hash = |text: &str| format!("encode(sha256(convert_to(E'{text}', 'UTF8')), 'hex')");
    let (u, edited) = (hash("CREATE TABLE u (id int);\\n"), hash("SELECT 33;\\n"));
    project.sql(&format!("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ({u}, 1704067200999)"));
    project.lyrox(&["db", "status"]).ok().says("1 applied, 2 pending").says("pending    20240101000000_a");
    project.sql(&format!("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('{LF}', 1704067200001)"));
    project.lyrox(&["db", "status"]).ok().says("2 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok().says("2 applied by drizzle").says("applied    20240101000000_c");
    rows(&project, "SELECT count(*) FROM drizzle.__drizzle_migrations", &[&["3"]]);
    project.lyrox(&["db", "status", "--check"]).ok().says("3 applied, 0 pending");
    // A row of that second whose text no folder has is one without a file.
    project
        .sql(&format!("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ({edited}, 1704067200500)"));
    project.lyrox(&["db", "status", "--check"]).exit(6).says("LYX-DRIFT-MISSING");
}

#[test]
fn the_table_is_made_as_the_folder_s_version_makes_it_and_may_have_another_name() {
    let columns = "SELECT string_agg(column_name, ' ' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = '__drizzle_migrations'";
    let old = zero();
    old.lyrox(&["db", "migrate"]).ok();
    rows(&old, columns, &[&["id hash created_at"]]);
    let new = one();
    new.lyrox(&["db", "migrate"]).ok();
    rows(&new, columns, &[&["id hash created_at name applied_at"]]);

    let named = project("drizzle", "dir = \"drizzle\"\nhistory = \"ops.log\"");
    named.write("drizzle/20240101000000_a/migration.sql", "CREATE TABLE t (id int);\n");
    named.lyrox(&["db", "migrate"]).ok();
    rows(&named, "SELECT name FROM ops.log", &[&["20240101000000_a"]]);
}

#[test]
fn a_new_migration_is_written_into_the_journal() {
    let project = zero();
    project.write("drizzle/meta/0002_snapshot.json", "{\"id\":\"one\",\"prevId\":\"none\"}");
    project.lyrox(&["db", "new", "d"]).ok().says("drizzle/0003_d.sql").says("_journal.json");
    let journal = std::fs::read_to_string(project.path("drizzle/meta/_journal.json")).expect("a journal");
    assert!(journal.contains("0003_d") && journal.contains("0000_a"), "{journal}");
    project.write("drizzle/0003_d.sql", "CREATE TABLE x (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT count(*) FROM drizzle.__drizzle_migrations", &[&["4"]]);
}
