//! The other tools themselves on one database with lyrox, both ways. They are installed by `just interop`, which runs these
//! tests; each prints the version of the tool that it met.
//!
//! `LYROX_INTEROP_TOOLS` names the folders (`:` between them) whose `bin/` and `node_modules/` hold the tools;
//! `target/interop` where it is not set.

mod dbmate;
mod drizzle;
mod graphile;
mod node_pg_migrate;
mod prisma;
mod refinery;
mod sqlx;
mod supabase;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::support::{Output, Project};

/// One tool as the tests need it. Migration N makes a table `tN`.
pub trait Tool {
    /// Its word for `format`.
    fn format(&self) -> &'static str;

    /// Further lines for `[migrations]` and other sections of lyrox.toml; `dir` at least where it is not `migrations`.
    fn settings(&self) -> String {
        String::new()
    }

    /// Its version, as it says it.
    fn version(&self, project: &Project) -> String;

    /// Writes its own configuration.
    fn prepare(&self, _project: &Project) {}

    /// Writes migration `number` (from 1 on): a table `t<number>`, with a way back where the tool has one.
    fn write(&self, project: &Project, number: usize);

    /// Applies everything that is pending.
    fn up(&self, project: &Project);

    /// Fails unless its own status says that `applied` migrations are applied, none is pending and nothing was changed.
    fn check(&self, project: &Project, applied: usize);

    /// Undoes the newest migration; false where the tool cannot.
    fn down(&self, _project: &Project) -> bool {
        false
    }

    /// lyrox can undo a migration of its: there is a way back in the files.
    fn has_way_back(&self) -> bool {
        false
    }
}

/// Both ways on one database: the tool applies some and lyrox the rest, lyrox applies some and the tool the rest; back
/// again where the tool can; then the same from an empty database with lyrox first.
#[allow(clippy::print_stderr, reason = "which version was met belongs to the result")]
pub fn both_ways(tool: &impl Tool) {
    let project = open(tool);
    eprintln!("{}: {}", tool.format(), tool.version(&project).trim());
    for number in [1, 2] {
        tool.write(&project, number);
    }
    tool.up(&project);
    holds(&project, 2);

    for number in [3, 4] {
        tool.write(&project, number);
    }
    let status = project.lyrox(&["db", "status"]);
    status.ok().says("2 applied, 2 pending");
    let run = project.lyrox(&["--output", "json", "db", "migrate"]);
    run.ok();
    assert_eq!(changed(&run, "applied"), 2, "{run}");
    holds(&project, 4);
    tool.check(&project, 4);

    for number in [5, 6] {
        tool.write(&project, number);
    }
    let run = project.lyrox(&["--output", "json", "db", "migrate", "--steps", "1"]);
    assert_eq!(changed(run.ok(), "applied"), 1, "{run}");
    holds(&project, 5);
    tool.up(&project);
    holds(&project, 6);
    tool.check(&project, 6);
    project.lyrox(&["db", "status", "--check"]).ok().says("6 applied, 0 pending");
    let run = project.lyrox(&["--output", "json", "db", "migrate"]);
    assert_eq!(changed(run.ok(), "applied"), 0, "{run}");
    tool.check(&project, 6);

    if tool.down(&project) {
        holds(&project, 5);
        project.lyrox(&["db", "status"]).ok().says("5 applied, 1 pending");
        project.lyrox(&["db", "migrate"]).ok();
        holds(&project, 6);
        tool.check(&project, 6);
    }
    if tool.has_way_back() {
        project.lyrox(&["db", "rollback", "--yes"]).ok();
        holds(&project, 5);
        tool.up(&project);
        holds(&project, 6);
        tool.check(&project, 6);
        project.lyrox(&["db", "status", "--check"]).ok().says("6 applied, 0 pending");
    }
    project.lyrox(&["db", "reset", "--confirm", &project.name]).ok();
    holds(&project, 6);
    tool.check(&project, 6);

    let project = open(tool);
    for number in [1, 2] {
        tool.write(&project, number);
    }
    project.lyrox(&["db", "migrate"]).ok();
    holds(&project, 2);
    tool.check(&project, 2);
    tool.write(&project, 3);
    tool.up(&project);
    holds(&project, 3);
    tool.check(&project, 3);
    project.lyrox(&["db", "status", "--check"]).ok().says("3 applied, 0 pending");
}

/// A project in the tool's format, without any migration.
pub fn open(tool: &impl Tool) -> Project {
    let name = tool.format().replace('-', "_");
    let project = Project::new(&format!("io_{name}"), "");
    project.write(
        "lyrox.toml",
        &format!(
            "[project]\nname = \"{}\"\n[postgres]\n[migrations]\nformat = \"{}\"\n{}\n",
            project.name,
            tool.format(),
            tool.settings()
        ),
    );
    tool.prepare(&project);
    project
}

/// Fails unless the tables `t1` to `t<count>` are there, and no further one.
#[track_caller]
pub fn holds(project: &Project, count: usize) {
    let rows = project.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '^t[0-9]+$'");
    let mut found: Vec<String> = rows.into_iter().filter_map(|mut row| row.remove(0)).collect();
    found.sort();
    let wanted: Vec<String> = (1..=count).map(|number| format!("t{number}")).collect();
    assert_eq!(found, wanted);
}

/// How many items of a report have this change.
pub fn changed(run: &Output, change: &str) -> usize {
    let report = run.json();
    report["items"].as_array().expect("items").iter().filter(|item| item["change"] == change).count()
}

/// The folders that hold the tools.
fn folders() -> Vec<PathBuf> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/target/interop");
    let named = std::env::var_os("LYROX_INTEROP_TOOLS");
    named.map_or_else(|| vec![own.into()], |paths| std::env::split_paths(&paths).collect())
}

/// Where a program of a tool is.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let places = folders().into_iter().flat_map(|folder| [folder.join("bin"), folder.join("node_modules/.bin")]);
    let found = places.map(|place| place.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("`{name}` is not installed; `just interop` does it"))
}

/// Puts the `node_modules` that holds a package beside the project, where programs of Node.js look for it.
/// `package` may name a folder of its own: `drizzle-0/node_modules/drizzle-kit`.
#[track_caller]
pub fn link_node_modules(project: &Project, package: &str) {
    let (folder, package) = package.split_once("/node_modules/").unwrap_or((".", package));
    let places = folders().into_iter().map(|place| place.join(folder).join("node_modules"));
    let found = places.into_iter().find(|place| place.join(package).exists());
    let found = found.unwrap_or_else(|| panic!("`{package}` is not installed; `just interop` does it"));
    let link = project.path("node_modules");
    if !link.exists() {
        std::os::unix::fs::symlink(found.canonicalize().expect("a folder"), link).expect("a link");
    }
}

/// Runs a program in the project's folder with the variables of its `.env`; fails unless it ends well. Answers what it
/// printed, standard output first.
#[track_caller]
pub fn run(project: &Project, name: &str, arguments: &[&str]) -> String {
    let (code, text) = try_run(project, name, arguments);
    assert_eq!(code, 0, "{name} {}\n{text}", arguments.join(" "));
    text
}

/// As [`run`], whatever the end: its exit code and what it printed.
pub fn try_run(project: &Project, name: &str, arguments: &[&str]) -> (i32, String) {
    try_run_at(project, &program(name), arguments, &[])
}

/// As [`try_run`], the program by its path and with further variables.
pub fn try_run_at(project: &Project, program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(project.root())
        .env("DATABASE_URL", &project.postgres)
        .env("NO_COLOR", "1")
        .env("CI", "1")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let output = Output::new(arguments, &output);
    (output.code, format!("{}{}", output.stdout, output.stderr))
}
