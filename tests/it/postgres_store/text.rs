//! What the text of a file may be: line ends, settings, dumps, variables.

use lyrox::config::{self, Choice};

use super::{Bench, place};

#[test]
fn line_ends_and_marks_of_windows_change_nothing() {
    let bench = Bench::new(
        "crlf",
        &[(
            "1_a.up.sql",
            "\u{feff}-- lyrox: lock-timeout 5s\r\nCREATE TABLE a (id int);\r\nINSERT INTO a VALUES (1);\r\n",
        )],
    );
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "1");
    bench.write("1_a.up.sql", "-- lyrox: lock-timeout 5s\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\n");
    assert!(bench.migrate().done.is_empty(), "the same text is not edited");
}

#[test]
fn settings_and_roles_of_a_file_are_its_own() {
    let bench = Bench::new(
        "settings",
        &[
            (
                "1_a.up.sql",
                "CREATE SCHEMA other;\nSELECT pg_catalog.set_config('search_path', '', false);\nSET standard_conforming_strings = off;\nCREATE TABLE public.a (t text DEFAULT 'x\\'y;');\nSET statement_timeout = '7s';\n",
            ),
            ("2_b.up.sql", "CREATE TABLE b AS SELECT current_setting('statement_timeout') AS s, '\\' AS t;\n"),
        ],
    );
    bench.migrate();
    assert!(bench.has("public.b"));
    assert_eq!(bench.project.sql("SELECT s, t FROM b"), [[Some("0".to_owned()), Some("\\".to_owned())]]);
}

#[test]
fn dumps_with_copy_blocks_run() {
    let bench = Bench::new(
        "copy",
        &[
            (
                "1_dump.up.sql",
                "SET client_encoding = 'UTF8';\nCREATE TABLE a (id int, t text);\nCOPY a (id, t) FROM stdin;\n1\tone;\n2\t\\N\n3\té\\tb\n\\.\nCREATE TABLE b (id int);\nCOPY b FROM stdin;\n\\.\n",
            ),
            ("2_more.up.sql", "INSERT INTO b SELECT id FROM a;\n"),
        ],
    );
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT string_agg(coalesce(t, '-'), ',' ORDER BY id) FROM a"), "one;,-,é\tb");
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM b"), "3");

    bench.write("3_bad.up.sql", "COPY b FROM stdin;\n4\nx\n\\.\n");
    let error = bench.fail();
    assert!(error.what().ends_with("(22P02)"), "{error:?}");
    assert_eq!(place(&error).1, 1);
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM b"), "3");
}

#[test]
fn variables_are_filled_only_where_the_file_asks() {
    let bench = Bench::new(
        "vars",
        &[
            ("1_a.up.sql", "-- lyrox: vars\nCREATE TABLE a AS SELECT '${LYROX_IT_VALUE}' AS v;\n"),
            ("2_b.up.sql", "CREATE TABLE b AS SELECT '${LYROX_IT_VALUE}' AS v;\n"),
        ],
    );
    let env = std::fs::read_to_string(bench.project.path(".env")).expect(".env");
    bench.project.write(".env", &format!("{env}LYROX_IT_VALUE='it is set'\n"));
    let choice = Choice { directory: Some(bench.project.root().to_owned()), ..Choice::default() };
    let bench = Bench { config: config::load(&choice).expect("a configuration"), ..bench };
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT v FROM a"), "it is set");
    assert_eq!(bench.project.sql_value("SELECT v FROM b"), "${LYROX_IT_VALUE}");

    bench.write("3_c.up.sql", "-- lyrox: vars\nSELECT '${LYROX_IT_VALUE}', nothing;\n");
    assert_eq!(place(&bench.fail()), ("migrations/3_c.up.sql".into(), 2, 29, 7));
}
