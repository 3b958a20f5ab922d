//! P2: concurrent index builds never deadlock with runners that wait.

use std::time::Duration;

use sqlx::Connection as _;

use super::{figure, only_postgres, rounds, running, start, wait_until};
use crate::support::{Project, block_on};

#[test]
fn a_concurrent_build_and_four_waiting_runners_do_not_deadlock() {
    let rounds = rounds(1, 20);
    for round in 0..rounds {
        let project = Project::new("p02", "");
        only_postgres(&project, "");
        project.sql("CREATE TABLE big AS SELECT n AS id FROM generate_series(1, 20000) n");
        project.write("migrations/1_index.up.sql", "CREATE INDEX CONCURRENTLY big_id ON big (id);\n");
        // The build waits for this snapshot, and everybody else meanwhile for the build.
        let mut reader = block_on(sqlx::PgConnection::connect(&project.postgres)).expect("a session");
        let open = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM big";
        block_on(sqlx::raw_sql(open).execute(&mut reader)).expect("a snapshot");
        let runs: Vec<_> = (0..5).map(|_| start(&project, &["db", "migrate"])).collect();
        wait_until(Duration::from_secs(20), "the build", || running(&project, "%CREATE INDEX CONCURRENTLY%"));
        // Longer than the server waits before it looks for a deadlock.
        std::thread::sleep(Duration::from_millis(1500));
        block_on(sqlx::raw_sql("COMMIT").execute(&mut reader)).expect("an end");
        for run in runs {
            run.end().ok().never_says("deadlock");
        }
        let valid = "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid = 'big_id'::regclass";
        assert_eq!(project.sql_value(valid), "t", "round {round}");
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        assert_eq!(project.sql_value(deadlocks), "0", "round {round}");
    }
    figure("P2", format!("4 waiters x {rounds}: 0 deadlocks, index valid"));
}
