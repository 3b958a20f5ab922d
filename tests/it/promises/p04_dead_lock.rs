//! P4: the lock of a runner that is dead is free within two seconds.

use std::time::Duration;

use super::{figure, locks, only_postgres, rounds, running, start, wait_until};
use crate::support::Project;

#[test]
fn the_lock_of_a_killed_runner_is_free_within_two_seconds() {
    let project = Project::new("p04", "");
    only_postgres(&project, "");
    let mut slowest = Duration::ZERO;
    let rounds = rounds(2, 50);
    for round in 0..rounds {
        // In a transaction, and one by one outside of one.
        let header = if round % 2 == 0 { "" } else { "-- lyrox: no-transaction\n" };
        project.write("migrations/1_long.up.sql", &format!("{header}SELECT pg_sleep(60);\n"));
        let run = start(&project, &["db", "migrate"]);
        wait_until(Duration::from_secs(20), "the statement", || running(&project, "%pg_sleep(60)%"));
        run.kill();
        let free = wait_until(Duration::from_secs(20), "a free lock", || locks(&project) == "0");
        slowest = slowest.max(free);
        assert!(free < Duration::from_secs(2), "round {round}: {free:?}");
    }
    figure("P4", format!("{rounds} kills during a 60 s statement: free after at most {slowest:?}"));
}
