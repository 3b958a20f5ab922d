//! `db squash`: many versions become one that makes the same schema, and every database goes over to it.

use lyrox::kind::StoreKind;

use crate::support::{Output, Project};

/// Three versions over three stores, with data, a session setting and a statement without its `;`.
fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    project.write(
        "migrations/1_core.up.sql",
        "-- lyrox: lock-timeout 5s\nSET search_path = pg_catalog;\nCREATE TABLE public.item (id int PRIMARY KEY, name text);\nINSERT INTO public.item VALUES (1, 'one')",
    );
    project.write("migrations/1_core.down.sql", "DROP TABLE item");
    project.write("migrations/1_core.up.json", "[ // all\n  { \"create\": \"events\" } // the log\n]\n// end\n");
    project.write("migrations/1_core.down.json", r#"[{ "drop": "events" }]"#);
    project.write(
        "migrations/2_more.up.sql",
        "CREATE TABLE more (item int REFERENCES item);\nCREATE VIEW names AS SELECT name FROM item;\n",
    );
    project.write("migrations/2_more.down.sql", "DROP VIEW names;\nDROP TABLE more;");
    project.write("migrations/2_more.up.redis", "HSET {{prefix}}settings theme light\n");
    project.write("migrations/2_more.down.redis", "DEL {{prefix}}settings\n");
    project.write(
        "migrations/3_index.up.json",
        r#"[{ "createIndexes": "events", "indexes": [{ "key": { "at": 1 }, "name": "at" }] }]"#,
    );
    project.write("migrations/3_index.down.json", r#"[{ "dropIndexes": "events", "index": "at" }]"#);
    project.write("migrations/4_later.up.sql", "CREATE TABLE later (id int);\n");
    project
}

fn squash(project: &Project, words: &[&str]) -> Output {
    let postgres = lyrox::url::parse(StoreKind::Postgres, &project.postgres).expect("a URL");
    let postgres = postgres.with_database("postgres").expose();
    let mut all = vec!["db", "squash"];
    all.extend(words);
    for url in [&postgres, &project.mongodb, &project.redis] {
        all.extend(["--allow-argv-secret", "--scratch-url", url.as_str()]);
    }
    project.lyrox(&all)
}

fn names(project: &Project, folder: &str) -> Vec<String> {
    let Ok(found) = std::fs::read_dir(project.path(folder)) else { return Vec::new() };
    let mut names: Vec<String> =
        found.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_database_that_has_them_records_it_and_an_empty_one_runs_it() {
    let project = project("sq_core");
    project.lyrox(&["db", "migrate"]).ok();
    let before = names(&project, "migrations");
    squash(&project, &["--to", "3", "base", "--dry-run"]).ok().says("the same schema").says("no file was touched");
    assert_eq!(names(&project, "migrations"), before);
    squash(&project, &["--to", "3", "base"]).ok().says("3_base.up.sql").says("3 versions are one");
    let mut now = names(&project, "migrations");
    now.retain(|name| name.ends_with(".sql") || name.ends_with(".json") || name.ends_with(".redis"));
    assert_eq!(
        now,
        [
            "3_base.down.json",
            "3_base.down.redis",
            "3_base.down.sql",
            "3_base.up.json",
            "3_base.up.redis",
            "3_base.up.sql",
            "4_later.up.sql"
        ]
    );
    assert_eq!(names(&project, "migrations/squashed/3_base").len(), 10, "nothing was deleted");

    project.lyrox(&["db", "status"]).ok().never_says("LYX-DRIFT");
    let run = project.lyrox(&["db", "migrate", "--output", "json"]);
    run.ok();
    for store in ["postgres", "mongodb", "redis"] {
        assert_eq!(run.item(&format!("{store}.3"))["change"], "recorded", "{run}");
    }
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "1", "nothing ran again");
    project.lyrox(&["db", "migrate"]).ok().says("up to date");
    project.lyrox(&["db", "status", "--check"]).ok().says("4 applied, 0 pending").never_says("1_core");

    // Another database of the project, still empty.
    let empty = Project::new("sq_core", "");
    for name in &now {
        let text = std::fs::read_to_string(project.path(&format!("migrations/{name}"))).expect("a file");
        empty.write(&format!("migrations/{name}"), &text);
    }
    let run = empty.lyrox(&["db", "migrate", "--output", "json"]);
    run.ok();
    assert_eq!(run.item("postgres.3")["change"], "applied");
    assert_eq!(empty.sql_value("SELECT name FROM names"), "one");
    // And back: the ways back are joined the other way round.
    empty.write("migrations/4_later.down.sql", "DROP TABLE later;");
    empty.lyrox(&["db", "rollback", "--to", "0", "--yes"]).ok();
    assert_eq!(
        empty.sql_value(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'"
        ),
        "0"
    );
}

#[test]
fn a_database_that_has_some_of_them_refuses() {
    let project = project("sq_some");
    project.lyrox(&["db", "migrate", "--to", "1"]).ok();
    squash(&project, &["--to", "3", "base"]).exit(6).says("2_more is not applied to postgres").says("lyrox db migrate");
    assert!(project.path("migrations/1_core.up.sql").is_file());
    // A colleague squashed, and this database was left behind.
    project.lyrox(&["db", "migrate"]).ok();
    squash(&project, &["--to", "3", "base"]).ok();
    let behind = Project::new("sq_some", "");
    for name in names(&project, "migrations/squashed/3_base").iter().filter(|name| name.starts_with("1_")) {
        let text =
            std::fs::read_to_string(project.path(&format!("migrations/squashed/3_base/{name}"))).expect("a file");
        behind.write(&format!("migrations/{name}"), &text);
    }
    behind.lyrox(&["db", "migrate"]).ok();
    for name in names(&behind, "migrations") {
        behind.remove(&format!("migrations/{name}"));
    }
    for name in names(&project, "migrations").iter().filter(|name| name.starts_with("3_")) {
        let text = std::fs::read_to_string(project.path(&format!("migrations/{name}"))).expect("a file");
        behind.write(&format!("migrations/{name}"), &text);
    }
    behind.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-SQUASH").says("not applied: 2");
    assert_eq!(behind.sql_value("SELECT to_regclass('more') IS NULL"), "t");
}

#[test]
fn files_that_make_another_schema_together_are_left_alone() {
    let project = Project::new("sq_differs", "");
    project.write("migrations/1_a.up.sql", "SET default_tablespace = '';\nCREATE TABLE a (id int);");
    // It looks at its own transaction: alone it is the first to write there.
    project.write(
        "migrations/2_b.up.sql",
        "DO $$ BEGIN IF (SELECT xmin::text FROM pg_class WHERE relname = 'a') = pg_current_xact_id()::text THEN CREATE TABLE together (id int); END IF; END $$;",
    );
    // In an empty database files share a transaction unless each is to have its own.
    let settings = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    project.write("lyrox.toml", &format!("{settings}\n[migrations]\ntransaction = \"each\"\n"));
    project.lyrox(&["db", "migrate"]).ok();
    squash(&project, &["base"]).exit(1).says("LYX-SQUASH-DIFFERS").says("together").says("no file was touched");
    assert_eq!(names(&project, "migrations"), ["1_a.up.sql", "2_b.up.sql"]);
}

#[test]
fn a_squash_cut_short_between_its_files_is_finished() {
    let project = project("sq_cut");
    project.lyrox(&["db", "migrate"]).ok();
    let journal = serde_json::json!({
        "moved": [["migrations/1_core.up.sql", "migrations/squashed/x/1_core.up.sql"], ["migrations/gone.sql", "migrations/squashed/x/gone.sql"]],
        "written": [["migrations/3_base.up.sql", "SELECT 1;\n"]],
    });
    project.write("migrations/.squash.json", &journal.to_string());
    project.lyrox(&["db", "migrate"]).exit(2).says("was cut short").says("lyrox db squash --finish");
    project.lyrox(&["db", "squash", "--finish"]).ok();
    assert!(project.path("migrations/squashed/x/1_core.up.sql").is_file());
    assert!(project.path("migrations/3_base.up.sql").is_file());
    project.lyrox(&["db", "squash", "--finish"]).exit(2).says("no squash was cut short");
}

#[test]
fn a_file_that_needs_no_transaction_makes_the_whole_run_statement_by_statement() {
    let project = Project::new("sq_enum", "");
    project.write("migrations/1_mood.up.sql", "CREATE TYPE mood AS ENUM ('fine');");
    project.write("migrations/2_more.up.sql", "ALTER TYPE mood ADD VALUE 'better';");
    project.write("migrations/3_use.up.sql", "CREATE TABLE m (now mood DEFAULT 'better');");
    project.lyrox(&["db", "migrate"]).ok();
    squash(&project, &["moods"]).ok().says("the same schema");
    let text = std::fs::read_to_string(project.path("migrations/3_moods.up.sql")).expect("a file");
    assert!(text.starts_with("-- lyrox: no-transaction\n"), "{text}");
    project.lyrox(&["db", "migrate"]).ok().says("recorded");
}
