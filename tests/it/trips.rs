//! How often the server is waited for: what a slow line makes of a command.

use crate::support::Project;

/// A project with PostgreSQL alone and so many small migrations.
fn project(name: &str, count: usize) -> Project {
    let project = Project::new(name, "");
    project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n", project.name));
    for number in 1..=count {
        let sql = format!("CREATE TABLE t{number} (id int);\nINSERT INTO t{number} VALUES (1);\n");
        project.write(&format!("migrations/{number:03}_m.up.sql"), &sql);
    }
    project
}

/// What `-v` says of PostgreSQL.
#[track_caller]
fn trips(project: &Project, arguments: &[&str]) -> u32 {
    let run = project.lyrox(&[arguments, &["-v"]].concat());
    run.ok();
    let text = run.stdout.clone();
    let (before, _) = text.split_once(" round trip").unwrap_or_else(|| panic!("no count in\n{run}"));
    let number = before.rsplit(|c: char| !c.is_ascii_digit()).next().expect("a number");
    number.parse().unwrap_or_else(|_| panic!("no count in\n{run}"))
}

#[test]
fn a_run_with_nothing_to_do_waits_twice() {
    let project = project("trips_nothing", 3);
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(trips(&project, &["db", "migrate"]), 2, "the session, the ledger");
    assert_eq!(trips(&project, &["db", "status"]), 2);
    // Nobody has to wait for another run to learn that there is nothing to do.
    let quiet = project.lyrox(&["db", "migrate"]);
    assert!(!quiet.stdout.contains("round trip"), "{quiet}");
}

#[test]
fn the_number_of_files_hardly_counts_in_an_empty_database() {
    let few = trips(&project("trips_few", 64), &["db", "migrate"]);
    let many = trips(&project("trips_many", 128), &["db", "migrate"]);
    assert_eq!(many - few, 2, "a further transaction of 64 files takes its text and its rows");
    let hundred = trips(&project("trips_hundred", 100), &["db", "migrate"]);
    assert_eq!(hundred, many);
    assert!(hundred < 60, "{hundred}");
}

#[test]
fn in_a_database_in_use_a_file_takes_one_round_trip() {
    let project = project("trips_used", 3);
    project.lyrox(&["db", "migrate"]).ok();
    let base = {
        project.write("migrations/004_m.up.sql", "CREATE TABLE t4 (id int);\n");
        trips(&project, &["db", "migrate"])
    };
    for number in 5..=14 {
        project.write(&format!("migrations/{number:03}_m.up.sql"), &format!("CREATE TABLE t{number} (id int);\n"));
    }
    assert_eq!(trips(&project, &["db", "migrate"]) - base, 9);
}

#[test]
fn nothing_to_do_needs_no_lock_and_work_does() {
    let project = project("trips_lock", 1);
    project.lyrox(&["db", "migrate"]).ok();
    // Another run that takes its time.
    project.write("migrations/002_slow.up.sql", "SELECT pg_sleep(30);\n");
    let mut other = project.command(&["db", "migrate"]).spawn().expect("lyrox");
    let sleeps = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query ~ 'pg_sleep' AND state = 'active' AND pid <> pg_backend_pid()",
        project.name
    );
    for _ in 0..200 {
        if project.sql_value(&sleeps) != "0" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    project.lyrox(&["db", "migrate", "--lock-wait", "100ms"]).exit(5).says("LYX-LOCK-HELD");
    project.remove("migrations/002_slow.up.sql");
    project.lyrox(&["db", "migrate", "--lock-wait", "100ms"]).ok().says("up to date");
    other.kill().expect("a kill");
    other.wait().expect("an end");
}
