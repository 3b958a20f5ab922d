//! Files that share a transaction.

use lyrox::config::file::Transaction;
use lyrox::engine::plan::Goal;

use super::Bench;

#[test]
fn a_chunk_that_cannot_be_shared_is_taken_apart() {
    let bench = Bench::new(
        "chunk",
        &[
            ("1_type.up.sql", "CREATE TYPE mood AS ENUM ('ok');\nCREATE TABLE a (m mood);\n"),
            // Hidden from the splitter, so that only the server notices: 55P04.
            ("2_value.up.sql", "DO $$ BEGIN EXECUTE 'ALTER TYPE mood ADD VALUE ''sad'''; END $$;\n"),
            ("3_use.up.sql", "INSERT INTO a VALUES ('sad');\n"),
            ("4_plain.up.sql", "ALTER TYPE mood ADD VALUE 'glad';\n"),
            ("5_use.up.sql", "INSERT INTO a VALUES ('glad');\n"),
            // A pending trigger event keeps the table from being altered in the same transaction: 55006.
            (
                "6_rows.up.sql",
                "CREATE TABLE k (id int PRIMARY KEY, k int REFERENCES k DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO k VALUES (1, 1);\n",
            ),
            ("7_alter.up.sql", "ALTER TABLE k ADD COLUMN t text;\n"),
        ],
    );
    let applied = bench.migrate();
    assert_eq!(applied.done.len(), 7);
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "2");
}

#[test]
fn files_share_transactions_only_where_that_is_safe() {
    let files: Vec<(String, String)> =
        (1..=70).map(|n| (format!("{n}_t.up.sql"), format!("CREATE TABLE t{n} (id int);"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let transactions =
        |bench: &Bench| bench.project.sql_value("SELECT count(DISTINCT xmin::text) FROM lyrox.migrations");

    let bench = Bench::new("share", &files);
    bench.migrate();
    assert_eq!(transactions(&bench), "2", "64 and 6");

    let bench = Bench::new("each", &files[..5]);
    assert!(bench.run(&Goal::Latest, Transaction::Each).failure.is_none());
    assert_eq!(transactions(&bench), "5");

    let bench = Bench::new("used", &files[..5]);
    bench.project.sql("CREATE TABLE mine (id int)");
    bench.migrate();
    assert_eq!(transactions(&bench), "5");

    let bench = Bench::new("all", &files[..5]);
    bench.project.sql("CREATE TABLE mine (id int)");
    bench.write("6_bad.up.sql", "SELECT 1 / 0;");
    let applied = bench.run(&Goal::Latest, Transaction::All);
    let (index, error) = applied.failure.expect("a failure");
    assert_eq!((index, applied.done.len()), (5, 0));
    assert_eq!(error.data_text(), Some("rolled back; nothing of these files was applied"));
    assert!(bench.states().is_empty() && !bench.has("t1"));
}

#[test]
fn three_thousand_tables_fit_the_lock_table() {
    let files: Vec<(String, String)> = (1..=31)
        .map(|n| {
            let tables = (0..100).map(|t| format!("CREATE TABLE t{n}_{t} (a text);\nCREATE INDEX ON t{n}_{t} (a);\n"));
            (format!("{n}_t.up.sql"), tables.collect())
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let bench = Bench::new("locks", &files);
    assert_eq!(bench.migrate().done.len(), 31);
    assert_eq!(
        bench.project.sql_value("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t\\d'"),
        "3100"
    );
    assert_eq!(bench.project.sql_value("SELECT count(DISTINCT xmin::text) FROM lyrox.migrations"), "4");
    bench.settle();
    assert_eq!(bench.wipe(false).expect("a wipe"), 3100);
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM pg_class WHERE relname ~ '^t\\d'"), "0");
}
