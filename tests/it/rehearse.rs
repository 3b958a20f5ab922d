//! `db rehearse`: what it tells, and that nothing is left of it.

use std::time::Duration;

use crate::support::Project;

const CORE: &str = "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, n int);\n\
    INSERT INTO item SELECT g, 'x' || g, g FROM generate_series(1, 2000) g;\n\
    CREATE SEQUENCE ticket;\nCREATE TABLE quiet (id int);\n";
const CHANGE: &str = "ALTER TABLE item ALTER COLUMN n TYPE bigint;\n\
    UPDATE item SET name = upper(name) WHERE id <= 100;\n\
    INSERT INTO quiet SELECT nextval('ticket') FROM generate_series(1, 3);\n\
    CREATE TABLE fresh (id int);\n";

/// A project with one applied version and one pending.
fn pending(name: &str, change: &str) -> Project {
    let project = Project::new(name, "");
    project.write("migrations/1_core.up.sql", CORE);
    project.lyrox(&["db", "migrate"]).ok();
    project.write("migrations/2_change.up.sql", change);
    project
}

/// Everything that a rehearsal must leave as it was, but for sequences.
fn state(project: &Project) -> Vec<Vec<Option<String>>> {
    project.sql(
        "SELECT 'rows', count(*)::text, sum(n)::text, max(name) FROM item \
         UNION ALL SELECT 'quiet', count(*)::text, NULL, NULL FROM quiet \
         UNION ALL SELECT 'ledger', string_agg(version || state, ','), NULL, NULL FROM lyrox.migrations \
         UNION ALL SELECT 'events', count(*)::text, NULL, NULL FROM lyrox.events \
         UNION ALL SELECT attname, format_type(atttypid, atttypmod), NULL, NULL FROM pg_attribute \
         WHERE attrelid = 'item'::regclass AND attname = 'n' \
         UNION ALL SELECT 'fresh', to_regclass('fresh')::text, NULL, NULL",
    )
}

#[test]
fn live_tells_locks_rows_and_rewrites_and_leaves_nothing() {
    let project = pending("reh_live", CHANGE);
    let before = state(&project);
    let run = project.lyrox(&["db", "rehearse", "--live", "--output", "json"]);
    run.ok();
    let step = run.json()["data"]["steps"][0].clone();
    let lock = step["locks"].as_array().expect("locks")[0].clone();
    assert_eq!(
        (&lock["relation"], &lock["mode"], &lock["statement"], &lock["blocks"]),
        (&"item".into(), &"ACCESS EXCLUSIVE".into(), &1.into(), &"reads and writes".into()),
        "{run}"
    );
    assert!(lock["held_ms"].as_f64().is_some_and(|held| held > 0.0) && lock["live"]["bytes"].as_u64() > Some(8192));
    assert!(
        step["locks"].as_array().is_some_and(|locks| locks.iter().all(|lock| lock["relation"] != "fresh")),
        "{run}"
    );
    assert_eq!(step["rewrites"], serde_json::json!(["item"]));
    let rows = step["rows"].as_array().expect("rows");
    let of = |name: &str| rows.iter().find(|rows| rows["relation"] == name).cloned().unwrap_or_default();
    assert_eq!(of("item"), serde_json::json!({ "relation": "item", "inserted": 0, "updated": 100, "deleted": 0 }));
    assert_eq!(of("quiet")["inserted"], 3);
    assert_eq!(step["lasting"], serde_json::json!(["the sequence ticket went on to 3"]));
    assert_eq!(run.item("postgres.2")["outcome"], "warn");
    assert_eq!(state(&project), before, "nothing is left");

    project.lyrox(&["db", "rehearse", "--live"]).ok().says("it blocks reads and writes").says("nothing was changed");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "rehearse", "--live"]).ok().says("nothing is pending");
}

#[test]
fn live_says_who_is_in_the_way() {
    let project = pending("reh_wait", "CREATE INDEX item_name ON item (name);\n");
    crate::support::block_on(async {
        use sqlx::Connection as _;
        let mut other = sqlx::PgConnection::connect(&project.postgres).await.expect("a session");
        let text = "BEGIN; UPDATE item SET n = 0 WHERE id = 1";
        sqlx::raw_sql(text).execute(&mut other).await.expect("a lock");
        let run = project.lyrox(&["db", "rehearse", "--live"]);
        run.exit(1).says("55P03").says("nothing was changed");
        // A scratch database is not in anybody's way; the live one is looked at.
        let run = project.lyrox(&["db", "rehearse", "--output", "json"]);
        run.ok();
        let lock = run.json()["data"]["steps"][0]["locks"][0].clone();
        assert_eq!((&lock["mode"], &lock["live"]["sessions"]), (&"SHARE".into(), &1.into()), "{run}");
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("the end");
    });
}

#[test]
fn live_is_refused_where_it_could_do_harm() {
    let project = pending("reh_no", "CREATE INDEX CONCURRENTLY item_n ON item (n);\n");
    project
        .lyrox(&["db", "rehearse", "--live"])
        .exit(2)
        .says("cannot be rehearsed on the live database")
        .says("2_change");
    assert_eq!(project.sql_value("SELECT to_regclass('item_n') IS NULL"), "t");
    let settings = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    project.write("lyrox.toml", &format!("{settings}\n[env.local]\nprotected = true\n"));
    project.lyrox(&["db", "rehearse", "--live"]).exit(3).says("protected");
}

#[test]
fn a_migration_that_would_fail_is_told_with_its_place() {
    let project = pending("reh_fail", "CREATE TABLE fresh (id int);\nALTER TABLE item ADD COLUMN n int;\n");
    let before = state(&project);
    for flags in [&["db", "rehearse", "--live"][..], &["db", "rehearse"]] {
        project.lyrox(flags).exit(1).says("migrations/2_change.up.sql:2").says("42701").says("nothing was changed");
        assert_eq!(state(&project), before);
    }
    let run = project.lyrox(&["db", "rehearse", "--live", "--limit", "50ms"]);
    run.exit(1);
    project.write("migrations/2_change.up.sql", "SELECT pg_sleep(3);\n");
    let started = std::time::Instant::now();
    project.lyrox(&["db", "rehearse", "--live", "--limit", "100ms"]).exit(1).says("57014");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn scratch_stores_take_what_no_transaction_can() {
    let project = Project::new("reh_scratch", "");
    project.write("migrations/1_core.up.sql", CORE);
    project.write("migrations/1_core.up.json", r#"[{ "create": "events" }]"#);
    project.write("migrations/1_core.up.redis", "SET {{prefix}}theme light\n");
    project.lyrox(&["db", "migrate"]).ok();
    project.write("migrations/2_change.up.sql", "CREATE INDEX CONCURRENTLY item_n ON item (n);\n");
    project.write("migrations/2_change.up.json", r#"[{ "create": "more" }]"#);
    project.write("migrations/2_change.up.redis", "SET {{prefix}}theme dark\n");
    let before = state(&project);
    let run = project.lyrox(&["db", "rehearse", "--output", "json"]);
    run.ok();
    for store in ["postgres", "mongodb", "redis"] {
        assert_eq!(run.item(&format!("{store}.2"))["outcome"], "pass", "{run}");
    }
    assert_eq!(state(&project), before);
    assert_eq!(project.sql_value("SELECT to_regclass('item_n') IS NULL"), "t");
    project.lyrox(&["db", "status"]).ok().says("3 pending");
}
