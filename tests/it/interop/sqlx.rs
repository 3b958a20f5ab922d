//! sqlx-cli.

use super::{Tool, both_ways, changed, holds, open, run};
use crate::support::Project;

struct Sqlx {
    is_reversible: bool,
}

impl Tool for Sqlx {
    fn format(&self) -> &'static str {
        "sqlx"
    }

    fn version(&self, project: &Project) -> String {
        run(project, "sqlx", &["--version"])
    }

    fn write(&self, project: &Project, number: usize) {
        let table = format!("CREATE TABLE t{number} (id int PRIMARY KEY);\n");
        if self.is_reversible {
            project.write(&format!("migrations/{number}_make_t{number}.up.sql"), &table);
            project.write(&format!("migrations/{number}_make_t{number}.down.sql"), &format!("DROP TABLE t{number};\n"));
        } else {
            // Line ends and a byte-order mark count in its checksums.
            let text = if number.is_multiple_of(2) { table.replace('\n', "\r\n") } else { table };
            project.write(&format!("migrations/{number}_make_t{number}.sql"), &text);
        }
    }

    fn up(&self, project: &Project) {
        run(project, "sqlx", &["migrate", "run"]);
    }

    fn check(&self, project: &Project, applied: usize) {
        let text = run(project, "sqlx", &["migrate", "info"]);
        assert_eq!(text.matches("/installed").count(), applied, "{text}");
        assert!(!text.contains("pending") && !text.contains("different checksum"), "{text}");
        // It compares every checksum before it finds that there is nothing to do.
        run(project, "sqlx", &["migrate", "run"]);
    }

    fn down(&self, project: &Project) -> bool {
        if self.is_reversible {
            run(project, "sqlx", &["migrate", "revert"]);
        }
        self.is_reversible
    }

    fn has_way_back(&self) -> bool {
        self.is_reversible
    }
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn simple_files_run_both_ways() {
    both_ways(&Sqlx { is_reversible: false });
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn reversible_files_run_both_ways() {
    both_ways(&Sqlx { is_reversible: true });
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn a_file_without_a_transaction_and_an_edited_one() {
    let tool = Sqlx { is_reversible: true };
    let project = open(&tool);
    tool.write(&project, 1);
    project.write("migrations/2_index.up.sql", "-- no-transaction\nCREATE INDEX CONCURRENTLY t1_id ON t1 (id);\n");
    let migrate = project.lyrox(&["--output", "json", "db", "migrate"]);
    assert_eq!(changed(migrate.ok(), "applied"), 2, "{migrate}");
    tool.check(&project, 2);
    holds(&project, 1);

    project.write("migrations/1_make_t1.up.sql", "CREATE TABLE t1 (id bigint PRIMARY KEY);\n");
    let (code, text) = super::try_run(&project, "sqlx", &["migrate", "run"]);
    assert_ne!(code, 0, "{text}");
    project.lyrox(&["db", "migrate"]).exit(6).says("was edited after it was applied");
}
