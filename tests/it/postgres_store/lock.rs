//! The project's lock, and locks of tables.

use std::time::Duration;

use lyrox::stores::{LockAnswer, Store as _};

use super::Bench;
use crate::support::block_on;

#[test]
fn the_lock_is_held_by_one_and_its_holder_is_named() {
    let bench = Bench::new("lock", &[]);
    let (mut first, mut second) = (bench.open(), bench.open());
    assert_eq!(block_on(first.try_lock()).expect("an answer"), LockAnswer::Obtained);
    match block_on(second.try_lock()).expect("an answer") {
        LockAnswer::Held(holder) => {
            assert!(holder.contains(&format!("server process {}", first.facts.pid)), "{holder}");
            assert!(holder.starts_with("`lyrox ") && holder.contains("since "), "{holder}");
        }
        LockAnswer::Obtained => panic!("two hold one lock"),
    }
    block_on(first.unlock()).expect("the lock given back");
    assert_eq!(block_on(second.try_lock()).expect("an answer"), LockAnswer::Obtained);
    block_on(first.close());
    block_on(second.close());
}

#[test]
fn a_transaction_that_waits_for_a_lock_is_tried_again() {
    let bench = Bench::with("retry", "lock_timeout = \"100ms\"", &[("1_a.up.sql", "CREATE TABLE a (id int);")]);
    bench.migrate();
    bench.write("2_b.up.sql", "CREATE TABLE b (id int);\nALTER TABLE a ADD COLUMN t text;\n");
    let (begun, wait) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        // Holds its lock until the run has met it.
        scope.spawn(|| {
            block_on(async {
                use sqlx::Connection as _;
                let mut reader = sqlx::PgConnection::connect(&bench.project.postgres).await.expect("a connection");
                sqlx::raw_sql("BEGIN; SELECT * FROM a").execute(&mut reader).await.expect("it read");
                begun.send(()).expect("someone waits");
                for _ in 0..600 {
                    if bench.events.notes().contains("trying again") {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                sqlx::raw_sql("COMMIT").execute(&mut reader).await.expect("an end");
            });
        });
        wait.recv().expect("a reader");
        bench.migrate();
    });
    assert!(bench.events.notes().contains("trying again"), "{}", bench.events.notes());
    assert!(bench.has("b"));
}
