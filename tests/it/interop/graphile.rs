//! graphile-migrate.

use sha1::{Digest as _, Sha1};

use super::{Tool, both_ways, open, program, try_run_at};
use crate::support::Project;

struct Graphile;

fn file(number: usize) -> String {
    format!("migrations/committed/{number:06}-make-t{number}.sql")
}

/// As `graphile-migrate commit` makes a file, without the shadow database that it wants.
fn commit(project: &Project, number: usize, body: &str) {
    let before = (number > 1).then(|| std::fs::read_to_string(project.path(&file(number - 1))).expect("a file"));
    let previous =
        before.and_then(|text| text.lines().find_map(|line| line.strip_prefix("--! Hash: ").map(str::to_owned)));
    let text = format!("{}\n{}", previous.as_deref().unwrap_or_default(), body.trim());
    let digest = Sha1::digest(format!("{}\n", text.trim()).as_bytes());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let previous = previous.unwrap_or_else(|| "-".into());
    project.write(
        &file(number),
        &format!("--! Previous: {previous}\n--! Hash: sha1:{hash}\n--! Message: make t{number}\n\n{body}\n"),
    );
}

fn graphile(project: &Project, arguments: &[&str]) -> (i32, String) {
    // It wants to know of a shadow database, which it never opens for these.
    let shadow = format!("{}_shadow", project.postgres);
    try_run_at(project, &program("graphile-migrate"), arguments, &[("SHADOW_DATABASE_URL", &shadow)])
}

impl Tool for Graphile {
    fn format(&self) -> &'static str {
        "graphile"
    }

    fn version(&self, project: &Project) -> String {
        format!("graphile-migrate {}", graphile(project, &["--version"]).1)
    }

    fn prepare(&self, project: &Project) {
        project.write(".gmrc", "{ \"manageGraphileMigrateSchema\": true }\n");
        project.write("migrations/current.sql", "-- Enter migration here\n");
    }

    fn write(&self, project: &Project, number: usize) {
        let body = format!("CREATE TABLE t{number} (id int PRIMARY KEY);");
        let body = if number.is_multiple_of(2) { format!("--! no-transaction\n{body}") } else { body };
        commit(project, number, &body);
    }

    fn up(&self, project: &Project) {
        let (code, text) = graphile(project, &["migrate"]);
        assert_eq!(code, 0, "{text}");
    }

    fn check(&self, project: &Project, applied: usize) {
        let (code, text) = graphile(project, &["status"]);
        assert_eq!(code, 0, "{text}");
        self.up(project);
        assert_eq!(project.sql_value("SELECT count(*) FROM graphile_migrate.migrations"), applied.to_string());
    }
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn committed_files_run_both_ways() {
    both_ways(&Graphile);
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn an_edited_file_is_refused_by_both() {
    let tool = Graphile;
    let project = open(&tool);
    tool.write(&project, 1);
    let text = std::fs::read_to_string(project.path(&file(1))).expect("a file");
    project.write(&file(1), &text.replace("int", "bigint"));
    let (code, told) = graphile(&project, &["migrate"]);
    assert!(code != 0 && told.contains("does not match"), "{told}");
    project.lyrox(&["db", "migrate"]).exit(6).says("was edited after it was committed");
}
