//! Files that fail: what is blamed, what stays, what is refused before anything is sent.

use lyrox::config::file::Transaction;
use lyrox::engine::ledger::{Ledger, State};
use lyrox::engine::plan::Goal;
use lyrox::error::Code;
use lyrox::stores::Store as _;

use super::{Bench, place};
use crate::support::block_on;

#[test]
fn a_broken_later_migration_leaves_the_earlier_ones_applied() {
    let bench = Bench::new(
        "later",
        &[
            ("1_core.up.sql", "CREATE TABLE a (id int);\n"),
            ("2_more.up.sql", "CREATE TABLE b (id int);\n"),
            ("3_bad.up.sql", "CREATE TABLE c (id int);\n-- é\nCREATE INDEX c_idx\n  ON c (idd);\n"),
            ("4_never.up.sql", "CREATE TABLE d (id int);\n"),
        ],
    );
    let applied = bench.run(&Goal::Latest, Transaction::Auto);
    let (index, error) = applied.failure.expect("a failure");
    assert_eq!((index, applied.done.len()), (2, 2));
    assert_eq!(error.code(), Code::MigrationFailed);
    assert_eq!(error.what(), "column \"idd\" does not exist (42703)");
    assert_eq!(place(&error), ("migrations/3_bad.up.sql".into(), 4, 9, 3), "{error:?}");
    assert_eq!(
        error.data_text(),
        Some("rolled back; nothing of this file was applied; 1_core and 2_more stay applied")
    );
    assert_eq!(bench.states(), [("1".into(), State::Applied), ("2".into(), State::Applied)]);
    assert!(bench.has("b") && !bench.has("c") && !bench.has("d"));
    let events = bench.project.sql("SELECT version, what, error_code FROM lyrox.events WHERE what = 'failed'");
    assert_eq!(events, [[Some("3".to_owned()), Some("failed".to_owned()), Some("42703".to_owned())]]);

    bench.write("3_bad.up.sql", "CREATE TABLE c (id int);\n");
    bench.migrate();
    assert_eq!(bench.states().len(), 4);
}

#[test]
fn a_broken_first_migration_leaves_nothing() {
    let bench = Bench::new(
        "first",
        &[
            (
                "1_bad.up.sql",
                "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1), (1);\nSELECT 1 FROM a WHERE nme = 'x';\n",
            ),
            ("2_more.up.sql", "CREATE TABLE b (id int);\n"),
        ],
    );
    let error = bench.fail();
    assert_eq!(place(&error), ("migrations/1_bad.up.sql".into(), 3, 23, 3));
    assert_eq!(error.data_text(), Some("rolled back; nothing of this file was applied"));
    assert!(!bench.has("a") && !bench.has("b") && bench.states().is_empty());
}

#[test]
fn errors_of_each_kind_point_at_their_statement() {
    for (name, text, state, expected) in [
        ("syntax", "SELECT 1;\nCREATE TABEL x (id int);\n", "42601", (2, 8, 5)),
        (
            "runtime",
            "CREATE TABLE t (id int PRIMARY KEY);\nSELECT 1;\nINSERT INTO t VALUES (1), (1);\n",
            "23505",
            (3, 1, 29),
        ),
        (
            "body",
            "CREATE TABLE t (id int);\nDO $$\nBEGIN\n  PERFORM 1;\n  PERFORM 1 / 0;\nEND $$;\n",
            "22012",
            (5, 3, 1),
        ),
        ("hint", "CREATE TABLE t (total int);\nSELECT totl FROM t;\n", "42703", (2, 8, 4)),
    ] {
        let bench = Bench::new(name, &[("1_a.up.sql", text)]);
        let error = bench.fail();
        assert!(error.what().ends_with(&format!("({state})")), "{error:?}");
        let (_, line, column, width) = place(&error);
        if name == "body" {
            assert_eq!((line, column), (expected.0, expected.1), "{error:?}");
        } else {
            assert_eq!((line, column, width), expected, "{name}: {error:?}");
        }
        if name == "hint" {
            assert_eq!(error.hint_text(), Some("did you mean \"t.total\"?"));
        }
        if name == "runtime" {
            assert_eq!(error.why_text(), Some("Key (id)=(1) already exists."));
        }
    }
}

#[test]
fn a_deferred_constraint_is_blamed_on_its_file() {
    let bench = Bench::new(
        "deferred",
        &[
            ("1_a.up.sql", "CREATE TABLE a (id int PRIMARY KEY, b int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\n"),
            ("2_b.up.sql", "INSERT INTO a VALUES (1, 2);\n"),
            ("3_c.up.sql", "INSERT INTO a VALUES (3, 3);\n"),
        ],
    );
    let error = bench.fail();
    assert_eq!(error.place().map(|place| place.file.as_str()), Some("migrations/2_b.up.sql"));
    assert!(error.what().ends_with("(23503)"), "{error:?}");
    assert_eq!(bench.states(), [("1".into(), State::Applied)]);
}

#[test]
fn files_are_refused_before_anything_is_sent() {
    for (name, text, code) in [
        ("control", "CREATE TABLE a (id int);\nBEGIN;\nSELECT 1;\nCOMMIT;\n", Code::FileSyntax),
        ("half", "CREATE TABLE a (id int);\nCREATE TABLE b (\n  id int,\n", Code::FileSyntax),
        ("meta", "\\connect other\nSELECT 1;\n", Code::FileSyntax),
        ("comment", "-- nothing but words\n", Code::FileEmpty),
        ("variable", "-- lyrox: vars\nSELECT '${LYROX_TEST_NOT_SET}';\n", Code::ConfigValue),
    ] {
        let bench = Bench::new(name, &[("1_ok.up.sql", "CREATE TABLE ok (id int);\n"), ("2_bad.up.sql", text)]);
        let store = bench.open();
        let ledger = Ledger { is_empty: true, ..Ledger::default() };
        let steps = bench.steps(&ledger, &Goal::Latest);
        let error = store.preview(&steps, &bench.options(&ledger, Transaction::Auto)).expect_err(name);
        assert_eq!(error.code(), code, "{error:?}");
        assert_eq!(error.data_text(), Some("nothing was changed"));
        block_on(store.close());
        assert!(!bench.has("ok"));
    }
}
