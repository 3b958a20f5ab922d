//! P5: SIGTERM ends a run within its grace and two seconds, and leaves nothing open.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{figure, locks, rounds, some_of, start};
use crate::crash::{is_right, slow_project};

/// The grace that a running step has to end.
const GRACE: Duration = Duration::from_secs(3);

#[test]
fn sigterm_ends_a_run_soon_with_143_and_nothing_open() {
    let rounds = rounds(2, 100);
    let (mut slowest, mut early) = (Duration::ZERO, 0);
    for round in 0..rounds {
        let project = slow_project("p05");
        let is_long = round % 5 == 1;
        if is_long {
            // A step that outlives the grace.
            project.write(
                "migrations/05_m.up.sql",
                "CREATE TABLE t5 (id int);\nINSERT INTO t5 SELECT 1 FROM pg_sleep(20);\nINSERT INTO t5 VALUES (2);\n",
            );
        }
        let mut run = start(&project, &["db", "migrate"]);
        std::thread::sleep(Duration::from_millis(100) + some_of(Duration::from_millis(900)));
        if run.has_ended() {
            early += 1;
            continue;
        }
        let begun = Instant::now();
        run.signal(Signal::TERM);
        let output = run.end();
        let took = begun.elapsed();
        output.exit(143);
        assert!(took < GRACE + Duration::from_secs(2), "round {round}: {took:?}\n{output}");
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                    AND application_name LIKE 'lyrox%' AND xact_start IS NOT NULL";
        while project.sql_value(open) != "0" || locks(&project) != "0" {
            // Looking takes its time as well.
            assert!(begun.elapsed() < took + Duration::from_secs(2), "round {round}: something stays open\n{output}");
            std::thread::sleep(Duration::from_millis(20));
        }
        slowest = slowest.max(took);
        if is_long {
            project.write("migrations/05_m.up.sql", "CREATE TABLE t5 (id int);\nINSERT INTO t5 VALUES (1), (2);\n");
        }
        let again = project.lyrox(&["db", "migrate"]);
        // The file that was cut short may be in effect up to a step, and was changed since.
        if !is_long {
            again.ok();
            is_right(&project, &format!("round {round}"));
        }
        again.never_says("waiting for the lock").never_says("LYX-LOCK");
    }
    figure("P5", format!("{rounds} signals ({early} after the end): at most {slowest:?}, always 143, nothing open"));
}
