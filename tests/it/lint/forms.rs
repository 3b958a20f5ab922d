//! The report of lint in every form: JSON by its schema, GitHub annotations, JUnit, SARIF 2.1.0.

use std::path::Path;

use lyrox::engine::lint::rules::RULES;

use super::{Folder, fixture, lyrox};
use crate::support::Project;

fn folder() -> Folder {
    Folder::new("")
        .write("migrations/1_a b.up.sql", "CREATE TABLE a (é varchar(10));\nSELECT 1;\n  DROP TABLE b;\n")
        .write("migrations/2_b.up.redis", "PING\n")
}

#[test]
fn json_matches_the_committed_schema() {
    let schema = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json"));
    let schema: serde_json::Value = serde_json::from_str(&schema.expect("the schema")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for name in ["bad", "strict", "good"] {
        let report = lyrox(&fixture(name), &["db", "lint", "--output", "json"]).json();
        let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        let mut ids: Vec<_> =
            report["items"].as_array().expect("items").iter().map(|item| item["id"].to_string()).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id stands twice");
    }
}

#[test]
fn annotations_name_file_line_and_column() {
    let run = folder().lyrox(&["db", "lint", "--output", "github"]);
    run.exit(1).says("::error title=ban-drop-table,file=migrations/1_a b.up.sql,line=3,col=3::");
    run.says("::warning title=prefer-text-field,file=migrations/1_a b.up.sql,line=1,col=19::");
}

#[test]
fn junit_has_a_case_for_each_finding_and_each_clean_file() {
    let run = folder().lyrox(&["db", "lint", "--output", "junit"]);
    run.exit(1).says("<testcase name=\"ban-drop-table\"").says("type=\"LYX-LINT\"").says("migrations/2_b.up.redis");
}

#[test]
fn sarif_holds_rules_results_and_regions() {
    let run = folder().lyrox(&["db", "lint", "--output", "sarif"]);
    run.exit(1);
    let log = run.json();
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["$schema"], "https://json.schemastore.org/sarif-2.1.0.json");
    let runs = log["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "lyrox");
    let rules = driver["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), RULES.len());
    assert!(rules.iter().all(|rule| rule["id"].is_string() && rule["shortDescription"]["text"].is_string()));
    assert_eq!(runs[0]["columnKind"], "unicodeCodePoints");
    assert_eq!(runs[0]["invocations"][0]["executionSuccessful"], true);
    let results = runs[0]["results"].as_array().expect("results");
    let expected = [("prefer-text-field", "warning", 1, 19, 30), ("ban-drop-table", "error", 3, 3, 16)];
    assert_eq!(results.len(), expected.len(), "{run}");
    for (result, (rule, level, line, start, end)) in results.iter().zip(expected) {
        assert_eq!((result["ruleId"].as_str(), result["level"].as_str()), (Some(rule), Some(level)), "{run}");
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], rule);
        assert!(result["message"]["text"].as_str().is_some_and(|text| !text.is_empty()));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "migrations/1_a%20b.up.sql");
        let region = &place["region"];
        assert_eq!(
            (&region["startLine"], &region["startColumn"], &region["endColumn"]),
            (&line.into(), &start.into(), &end.into()),
            "{run}"
        );
    }
}

#[test]
fn sarif_of_a_run_that_could_not_be_says_why() {
    let folder = Folder::new("").write("migrations/what.sql", "SELECT 1;");
    let run = folder.lyrox(&["db", "lint", "--output", "sarif"]);
    run.exit(2);
    let log = run.json();
    assert_eq!(log["runs"][0]["invocations"][0]["executionSuccessful"], false);
    let notification = &log["runs"][0]["invocations"][0]["toolExecutionNotifications"][0];
    assert!(notification["message"]["text"].as_str().is_some_and(|text| text.contains("fits no form")), "{run}");
}

#[test]
fn other_commands_refuse_sarif() {
    let folder = folder();
    for arguments in [&["config", "check", "--output", "sarif"][..], &["config", "check", "--output-file", "a.sarif"]] {
        folder.lyrox(arguments).exit(2).says("only `lyrox db lint` has it");
    }
    folder.lyrox(&["db", "lint", "-q", "--output-file", "a.sarif"]).exit(1);
    let text = std::fs::read_to_string(folder.path().join("a.sarif")).expect("a.sarif");
    assert!(text.contains("\"ruleId\": \"ban-drop-table\""), "{text}");
}

/// What the rules say of lyrox itself is so: it refuses such files.
#[test]
fn what_lint_calls_refused_is_refused_by_migrate() {
    let project = Project::new("lint_refused", "");
    for (file, text, code) in [
        ("migrations/1_a.up.sql", "BEGIN;\nSELECT 1;\nCOMMIT;\n", 2),
        ("migrations/1_a.up.json", "[{ \"dropDatabase\": 1 }]", 2),
        ("migrations/1_a.up.redis", "KEYS *\n", 2),
        ("migrations/1_a.up.redis", "SET outside 1 EX 5\n", 1),
    ] {
        project.write(file, text);
        project.lyrox(&["db", "lint"]).exit(1);
        project.lyrox(&["db", "migrate"]).exit(code).says("nothing was changed");
        project.remove(file);
    }
}
