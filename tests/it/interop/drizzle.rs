//! drizzle-kit, 0.x with its journal and 1.0 without.

use std::path::PathBuf;

use super::{Tool, both_ways, holds, link_node_modules, open, try_run_at};
use crate::support::Project;

struct Drizzle {
    /// The folder that the tool is installed in.
    folder: &'static str,
}

const CONFIG: &str = r#"import { defineConfig } from "drizzle-kit";
export default defineConfig({
  out: "./drizzle",
  schema: "./schema.ts",
  dialect: "postgresql",
  dbCredentials: { url: process.env.DATABASE_URL! },
});
"#;

const ZERO: Drizzle = Drizzle { folder: "drizzle-0" };
const ONE: Drizzle = Drizzle { folder: "drizzle-1" };

impl Drizzle {
    fn kit(&self, project: &Project, arguments: &[&str]) -> String {
        let program: PathBuf = project.path("node_modules/.bin/drizzle-kit");
        let (code, text) = try_run_at(project, &program, arguments, &[]);
        assert_eq!(code, 0, "drizzle-kit {}\n{text}", arguments.join(" "));
        text
    }
}

impl Tool for Drizzle {
    fn format(&self) -> &'static str {
        "drizzle"
    }

    fn settings(&self) -> String {
        "dir = \"drizzle\"".into()
    }

    fn version(&self, project: &Project) -> String {
        self.kit(project, &["--version"]).lines().filter(|line| line.contains("drizzle")).collect::<Vec<_>>().join(", ")
    }

    fn prepare(&self, project: &Project) {
        link_node_modules(project, &format!("{}/node_modules/drizzle-kit", self.folder));
        project.write("drizzle.config.ts", CONFIG);
        project.write("package.json", "{ \"name\": \"x\", \"private\": true }\n");
        project.write("schema.ts", "export {};\n");
    }

    fn write(&self, project: &Project, number: usize) {
        let name = format!("make_t{number}");
        // Every other one is made by lyrox: drizzle must find its way among them.
        if number.is_multiple_of(3) {
            project.lyrox(&["db", "new", &name]).ok();
        } else {
            self.kit(project, &["generate", "--custom", "--name", &name]);
        }
        let file = made(&project.path("drizzle"), &name);
        let text = std::fs::read_to_string(&file).expect("a file");
        let end = if number.is_multiple_of(2) { "\r\n" } else { "\n" };
        let table =
            format!("{text}{end}CREATE TABLE t{number} (id int PRIMARY KEY){end}--> statement-breakpoint{end}SELECT 1");
        std::fs::write(file, table).expect("a file");
    }

    fn up(&self, project: &Project) {
        self.kit(project, &["migrate"]);
    }

    fn check(&self, project: &Project, applied: usize) {
        self.kit(project, &["check"]);
        // It has no status: a further run finds nothing to do.
        self.kit(project, &["migrate"]);
        holds(project, applied);
        assert_eq!(project.sql_value("SELECT count(*) FROM drizzle.__drizzle_migrations"), applied.to_string());
        assert_eq!(
            project.sql_value("SELECT count(DISTINCT hash) FROM drizzle.__drizzle_migrations"),
            applied.to_string()
        );
    }
}

/// The script of a migration, by its name.
fn made(folder: &std::path::Path, name: &str) -> PathBuf {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let ends = |path: &PathBuf, end: &str| path.to_string_lossy().ends_with(end);
    let found = entries.into_iter().find(|path| ends(path, &format!("_{name}.sql")) || ends(path, &format!("_{name}")));
    let found = found.unwrap_or_else(|| panic!("no migration {name}"));
    if found.is_dir() { found.join("migration.sql") } else { found }
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn the_journal_of_0_x_runs_both_ways() {
    both_ways(&ZERO);
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn the_folders_of_1_0_run_both_ways() {
    both_ways(&ONE);
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn a_project_goes_from_0_x_to_1_0() {
    let project = open(&ZERO);
    for number in [1, 2] {
        ZERO.write(&project, number);
    }
    ZERO.up(&project);
    // 1.0 turns the folder over; the history stays as 0.x wrote it until its first run.
    std::fs::remove_file(project.path("node_modules")).expect("a link");
    link_node_modules(&project, "drizzle-1/node_modules/drizzle-kit");
    ONE.kit(&project, &["up"]);
    assert!(!project.path("drizzle/meta/_journal.json").exists());
    project.lyrox(&["db", "status", "--check"]).ok().says("2 applied, 0 pending");
    ONE.write(&project, 4);
    project.lyrox(&["db", "migrate"]).ok();
    ONE.kit(&project, &["migrate"]);
    assert_eq!(project.sql_value("SELECT count(*) FROM drizzle.__drizzle_migrations WHERE name IS NOT NULL"), "3");
    ONE.write(&project, 5);
    project.lyrox(&["db", "migrate"]).ok();
    ONE.kit(&project, &["migrate"]);
    let tables = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(project.sql_value(tables), "t1 t2 t4 t5");
    assert_eq!(project.sql_value("SELECT count(*) FROM drizzle.__drizzle_migrations WHERE name IS NOT NULL"), "4");
    project.lyrox(&["db", "status", "--check"]).ok().says("4 applied, 0 pending");
}

/// The example with drizzle-kit's own folder: what the one applied, the other has nothing pending of; and the schema
/// that drizzle reads is the one that its snapshot holds.
#[test]
#[ignore = "needs the other tools: just interop"]
fn conference_chat_has_nothing_pending_either_way() {
    let open = |name| {
        let project = crate::systems::shared("conference-chat", name);
        link_node_modules(&project, "drizzle-0/node_modules/drizzle-kit");
        project.write("package.json", "{ \"name\": \"x\", \"private\": true }\n");
        project
    };
    let rows = "SELECT count(*) FROM drizzle.__drizzle_migrations";
    let project = open("interop_conference");
    project.lyrox(&["db", "migrate"]).ok();
    ZERO.kit(&project, &["check"]);
    ZERO.kit(&project, &["migrate"]);
    assert_eq!(project.sql_value(rows), "1", "the tool ran it again");
    let told = ZERO.kit(&project, &["generate"]);
    assert!(told.contains("No schema changes"), "{told}");
    project.lyrox(&["db", "seed"]).ok();
    project.lyrox(&["db", "smoke-test"]).ok();

    let other = open("interop_conference2");
    ZERO.kit(&other, &["migrate"]);
    other.lyrox(&["db", "status", "--check"]).ok().says("1 applied, 0 pending");
    other.lyrox(&["db", "migrate"]).ok();
    assert_eq!(other.sql_value(rows), "1");
    other.lyrox(&["db", "seed"]).ok();
    other.lyrox(&["db", "smoke-test"]).ok();
}
