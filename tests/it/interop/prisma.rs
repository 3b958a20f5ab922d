//! Prisma Migrate, with the engine that runs without binaries of its own.

use super::{Tool, both_ways, changed, holds, link_node_modules, open, program, try_run_at};
use crate::support::Project;

struct Prisma;

const CONFIG: &str = r#"import { defineConfig } from "prisma/config";
import { PrismaPg } from "@prisma/adapter-pg";
export default defineConfig({
  schema: "prisma/schema.prisma",
  experimental: { adapter: true },
  engine: "js",
  adapter: async () => new PrismaPg({ connectionString: process.env.DATABASE_URL }),
});
"#;

fn prisma(project: &Project, arguments: &[&str]) -> (i32, String) {
    // Never opened by this engine, yet they must be there.
    let native = project.path("no-engine");
    if !native.exists() {
        project.write("no-engine", "");
    }
    let native = native.display().to_string();
    let variables = [
        ("CHECKPOINT_DISABLE", "1"),
        ("PRISMA_HIDE_UPDATE_MESSAGE", "1"),
        ("PRISMA_QUERY_ENGINE_LIBRARY", native.as_str()),
        ("PRISMA_SCHEMA_ENGINE_BINARY", native.as_str()),
        ("DEBUG", "prisma:migrate:*"),
    ];
    try_run_at(project, &program("prisma"), arguments, &variables)
}

/// What its debugger printed, JSON in JSON, without quotes and blanks.
fn bare(text: &str) -> String {
    text.replace("\\n", "").replace(['\\', '"', ' ', '\n'], "")
}

fn name(number: usize) -> String {
    format!("202401010000{number:02}_make_t{number}")
}

fn folder(number: usize) -> String {
    format!("prisma/migrations/{}", name(number))
}

impl Tool for Prisma {
    fn format(&self) -> &'static str {
        "prisma"
    }

    fn settings(&self) -> String {
        "dir = \"prisma/migrations\"".into()
    }

    fn version(&self, project: &Project) -> String {
        let (_, text) = prisma(project, &["--version"]);
        text.lines()
            .filter(|line| line.starts_with("prisma") || line.contains("adapter"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn prepare(&self, project: &Project) {
        link_node_modules(project, "prisma");
        project.write("prisma.config.ts", CONFIG);
        project.write(
            "prisma/schema.prisma",
            "datasource db {\n  provider = \"postgresql\"\n  url = env(\"DATABASE_URL\")\n}\n",
        );
        project.write("prisma/migrations/migration_lock.toml", "provider = \"postgresql\"\n");
    }

    fn write(&self, project: &Project, number: usize) {
        let text = format!("-- CreateTable\nCREATE TABLE \"t{number}\" (\"id\" INTEGER PRIMARY KEY);\n");
        let text = if number.is_multiple_of(2) { text.replace('\n', "\r\n") } else { text };
        project.write(&format!("{}/migration.sql", folder(number)), &text);
        project.write(&format!("{}/down.sql", folder(number)), &format!("DROP TABLE \"t{number}\";\n"));
    }

    fn up(&self, project: &Project) {
        let (code, text) = prisma(project, &["migrate", "deploy"]);
        assert_eq!(code, 0, "{text}");
    }

    fn check(&self, project: &Project, applied: usize) {
        assert_eq!(edited(project, applied), "");
    }

    fn has_way_back(&self) -> bool {
        true
    }
}

/// Prisma says that so many files are applied, none failed and none waits. Returns the ones it takes for edited, which it tells
/// its debugger alone.
fn edited(project: &Project, applied: usize) -> String {
    let (code, text) = prisma(project, &["migrate", "status"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("{applied} migration")) && text.contains("up to date"), "{text}");
    let told = bare(&text);
    assert!(told.contains("failedMigrationNames:[]"), "{text}");
    let (code, text) = prisma(project, &["migrate", "deploy"]);
    assert!(code == 0 && text.contains("No pending migrations"), "{text}");
    let names = told.split_once("editedMigrationNames:[").expect("its list").1;
    names.split_once(']').expect("an end").0.to_owned()
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn folders_run_both_ways() {
    both_ways(&Prisma);
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn edits_and_failures_are_seen_by_both() {
    let tool = Prisma;
    let project = open(&tool);
    for number in [1, 2] {
        tool.write(&project, number);
    }
    let run = project.lyrox(&["--output", "json", "db", "migrate"]);
    assert_eq!(changed(run.ok(), "applied"), 2, "{run}");
    tool.check(&project, 2);

    // Other line ends are no edit, to either.
    let file = format!("{}/migration.sql", folder(2));
    let text = std::fs::read_to_string(project.path(&file)).expect("a file");
    project.write(&file, &text.replace("\r\n", "\n"));
    tool.check(&project, 2);
    project.lyrox(&["db", "status", "--check"]).ok();
    project.write(&file, &text.replace("INTEGER", "BIGINT"));
    let (_, told) = prisma(&project, &["migrate", "status"]);
    assert!(bare(&told).contains("editedMigrationNames:[20240101000002_make_t2]"), "{told}");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED");
    project.write(&file, &text);

    // What fails in Prisma stops lyrox until it is resolved there.
    project.write(&format!("{}/migration.sql", folder(3)), "CREATE TABLE \"t3\" (\"id\" INTEGER);\nSELECT 1 / 0;\n");
    let (code, told) = prisma(&project, &["migrate", "deploy"]);
    assert!(code != 0 && told.contains("division by zero"), "{told}");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-HISTORY-BROKEN").says("npx prisma migrate resolve --rolled-back");
    // The adapter sends statement by statement: what the failed one followed stays, and is the user's to take away.
    project.sql("DROP TABLE IF EXISTS t3");
    // What `migrate resolve --rolled-back` writes; the command itself asks a binary whether it can connect.
    project.sql("UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = '20240101000003_make_t3'");
    tool.write(&project, 3);
    project.lyrox(&["db", "migrate"]).ok();
    holds(&project, 3);
    // It compares with the row that was rolled back; the same after its own deploy, below.
    assert_eq!(edited(&project, 3), name(3));

    // What fails in lyrox leaves nothing behind, unless it runs without a transaction: then Prisma sees it as failed.
    let text = "CREATE TABLE \"t4\" (\"id\" INTEGER);\nCREATE INDEX CONCURRENTLY ON \"t4\" (\"nothing\");\n";
    project.write(&format!("{}/migration.sql", folder(4)), text);
    project.lyrox(&["db", "migrate"]).exit(1);
    let (code, told) = prisma(&project, &["migrate", "deploy"]);
    assert!(code != 0 && told.contains("P3009"), "{told}");
    project.write(&format!("{}/migration.sql", folder(4)), &text.replace("nothing", "id"));
    project.lyrox(&["db", "migrate"]).ok();
    let before = edited(&project, 4);

    // What Prisma itself says of a file that it applied after one that was rolled back.
    project.write(&format!("{}/migration.sql", folder(5)), "SELECT 1 / 0;\n");
    assert_ne!(prisma(&project, &["migrate", "deploy"]).0, 0);
    project.sql("UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = '20240101000005_make_t5'");
    tool.write(&project, 5);
    tool.up(&project);
    assert_eq!(edited(&project, 5), format!("{before},{}", name(5)));
    project.lyrox(&["db", "status", "--check"]).ok();
}

/// The example with Prisma's own folder: what the one applied, the other has nothing pending of; and the schema that
/// Prisma reads is the one that the migration makes.
#[test]
#[ignore = "needs the other tools: just interop"]
fn helvino_has_nothing_pending_either_way() {
    let open = |name| {
        let project = crate::systems::shared("helvino", name);
        link_node_modules(&project, "prisma");
        project.write("prisma.config.ts", CONFIG);
        project
    };
    let project = open("interop_helvino");
    project.lyrox(&["db", "migrate"]).ok();
    Prisma.check(&project, 1);
    project.lyrox(&["db", "seed"]).ok();
    project.lyrox(&["db", "smoke-test"]).ok();
    Prisma.check(&project, 1);

    let other = open("interop_helvino2");
    Prisma.up(&other);
    other.lyrox(&["db", "status", "--check"]).ok().says("1 applied, 0 pending");
    let run = other.lyrox(&["--output", "json", "db", "migrate"]);
    assert_eq!(changed(run.ok(), "applied"), 0, "{run}");
    other.lyrox(&["db", "seed"]).ok();
    other.lyrox(&["db", "smoke-test"]).ok();

    let from_schema = ["migrate", "diff", "--from-empty", "--to-schema-datamodel", "prisma/schema.prisma", "--script"];
    let (code, script) = prisma(&project, &from_schema);
    let file =
        std::fs::read_to_string(project.path("prisma/migrations/20251106120000_init/migration.sql")).expect("a file");
    assert_eq!(code, 0, "{script}");
    assert!(script.contains(file.trim()), "{script}");
}
