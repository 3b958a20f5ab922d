//! The order of writing: rows that need each other, ids that the server makes, sequences.

use super::{detail, postgres_only, versions};

#[test]
fn rows_that_need_each_other_are_written() {
    let project = postgres_only(
        "seed_cycle",
        "CREATE TABLE a (id uuid PRIMARY KEY, b uuid NOT NULL);
         CREATE TABLE b (id uuid PRIMARY KEY, a uuid NOT NULL REFERENCES a (id));
         ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (id);
         CREATE TABLE team (id serial PRIMARY KEY, name text UNIQUE, lead int);
         CREATE TABLE person (id serial PRIMARY KEY, name text UNIQUE, team int NOT NULL REFERENCES team (id),
                              boss int REFERENCES person (id));
         ALTER TABLE team ADD FOREIGN KEY (lead) REFERENCES person (id);",
    );
    project.write("seeds/dev/postgres/a.toml", "[rows.one]\nb = \"@b.one\"\n");
    project.write("seeds/dev/postgres/b.toml", "[rows.one]\na = \"@a.one\"\n");
    project.write("seeds/dev/postgres/team.toml", "[rows.red]\nname = \"red\"\nlead = \"@person.ann\"\n");
    project.write(
        "seeds/dev/postgres/person.toml",
        "[rows.bob]\nname = \"bob\"\nteam = \"@team.red\"\nboss = \"@person.ann\"\n[rows.ann]\nname = \"ann\"\nteam = \"@team.red\"\n",
    );
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(project.sql_value("SELECT p.name FROM team t JOIN person p ON p.id = t.lead"), "ann");
    assert_eq!(
        project.sql_value("SELECT b.name FROM person p JOIN person b ON b.id = p.boss WHERE p.name = 'bob'"),
        "ann"
    );
    assert_eq!(project.sql_value("SELECT count(*) FROM a JOIN b ON a.b = b.id AND b.a = a.id"), "1");
    let before = (versions(&project, "team"), versions(&project, "person"));
    project.lyrox(&["db", "seed"]).ok().never_says("created").never_says("updated");
    assert_eq!(before, (versions(&project, "team"), versions(&project, "person")));
    // The next id of the sequence is free.
    project.sql("INSERT INTO person (name, team) SELECT 'new', id FROM team");
}

#[test]
fn given_ids_move_the_sequence() {
    let project =
        postgres_only("seed_sequence", "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)");
    project.write("seeds/dev/postgres/t.toml", "[rows.a]\nid = 41\nv = \"x\"\n");
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(project.sql_value("INSERT INTO t (v) VALUES ('y') RETURNING id"), "42");
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(project.sql_value("INSERT INTO t (v) VALUES ('z') RETURNING id"), "43");
}

#[test]
fn rows_that_may_not_be_empty_need_each_other_with_ids_of_the_server() {
    let project = postgres_only(
        "seed_not_null",
        "CREATE TABLE node (id serial PRIMARY KEY, name text UNIQUE, parent int NOT NULL REFERENCES node (id));
         CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, b int NOT NULL);
         CREATE TABLE b (id serial PRIMARY KEY, name text UNIQUE, a bigint NOT NULL REFERENCES a (id));
         ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (id) DEFERRABLE INITIALLY DEFERRED;",
    );
    project.write(
        "seeds/dev/postgres/node.toml",
        "[rows.leaf]\nname = \"leaf\"\nparent = \"@node.root\"\n[rows.root]\nname = \"root\"\nparent = \"@node.root\"\n",
    );
    project.write("seeds/dev/postgres/a.toml", "[rows.one]\nname = \"one\"\nb = \"@b.one\"\n");
    project.write("seeds/dev/postgres/b.toml", "[rows.one]\nname = \"one\"\na = \"@a.one\"\n");
    project.lyrox(&["db", "seed", "--plan"]).ok().says("2 to create");
    assert_eq!(project.sql_value("SELECT is_called FROM node_id_seq"), "f", "a plan takes no ids");
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(
        project.sql_value(
            "SELECT string_agg(n.name || p.name, ' ' ORDER BY n.name) FROM node n JOIN node p ON p.id = n.parent"
        ),
        "leafroot rootroot"
    );
    assert_eq!(project.sql_value("SELECT count(*) FROM a JOIN b ON a.b = b.id AND b.a = a.id"), "1");
    let before = (versions(&project, "node"), versions(&project, "a"), versions(&project, "b"));
    project.lyrox(&["db", "seed"]).ok().never_says("created").never_says("updated");
    assert_eq!(before, (versions(&project, "node"), versions(&project, "a"), versions(&project, "b")));
    project.sql("INSERT INTO node (name, parent) SELECT 'next', id FROM node WHERE name = 'root'");
}

#[test]
fn a_row_that_is_there_and_waits_for_a_new_one_counts_as_updated() {
    let project = postgres_only(
        "seed_waits",
        "CREATE TABLE person (id serial PRIMARY KEY, name text UNIQUE, boss int REFERENCES person (id),
                              deputy int NOT NULL DEFAULT 0)",
    );
    project.sql("INSERT INTO person (name) VALUES ('bob')");
    project.write(
        "seeds/dev/postgres/person.toml",
        "[rows.bob]\nname = \"bob\"\nboss = \"@person.ann\"\n[rows.ann]\nname = \"ann\"\nboss = \"@person.eve\"\n[rows.eve]\nname = \"eve\"\nboss = \"@person.ann\"\n",
    );
    assert_eq!(detail(&project, &["db", "seed", "--plan"], "postgres.person"), "2 to create, 1 to update");
    assert_eq!(detail(&project, &["db", "seed"], "postgres.person"), "2 created, 1 updated");
    assert_eq!(detail(&project, &["db", "seed"], "postgres.person"), "3 unchanged");
}

#[test]
fn sequences_move_away_from_given_ids_and_never_back() {
    let project = postgres_only(
        "seed_sequences",
        "CREATE SEQUENCE shared START 100;
         CREATE TABLE up (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text);
         CREATE TABLE own (id int PRIMARY KEY DEFAULT nextval('shared'), v text);
         CREATE TABLE down (id int GENERATED ALWAYS AS IDENTITY (INCREMENT BY -1 MAXVALUE -1 START -1) PRIMARY KEY, v text);
         CREATE TABLE far (id smallserial PRIMARY KEY, v text);",
    );
    project.sql("SELECT setval('far_id_seq', 500)");
    for (table, id) in [("up", "41"), ("own", "207"), ("down", "-30"), ("far", "7")] {
        project.write(&format!("seeds/dev/postgres/{table}.toml"), &format!("[rows.a]\nid = {id}\nv = \"x\"\n"));
    }
    let next = |table: &str| project.sql_value(&format!("INSERT INTO {table} (v) VALUES ('y') RETURNING id"));
    for round in 1..3 {
        project.lyrox(&["db", "seed"]).ok();
        let numbers = ["up", "own", "down", "far"].map(next);
        let expected = [41 + round, 207 + round, -30 - round, 500 + round].map(|number: i32| number.to_string());
        assert_eq!(numbers, expected);
    }
}
