//! Files that share a transaction.

use lyrox::config::file::Transaction;
use lyrox::engine::plan::Goal;
use lyrox::stores::Store as _;

use super::Bench;
use crate::support::block_on;

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

#[test]
fn files_that_share_a_transaction_keep_their_own_times() {
    let bench = Bench::new(
        "times",
        &[
            ("1_a.up.sql", "SET TIME ZONE 'Asia/Tokyo';\nSET datestyle = 'German';\nCREATE TABLE a (id int);\n"),
            ("2_b.up.sql", "CREATE TABLE b (id int);\nSELECT pg_sleep(0.2);\n"),
            (
                "3_c.up.sql",
                "SET LOCAL TIME ZONE 'Asia/Tokyo';\nSET extra_float_digits = -5;\nCREATE TABLE c (id int);\n",
            ),
        ],
    );
    let applied = bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT count(DISTINCT xmin::text) FROM lyrox.migrations"), "1");
    let took = |version: &str, column: &str| -> f64 {
        let sql = format!("SELECT extract(epoch FROM {column}) FROM lyrox.migrations WHERE version = '{version}'");
        bench.project.sql_value(&sql).parse().expect("a number")
    };
    for version in ["1", "3"] {
        let millis = 1000.0 * took(version, "finished_at - started_at");
        assert!((0.0..150.0).contains(&millis), "{version}: {millis} ms");
    }
    assert!(took("2", "finished_at - started_at") >= 0.2);
    assert!(applied.done[1].elapsed.as_millis() >= 200 && applied.done[0].elapsed.as_millis() < 150);
    assert!(took("1", "finished_at") <= took("2", "started_at") && took("2", "finished_at") <= took("3", "started_at"));
    assert_eq!(
        bench
            .project
            .sql_value("SELECT bool_and(abs(extract(epoch FROM now() - started_at)) < 60) FROM lyrox.migrations"),
        "t",
        "the zone of a file is its own"
    );
    // What was answered to the run is what a later look tells.
    let mut store = bench.open();
    let ledger = block_on(store.ledger()).expect("a ledger");
    block_on(store.close());
    let answered: Vec<_> = applied.done.iter().map(|done| (&done.row.started_at, &done.row.finished_at)).collect();
    let kept: Vec<_> = ledger.rows.iter().map(|row| (&row.started_at, &row.finished_at)).collect();
    assert_eq!(answered, kept);
    assert!(kept[0].0.ends_with('Z') && kept[0].0.len() == "2025-01-01T00:00:00.000000Z".len(), "{kept:?}");
    let events = "SELECT string_agg(version, ' ' ORDER BY id) FROM lyrox.events WHERE what = 'applied'";
    assert_eq!(bench.project.sql_value(events), "1 2 3");
}

#[test]
fn settings_do_not_leak_into_the_next_file_of_a_shared_transaction() {
    let bench = Bench::new(
        "leak",
        &[
            ("1_a.up.sql", "CREATE SCHEMA other;\nSET LOCAL search_path TO other;\nSET LOCAL work_mem = '77kB';\n"),
            ("2_b.up.sql", "CREATE TABLE b AS SELECT current_setting('work_mem') AS memory;\n"),
            (
                "3_c.up.sql",
                "SELECT set_config('search_path', 'other', false);\nSELECT set_config('lyrox_test.word', 'x', false);\n",
            ),
            (
                "4_d.up.sql",
                "CREATE TABLE d AS SELECT coalesce(current_setting('lyrox_test.word', true), '') AS word;\n",
            ),
        ],
    );
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT count(DISTINCT xmin::text) FROM lyrox.migrations"), "1");
    assert!(bench.has("public.b") && bench.has("public.d"));
    assert_ne!(bench.project.sql_value("SELECT memory FROM b"), "77kB");
    assert_eq!(bench.project.sql_value("SELECT word FROM d"), "");
}

#[test]
fn a_file_that_fails_within_a_shared_transaction_keeps_back_only_itself_and_what_follows() {
    let mut files: Vec<(String, String)> =
        (1..=70).map(|n| (format!("{n}_t.up.sql"), format!("CREATE TABLE t{n} (id int);"))).collect();
    files[39].1 = "CREATE TABLE t40 (id int);\nCREATE TABLE t1 (id int);\n".into();
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let bench = Bench::new("middle", &files);
    let applied = bench.run(&Goal::Latest, Transaction::Auto);
    let (index, error) = applied.failure.expect("a failure");
    assert_eq!((index, applied.done.len()), (39, 39));
    assert_eq!(error.place().map(|place| (place.file.as_str(), place.line)), Some(("migrations/40_t.up.sql", 2)));
    assert_eq!(bench.states().len(), 39);
    assert!(bench.has("t39") && !bench.has("t40") && !bench.has("t41"));
    assert_eq!(
        bench.project.sql_value("SELECT count(*) FROM lyrox.events WHERE what = 'applied'"),
        "39",
        "what was rolled back is not told as applied"
    );
}
