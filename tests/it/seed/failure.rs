//! What holds when a store refuses, or the run is killed.

use bson::doc;

use super::{BULK, TABLES, USERS, migrated, postgres_only};

#[test]
fn a_refused_document_undoes_postgresql_too() {
    let project = migrated("seed_atomic", "");
    project.mongo(doc! { "create": "notes", "validator": { "n": { "$lt": 10 } } });
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nn = 1\n[rows.b]\nn = 11\n");
    project.lyrox(&["db", "seed"]).exit(1).says("notes.toml:3").says("rolled back; nothing was changed");
    assert_eq!(project.sql_value(r#"SELECT count(*) FROM "User""#), "0");
    assert_eq!(project.mongo(doc! { "count": "notes" }).get_i32("n").ok(), Some(0));
}

#[test]
fn a_killed_run_leaves_nothing_half() {
    let project = postgres_only("seed_kill", &format!("{TABLES}\n{BULK}"));
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.write("seeds/dev/postgres/slow.sql", "INSERT INTO log VALUES ('x'); SELECT pg_sleep(60);");
    let mut child = project
        .command(&["db", "seed"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("a child");
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()";
    let wait = |count: &str| {
        for _ in 0..200 {
            if project.sql_value(sleeping) == count {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("never {count} sleepers");
    };
    wait("1");
    child.kill().expect("a kill");
    child.wait().expect("an end");
    wait("0");
    assert_eq!(project.sql_value(r#"SELECT (SELECT count(*) FROM "User") + (SELECT count(*) FROM log)"#), "0");
    project.remove("seeds/dev/postgres/slow.sql");
    project.lyrox(&["db", "seed"]).ok().says("2 created");
}
