//! Numbered SQL files of no tool.

use super::{project, rows};

#[test]
fn numbered_files_run_in_the_order_of_their_numbers() {
    let project = project("plain", "dir = \"sql\"");
    project.write("sql/010-c.sql", "INSERT INTO a VALUES (10);\n");
    project.write("sql/002-b.sql", "BEGIN;\nINSERT INTO a VALUES (2);\nCOMMIT;\n");
    project.write("sql/001-a.sql", "CREATE TABLE a (id serial, n int);\nINSERT INTO a (n) VALUES (1);\n");
    project.write("sql/011-d.sql", "-- nothing yet\n");
    project.write("sql/README.md", "notes\n");
    project.lyrox(&["db", "migrate"]).ok().says("002_b");
    rows(&project, "SELECT id FROM a ORDER BY n NULLS LAST, id", &[&["1"], &["2"], &["10"]]);
    rows(
        &project,
        "SELECT version, name, state FROM lyrox.migrations ORDER BY 1",
        &[&["001", "a", "applied"], &["002", "b", "applied"], &["010", "c", "applied"], &["011", "d", "applied"]],
    );
    project.lyrox(&["db", "status", "--check"]).ok().says("4 applied, 0 pending");
    project.write("sql/d.sql", "SELECT 1;\n");
    project.lyrox(&["db", "migrate"]).exit(2).says("sql/d.sql").says("001-name.sql");
}
