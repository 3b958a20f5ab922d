//! P6: migrations do not stall traffic beyond their lock timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::Connection as _;

use super::{figure, is_soak, only_postgres};
use crate::support::{Project, block_on};

/// The limit of the migration's waiting.
const LOCK_TIMEOUT: Duration = Duration::from_millis(400);

#[test]
fn a_reader_stalls_no_traffic_behind_a_migration() {
    let held = Duration::from_secs(if is_soak() { 30 } else { 3 });
    let project = Project::new("p06", "");
    only_postgres(&project, "lock_timeout = \"400ms\"");
    project.sql("CREATE TABLE busy (id int); INSERT INTO busy VALUES (1)");
    project.write("migrations/1_alter.up.sql", "ALTER TABLE busy ADD note text;\n");
    let mut reader = block_on(sqlx::PgConnection::connect(&project.postgres)).expect("a session");
    block_on(sqlx::raw_sql("BEGIN; SELECT * FROM busy").execute(&mut reader)).expect("a reader");
    let is_over = Arc::new(AtomicBool::new(false));
    let prober = {
        let (url, is_over) = (project.postgres.clone(), Arc::clone(&is_over));
        std::thread::spawn(move || {
            let mut session = block_on(sqlx::PgConnection::connect(&url)).expect("a session");
            let mut slowest = Duration::ZERO;
            let mut count = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                block_on(sqlx::raw_sql("SELECT count(*) FROM busy").execute(&mut session)).expect("an answer");
                slowest = slowest.max(begun.elapsed());
                count += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            (slowest, count)
        })
    };
    let begun = Instant::now();
    let mut tries = 0;
    while begun.elapsed() < held {
        project.lyrox(&["db", "migrate"]).exit(1).says("55P03");
        tries += 1;
    }
    block_on(sqlx::raw_sql("COMMIT").execute(&mut reader)).expect("an end");
    project.lyrox(&["db", "migrate"]).ok();
    is_over.store(true, Ordering::Relaxed);
    let (slowest, count) = prober.join().expect("the prober");
    assert!(slowest <= LOCK_TIMEOUT + Duration::from_millis(150), "{slowest:?} over {count} queries");
    figure(
        "P6",
        format!(
            "reader for {held:?}, {tries} runs, {count} queries: slowest {slowest:?}, limit {LOCK_TIMEOUT:?} + 150 ms"
        ),
    );
}
