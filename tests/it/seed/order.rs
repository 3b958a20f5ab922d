//! The order of writing: rows that need each other, ids that the server makes, sequences.

use super::{postgres_only, versions};

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
