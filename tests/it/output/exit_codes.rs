//! The table of exit codes, row by row; and a report in the form that was asked for, whatever went wrong.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::project;
use crate::support::servers::binary;
use crate::support::{Output, Project};

/// The rows of the table in the guide.
fn documented() -> BTreeSet<i32> {
    let guide = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci.md");
    let text = std::fs::read_to_string(guide).expect("the guide");
    let table = text.split("| exit code |").nth(1).expect("the table").split("\n\n").next().expect("its rows");
    let numbers = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    numbers.flat_map(|cell| cell.split(", ")).filter_map(|number| number.trim().parse().ok()).collect()
}

/// Runs until it waits for a lock, then gets a signal.
fn signalled(signal: &str) -> Output {
    use sqlx::Connection as _;
    let project = project("exit_signal");
    project.lyrox(&["db", "migrate"]).ok();
    let holder = crate::support::block_on(async {
        let mut holder = sqlx::PgConnection::connect(&project.postgres).await.expect("a session");
        sqlx::raw_sql("BEGIN; LOCK TABLE note").execute(&mut holder).await.expect("a lock");
        holder
    });
    project.write("migrations/9_waits.up.sql", "-- lyrox: lock-timeout 60s\nALTER TABLE note ADD COLUMN waits int;");
    let mut command = project.command(&["db", "migrate"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lyrox");
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for _ in 0..200 {
        if project.sql_value(waits) != "0" {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let output = Output::new(&["db", "migrate"], &child.wait_with_output().expect("an end"));
    drop(holder);
    output
}

#[test]
fn every_row_of_the_table_of_exit_codes_is_true() {
    let project = project("exit_codes");
    let mut seen = BTreeSet::new();
    let mut row = |code: i32, output: &Output| {
        output.exit(code);
        seen.insert(code);
    };
    row(8, &project.lyrox(&["db", "status", "--check"]));
    row(0, &project.lyrox(&["db", "migrate"]));
    project.write("migrations/2_bad.up.sql", "SELEC 1;");
    row(1, &project.lyrox(&["db", "migrate"]));
    project.remove("migrations/2_bad.up.sql");
    row(2, &project.lyrox(&["db", "migrat"]));
    row(3, &project.lyrox(&["db", "reset"]));
    let closed = crate::faults::closed();
    let mut command = project.command(&["check", "--only", "redis"]);
    let refused = command.env("REDIS_URL", format!("redis://127.0.0.1:{closed}")).output().expect("lyrox");
    row(4, &Output::new(&["check"], &refused));

    // A signal, and a lock that another run holds.
    row(130, &signalled("-INT"));
    row(143, &signalled("-TERM"));
    let mut held = project.command(&["db", "migrate"]);
    project.write("migrations/3_slow.up.sql", "SELECT pg_sleep(4);");
    let mut held = held.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lyrox");
    for _ in 0..100 {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'pg_sleep.4' AND pid <> pg_backend_pid()";
        if project.sql_value(running) != "0" {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    row(5, &project.lyrox(&["db", "migrate", "--lock-wait", "300ms"]));
    assert!(held.wait().expect("an end").success());

    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text, edited int);");
    row(6, &project.lyrox(&["db", "migrate"]));

    // Some tenants are made, one cannot be.
    let tenants = Project::new(
        "exit_tenants",
        "[tenancy]\nmodel = \"row\"\ntable = \"company\"\nkey_column = \"id\"\ncolumn = \"company_id\"\n",
    );
    tenants.write(
        "migrations/1_a.up.sql",
        "CREATE TABLE company (id text PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'));",
    );
    tenants.lyrox(&["db", "migrate"]).ok();
    tenants.write("list.csv", "key,name\none,good\ntwo,bad\nthree,good\n");
    row(7, &tenants.lyrox(&["tenant", "create", "--from-file", "list.csv", "--no-credentials"]));

    // A bug: nothing can be opened any more, which no run of lyrox expects.
    let mut shell = project.command(&[]);
    let line = format!("ulimit -n 4; exec '{}' check", binary());
    let mut broken = Command::new("sh");
    broken.args(["-c", &line]).current_dir(project.root()).env_clear();
    shell.stdin(Stdio::null());
    row(70, &Output::new(&["check"], &broken.output().expect("a shell")));

    assert_eq!(seen, documented(), "docs/ci.md and what happens");
}

#[test]
fn what_is_wrong_with_the_command_line_is_told_in_the_form_that_was_asked_for() {
    let project = project("usage_forms");
    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json");
    let schema = std::fs::read_to_string(schema).expect("the schema");
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).expect("JSON")).expect("a schema");
    for arguments in [
        &["--output", "json", "db", "migrat"][..],
        &["db", "migrate", "--output=json", "--no-such-flag"],
        &["--only", "mysql", "check", "--output", "json"],
        &["--output", "json"],
    ] {
        let run = project.lyrox(arguments);
        let report = run.exit(2).json();
        let problems: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{problems:?}\n{run}");
        assert_eq!(report["items"][0]["code"], "LYX-USAGE", "{run}");
        assert!(run.stderr.is_empty(), "{run}");
    }
    let mut command = project.command(&["db", "migrat"]);
    let run = Output::new(&["db", "migrat"], &command.env("LYROX_OUTPUT", "json").output().expect("lyrox"));
    assert_eq!(run.exit(2).json()["exit_code"], 2);
    let xml = project.lyrox(&["--output", "junit", "db", "migrat"]);
    assert_eq!(crate::ci::is_junit(&xml.exit(2).stdout).failures, 1);
    project.lyrox(&["--output", "github", "db", "migrat"]).exit(2).says("::error ");
    // Help that is asked for is text on standard output, an unknown form is told as ever.
    let help = project.lyrox(&["--output", "json", "db", "--help"]);
    assert!(help.ok().stdout.starts_with("Migrations"), "{help}");
    let form = project.lyrox(&["--output", "yaml", "check"]);
    assert!(form.exit(2).stdout.is_empty() && form.stderr.contains("yaml"), "{form}");
}
