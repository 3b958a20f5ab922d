//! Scripts: once per content.

use bson::doc;

use super::{migrated, project};

#[test]
fn scripts_run_once_per_content() {
    let project = migrated("seed_scripts", "");
    project
        .write("seeds/dev/postgres/log.sql", "INSERT INTO writes VALUES ('one');\nCOPY writes FROM stdin;\ntwo\n\\.\n");
    project.write("seeds/dev/mongodb/log.json", "[ { \"insert\": \"log\", \"documents\": [{ \"n\": 1 }] } ]");
    project.write("seeds/dev/redis/log.redis", "# a comment\nRPUSH {{prefix}}log \"a b\" c\n");
    let counts = || {
        let documents = project.mongo(doc! { "count": "log" });
        let log = format!("{}log", project.prefix);
        (project.sql_value("SELECT count(*) FROM writes"), documents.get_i32("n").ok(), project.redis(&["LLEN", &log]))
    };
    project.lyrox(&["db", "seed", "--dry-run"]).ok().says("would be applied");
    assert_eq!(counts(), ("0".into(), Some(0), redis::Value::Int(0)));
    project.lyrox(&["db", "seed"]).ok();
    let once = ("2".to_owned(), Some(1), redis::Value::Int(2));
    assert_eq!(counts(), once);
    project.lyrox(&["db", "seed"]).ok().says("applied before");
    assert_eq!(counts(), once);
    project.write("seeds/dev/postgres/log.sql", "INSERT INTO writes VALUES ('three');\n");
    project.lyrox(&["db", "seed"]).ok().says("changed since it was applied: applied again");
    assert_eq!(counts(), ("3".to_owned(), Some(1), redis::Value::Int(2)));
    project.write("seeds/dev/postgres/log.sql", "SELECT 1;\nINSERT INTO writes VALUES (nul);\n");
    project.lyrox(&["db", "seed"]).exit(1).says("log.sql:2:28").says("column \"nul\" does not exist");
    assert_eq!(counts().0, "3");
}

#[test]
fn a_reset_forgets_what_was_applied_once() {
    let project = project("seed_reset", "");
    // A reset removes what migrations made.
    project.write("migrations/1_core.up.json", "[ { \"create\": \"log\" } ]");
    project.lyrox(&["db", "migrate"]).ok();
    project.write("seeds/dev/postgres/log.sql", "INSERT INTO writes VALUES ('one');\n");
    project.write("seeds/dev/mongodb/log.json", "[ { \"insert\": \"log\", \"documents\": [{ \"n\": 1 }] } ]");
    project.write("seeds/dev/redis/log.redis", "RPUSH {{prefix}}log a\n");
    project.lyrox(&["db", "seed"]).ok();
    project.lyrox(&["db", "reset", "--confirm", &project.name]).ok();
    assert_eq!(project.sql_value("SELECT count(*) FROM writes"), "1");
    assert_eq!(project.mongo(doc! { "count": "log" }).get_i32("n").ok(), Some(1));
    assert_eq!(project.redis(&["LLEN", &format!("{}log", project.prefix)]), redis::Value::Int(1));
}

#[test]
fn a_changed_file_that_fails_is_not_remembered_and_runs_again() {
    let project = migrated("seed_rehash", "");
    let sql = |text: &str| {
        project.write("seeds/dev/postgres/log.sql", text);
    };
    let json = |text: &str| {
        project.write("seeds/dev/mongodb/log.json", text);
    };
    let redis = |text: &str| {
        project.write("seeds/dev/redis/log.redis", text);
    };
    let log = format!("{}log", project.prefix);
    let counts = || {
        let documents = project.mongo(doc! { "count": "log" });
        (project.sql_value("SELECT count(*) FROM writes"), documents.get_i32("n").ok(), project.redis(&["LLEN", &log]))
    };
    let list = redis::Value::Int;
    sql("INSERT INTO writes VALUES ('1');");
    json("[ { \"insert\": \"log\", \"documents\": [{ \"_id\": 1 }] } ]");
    redis("RPUSH {{prefix}}log 1\n");
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(counts(), ("1".into(), Some(1), list(1)));

    // Each changed, each failing behind something that works.
    sql("INSERT INTO writes VALUES ('2'); INSERT INTO nowhere VALUES (1);");
    project.lyrox(&["db", "seed"]).exit(1).says("log.sql:1");
    assert_eq!(counts(), ("1".into(), Some(1), list(1)));
    sql("INSERT INTO writes VALUES ('2');");
    json(
        "[ { \"insert\": \"log\", \"documents\": [{ \"_id\": 2 }] }, { \"insert\": \"log\", \"documents\": [{ \"_id\": 1 }] } ]",
    );
    project.lyrox(&["db", "seed"]).exit(1).says("log.json").says("nothing of this file is in effect");
    assert_eq!(counts(), ("2".into(), Some(1), list(1)), "PostgreSQL's file was applied, MongoDB's undone as a whole");
    json("[ { \"insert\": \"log\", \"documents\": [{ \"_id\": 2 }] } ]");
    redis("RPUSH {{prefix}}log 2\nHSET {{prefix}}log a 1\n");
    for round in 2..4 {
        project.lyrox(&["db", "seed"]).exit(1).says("log.redis:2");
        assert_eq!(counts(), ("2".into(), Some(2), list(round)), "it was tried again: it is not held to be applied");
    }
    redis("RPUSH {{prefix}}log 3\n");
    project.lyrox(&["db", "seed"]).ok().says("changed since it was applied: applied again");
    assert_eq!(counts(), ("2".into(), Some(2), list(4)));
    project.lyrox(&["db", "seed"]).ok().never_says("applied again");
    assert_eq!(counts(), ("2".into(), Some(2), list(4)));
}

#[test]
fn a_changed_file_without_a_key_is_never_merely_remembered() {
    let project = migrated("seed_rehash_bulk", "");
    project.write("seeds/dev/postgres/writes.csv", "what\none\n");
    project.write("seeds/dev/mongodb/free.ndjson", "{\"n\": 1}\n{\"n\": 2}\n");
    let seed = || project.lyrox(&["db", "seed"]);
    seed().ok();
    seed().ok().says("the file is the same");
    // A new row cannot be told from the stored one: that is said, and stays said, until the table is empty.
    project.write("seeds/dev/postgres/writes.csv", "what\none\ntwo\n");
    for _ in 0..2 {
        seed().exit(2).says("has no key").says("is not empty");
        assert_eq!(project.sql_value("SELECT count(*) FROM writes"), "1");
    }
    project.sql("DELETE FROM writes");
    seed().ok();
    assert_eq!(project.sql_value("SELECT string_agg(what, ',' ORDER BY what) FROM writes"), "one,two");
    project.write("seeds/dev/mongodb/free.ndjson", "{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3}\n");
    for _ in 0..2 {
        seed().exit(2).says("free.ndjson` has no key").says("is not empty");
    }
    project.mongo(doc! { "drop": "free" });
    seed().ok();
    assert_eq!(project.mongo(doc! { "count": "free" }).get_i32("n").ok(), Some(3));
}
