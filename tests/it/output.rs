//! Output is a contract: every JSON report matches the committed schema, a pipe gets no escapes.

mod completions;
mod exit_codes;
mod hints;
mod speed;
mod terminal;

use crate::support::Project;

fn project(name: &str) -> Project {
    let project = Project::new(name, "[[check.expect]]\nstore = \"redis\"\nquery = \"PING\"\nsay = \"{0}\"\n");
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text);");
    project.write("migrations/1_a.down.sql", "DROP TABLE note;");
    project.write("seeds/dev/postgres/note.toml", "[rows.one]\nid = 1\nbody = \"hello\"\n");
    project.write(
        "smoke/own.toml",
        "[[test]]\nname = \"one\"\n\n  [[test.step]]\n  postgres = \"SELECT 1\"\n  expect = { value = 1 }\n",
    );
    project
}

#[test]
fn every_json_report_matches_the_committed_schema() {
    let schema =
        std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json"));
    let schema: serde_json::Value = serde_json::from_str(&schema.expect("the schema")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let project = project("output_json");
    for (arguments, code) in [
        (&["config", "show"][..], 0),
        (&["config", "check"], 0),
        (&["check"], 0),
        (&["db", "status", "--check"], 8),
        (&["db", "migrate", "--dry-run"], 0),
        (&["db", "migrate"], 0),
        (&["db", "seed", "--dry-run"], 0),
        (&["db", "seed"], 0),
        (&["db", "status"], 0),
        (&["db", "smoke-test"], 0),
        (&["db", "smoke-test", "--list"], 0),
        (&["db", "repair", "--replay", "redis"], 2),
        (&["db", "reset", "--dry-run"], 0),
        (&["db", "reset"], 3),
        (&["db", "reset", "--confirm", &project.name], 0),
        (&["db", "rollback", "--yes"], 0),
        (&["db", "new", "second"], 0),
        (&["db", "migrate", "--to", "1"], 0),
        (&["query", "postgres", "SELECT 1 AS one"], 0),
        (&["query", "postgres", "SELEC 1"], 1),
        (&["query", "redis", "PING"], 0),
        (&["query", "mongodb", r#"{ "ping": 1 }"#], 0),
        (&["url", "encode", "a b"], 0),
        (&["url", "decode", "a%20b"], 0),
        (&["url", "inspect", "redis://h"], 0),
        (&["explain"], 0),
        (&["env"], 0),
        (&["ps"], 0),
        (&["init"], 2),
        (&["-e", "nowhere", "check"], 2),
    ] {
        let mut with_json = arguments.to_vec();
        with_json.extend(["--output", "json"]);
        let run = project.lyrox(&with_json);
        run.exit(code);
        let report = run.json();
        let problems: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}\n{run}");
        assert_eq!(report["exit_code"], code, "{run}");
        assert_eq!(report["ok"], code == 0, "{run}");
        let items = report["items"].as_array().expect("items");
        let mut ids: Vec<&str> = items.iter().filter_map(|item| item["id"].as_str()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "ids are unique\n{run}");
    }
}

#[test]
fn a_pipe_gets_no_escapes_and_no_carriage_returns() {
    let project = project("output_pipe");
    for arguments in
        [&["check"][..], &["db", "migrate"], &["db", "seed"], &["db", "smoke-test"], &["db", "status"], &["--help"]]
    {
        let run = project.lyrox(arguments);
        run.ok();
        assert!(!run.stdout.contains(['\u{1b}', '\r']) && !run.stderr.contains(['\u{1b}', '\r']), "{run}");
        let colored =
            project.command(arguments).args(["--color", "always"]).env("NO_COLOR", "1").output().expect("lyrox");
        assert!(colored.status.success());
    }
}

#[test]
fn the_report_is_written_to_a_file_in_the_form_of_its_ending() {
    let project = project("output_file");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "smoke-test", "--output-file", "smoke.xml"]).ok().says("PASS:");
    let xml = std::fs::read_to_string(project.path("smoke.xml")).expect("a file");
    assert!(xml.starts_with("<?xml") && xml.contains("<testsuite ") && xml.contains("failures=\"0\""), "{xml}");
    project.lyrox(&["check", "--output-file", "check.json", "-q"]).ok();
    let json = std::fs::read_to_string(project.path("check.json")).expect("a file");
    assert!(
        serde_json::from_str::<serde_json::Value>(&json).is_ok_and(|report| report["command"] == "check"),
        "{json}"
    );
    project.lyrox(&["check", "--output-file", "no/such/folder/x.json"]).exit(1).says("LYX-WRITE-FAILED");
    let github = project.lyrox(&["--output", "github", "db", "migrate", "--to", "9"]);
    github.exit(2).says("::error");
}
