//! `--plan`: what would change, row by row, and nothing written by it.

use bson::doc;
use serde_json::json;

use super::{USERS, migrated, postgres_only, versions};

const SCHEMA: &str = "
CREATE TABLE team (id serial PRIMARY KEY, name text UNIQUE, lead int);
CREATE TABLE person (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, team int NOT NULL REFERENCES team (id),
    age int, boss bigint REFERENCES person (id));
ALTER TABLE team ADD FOREIGN KEY (lead) REFERENCES person (id) DEFERRABLE;
CREATE TABLE badge (person bigint PRIMARY KEY REFERENCES person (id), code text);";

#[test]
fn a_plan_names_rows_and_fields_and_writes_nothing() {
    let project = postgres_only("seed_plan", SCHEMA);
    project.write("seeds/dev/postgres/team.toml", "[rows.red]\nname = \"red\"\nlead = \"@person.ann\"\n");
    let people = "[rows.ann]\nname = \"ann\"\nteam = \"@team.red\"\nage = 30\n[rows.bob]\nname = \"bob\"\nteam = \"@team.red\"\nboss = \"@person.ann\"\n";
    project.write("seeds/dev/postgres/person.toml", people);
    project.write("seeds/dev/postgres/badge.toml", "[rows.a]\nperson = \"@person.ann\"\ncode = \"A\"\n");
    // Statistics, sequences, transaction ids: not even what a rollback leaves behind.
    let state = || {
        (
            project.sql("SELECT last_value, is_called FROM team_id_seq UNION ALL SELECT last_value, is_called FROM person_id_seq"),
            project.sql("SELECT pg_relation_size('team'), pg_relation_size('person'), pg_relation_size('badge')"),
            versions(&project, "team"),
            versions(&project, "person"),
        )
    };
    let plan = |flags: &[&str]| {
        let before = state();
        let output = project.lyrox(&[&["db", "seed"], flags].concat());
        assert_eq!(state(), before, "{output}");
        output
    };
    let first = plan(&["--plan", "--output", "json"]);
    first.ok();
    assert_eq!(first.item("postgres.person")["detail"], "2 to create");
    assert_eq!(first.item("postgres.person")["change"], "planned");
    let targets = first.json()["data"]["targets"].clone();
    let of = |targets: &serde_json::Value, name: &str| {
        targets.as_array().expect("targets").iter().find(|target| target["target"] == name).expect("a target").clone()
    };
    assert_eq!(of(&targets, "badge")["rows"], json!([{ "row": "a", "change": "insert", "fields": [] }]));
    assert_eq!(plan(&["--dry-run", "--output", "json"]).json()["data"], first.json()["data"], "two names, one meaning");
    plan(&["--check"]).exit(8).says("lyrox db seed");

    project.lyrox(&["db", "seed"]).ok();
    plan(&["--plan"]).ok().says("everything is as the set wants it");
    plan(&["--check"]).ok();
    project.sql("UPDATE person SET age = 31 WHERE name = 'ann'; DELETE FROM badge");
    // Bob's boss is to be somebody whom the server has yet to give an id.
    project.write(
        "seeds/dev/postgres/person.toml",
        &format!(
            "{}[rows.eve]\nname = \"eve\"\nteam = \"@team.red\"\n",
            people.replace("boss = \"@person.ann\"", "boss = \"@person.eve\"")
        ),
    );
    let second = plan(&["--plan", "--output", "json"]);
    second.ok();
    let person = of(&second.json()["data"]["targets"], "person");
    assert_eq!((&person["insert"], &person["update"], &person["unchanged"]), (&json!(1), &json!(2), &json!(0)));
    assert_eq!(
        person["rows"],
        json!([
            { "row": "ann", "change": "update", "fields": ["age"] },
            { "row": "bob", "change": "update", "fields": ["boss"] },
            { "row": "eve", "change": "insert", "fields": [] },
        ])
    );
    assert_eq!(of(&second.json()["data"]["targets"], "team")["unchanged"], json!(1));
    plan(&["--plan", "-v"]).ok().says("update     ann  age").says("insert     eve");
    let done = project.lyrox(&["db", "seed", "--output", "json"]);
    assert_eq!(of(&done.json()["data"]["targets"], "person")["rows"], person["rows"], "what was planned was done");
    plan(&["--plan"]).ok().says("everything is as the set wants it");
}

#[test]
fn a_role_that_can_only_read_can_plan() {
    let project = postgres_only("seed_plan_read", SCHEMA);
    project.write("seeds/dev/postgres/team.toml", "mode = \"replace\"\n[rows.red]\nname = \"red\"\n");
    project.sql("INSERT INTO team (name) VALUES ('blue')");
    let mut command = project.command(&["db", "seed", "--plan"]);
    // Every transaction of the session is one that can only read.
    let url = format!("{}?options=-c%20default_transaction_read_only%3Don", project.postgres);
    let output = command.env("DATABASE_URL", url).output().expect("a run");
    let output = crate::support::Output::new(&["db", "seed", "--plan"], &output);
    output.ok().says("1 to create, 1 to delete");
    assert_eq!(project.sql_value("SELECT string_agg(name, ',') FROM team"), "blue");
}

#[test]
fn a_plan_of_documents_and_keys() {
    let project =
        migrated("seed_plan_all", "[redis.keyspaces.cache]\npattern = \"cache:{id}\"\ntype = \"hash\"\nttl = \"1h\"\n");
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nby = \"@postgres.User.pedro\"\nn = 1\nm = { deep = 1 }\n");
    project.write("seeds/dev/redis/cache.toml", "[rows.a]\nid = \"a\"\nfields = { by = \"@postgres.User.maya\" }\n");
    project.lyrox(&["db", "seed", "--plan"]).ok().says("1 to create").says("2 to create");
    assert_eq!(project.mongo(doc! { "count": "notes" }).get_i32("n").ok(), Some(0));
    let key = format!("{}cache:a", project.prefix);
    assert_eq!(project.redis(&["EXISTS", &key]), redis::Value::Int(0));
    project.lyrox(&["db", "seed"]).ok();
    project.mongo(doc! { "update": "notes", "updates": [{ "q": {}, "u": { "$set": { "n": 2, "m.deep": 2 } } }] });
    project.redis(&["PERSIST", &key]);
    let plan = project.lyrox(&["db", "seed", "--plan", "--output", "json"]);
    plan.ok();
    let targets = plan.json()["data"]["targets"].clone();
    let fields = |name: &str| {
        let found = targets.as_array().expect("targets").iter().find(|target| target["target"] == name);
        found.expect("a target")["rows"][0]["fields"].clone()
    };
    assert_eq!((fields("notes"), fields("cache")), (json!(["n", "m"]), json!(["ttl"])));
    assert_eq!(project.redis(&["TTL", &key]), redis::Value::Int(-1));
}

#[test]
fn a_plan_with_many_rows_is_rolled_back() {
    let project = postgres_only("seed_plan_bulk", SCHEMA);
    project.write("seeds/dev/postgres/team.toml", "[rows.red]\nname = \"red\"\n");
    project.write("seeds/dev/postgres/person.toml", "[rows.ann]\nname = \"ann\"\nteam = \"@team.red\"\n");
    project.sql("INSERT INTO team (id, name) VALUES (7, 'blue')");
    project.write("seeds/dev/postgres/person.csv", "name,team\nbob,7\n");
    let plan = project.lyrox(&["db", "seed", "--plan", "--output", "json"]);
    plan.ok();
    assert_eq!(plan.item("postgres.person")["detail"], "1 to create");
    assert_eq!(plan.item("postgres.person.csv")["detail"], "1 to create");
    assert_eq!(project.sql_value("SELECT (SELECT count(*) FROM team) || ' ' || (SELECT count(*) FROM person)"), "1 0");
    project.lyrox(&["db", "seed"]).ok();
    project.lyrox(&["db", "seed", "--check"]).ok();
}
