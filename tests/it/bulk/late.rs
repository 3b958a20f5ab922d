//! Indexes that are made after the rows, in the same transaction.

use super::{ITEM, detail, killed, postgres, rows, wait_alone};
use crate::support::Project;

const INDEXES: &str = r#"
ALTER TABLE item ADD CONSTRAINT "once per Name" UNIQUE (name, id);
CREATE INDEX "by Price" ON item (price DESC NULLS LAST) INCLUDE (at) WHERE price > 0;
CREATE UNIQUE INDEX item_lower ON item ((lower(name)) text_pattern_ops) WITH (fillfactor = 70);
CREATE INDEX item_data ON item USING gin (data jsonb_path_ops);
CREATE INDEX item_at ON item USING brin (at) WITH (pages_per_range = 16);
ALTER TABLE item ADD CONSTRAINT item_apart EXCLUDE USING btree (id WITH =) WHERE (id < 0);
COMMENT ON INDEX item_data IS 'it''s for \ searching';
COMMENT ON CONSTRAINT "once per Name" ON item IS 'one';
COMMENT ON CONSTRAINT item_pkey ON item IS 'IS NULL';
"#;

/// Everything the catalog says of the table's indexes but their numbers.
const SHAPE: &str = "SELECT string_agg(concat_ws('|', i.indexrelid::regclass, pg_get_indexdef(i.indexrelid), i.indisprimary, i.indisunique, \
    i.indisvalid, k.conname, k.contype, pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint'), \
    obj_description(i.indexrelid, 'pg_class'), x.reloptions), E'\n' ORDER BY x.relname) \
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid \
    WHERE i.indrelid = 'item'::regclass";
/// Their numbers: others, where they were made again.
const NUMBERS: &str =
    "SELECT string_agg(indexrelid::text, ' ' ORDER BY indexrelid) FROM pg_index WHERE indrelid = 'item'::regclass";
const SEED: [&str; 6] = ["db", "seed", "--from", "item.csv", "--into", "postgres.item"];

/// More than four megabytes.
fn large() -> String {
    rows(1..60_000)
}

fn seed(project: &Project) -> String {
    detail(project, &SEED, "postgres.item.csv")
}

#[test]
fn they_come_back_as_they_were() {
    let project = postgres("bulk_late", &format!("{ITEM}{INDEXES}"));
    project.write("item.csv", &large());
    let (shape, numbers) = (project.sql_value(SHAPE), project.sql_value(NUMBERS));
    assert_eq!(seed(&project), "59999 created; indexes made after the rows");
    assert_eq!(project.sql_value(SHAPE), shape);
    assert_ne!(project.sql_value(NUMBERS), numbers, "they were made anew");
    assert_eq!(seed(&project), "59999 unchanged");
    let numbers = project.sql_value(NUMBERS);
    project.sql("TRUNCATE item");
    let arguments: Vec<&str> = SEED.into_iter().chain(["--keep-indexes"]).collect();
    assert_eq!(detail(&project, &arguments, "postgres.item.csv"), "59999 created");
    assert_eq!(project.sql_value(NUMBERS), numbers, "they stayed");
}

#[test]
fn where_anything_speaks_against_it_they_stay() {
    let cases = [
        ("fk", "CREATE TABLE other (item bigint REFERENCES item (id))"),
        (
            "trigger",
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
            CREATE TRIGGER t BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION f()",
        ),
        ("identity", "ALTER TABLE item REPLICA IDENTITY USING INDEX item_pkey"),
        ("cluster", "CLUSTER item USING item_pkey"),
        ("deferred", "ALTER TABLE item ADD CONSTRAINT d UNIQUE (id, at) DEFERRABLE INITIALLY DEFERRED"),
        ("child", "CREATE TABLE child () INHERITS (item)"),
        ("view", "CREATE VIEW v AS SELECT id, name FROM item GROUP BY id"),
    ];
    for (name, extra) in cases {
        let project = postgres(&format!("bulk_stay_{name}"), &format!("{ITEM} {extra}"));
        project.write("item.csv", &large());
        let numbers = project.sql_value(NUMBERS);
        assert_eq!(seed(&project), "59999 created", "{name}");
        assert_eq!(project.sql_value(NUMBERS), numbers, "{name}");
    }
}

#[test]
fn a_row_that_is_there_twice_is_named_and_nothing_stays() {
    let project = postgres("bulk_late_twice", &format!("{ITEM}{INDEXES}"));
    project.write("item.csv", &large().replace("\n50001,", "\n50000,"));
    let (shape, numbers) = (project.sql_value(SHAPE), project.sql_value(NUMBERS));
    project.lyrox(&SEED).exit(1).says("item.csv:50002").says("duplicate key value").says("nothing was changed");
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "0");
    assert_eq!((project.sql_value(SHAPE), project.sql_value(NUMBERS)), (shape, numbers));
}

#[test]
fn a_kill_in_the_middle_leaves_everything_as_it_was() {
    let project = postgres("bulk_late_kill", &format!("{ITEM}{INDEXES}"));
    project.write("item.csv", &rows(1..200_000));
    let (shape, numbers) = (project.sql_value(SHAPE), project.sql_value(NUMBERS));
    let copying =
        "SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database() AND tuples_processed > 1000";
    killed(&project, &SEED, || project.sql_value(copying) == "1");
    wait_alone(&project);
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "0");
    assert_eq!((project.sql_value(SHAPE), project.sql_value(NUMBERS)), (shape, numbers));
    assert_eq!(seed(&project), "199999 created; indexes made after the rows");
}
