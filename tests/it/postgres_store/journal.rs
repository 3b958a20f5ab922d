//! Files whose statements run one by one, and the way back.

use lyrox::config::file::Transaction;
use lyrox::engine::ledger::State;
use lyrox::engine::plan::Goal;
use lyrox::error::Code;

use super::{Bench, place};
use crate::support::sql;

#[test]
fn a_journaled_file_goes_on_where_it_stopped() {
    let text = "-- words\nCREATE TABLE a (id int);\nCREATE INDEX CONCURRENTLY a_id ON a (id);\nINSERT INTO a VALUES (1);\nSELECT 1 / 0;\nINSERT INTO a VALUES (2);\n";
    let bench = Bench::new("resume", &[("1_a.up.sql", text)]);
    let error = bench.fail();
    assert_eq!(place(&error).1, 5);
    assert_eq!(error.data_text(), Some("stopped after step 3 of 5; steps 1 to 3 are in effect"));
    assert_eq!(bench.states(), [("1".into(), State::Failed)]);
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "1");

    // What is in effect may not be edited.
    bench.write("1_a.up.sql", &text.replace("VALUES (1)", "VALUES (9)"));
    let error = bench.fail();
    assert_eq!((error.code(), place(&error).1), (Code::Unfinished, 4));

    bench.write("1_a.up.sql", &text.replace("1 / 0", "1"));
    bench.migrate();
    assert!(bench.events.notes().contains("going on at statement 4 of 5"), "{}", bench.events.notes());
    assert_eq!(bench.project.sql_value("SELECT string_agg(id::text, ',') FROM a"), "1,2");
    assert_eq!(bench.states(), [("1".into(), State::Applied)]);
    assert_eq!(bench.project.sql_value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"), "t");
}

#[test]
fn an_invalid_index_is_built_again_only_if_this_journal_left_it() {
    let bench = Bench::new(
        "invalid",
        &[
            ("1_a.up.sql", "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1), (1);\n"),
            ("2_i.up.sql", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id);\n"),
        ],
    );
    let error = bench.fail();
    assert!(error.what().ends_with("(23505)"), "{error:?}");
    assert!(
        error.data_text().is_some_and(|data| data.contains("INVALID index public.a_id is left")),
        "{:?}",
        error.data_text()
    );
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass";
    assert_eq!(bench.project.sql_value(valid), "f");
    bench.project.sql("DELETE FROM a");
    bench.migrate();
    assert_eq!(bench.project.sql_value(valid), "t");

    // The same leftover, made by someone else.
    bench.project.sql("INSERT INTO a VALUES (1)");
    bench.project.sql("CREATE TABLE b AS SELECT 1 AS id UNION ALL SELECT 1");
    assert!(sql(&bench.project.postgres, "CREATE UNIQUE INDEX CONCURRENTLY b_id ON b (id)").is_err());
    bench.project.sql("TRUNCATE b");
    bench.write("3_b.up.sql", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS b_id ON b (id);\n");
    let error = bench.fail();
    assert!(error.what().contains("public.b_id exists and is INVALID"), "{error:?}");
    bench.project.sql("DROP INDEX b_id");
    bench.migrate();
}

#[test]
fn a_statement_that_commits_by_itself_runs_outside_a_transaction() {
    let text = "CREATE TABLE a (id int);\nCREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO a VALUES (1); COMMIT; END $$;\nCALL p();\n";
    let bench = Bench::new("procedure", &[("1_a.up.sql", text)]);
    let error = bench.fail();
    assert!(error.what().ends_with("(2D000)"), "{error:?}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("lyrox: no-transaction")), "{:?}", error.hint_text());
    bench.write("1_a.up.sql", &format!("-- lyrox: no-transaction\n{text}"));
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "1");
}

#[test]
fn migrations_are_undone_in_reverse() {
    let bench = Bench::new(
        "back",
        &[
            ("1_a.up.sql", "CREATE TABLE a (id int);"),
            ("1_a.down.sql", "DROP TABLE a;"),
            ("2_b.up.sql", "CREATE INDEX CONCURRENTLY a_id ON a (id);"),
            ("2_b.down.sql", "DROP INDEX CONCURRENTLY a_id;"),
        ],
    );
    bench.migrate();
    let applied = bench.run(&Goal::Back(2), Transaction::Auto);
    assert!(applied.failure.is_none(), "{:?}", applied.failure);
    assert_eq!(bench.states(), [("1".into(), State::Reverted), ("2".into(), State::Reverted)]);
    assert!(!bench.has("a"));
    bench.migrate();
    assert_eq!(bench.states(), [("1".into(), State::Applied), ("2".into(), State::Applied)]);
}
