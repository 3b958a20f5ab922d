//! Several connections: not atomic, said so, and a kill is gone on from.

use super::{ITEM, detail, killed, postgres, rows, wait_alone};

const SEED: [&str; 8] = ["db", "seed", "--from", "item.csv", "--into", "postgres.item", "--jobs", "2"];
const PARTS: &str = "SELECT CASE WHEN to_regclass('lyrox.seeds') IS NULL THEN 0 ELSE (xpath('/row/c/text()', \
    query_to_xml('SELECT count(*) AS c FROM lyrox.seeds WHERE file LIKE ''% part %''', false, true, '')))[1]::text::int END";
const SHAPE: &str = "SELECT string_agg(pg_get_indexdef(indexrelid), E'\n' ORDER BY pg_get_indexdef(indexrelid)) FROM pg_index WHERE indrelid = 'item'::regclass";
const SUM: &str = "SELECT concat_ws('|', count(*), count(DISTINCT id), sum(id)) FROM item";

#[test]
fn the_rows_are_the_same_and_the_sequence_moves() {
    let schema = "CREATE TABLE item (id bigserial PRIMARY KEY, name text NOT NULL, price numeric(12,2), at timestamptz NOT NULL, data jsonb); \
        CREATE INDEX item_name ON item (name);";
    let project = postgres("bulk_jobs", schema);
    project.write("item.csv", &rows(1..60_000));
    let shape = project.sql_value(SHAPE);
    assert_eq!(
        detail(&project, &SEED, "postgres.item.csv"),
        "59999 created; 2 connections, not atomic, indexes made after the rows"
    );
    assert_eq!(project.sql_value(SUM), "59999|59999|1799970000");
    assert_eq!(project.sql_value(SHAPE), shape);
    assert_eq!(project.sql_value("SELECT nextval('item_id_seq')"), "60000");
    assert_eq!(project.sql_value(PARTS), "0", "nothing is left in the ledger");
    // Merged by key, in parts.
    project.sql("UPDATE item SET name = 'x' WHERE id % 6 = 0; DELETE FROM item WHERE id > 50000");
    assert_eq!(
        detail(&project, &SEED, "postgres.item.csv"),
        "9999 created, 8333 updated, 41667 unchanged; 2 connections, not atomic"
    );
}

#[test]
fn a_kill_is_gone_on_from_without_duplicates() {
    for (name, schema) in [("keyed", ITEM.to_owned()), ("keyless", ITEM.replace(" PRIMARY KEY", ""))] {
        let project = postgres(&format!("bulk_jobs_{name}"), &format!("{schema} CREATE INDEX item_at ON item (at)"));
        project.write("item.csv", &rows(1..300_000));
        let shape = project.sql_value(SHAPE);
        killed(&project, &SEED, || project.sql_value(PARTS).parse::<u64>().is_ok_and(|parts| parts >= 2));
        wait_alone(&project);
        let stored: u64 = project.sql_value("SELECT count(*) FROM item").parse().expect("a number");
        let parts: u64 = project.sql_value(PARTS).parse().expect("a number");
        assert_eq!(stored, parts * 10_000, "{name}: rows and journal go together");
        assert!(stored < 299_999, "{name}: it was killed in the middle");
        let said = detail(&project, &SEED, "postgres.item.csv");
        assert_eq!(
            said,
            format!("{} created, {stored} unchanged; 2 connections, not atomic", 299_999 - stored),
            "{name}"
        );
        assert_eq!(project.sql_value(SUM), "299999|299999|44999850000");
        assert_eq!(project.sql_value(SHAPE), shape, "{name}: the indexes are back");
        assert_eq!(project.sql_value(PARTS), "0");
    }
}

#[test]
fn another_run_brings_the_indexes_back() {
    let project = postgres(
        "bulk_jobs_back",
        &format!("{ITEM} CREATE INDEX item_at ON item (at); CREATE TABLE small (id int PRIMARY KEY);"),
    );
    project.write("item.csv", &rows(1..300_000));
    project.write("small.csv", "id\n1\n");
    let shape = project.sql_value(SHAPE);
    killed(&project, &SEED, || project.sql_value(PARTS).parse::<u64>().is_ok_and(|parts| parts >= 1));
    wait_alone(&project);
    assert_eq!(project.sql_value("SELECT count(*) FROM pg_index WHERE indrelid = 'item'::regclass"), "0");
    project.lyrox(&["db", "seed", "--from", "small.csv", "--into", "postgres.small"]).ok();
    assert_eq!(project.sql_value(SHAPE), shape);
}

#[test]
fn a_row_that_is_there_twice_empties_the_table_again() {
    let project = postgres("bulk_jobs_twice", ITEM);
    project.write("item.csv", &rows(1..60_000).replace("\n50001,", "\n50000,"));
    let shape = project.sql_value(SHAPE);
    project.lyrox(&SEED).exit(1).says("could not create unique index").says("the table is empty again");
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "0");
    assert_eq!(project.sql_value(SHAPE), shape);
    assert_eq!(project.sql_value(PARTS), "0");
    // A value that is none is named by its line.
    project.write("item.csv", &rows(1..60_000).replace("\n50001,", "\nx,"));
    project.lyrox(&SEED).exit(1).says("item.csv:50002").says("not atomic");
    assert_eq!(project.sql_value(SHAPE), shape);
}
