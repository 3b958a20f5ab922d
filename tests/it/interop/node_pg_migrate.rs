//! node-pg-migrate.

use super::{Tool, both_ways, changed, open, run};
use crate::support::Project;

struct NodePgMigrate {
    is_paired: bool,
}

/// Pairs of files are read by a loader that programs alone can ask for.
const RUNNER: &str = r#"import { runner } from "node-pg-migrate";
await runner({
  databaseUrl: process.env.DATABASE_URL,
  dir: "migrations",
  direction: process.argv[2],
  migrationsTable: "pgmigrations",
  migrationLoaderStrategies: [{ extensions: [".sql"], loader: "sql" }],
});
"#;

impl Tool for NodePgMigrate {
    fn format(&self) -> &'static str {
        "node-pg-migrate"
    }

    fn version(&self, project: &Project) -> String {
        format!("node-pg-migrate {}", run(project, "node-pg-migrate", &["--version"]))
    }

    fn prepare(&self, project: &Project) {
        if self.is_paired {
            super::link_node_modules(project, "node-pg-migrate");
            project.write("run.mjs", RUNNER);
        }
        std::fs::create_dir_all(project.path("migrations")).expect("a folder");
        // Sessions of the tool begin with this; its order goes by local time.
        project.sql(&format!("ALTER DATABASE {} SET timezone = 'America/New_York'", project.name));
    }

    fn write(&self, project: &Project, number: usize) {
        // Epochs and dates, in turns.
        let prefix = if number.is_multiple_of(2) {
            format!("2024010100000{number}000")
        } else {
            format!("170406720{number}000")
        };
        let (up, down) = (format!("CREATE TABLE t{number} (id int);"), format!("DROP TABLE t{number};"));
        if self.is_paired {
            project.write(&format!("migrations/{prefix}_make-t{number}.up.sql"), &up);
            project.write(&format!("migrations/{prefix}_make-t{number}.down.sql"), &down);
        } else {
            let text = format!("-- Up Migration\n{up}\n\n-- Down Migration\n{down}\n");
            project.write(&format!("migrations/{prefix}_make-t{number}.sql"), &text);
        }
    }

    fn up(&self, project: &Project) {
        self.run(project, &["up"]);
    }

    fn check(&self, project: &Project, applied: usize) {
        // It compares the order of its rows with the order of the files before it finds nothing to do.
        let text = self.run(project, &["up"]);
        assert!(text.contains("No migrations to run"), "{text}");
        assert_eq!(project.sql_value("SELECT count(*) FROM pgmigrations"), applied.to_string());
    }

    fn down(&self, project: &Project) -> bool {
        self.run(project, &["down"]);
        true
    }

    fn has_way_back(&self) -> bool {
        true
    }
}

impl NodePgMigrate {
    fn run(&self, project: &Project, arguments: &[&str]) -> String {
        if !self.is_paired {
            return run(project, "node-pg-migrate", arguments);
        }
        let arguments = [&["run.mjs"], arguments].concat();
        let (code, text) = super::try_run_at(project, std::path::Path::new("node"), &arguments, &[]);
        assert_eq!(code, 0, "{text}");
        text
    }
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn marked_files_run_both_ways() {
    both_ways(&NodePgMigrate { is_paired: false });
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn pairs_of_files_run_both_ways() {
    both_ways(&NodePgMigrate { is_paired: true });
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn a_file_that_comes_late_is_refused_by_both() {
    let tool = NodePgMigrate { is_paired: false };
    let project = open(&tool);
    tool.write(&project, 2);
    let migrate = project.lyrox(&["--output", "json", "db", "migrate"]);
    assert_eq!(changed(migrate.ok(), "applied"), 1, "{migrate}");
    tool.write(&project, 1);
    let (code, text) = super::try_run(&project, "node-pg-migrate", &["up"]);
    assert!(code != 0 && text.contains("is preceding already run migration"), "{text}");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-ORDER");
}
