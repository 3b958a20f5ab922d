//! P16: edited, missing, reordered and shortened files are caught, each with its own code; nothing is run.

use std::collections::BTreeSet;

use super::only_postgres;
use crate::support::{Output, Project};

const FIRST: &str = "-- lyrox: lock-timeout 2s\n-- The first.\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\n";

/// Three versions that are applied, one that stopped after its first statement, and one that is pending.
fn project() -> Project {
    let project = Project::new("p16", "");
    only_postgres(&project, "");
    project.write("migrations/01_first.up.sql", FIRST);
    project.write("migrations/02_second.up.sql", "CREATE TABLE b (id int);\n");
    project.write("migrations/04_fourth.up.sql", "CREATE TABLE d (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    project
}

#[test]
fn eight_mutations_have_eight_codes_and_run_nothing() {
    type Mutation = (&'static str, fn(&Project), &'static str, i32);
    let mutations: [Mutation; 8] = [
        (
            "edited",
            |project| {
                project.write("migrations/01_first.up.sql", &FIRST.replace("VALUES (1)", "VALUES (7)"));
            },
            "+INSERT INTO a VALUES (7);",
            6,
        ),
        (
            "shortened",
            |project| {
                project.write("migrations/01_first.up.sql", FIRST.split("INSERT").next().expect("a beginning"));
            },
            "-INSERT INTO a VALUES (1);",
            6,
        ),
        (
            "header",
            |project| {
                project.write("migrations/01_first.up.sql", &FIRST.replace("2s", "9s"));
            },
            "+-- lyrox: lock-timeout 9s",
            6,
        ),
        (
            "missing",
            |project| {
                project.remove("migrations/02_second.up.sql");
            },
            "-CREATE TABLE b (id int);",
            6,
        ),
        (
            "renamed",
            |project| {
                let (from, to) = ("migrations/02_second.up.sql", "migrations/02_zweite.up.sql");
                std::fs::rename(project.path(from), project.path(to)).expect("a rename");
            },
            "+02_zweite",
            6,
        ),
        (
            "late",
            |project| {
                project.write("migrations/03_third.up.sql", "CREATE TABLE c (id int);\n");
            },
            "+03",
            6,
        ),
        (
            "duplicate",
            |project| {
                project.write("migrations/02_again.up.sql", "CREATE TABLE e (id int);\n");
            },
            "02_again",
            2,
        ),
        (
            "unfinished",
            |project| {
                let text = "-- lyrox: no-transaction\nCREATE TABLE f (id int);\nSELECT 1 / 0;\n";
                project.write("migrations/06_sixth.up.sql", text);
                project.remove("migrations/05_pending.up.sql");
                project.lyrox(&["db", "migrate"]).exit(1);
                project.write("migrations/06_sixth.up.sql", &text.replace("f (id int)", "g (id int)"));
            },
            "CREATE TABLE f (id int)",
            6,
        ),
    ];
    let mut codes = BTreeSet::new();
    for (name, mutate, diff, exit) in mutations {
        let project = project();
        project.write("migrations/05_pending.up.sql", "CREATE TABLE pending (id int);\n");
        mutate(&project);
        let tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class \
                      WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        let before = project.sql_value(tables);
        let run = project.lyrox(&["db", "migrate"]);
        run.exit(exit).says(diff).says("nothing was changed");
        assert_eq!(project.sql_value(tables), before, "{name}: nothing is run\n{run}");
        let code = code(&run);
        assert!(codes.insert(code.clone()), "{name}: {code} is another mutation's\n{run}");
        // A dry run says the same, but for what only a journal knows.
        if name != "unfinished" {
            assert_eq!(self::code(&project.lyrox(&["db", "migrate", "--dry-run"])), code, "{name}");
        }
    }
    assert_eq!(codes.len(), 8, "{codes:?}");
}

#[test]
fn a_file_cut_below_what_is_in_effect_is_refused() {
    for (file, text, cut) in [
        (
            "01_a.up.sql",
            "-- lyrox: no-transaction\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\nSELECT 1 / 0;\n",
            3,
        ),
        ("01_a.up.json", "[\n{ \"create\": \"a\" },\n{ \"create\": \"b\" },\n{ \"nonsense\": 1 }\n]\n", 2),
        ("01_a.up.redis", "SET {{prefix}}a x\nINCR {{prefix}}b\nLPUSH {{prefix}}a y\n", 2),
    ] {
        let project = Project::new("p16_cut", "");
        project.write(&format!("migrations/{file}"), text);
        let first = project.lyrox(&["db", "migrate"]);
        if first.code == 2 {
            // This store finds the broken command before anything runs.
            continue;
        }
        first.exit(1);
        let mut short: String = text.lines().take(cut - 1).map(|line| format!("{line}\n")).collect();
        if file.ends_with("json") {
            short = "[{ \"create\": \"a\" }]\n".to_owned();
        }
        if file.ends_with("sql") {
            short = "-- lyrox: no-transaction\nCREATE TABLE a (id int);\n".to_owned();
        }
        project.write(&format!("migrations/{file}"), &short);
        let run = project.lyrox(&["db", "migrate"]);
        run.exit(6).says("LYX-DRIFT-SHORTENED").says("nothing was changed");
    }
}

/// The code that the report ends with.
fn code(run: &Output) -> String {
    let text = format!("{}{}", run.stdout, run.stderr);
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '-'));
    words.rev().find(|word| word.starts_with("LYX-")).unwrap_or_default().to_owned()
}
