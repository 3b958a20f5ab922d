//! Many rows: every format, every store, kills in the middle, rows that are refused.

mod formats;
mod jobs;
mod late;
mod mongodb;
mod redis;
mod reject;
mod types;

use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{Output, Project};

/// A project of PostgreSQL alone, with these tables.
fn postgres(name: &str, schema: &str) -> Project {
    let project = Project::new(name, "");
    project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n", project.name));
    project.sql(schema);
    project
}

/// What is said of the one source of a run.
fn detail(project: &Project, arguments: &[&str], id: &str) -> String {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
    let output = project.lyrox(&arguments);
    output.ok();
    output.item(id)["detail"].as_str().expect("a detail").to_owned()
}

/// Runs lyrox with this on its standard input.
fn piped(project: &Project, arguments: &[&str], input: &[u8]) -> Output {
    use std::io::Write as _;
    let mut command = project.command(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lyrox starts");
    let mut stdin = child.stdin.take().expect("its input");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("lyrox ends");
    let _ = writer.join();
    Output::new(arguments, &output)
}

/// Starts lyrox and kills it (-9) as soon as something holds.
fn killed(project: &Project, arguments: &[&str], mut is_time: impl FnMut() -> bool) {
    let mut child: Child =
        project.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lyrox starts");
    for _ in 0..3000 {
        if is_time() {
            let has_ended = child.try_wait().expect("a child").is_some();
            let _ = child.kill();
            child.wait().expect("an end");
            assert!(!has_ended, "it ended before it could be killed");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("it never was time to kill {arguments:?}");
}

/// Waits until nobody else works in the project's database.
fn wait_alone(project: &Project) {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..400 {
        if project.sql_value(others) == "0" {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("somebody stays in the database");
}

/// Rows of `id,name,price,at,data`, about 100 bytes each.
fn rows(range: std::ops::Range<u64>) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("id,name,price,at,data\n");
    for n in range {
        let (day, cents) = (n % 28 + 1, n % 100);
        let _ = writeln!(
            text,
            "{n},\"name {n}, quoted\",{n}.{cents:02},2025-01-{day:02}T10:00:00Z,\"{{\"\"n\"\": {n}, \"\"s\"\": \"\"v\"\"}}\""
        );
    }
    text
}

const ITEM: &str = "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL, price numeric(12,2), \
    at timestamptz NOT NULL, data jsonb);";
