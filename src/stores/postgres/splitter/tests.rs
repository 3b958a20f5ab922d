use proptest::prelude::*;

use super::{Kind, Problem, split};

fn texts(script: &str) -> Vec<&str> {
    match split(script) {
        Ok(statements) => statements.iter().map(|statement| statement.text(script)).collect(),
        Err(problem) => panic!("{script}: {problem:?}"),
    }
}

fn kinds(script: &str) -> Vec<Kind> {
    split(script).unwrap_or_else(|problem| panic!("{script}: {problem:?}")).iter().map(|found| found.kind).collect()
}

fn problem(script: &str) -> Problem {
    match split(script) {
        Ok(statements) => panic!("{script} was cut into {statements:?}"),
        Err(problem) => problem,
    }
}

#[test]
fn plain_statements_are_cut_at_semicolons() {
    assert_eq!(texts("SELECT 1; ;SELECT 2 ;\n-- end\n"), ["SELECT 1", "SELECT 2"]);
    assert_eq!(texts("/* a */ SELECT 1 -- b\n"), ["SELECT 1"]);
    assert_eq!(texts(""), Vec::<&str>::new());
    assert_eq!(texts("-- only words; and more\n/* ; */"), Vec::<&str>::new());
    assert_eq!(texts("SELECT 'é;ü'; SELECT \"a;é\""), ["SELECT 'é;ü'", "SELECT \"a;é\""]);
}

#[test]
fn quotes_hide_semicolons() {
    for one in [
        "SELECT 'a;b'",
        "SELECT 'it''s;'",
        "SELECT E'it\\'s;'",
        "SELECT e'\\\\', 1",
        "SELECT E'a'\n  'b\\';c'",
        "SELECT E'a' -- words '\n 'b\\';c'",
        "SELECT U&'\\0041;'",
        "SELECT U&\"a;\\0041\"",
        "SELECT \"a\"\";b\"",
        "SELECT B'1', X'1F', N';'",
        "SELECT $$a;b$$",
        "SELECT $a$b;$$;$b$;$a$",
        "SELECT $é$;$é$",
        "SELECT $_1$;$_1$",
        "SELECT a$$b",
        "SELECT $1 + $2",
        "SELECT '\\'",
        "SELECT 1e5, .5, 1.",
        "SELECT /* ; /* ; */ ; */ 1",
        "SELECT -- ;\n 1",
        "SELECT 5 --;\n * 2",
        "SELECT 5 */* ; */ 2",
        "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
    ] {
        assert_eq!(texts(&format!("{one};")), [one]);
        assert_eq!(texts(&format!("SELECT 0;{one};SELECT 3")), ["SELECT 0", one, "SELECT 3"]);
    }
}

#[test]
fn a_name_with_a_dollar_opens_no_dollar_quote() {
    assert_eq!(texts("SELECT a$x; SELECT b$x"), ["SELECT a$x", "SELECT b$x"]);
}

#[test]
fn plain_strings_have_no_escapes_unless_the_script_says_so() {
    assert_eq!(texts("SELECT '\\'; SELECT 2"), ["SELECT '\\'", "SELECT 2"]);
    let script =
        "SET standard_conforming_strings = off; SELECT 'a\\';b'; SET standard_conforming_strings TO on; SELECT '\\';";
    assert_eq!(texts(script).len(), 4);
    assert_eq!(kinds(script), [Kind::Quoting, Kind::Plain, Kind::Quoting, Kind::Plain]);
}

#[test]
fn atomic_bodies_stay_whole() {
    for one in [
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "create or replace procedure p() begin atomic insert into t values (1); end",
        "CREATE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a = 1 THEN CASE a WHEN 1 THEN 2 END END; END",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT t.end, t.case FROM t; END",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT (CASE WHEN true THEN 1 END); END",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$",
        "CREATE FUNCTION f() RETURNS int RETURN CASE WHEN true THEN 1 END",
    ] {
        assert_eq!(texts(&format!("{one};\nSELECT 3;")), [one, "SELECT 3"]);
    }
    assert_eq!(texts("BEGIN; SELECT 1; END"), ["BEGIN", "SELECT 1", "END"]);
}

#[test]
fn what_is_not_closed_is_told_with_its_place() {
    for (script, at) in [
        ("SELECT 1; SELECT 'a;", 17),
        ("SELECT 1; SELECT \"a;", 17),
        ("SELECT E'a\\'", 7),
        ("SELECT $x$ a; $y$", 7),
        ("SELECT 1; /* a /* b */", 10),
        ("CREATE TABLE t (\n id int,\n", 15),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1;", 38),
        ("COPY t FROM stdin;\n1\t2\n", 0),
    ] {
        assert_eq!(problem(script).at, at, "{script}");
    }
}

#[test]
fn copy_blocks_carry_their_data() {
    let script = "COPY public.t (a, \"b\") FROM stdin;\n1\tx;y\n2\t'\n\\.\n\nSELECT 1;";
    let statements = split(script).expect("statements");
    assert_eq!(statements.len(), 2);
    assert_eq!(statements[0].kind, Kind::CopyIn);
    assert_eq!(statements[0].text(script), "COPY public.t (a, \"b\") FROM stdin");
    assert_eq!(&script[statements[0].data()], "1\tx;y\n2\t'\n");
    assert_eq!(statements[1].text(script), "SELECT 1");

    let empty = "COPY t FROM STDIN; -- none\n\\.\nSELECT 1";
    assert!(split(empty).expect("statements")[0].data().is_empty());
    assert!(problem("COPY t FROM STDIN; SELECT 1;\n\\.\n").what.contains("between"));
    assert!(problem("COPY t FROM STDIN").what.contains("no data"));
    assert_eq!(
        kinds("COPY t TO STDOUT; COPY (SELECT 1) TO stdout WITH CSV; COPY t FROM '/f'; COPY t TO PROGRAM 'x'"),
        [Kind::CopyOut, Kind::CopyOut, Kind::Plain, Kind::Plain]
    );
}

#[test]
fn commands_of_psql_are_refused_except_the_brackets_of_pg_dump() {
    assert!(problem("SELECT 1;\n\\connect other\n").what.contains("`\\connect`"));
    assert!(problem("\\i other.sql").what.contains("`\\i`"));
    assert!(problem("SELECT 1 \\gset").what.contains("`\\gset`"));
    assert_eq!(texts("\\restrict abc\n\nSELECT 1;\n\\unrestrict abc\n"), ["SELECT 1"]);
}

#[test]
fn statements_are_told_apart_by_how_they_run() {
    use Kind::{AddValue, Bare, Control, Discard, Plain, Procedure, Savepoint};
    for (script, kind) in [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", Bare),
        ("create unique index concurrently if not exists i on t (a)", Bare),
        ("CREATE INDEX i ON t (a)", Plain),
        ("CREATE INDEX \"concurrently\" ON t (a)", Plain),
        ("DROP INDEX CONCURRENTLY IF EXISTS i", Bare),
        ("DROP INDEX i", Plain),
        ("REINDEX INDEX CONCURRENTLY i", Bare),
        ("REINDEX (VERBOSE, CONCURRENTLY) TABLE t", Bare),
        ("REINDEX DATABASE d", Bare),
        ("REINDEX TABLE t", Plain),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", Plain),
        ("VACUUM", Bare),
        ("VACUUM (FULL) t", Bare),
        ("/* x */ CREATE DATABASE d", Bare),
        ("DROP TABLESPACE t", Bare),
        ("ALTER SYSTEM SET work_mem = '1MB'", Bare),
        ("ALTER DATABASE d SET TABLESPACE t", Bare),
        ("ALTER DATABASE d SET work_mem = '1MB'", Plain),
        ("CLUSTER", Bare),
        ("CLUSTER VERBOSE", Bare),
        ("CLUSTER t USING i", Plain),
        ("ALTER TABLE a.p DETACH PARTITION a.c CONCURRENTLY", Bare),
        ("ALTER TABLE p DETACH PARTITION c", Plain),
        ("ALTER TYPE a.e ADD VALUE IF NOT EXISTS 'x' BEFORE 'y'", AddValue),
        ("ALTER TYPE e RENAME VALUE 'a' TO 'b'", Plain),
        ("BEGIN", Control),
        ("start transaction isolation level serializable", Control),
        ("COMMIT", Control),
        ("END TRANSACTION", Control),
        ("ROLLBACK WORK", Control),
        ("ABORT", Control),
        ("PREPARE TRANSACTION 'x'", Control),
        ("PREPARE x AS SELECT 1", Plain),
        ("COMMIT PREPARED 'x'", Bare),
        ("SAVEPOINT a", Savepoint),
        ("ROLLBACK TO SAVEPOINT a", Savepoint),
        ("ROLLBACK TRANSACTION TO a", Savepoint),
        ("RELEASE a", Savepoint),
        ("DISCARD ALL", Discard),
        ("DISCARD TEMP", Plain),
        ("DO $$ BEGIN COMMIT; END $$", Procedure),
        ("CALL p()", Procedure),
        ("CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p", Bare),
    ] {
        assert_eq!(kinds(script), [kind], "{script}");
    }
}

#[test]
fn relations_are_estimated() {
    let relations = |script: &str| split(script).expect("statements")[0].relations;
    assert_eq!(relations("CREATE TABLE t (id bigserial PRIMARY KEY, a text UNIQUE)"), 4);
    assert_eq!(relations("CREATE TABLE t (id int)"), 1);
    assert_eq!(relations("CREATE INDEX i ON t (a)"), 1);
    assert_eq!(relations("INSERT INTO t SELECT 1"), 0);
}

/// Fragments that may stand anywhere in a statement, each of which could be cut wrongly.
const FRAGMENTS: &[&str] = &[
    "SELECT",
    " ",
    "\n",
    "1",
    "a",
    "\"a;\"\"b\"",
    "'x;''y'",
    "E'\\';'",
    "$$;$$",
    "$t$ $$;'\" $t$",
    "/* ; ' /* \" */ $$ */",
    "-- ; ' \" $$ /*\n",
    "(a;b)",
    "$1",
    "U&'\\0041;'",
    "é",
    ".",
    ",",
    "=",
    "::text",
];

proptest! {
    #[test]
    fn any_text_is_cut_or_refused_without_panic(script in "\\PC{0,80}") {
        if let Ok(statements) = split(&script) {
            let mut end = 0;
            for statement in statements {
                let range = statement.range();
                prop_assert!(range.start >= end && range.start < range.end && range.end <= script.len());
                prop_assert!(!statement.text(&script).trim().is_empty());
                end = range.end;
            }
        }
    }

    #[test]
    fn nasty_text_is_cut_or_refused_without_panic(script in "[a-c;'\"$\\\\/*\\-\n() Ee&U]{0,40}") {
        let _ = split(&script);
    }

    #[test]
    fn what_was_joined_comes_apart_again(parts in prop::collection::vec(prop::collection::vec(0..FRAGMENTS.len(), 0..6), 1..6)) {
        let statements: Vec<String> = parts
            .iter()
            .map(|part| format!("SELECT {} 0", part.iter().map(|at| FRAGMENTS[*at]).collect::<Vec<_>>().join(" ")))
            .collect();
        let script = statements.join(" ;\n");
        prop_assert_eq!(texts(&script), statements.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
