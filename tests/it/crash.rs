//! Kills and races: whatever happens to a run, the next one ends right.

use std::process::Stdio;
use std::time::Duration;

use crate::support::Project;

/// Twenty-four files over three stores, with statements slow enough to be hit. Each leaves a mark that
/// shows whether it ran twice.
pub(crate) fn slow_project(name: &str) -> Project {
    let project = Project::new(name, "");
    for number in 1..=10 {
        let no_transaction = if number % 5 == 0 { "-- lyrox: no-transaction\n" } else { "" };
        let sql = format!(
            "{no_transaction}CREATE TABLE t{number} (id int);\nINSERT INTO t{number} SELECT 1 FROM pg_sleep(0.04);\nINSERT INTO t{number} VALUES (2);\n"
        );
        project.write(&format!("migrations/{number:02}_m.up.sql"), &sql);
        if number % 2 == 0 {
            let json = format!(
                r#"[{{ "create": "c{number}" }}, {{ "insert": "c{number}", "documents": [{{ "n": 1 }}] }}, {{ "createIndexes": "c{number}", "indexes": [{{ "key": {{ "n": 1 }}, "name": "n" }}] }}]"#
            );
            project.write(&format!("migrations/{number:02}_m.up.json"), &json);
        }
        if number % 2 == 1 {
            project
                .write(&format!("migrations/{number:02}_m.up.redis"), "INCR {{prefix}}runs\nLPUSH {{prefix}}list x\n");
        }
    }
    project
}

#[track_caller]
pub(crate) fn is_right(project: &Project, note: &str) {
    for number in 1..=10 {
        assert_eq!(project.sql_value(&format!("SELECT count(*) FROM t{number}")), "2", "t{number} {note}");
        if number % 2 == 0 {
            let count = project.mongo(bson::doc! { "count": format!("c{number}") });
            assert_eq!(count.get_i32("n").ok(), Some(1), "c{number} {note}");
        }
    }
    for (words, expected) in [(["GET", "runs"], "5"), (["LLEN", "list"], "5")] {
        let value = project.redis(&[words[0], &format!("{}{}", project.prefix, words[1])]);
        let value = match value {
            redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            redis::Value::Int(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(value, expected, "{words:?} {note}");
    }
}

#[test]
fn eight_runs_at_once_apply_each_migration_once() {
    let project = slow_project("crash_eight");
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = project.command(&["db", "migrate"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lyrox")
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("an end");
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    is_right(&project, "after eight runs");
    assert_eq!(
        project.sql_value("SELECT count(*) FROM lyrox.events WHERE what = 'applied' AND store = 'postgres'"),
        "10",
        "each migration ran once"
    );
}

/// A migrate is killed at growing delays, then run again. Only 6 kills here; `bench/kill.sh` does 30 and
/// reports the phases hit.
#[test]
fn a_killed_run_is_finished_by_the_next() {
    for (round, delay) in [30, 120, 210, 300, 390, 480].into_iter().enumerate() {
        let project = slow_project("crash_kill");
        let mut child =
            project.command(&["db", "migrate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lyrox");
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().expect("an end");
        let note = format!("round {round}, killed after {delay} ms");
        let mut run = project.lyrox(&["db", "migrate"]);
        if run.code == 6 {
            // A step that may or may not have taken effect is named, never guessed.
            run.says("step");
            panic!("{note}: these migrations can all be settled\n{run}");
        }
        run.ok();
        is_right(&project, &note);
        run = project.lyrox(&["db", "status", "--check"]);
        run.ok();
    }
}

#[test]
fn a_terminated_run_ends_with_143_and_gives_its_locks_back() {
    let project = slow_project("crash_term");
    let child =
        project.command(&["db", "migrate"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lyrox");
    std::thread::sleep(Duration::from_millis(250));
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    let started = std::time::Instant::now();
    project.lyrox(&["db", "migrate"]).ok();
    assert!(started.elapsed() < Duration::from_secs(5), "no lock is left behind");
    is_right(&project, "after a signal");
}

/// Two hundred files into an empty database, 64 to a transaction: wherever the run is killed, the ledger
/// says exactly what is there.
#[test]
fn a_run_killed_in_shared_transactions_leaves_a_ledger_that_is_true() {
    let mut halves = 0;
    for (round, delay) in [60, 150, 300, 0, 0, 0].into_iter().enumerate() {
        let project = Project::new("crash_chunk", "");
        project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n", project.name));
        for number in 1..=200 {
            let sql =
                format!("CREATE TABLE t{number} (id int);\nINSERT INTO t{number} SELECT 1 FROM pg_sleep(0.001);\n");
            project.write(&format!("migrations/{number:03}_m.up.sql"), &sql);
        }
        let mut child =
            project.command(&["db", "migrate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lyrox");
        if delay > 0 {
            std::thread::sleep(Duration::from_millis(delay));
        } else {
            // The first transaction is in effect: a later one is running.
            while project.sql_value("SELECT coalesce((SELECT true FROM pg_class WHERE relname = 't64'), false)") != "t"
            {
                assert!(child.try_wait().expect("a state").is_none(), "it ended too soon");
            }
        }
        let _ = child.kill();
        child.wait().expect("an end");
        let note = format!("round {round}, killed after {delay} ms");
        // The server notices a vanished client within half a second, and rolls back.
        let is_idle = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE 'lyrox %'",
            project.name
        );
        for _ in 0..100 {
            if project.sql_value(&is_idle) == "0" {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let tables = "SELECT coalesce(string_agg(relname, ' ' ORDER BY substr(relname, 2)::int), '') FROM pg_class \
            WHERE relkind = 'r' AND relname ~ '^t\\d+$'";
        let there = project.sql_value(tables);
        if project.sql_value("SELECT to_regclass('lyrox.migrations') IS NOT NULL") == "t" {
            let told = project.sql_value(
                "SELECT coalesce(string_agg('t' || version::int, ' ' ORDER BY version), '') FROM lyrox.migrations \
                 WHERE state = 'applied'",
            );
            assert_eq!(there, told, "{note}");
            let events = project.sql_value("SELECT count(*) FROM lyrox.events WHERE what = 'applied'");
            assert_eq!(events, told.split_whitespace().count().to_string(), "{note}");
        } else {
            assert_eq!(there, "", "{note}");
        }
        let count = there.split_whitespace().count();
        halves += usize::from(count > 0 && count < 200);
        project.lyrox(&["db", "migrate"]).ok();
        assert_eq!(project.sql_value(tables).split_whitespace().count(), 200, "{note}");
        assert_eq!(project.sql_value("SELECT count(*) FROM t200"), "1", "{note}");
    }
    assert!(halves > 0, "no kill hit between the first transaction and the last");
}
