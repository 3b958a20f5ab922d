//! refinery's command line.

use super::{Tool, both_ways, holds, open, run, try_run};
use crate::support::Project;

struct Refinery;

/// It keeps a migration whose text was edited, or whose file is gone, from being passed over in silence.
const UP: [&str; 5] = ["migrate", "-e", "DATABASE_URL", "-p", "migrations"];

impl Tool for Refinery {
    fn format(&self) -> &'static str {
        "refinery"
    }

    fn version(&self, project: &Project) -> String {
        run(project, "refinery", &["--version"])
    }

    fn write(&self, project: &Project, number: usize) {
        // Line ends and a byte-order mark count in its checksums; a mark that PostgreSQL would stumble over does not run.
        let text = format!("CREATE TABLE t{number} (id int PRIMARY KEY);\n-- ü\n");
        let text = if number.is_multiple_of(2) { text.replace('\n', "\r\n") } else { text };
        let letter = if number == 5 { 'U' } else { 'V' };
        project.write(&format!("migrations/{letter}{number}__make_t{number}.sql"), &text);
    }

    fn up(&self, project: &Project) {
        run(project, "refinery", &UP);
    }

    fn check(&self, project: &Project, applied: usize) {
        let rows = project.sql("SELECT count(*) FROM refinery_schema_history");
        assert_eq!(rows[0][0], Some(applied.to_string()));
        // It has no status: it compares every checksum, then finds that there is nothing to do.
        let text = run(project, "refinery", &UP);
        assert!(!text.contains("applying migration"), "{text}");
    }
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn it_runs_both_ways() {
    both_ways(&Refinery);
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn a_late_one_and_an_edited_one() {
    let project = open(&Refinery);
    Refinery.write(&project, 1);
    Refinery.write(&project, 3);
    project.lyrox(&["db", "migrate"]).ok();
    project.write("migrations/U2__late.sql", "CREATE TABLE t2 (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    holds(&project, 3);
    Refinery.check(&project, 3);

    project.write("migrations/V1__make_t1.sql", "CREATE TABLE t1 (id bigint PRIMARY KEY);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("was edited after it was applied");
    let (code, text) = try_run(&project, "refinery", &UP);
    assert!(code != 0 || text.contains("different"), "{text}");
}
