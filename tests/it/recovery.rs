//! `db repair`, `baseline`, `unlock`: every state that status can show has its way on.

use std::time::Duration;

use crate::promises::{locks, only_postgres, running, start, wait_until};
use crate::support::Project;

fn text(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// A migrate that was killed in a procedure that had committed already: nobody can know.
fn in_doubt(name: &str) -> Project {
    let project = Project::new(name, "");
    only_postgres(&project, "");
    project.write(
        "migrations/1_core.up.sql",
        "CREATE TABLE marks (n int);\nCREATE TABLE nap (seconds int);\nINSERT INTO nap VALUES (60);\n\
         CREATE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO marks VALUES (1); COMMIT; \
         PERFORM pg_sleep((SELECT seconds FROM nap)); END $$;\n",
    );
    project.write(
        "migrations/2_work.up.sql",
        "-- lyrox: no-transaction\nINSERT INTO marks VALUES (0);\nCALL work();\nINSERT INTO marks VALUES (2);\n",
    );
    let run = start(&project, &["db", "migrate"]);
    wait_until(Duration::from_secs(20), "the procedure", || running(&project, "%CALL work()%"));
    wait_until(Duration::from_secs(5), "its commit", || project.sql_value("SELECT count(*) FROM marks") == "2");
    run.kill();
    wait_until(Duration::from_secs(5), "a free lock", || locks(&project) == "0");
    project.sql("UPDATE nap SET seconds = 0");
    project
}

#[test]
fn a_statement_in_doubt_is_settled_as_done_or_not_done() {
    for (flag, expected) in [("--done", "0,1,2"), ("--not-done", "0,1,1,2")] {
        let project = in_doubt("rec_doubt");
        let run = project.lyrox(&["db", "migrate"]);
        run.exit(6).says("LYX-IN-DOUBT").says("CALL work()").says("step 2 of 2_work");
        run.says("lyrox db repair --done 2 --only postgres").says("--not-done 2");
        project.lyrox(&["db", "status"]).ok().says("stopped after step 1 of 3");
        project.lyrox(&["db", "repair", flag, "2", "--only", "postgres"]).ok().says("2_work");
        // What is settled is not in doubt any more.
        project.lyrox(&["db", "repair", "--not-done", "2"]).exit(2).says("nothing was changed");
        project.lyrox(&["db", "migrate"]).ok();
        let marks = "SELECT string_agg(n::text, ',' ORDER BY n) FROM marks";
        assert_eq!(project.sql_value(marks), expected, "{flag}");
        let event = "SELECT count(*) FROM lyrox.events WHERE what LIKE 'settled as%'";
        assert_eq!(project.sql_value(event), "1");
        project.lyrox(&["db", "status", "--check"]).ok();
    }
}

#[test]
fn an_unfinished_version_is_struck_out_and_begins_anew() {
    let project = in_doubt("rec_anew");
    project.lyrox(&["db", "repair", "--forget", "2"]).exit(3).says("lyrox db repair --forget 2 --yes");
    project.lyrox(&["db", "repair", "--forget", "2", "--yes"]).ok().says("out of the ledger");
    project.sql("DELETE FROM marks");
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(project.sql_value("SELECT string_agg(n::text, ',' ORDER BY n) FROM marks"), "0,1,2");
}

#[test]
fn a_command_of_mongodb_in_doubt_is_settled() {
    for (flag, expected) in [("--done", 2), ("--not-done", 4)] {
        let project = Project::new("rec_mongo", "");
        // Nothing keeps these documents from being written twice.
        let insert = |more: &str| {
            format!(
                "// lyrox: no-transaction\n[ {{ \"create\": \"a\", \"validator\": {{ \"n\": {{ \"$lt\": 9 }} }} }}, \
                 {{ \"insert\": \"a\", \"documents\": [ {{ \"n\": 1 }}, {{ \"n\": 2 }}{more} ] }} ]"
            )
        };
        project.write("migrations/1_bulk.up.json", &insert(", { \"n\": 9 }"));
        project.lyrox(&["db", "migrate"]).exit(1).says("2 items of step 2 were written");
        let run = project.lyrox(&["db", "migrate"]);
        run.exit(6).says("LYX-IN-DOUBT").says("lyrox db repair --done 1 --only mongodb");
        project.mongo(bson::doc! { "collMod": "a", "validator": {} });
        project.mongo(
            bson::doc! { "update": "a", "updates": [{ "q": {}, "u": { "$set": { "seen": true } }, "multi": true }] },
        );
        project.lyrox(&["db", "repair", flag, "1", "--only", "mongodb"]).ok();
        project.lyrox(&["db", "migrate"]).ok();
        let count = project.mongo(bson::doc! { "count": "a" });
        let expected = if flag == "--not-done" { expected + 1 } else { expected };
        assert_eq!(count.get_i32("n").ok(), Some(expected), "{flag}");
        project.lyrox(&["db", "status", "--check"]).ok();
    }
}

#[test]
fn a_command_of_redis_in_doubt_is_settled() {
    for (flag, expected) in [("--done", "1"), ("--not-done", "2")] {
        let project = Project::new("rec_redis", "");
        project.redis(&["LPUSH", &format!("{}list", project.prefix), "x"]);
        project.write(
            "migrations/1_work.up.redis",
            "SET {{prefix}}before 1\nEVAL \"redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])\" 2 {{prefix}}n {{prefix}}list\nSET {{prefix}}after 1\n",
        );
        project.lyrox(&["db", "migrate"]).exit(1).says("WRONGTYPE");
        let run = project.lyrox(&["db", "migrate"]);
        run.exit(6).says("LYX-IN-DOUBT").says("lyrox db repair --done 1 --only redis");
        project.redis(&["DEL", &format!("{}list", project.prefix)]);
        project.lyrox(&["db", "repair", flag, "1", "--only", "redis"]).ok();
        project.lyrox(&["db", "migrate"]).ok();
        assert_eq!(text(&project.redis(&["GET", &format!("{}n", project.prefix)])), expected, "{flag}");
        assert_eq!(text(&project.redis(&["GET", &format!("{}after", project.prefix)])), "1");
        project.lyrox(&["db", "status", "--check"]).ok();
    }
}

/// One version in three stores.
fn core(name: &str) -> Project {
    let project = Project::new(name, "");
    project.write("migrations/1_core.up.sql", "CREATE TABLE item (id int);\n");
    project.write("migrations/1_core.up.json", r#"[{ "create": "events" }]"#);
    project.write("migrations/1_core.up.redis", "SET {{prefix}}answer 42\n");
    project
}

#[test]
fn an_edited_or_renamed_file_is_accepted() {
    let project = core("rec_accept");
    project.lyrox(&["db", "migrate"]).ok();
    let old = project.sql_value("SELECT checksum FROM lyrox.migrations WHERE store = 'postgres'");
    project.write("migrations/1_core.up.sql", "CREATE TABLE item (id int); -- as it is\n");
    project.write("migrations/1_core.up.json", r#"[{ "create": "events", "comment": "as it is" }]"#);
    project.write("migrations/1_core.up.redis", "SET {{prefix}}answer 43\n");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("lyrox db repair --accept 1 --only postgres").says("--accept 1 --only redis");
    project.lyrox(&["db", "repair", "--accept", "1"]).exit(3).says("nothing was sent");
    project.lyrox(&["db", "repair", "--accept", "1", "--only", "postgres", "--yes"]).ok().says("1_core");
    let event = format!("SELECT count(*) FROM lyrox.events WHERE what = 'accepted, was {old}'");
    assert_eq!(project.sql_value(&event), "1");
    project.lyrox(&["db", "migrate"]).exit(6).never_says("--only postgres");
    project.lyrox(&["db", "repair", "--accept", "1", "--yes"]).ok();
    project.lyrox(&["db", "migrate"]).ok().says("up to date");
    for ending in ["sql", "json", "redis"] {
        let name = |name: &str| project.path(&format!("migrations/1_{name}.up.{ending}"));
        std::fs::rename(name("core"), name("kern")).expect("a rename");
    }
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-RENAMED");
    project.lyrox(&["db", "repair", "--accept", "1", "--yes"]).ok().says("1_kern");
    project.lyrox(&["db", "status", "--check"]).ok().says("1_kern");
    assert_eq!(text(&project.redis(&["GET", &format!("{}answer", project.prefix)])), "42", "nothing was run");
    project.lyrox(&["db", "repair", "--accept", "1", "--yes"]).exit(2).says("what was applied");
    project.lyrox(&["db", "smoke-test"]).ok();
}

#[test]
fn a_version_whose_files_are_gone_is_struck_out() {
    let project = core("rec_forget");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "repair", "--forget", "1", "--yes"]).exit(2).says("lyrox db rollback");
    for ending in ["sql", "json", "redis"] {
        project.remove(&format!("migrations/1_core.up.{ending}"));
    }
    project.write("migrations/2_next.up.sql", "CREATE TABLE next (id int);\n");
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-DRIFT-MISSING").says("lyrox db repair --forget 1 --only postgres");
    project.lyrox(&["db", "repair", "--forget", "1", "--yes"]).ok();
    project.lyrox(&["db", "migrate"]).ok().says("2_next");
    assert_eq!(project.sql_value("SELECT to_regclass('item') IS NOT NULL"), "t", "what it made stays");
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn an_evicted_redis_is_noticed_without_postgres() {
    let project = core("rec_evicted");
    let (name, prefix) = (&project.name, &project.prefix);
    let settings =
        format!("[project]\nname = \"{name}\"\n[mongodb]\ndatabase = \"{name}\"\n[redis]\nkey_prefix = \"{prefix}\"\n");
    project.write("lyrox.toml", &settings);
    project.remove("migrations/1_core.up.sql");
    project.lyrox(&["db", "migrate"]).ok();
    project.redis(&["DEL", &format!("{prefix}lyrox:migrations"), &format!("{prefix}answer")]);
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-LEDGER-BEHIND").says("MongoDB recorded it");
    project.lyrox(&["db", "repair", "--replay", "redis"]).ok();
    assert_eq!(text(&project.redis(&["GET", &format!("{prefix}answer")])), "42");
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_baseline_records_without_running() {
    let project = core("rec_base");
    project.write("migrations/2_more.up.sql", "CREATE TABLE more (id int);\n");
    // An empty database has nothing that could have been applied.
    project.lyrox(&["db", "baseline", "--yes"]).exit(6).says("LYX-BASELINE").says("is empty");
    project.sql("CREATE TABLE item (id int); INSERT INTO item VALUES (7)");
    project.mongo(bson::doc! { "create": "events" });
    project.lyrox(&["db", "baseline", "--to", "1"]).exit(3).says("nothing was sent").says("--yes");
    let dry = project.lyrox(&["db", "baseline", "--to", "1", "--dry-run"]);
    dry.ok().says("1_core").never_says("2_more").says("nothing was changed");
    assert_eq!(project.sql_value("SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'"), "0");
    project.lyrox(&["db", "baseline", "--to", "1", "--yes"]).ok().says("recorded").says("not run");
    assert_eq!(project.sql_value("SELECT id FROM item"), "7");
    assert_eq!(text(&project.redis(&["EXISTS", &format!("{}answer", project.prefix)])), "0", "nothing was run");
    project.lyrox(&["db", "status"]).ok().says("3 applied, 1 pending");
    project.lyrox(&["db", "baseline", "--to", "1", "--yes"]).ok().says("nothing to record");
    project.lyrox(&["db", "migrate"]).ok().says("2_more");
    let applied =
        "SELECT string_agg(what, ',' ORDER BY id) FROM lyrox.events WHERE store = 'postgres' AND version IS NOT NULL";
    assert_eq!(project.sql_value(applied), "recorded,applied");
    // What is older than what lyrox ran did not run.
    project.write("migrations/0_old.up.sql", "CREATE TABLE old (id int);\n");
    project.lyrox(&["db", "baseline", "--yes"]).exit(6).says("LYX-BASELINE").says("2_more");
    project.remove("migrations/0_old.up.sql");
    project.write("migrations/2_more.up.sql", "CREATE TABLE more (id int, n int);\n");
    project.lyrox(&["db", "baseline", "--yes"]).exit(6).says("another text");
}

#[test]
fn unlock_shows_who_holds_a_lock_and_takes_a_live_one_by_name_only() {
    let project = core("rec_unlock");
    project.lyrox(&["db", "unlock"]).ok().says("free");
    project.write("migrations/1_core.up.sql", "SELECT pg_sleep(60);\n");
    let run = start(&project, &["db", "migrate"]);
    wait_until(Duration::from_secs(20), "the statement", || running(&project, "%pg_sleep(60)%"));
    let held = project.lyrox(&["db", "unlock"]);
    held.exit(5).says("LYX-LOCK-HELD").says("server process").says("its lease ends in");
    held.says(&format!("lyrox db unlock --confirm {}", project.name));
    project.lyrox(&["db", "unlock", "--confirm", "another", "--yes"]).exit(3).says("nothing was changed");
    assert!(running(&project, "%pg_sleep(60)%"), "the run was left alone");
    project.lyrox(&["db", "unlock", "--confirm", &project.name]).ok().says("dropped");
    assert_ne!(run.end().code, 0);
    assert_eq!(project.sql_value("SELECT to_regclass('lyrox.migrations') IS NOT NULL"), "t");
    project.write("migrations/1_core.up.sql", "CREATE TABLE item (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
}

#[test]
fn unlock_ends_the_lease_of_a_holder_that_is_gone() {
    let project = core("rec_dead");
    let token = "00000000-0000-4000-8000-000000000000";
    project.mongo(bson::doc! { "insert": "lyrox_lock", "documents": [{ "_id": "lock", "token": token,
    "holder": "ana@elsewhere, pid 1", "since": bson::DateTime::now(), "expires": bson::DateTime::from_millis(0) }] });
    project.lyrox(&["db", "unlock", "--only", "mongodb"]).ok().says("ana@elsewhere").says("its lease has run out");
    project.lyrox(&["db", "unlock", "--only", "mongodb"]).ok().says("free");
    // A lock without an end, as a restored dump may hold it: by name only.
    let lock = format!("{}lyrox:lock", project.prefix);
    let stored =
        format!("{{\"token\":\"{token}\",\"holder\":\"ana@elsewhere, pid 1\",\"process\":null,\"since_ms\":0}}");
    project.redis(&["SET", &lock, &stored]);
    project.lyrox(&["db", "unlock", "--only", "redis"]).exit(5).says("it never ends by itself");
    project.lyrox(&["db", "unlock", "--only", "redis", "--confirm", &project.prefix]).ok().says("dropped");
    project.lyrox(&["db", "migrate"]).ok();
}
