//! `db reset`: consent, protection, only what the project owns, and back to the freshly seeded state.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::{Output, Project};

fn project(name: &str) -> Project {
    let project = Project::new(name, "[env.production]\nprotected = true\n\n[env.guarded]\n");
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text);\nCREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';");
    project.write("migrations/1_a.up.json", r#"[{ "create": "events" }]"#);
    project.write("migrations/1_a.up.redis", "SET {{prefix}}settings:theme light");
    project.write("migrations/1_a.down.sql", "DROP FUNCTION twice(int); DROP TABLE note;");
    project.write("migrations/1_a.down.json", r#"[{ "drop": "events" }]"#);
    project.write("migrations/1_a.down.redis", "DEL {{prefix}}settings:theme");
    project.write(
        "seeds/dev/postgres/note.toml",
        "[rows.one]\nid = 1\nbody = \"first\"\n[rows.two]\nid = 2\nbody = \"second\"\n",
    );
    project.write("seeds/dev/mongodb/events.toml", "key = [\"kind\"]\n[rows.one]\nkind = \"a\"\n");
    project
}

fn state(project: &Project) -> String {
    let rows = project.sql("SELECT id, body FROM note ORDER BY id");
    let events = project.mongo(bson::doc! { "find": "events", "sort": { "kind": 1 } });
    let events = events.get_document("cursor").expect("a cursor").get_array("firstBatch").expect("a batch").clone();
    let settings = project.redis(&["GET", &format!("{}settings:theme", project.prefix)]);
    format!("{rows:?} {events:?} {settings:?}")
}

#[test]
fn without_the_exact_name_nothing_is_sent() {
    let project = project("reset_consent");
    let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect();
    for listener in &listeners {
        listener.set_nonblocking(true).expect("non-blocking");
    }
    let run = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        command.env("DATABASE_URL", format!("postgres://u:p@127.0.0.1:{}/{}", ports[0], project.name));
        command.env("MONGODB_URI", format!("mongodb://u:p@127.0.0.1:{}/x", ports[1]));
        command.env("REDIS_URL", format!("redis://u:p@127.0.0.1:{}", ports[2]));
        Output::new(arguments, &command.output().expect("lyrox"))
    };
    for arguments in [
        &["db", "reset"][..],
        &["db", "reset", "--yes"],
        &["db", "reset", "--confirm", "another"],
        &["db", "reset", "--confirm", ""],
        &["-e", "production", "db", "reset", "--confirm", &project.name],
        &["-e", "production", "db", "reset", "--confirm", &project.name, "--yes", "--include-foreign"],
        &["-e", "production", "db", "seed"],
        &["-e", "production", "setup"],
        &["-e", "production", "setup", "--yes", "--skip", "seed"],
        &["db", "rollback"],
    ] {
        let output = run(arguments);
        output.exit(3).says("nothing was sent");
    }
    std::thread::sleep(Duration::from_millis(50));
    for listener in &listeners {
        assert!(listener.accept().is_err(), "a connection was made");
    }
}

#[test]
fn a_protected_mark_cannot_be_overridden() {
    let project = project("reset_mark");
    project.lyrox(&["-e", "production", "db", "migrate"]).ok();
    // Whoever takes the protection out of the file does not take it out of the stores.
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    project.write("lyrox.toml", &text.replace("protected = true", ""));
    for arguments in [
        &["-e", "production", "db", "reset", "--confirm", &project.name][..],
        &["-e", "production", "db", "seed"],
        &["-e", "production", "setup", "--skip", "servers"],
        &["-e", "production", "db", "rollback", "--yes"],
    ] {
        project.lyrox(arguments).exit(3);
    }
    assert_eq!(project.sql_value("SELECT count(*) FROM note"), "0");
}

#[test]
fn reset_brings_back_the_freshly_seeded_state() {
    let project = project("reset_state");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "seed"]).ok();
    let fresh = state(&project);
    project.sql(
        "INSERT INTO note VALUES (3, 'mine'); UPDATE note SET body = 'changed' WHERE id = 1; DROP FUNCTION twice(int)",
    );
    project.mongo(bson::doc! { "insert": "events", "documents": [{ "kind": "mine" }] });
    project.redis(&["SET", &format!("{}cache:x", project.prefix), "y"]);
    assert_ne!(state(&project), fresh);
    project.lyrox(&["db", "reset", "--confirm", &project.name]).ok();
    assert_eq!(state(&project), fresh);
    assert_eq!(project.sql_value("SELECT twice(2)"), "4");
    assert_eq!(project.redis(&["EXISTS", &format!("{}cache:x", project.prefix)]), redis::Value::Int(0));
    project.lyrox(&["db", "status", "--check"]).ok();
    project.lyrox(&["db", "smoke-test"]).ok();
}

#[test]
fn what_the_project_does_not_own_is_listed_and_kept() {
    let project = project("reset_foreign");
    project.lyrox(&["db", "migrate"]).ok();
    project.sql("CREATE TABLE foreign_table (id int); INSERT INTO foreign_table VALUES (1)");
    project.mongo(bson::doc! { "insert": "foreign_events", "documents": [{ "a": 1 }] });
    let elsewhere = format!("other:{}", project.name);
    project.redis(&["SET", &elsewhere, "1"]);
    let listed = project.lyrox(&["db", "reset", "--dry-run", "--output", "json"]);
    listed.ok();
    let holdings = listed.json()["data"]["holdings"].as_array().expect("holdings").clone();
    let dropped = |name: &str| {
        holdings
            .iter()
            .find(|holding| holding["name"].as_str().is_some_and(|found| found.contains(name)))
            .map(|holding| holding["dropped"] == true)
    };
    assert_eq!(dropped("foreign_table"), Some(false), "{listed}");
    assert_eq!(dropped("foreign_events"), Some(false), "{listed}");
    assert_eq!(dropped("note"), Some(true), "{listed}");
    project.lyrox(&["db", "reset", "--confirm", &project.name]).ok();
    assert_eq!(project.sql_value("SELECT count(*) FROM foreign_table"), "1");
    assert_eq!(project.mongo(bson::doc! { "count": "foreign_events" }).get_i32("n").ok(), Some(1));
    assert_eq!(project.redis(&["DEL", &elsewhere]), redis::Value::Int(1));
}

#[test]
fn a_killed_reset_is_finished_by_the_next_migrate() {
    let project = project("reset_kill");
    for number in 2..=40 {
        project.write(
            &format!("migrations/{number}_m.up.sql"),
            &format!("CREATE TABLE t{number} AS SELECT 1 AS one FROM pg_sleep(0.01);"),
        );
        project.write(&format!("migrations/{number}_m.up.json"), &format!(r#"[{{ "create": "c{number}" }}]"#));
    }
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "seed"]).ok();
    for delay in [40, 90, 150, 250, 400] {
        let mut child = project.command(&["db", "reset", "--confirm", &project.name]).spawn().expect("lyrox");
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().expect("an end");
        project.lyrox(&["db", "migrate"]).ok();
        project.lyrox(&["db", "seed"]).ok();
        project.lyrox(&["db", "status", "--check"]).ok();
        for number in 2..=40 {
            assert_eq!(project.sql_value(&format!("SELECT count(*) FROM t{number}")), "1", "killed after {delay} ms");
        }
        assert_eq!(project.sql_value("SELECT count(*) FROM note"), "2", "killed after {delay} ms");
    }
}
