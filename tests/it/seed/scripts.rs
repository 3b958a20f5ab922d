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
