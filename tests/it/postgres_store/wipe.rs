//! What a reset removes, and what it keeps.

use lyrox::config::file::Transaction;
use lyrox::engine::plan::Goal;
use lyrox::error::Code;
use lyrox::stores::Store as _;

use super::Bench;
use super::catalog::EVERYTHING;
use crate::support::block_on;

#[test]
fn a_wipe_removes_what_is_owned_and_nothing_else() {
    let bench = Bench::new("wipe", &[("1_all.up.sql", EVERYTHING)]);
    bench.project.sql("CREATE TABLE before_lyrox (id int); INSERT INTO before_lyrox VALUES (1)");
    bench.migrate();
    bench.settle();
    bench.project.sql("CREATE TABLE by_hand (id int); CREATE FUNCTION by_hand() RETURNS int LANGUAGE sql RETURN 1; CREATE SCHEMA other; CREATE TABLE other.t (id int)");
    let holdings = bench.holdings();
    for line in [
        "*table User 2",
        "*table orders 0",
        "*view rich",
        "*type mood",
        "*table audit.log 0",
        "*schema audit",
        "*function touch()",
        "table by_hand 0",
        "function by_hand()",
        "table before_lyrox 1",
    ] {
        assert!(holdings.iter().any(|found| found == line), "{line} in {holdings:#?}");
    }
    assert!(!holdings.iter().any(|line| line.contains("other") || line.contains("citext") || line.contains("_id_seq")));

    // Something foreign hangs on something owned: nothing is dropped.
    bench.project.sql("ALTER TABLE by_hand ADD COLUMN m mood; CREATE VIEW other.seen AS SELECT * FROM rich");
    let error = bench.wipe(false).expect_err("dependents");
    assert_eq!(error.code(), Code::ResetFailed);
    let why = error.why_text().expect("a reason");
    assert!(why.contains("by_hand") && why.contains("other.seen"), "{why}");
    assert!(bench.has("orders"));
    bench.project.sql("ALTER TABLE by_hand DROP COLUMN m; DROP VIEW other.seen");

    bench.wipe(false).expect("a wipe");
    assert_eq!(bench.holdings(), ["function by_hand()", "table before_lyrox 1", "table by_hand 0"]);
    assert!(bench.states().is_empty());
    assert_eq!(bench.project.sql_value("SELECT name FROM lyrox.environment"), "local");
    assert_eq!(
        bench.project.sql_value("SELECT to_regnamespace('audit') IS NULL AND to_regclass('other.t') IS NOT NULL"),
        "t"
    );

    bench.migrate();
    bench.settle();
    bench.wipe(true).expect("a wipe of everything");
    assert_eq!(bench.holdings(), Vec::<String>::new());
    assert!(bench.has("other.t"));
}

#[test]
fn a_reset_that_was_cut_short_is_finished() {
    let bench = Bench::new(
        "cutreset",
        &[("1_a.up.sql", "CREATE TABLE a (id int);"), ("2_b.up.sql", "CREATE TABLE b (id int);")],
    );
    bench.migrate();
    bench.settle();
    bench.project.sql("CREATE TABLE by_hand (id int)");
    let mut store = bench.open();
    let permit = bench.permit();
    block_on(store.begin_reset(&permit)).expect("begun");
    assert!(block_on(store.ledger()).expect("a ledger").is_resetting);
    block_on(store.wipe(&permit, false, &bench.events)).expect("a wipe");
    // The migrations of the reset began, and no snapshot was kept: what they made is still the project's.
    let ledger = block_on(store.ledger()).expect("a ledger");
    let options = bench.options(&ledger, Transaction::Auto);
    let steps = bench.steps(&ledger, &Goal::Steps(1));
    assert!(block_on(store.apply(&steps, &options, &bench.events)).failure.is_none());
    assert!(bench.has("a") && !bench.has("b"));
    block_on(store.wipe(&permit, false, &bench.events)).expect("a second wipe");
    assert!(!bench.has("a") && bench.has("by_hand"));
    block_on(store.finish_reset()).expect("finished");
    assert!(!block_on(store.ledger()).expect("a ledger").is_resetting);
    block_on(store.close());
}

#[test]
fn what_a_run_without_a_snapshot_made_is_owned() {
    let bench = Bench::new("nosnap", &[("1_a.up.sql", "CREATE TABLE \"Mixed Case\" (id int);")]);
    bench.migrate();
    bench.project.sql("CREATE TABLE by_hand (id int)");
    assert_eq!(bench.holdings(), ["*table Mixed Case 0", "table by_hand 0"]);
}
