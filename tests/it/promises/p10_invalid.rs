//! P10: broken indexes are found and repaired, never skipped.

use std::time::Duration;

use sqlx::Connection as _;

use super::{only_postgres, running, start, wait_until};
use crate::support::{Project, block_on};

fn project() -> Project {
    let project = Project::new("p10", "");
    only_postgres(&project, "");
    project.sql("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (1), (2)");
    project
}

fn validity(project: &Project, index: &str) -> String {
    project.sql_value(&format!(
        "SELECT coalesce((SELECT CASE WHEN indisvalid THEN 'valid' ELSE 'invalid' END FROM pg_index \
         WHERE indexrelid = to_regclass('{index}')), 'none')"
    ))
}

#[test]
fn a_unique_build_that_failed_is_built_again() {
    let project = project();
    // `IF NOT EXISTS` would pass the broken index over.
    project.write("migrations/1_u.up.sql", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_id ON t (id);\n");
    project.lyrox(&["db", "migrate"]).exit(1).says("23505").says("INVALID");
    assert_eq!(validity(&project, "t_id"), "invalid");
    project.sql("DELETE FROM t; INSERT INTO t VALUES (1), (2)");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(validity(&project, "t_id"), "valid");
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_build_that_was_cancelled_or_killed_is_built_again() {
    for is_killed in [false, true] {
        let project = project();
        project.write("migrations/1_i.up.sql", "CREATE INDEX CONCURRENTLY t_id ON t (id);\n");
        let mut reader = block_on(sqlx::PgConnection::connect(&project.postgres)).expect("a session");
        let open = "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO t VALUES (9)";
        block_on(sqlx::raw_sql(open).execute(&mut reader)).expect("a snapshot");
        let run = start(&project, &["db", "migrate"]);
        wait_until(Duration::from_secs(20), "an index that is being built", || validity(&project, "t_id") == "invalid");
        if is_killed {
            run.kill();
            wait_until(Duration::from_secs(5), "the end of the build", || !running(&project, "%CONCURRENTLY%"));
        } else {
            project.sql(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
                 AND query LIKE '%CONCURRENTLY%' AND pid <> pg_backend_pid()",
            );
            run.end().exit(1).says("57014");
        }
        block_on(sqlx::raw_sql("COMMIT").execute(&mut reader)).expect("an end");
        assert_eq!(validity(&project, "t_id"), "invalid");
        project.lyrox(&["db", "migrate"]).ok();
        assert_eq!(validity(&project, "t_id"), "valid");
    }
}

#[test]
fn an_invalid_index_of_somebody_else_is_told_and_not_touched() {
    let project = project();
    let _ = crate::support::sql(&project.postgres, "CREATE UNIQUE INDEX CONCURRENTLY t_id ON t (id)");
    assert_eq!(validity(&project, "t_id"), "invalid");
    let oid = project.sql_value("SELECT 't_id'::regclass::oid");
    project.write("migrations/1_i.up.sql", "CREATE INDEX CONCURRENTLY IF NOT EXISTS t_id ON t (id);\n");
    for _ in 0..2 {
        project.lyrox(&["db", "migrate"]).exit(1).says("INVALID").says("not from this migration").says("DROP INDEX");
        assert_eq!(project.sql_value("SELECT 't_id'::regclass::oid"), oid);
    }
    project.sql("DROP INDEX t_id");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(validity(&project, "t_id"), "valid");
}
