//! `lyrox db seed`: rows in three stores that refer to each other, and a second run that changes nothing.

use std::fmt::Write as _;

use bson::doc;

use crate::support::{Project, block_on, sql};

const TABLES: &str = r#"
CREATE TABLE "User" (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL UNIQUE,
    "passwordHash" text,
    balance numeric(12, 2) NOT NULL DEFAULT 0,
    settings jsonb NOT NULL DEFAULT '{}',
    tags text[] NOT NULL DEFAULT '{}',
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    "updatedAt" timestamptz NOT NULL DEFAULT now());
CREATE TABLE "Company" (
    id uuid PRIMARY KEY, "ownerId" uuid NOT NULL REFERENCES "User" (id), name text NOT NULL, UNIQUE ("ownerId", name));
CREATE TABLE writes (what text NOT NULL);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO writes VALUES (TG_OP || ' ' || TG_TABLE_NAME); NEW."updatedAt" = now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON "User" FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO writes VALUES (TG_OP || ' statement'); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON "User" FOR EACH STATEMENT EXECUTE FUNCTION note();
"#;

const USERS: &str = r#"
key = ["email"]
[rows.pedro]
email = "pedro@example.com"
passwordHash = { argon2id = "temp-password-123" }
balance = 12.50
settings = { json = { theme = "dark", owner = "@User.pedro" } }
tags = ["a", "b,c"]
createdAt = { now = "-2d" }
[rows.maya]
email = "maya@example.com"
passwordHash = { bcrypt = "temp-password-456" }
"#;

/// A project whose PostgreSQL has the tables above, made by a migration.
fn project(name: &str, extra: &str) -> Project {
    let project = Project::new(name, extra);
    project.write("migrations/1_core.up.sql", TABLES);
    project
}

fn migrated(name: &str, extra: &str) -> Project {
    let project = project(name, extra);
    project.lyrox(&["db", "migrate"]).ok();
    project
}

/// A project of PostgreSQL alone.
fn postgres_only(name: &str, schema: &str) -> Project {
    let project = Project::new(name, "");
    project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n", project.name));
    project.write("migrations/1_core.up.sql", schema);
    project.lyrox(&["db", "migrate"]).ok();
    project
}

/// Every row of a table with the transaction that wrote it.
fn versions(project: &Project, table: &str) -> Vec<Vec<Option<String>>> {
    project.sql(&format!("SELECT xmin, ctid, t FROM {table} t ORDER BY ctid"))
}

fn detail(project: &Project, arguments: &[&str], id: &str) -> String {
    let output = project.lyrox(&[arguments, &["--output", "json"]].concat());
    output.ok();
    output.item(id)["detail"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_second_run_writes_nothing() {
    let project =
        migrated("seed", "[redis.keyspaces.sessions]\npattern = \"session:{id}\"\ntype = \"hash\"\nttl = \"1h\"\n");
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.write(
        "seeds/dev/postgres/Company.toml",
        "key = [\"ownerId\", \"name\"]\n[rows.born]\nownerId = \"@User.pedro\"\nname = \"@@born\"\n",
    );
    project.write(
        "seeds/dev/mongodb/conversations.toml",
        r#"
[rows.hello]
companyId = "@postgres.Company.born"
messages = [{ id = "m1", by = { ref = "postgres.User.pedro.email" }, at = { now = "-1h" }, score = 1 }]
reply = "@conversations.second"
on = 2025-11-07T18:10:00Z
[rows.second]
companyId = { ref = "postgres.Company.born" }
price = { "$numberDecimal" = "1.50" }
"#,
    );
    project.write(
        "seeds/dev/redis/sessions.toml",
        "[rows.a]\nid = \"a\"\nfields = { user = { ref = \"postgres.User.pedro\" }, at = { now = \"\" } }\n",
    );

    let first = project.lyrox(&["db", "seed"]);
    first.ok().says("2 created").never_says("temp-password");
    let id = project.sql_value(r#"SELECT id FROM "User" WHERE email = 'pedro@example.com'"#);
    assert_eq!(project.sql_value(r#"SELECT settings ->> 'owner' FROM "User" WHERE email = 'pedro@example.com'"#), id);
    assert_eq!(project.sql_value(r#"SELECT name FROM "Company""#), "@born");
    assert_eq!(project.sql_value(r#"SELECT tags[2] FROM "User" WHERE email = 'pedro@example.com'"#), "b,c");
    assert_eq!(
        project
            .sql_value(r#"SELECT now() - "createdAt" > interval '47h' FROM "User" WHERE email = 'pedro@example.com'"#),
        "t"
    );
    let company = project.sql_value(r#"SELECT id FROM "Company""#);
    let find = || project.mongo(doc! { "find": "conversations", "sort": { "_id": 1 } });
    let documents = find();
    let batch =
        documents.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).expect("documents").clone();
    assert_eq!(batch.len(), 2);
    let hello =
        batch.iter().filter_map(bson::Bson::as_document).find(|row| row.contains_key("messages")).expect("hello");
    let second =
        batch.iter().filter_map(bson::Bson::as_document).find(|row| row.contains_key("price")).expect("second");
    assert_eq!(hello.get_str("companyId").ok(), Some(company.as_str()));
    assert_eq!(hello.get("reply"), second.get("_id"), "an ObjectId stays one");
    let message = hello.get_array("messages").expect("messages")[0].as_document().expect("a message");
    assert_eq!(message.get_str("by").ok(), Some("pedro@example.com"));
    assert!(message.get_datetime("at").is_ok() && hello.get_datetime("on").is_ok());

    let session = format!("{}session:a", project.prefix);
    let before = (versions(&project, r#""User""#), versions(&project, r#""Company""#), versions(&project, "writes"));
    let fields = project.redis(&["HGETALL", &session]);
    let life = project.redis(&["PEXPIRETIME", &session]);
    for _ in 0..2 {
        let again = project.lyrox(&["db", "seed"]);
        again.ok().says("2 unchanged").never_says("created").never_says("updated");
    }
    assert_eq!(
        before,
        (versions(&project, r#""User""#), versions(&project, r#""Company""#), versions(&project, "writes"))
    );
    assert_eq!(find().get("cursor"), documents.get("cursor"));
    assert_eq!(project.redis(&["HGETALL", &session]), fields);
    assert_eq!(project.redis(&["PEXPIRETIME", &session]), life, "a life runs on");
}

#[test]
fn only_what_differs_is_updated() {
    let project = postgres_only("seed_differs", TABLES);
    project.write("seeds/dev/postgres/User.toml", USERS);
    assert_eq!(detail(&project, &["db", "seed"], "postgres.User"), "2 created");
    let maya = || project.sql(r#"SELECT xmin, "passwordHash" FROM "User" WHERE email = 'maya@example.com'"#);
    let before = maya();
    let hash = || project.sql_value(r#"SELECT "passwordHash" FROM "User" WHERE email = 'pedro@example.com'"#);
    let old = hash();
    assert!(old.starts_with("$argon2id$"), "{old}");
    project.write(
        "seeds/dev/postgres/User.toml",
        &USERS.replace("12.50", "13").replace("temp-password-123", "another-one"),
    );
    assert_eq!(detail(&project, &["db", "seed", "--dry-run"], "postgres.User"), "1 to update, 1 unchanged");
    assert_eq!(hash(), old, "a dry run writes nothing");
    assert_eq!(detail(&project, &["db", "seed"], "postgres.User"), "1 updated, 1 unchanged");
    assert_eq!(project.sql_value(r#"SELECT balance FROM "User" WHERE email = 'pedro@example.com'"#), "13.00");
    assert_ne!(hash(), old);
    assert_eq!(maya(), before, "the other row was not touched");
}

#[test]
fn a_reference_is_the_id_stored_under_the_natural_key() {
    let project = postgres_only("seed_ids", TABLES);
    let stored = "11111111-1111-4111-8111-111111111111";
    project.sql(&format!(r#"INSERT INTO "User" (id, email) VALUES ('{stored}', 'pedro@example.com')"#));
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.write(
        "seeds/dev/postgres/Company.toml",
        "key = [\"ownerId\", \"name\"]\n[rows.born]\nownerId = \"@User.pedro\"\nname = \"Born\"\n",
    );
    assert_eq!(detail(&project, &["db", "seed"], "postgres.User"), "1 created, 1 updated");
    assert_eq!(project.sql_value(r#"SELECT "ownerId" FROM "Company""#), stored);
    assert_eq!(project.sql_value(r#"SELECT id FROM "User" WHERE email = 'pedro@example.com'"#), stored);
    assert_eq!(detail(&project, &["db", "seed"], "postgres.Company"), "1 unchanged");
}

#[test]
fn ids_follow_from_names_on_every_machine() {
    let project = postgres_only("seed_same", TABLES);
    project.write("lyrox.toml", "[project]\nname = \"p\"\n[postgres]\n");
    project.write("seeds/dev/postgres/User.toml", "key = [\"email\"]\n[rows.pedro]\nemail = \"p\"\n");
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(project.sql_value(r#"SELECT id FROM "User""#), "ce748d10-d62e-58fa-8907-b3fc335a1a17");
}

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

const BULK: &str =
    "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2), data jsonb, tags text[]);
    CREATE TABLE part (id int PRIMARY KEY, item int NOT NULL REFERENCES item (id));
    CREATE TABLE log (line text);";

fn csv(count: usize) -> String {
    let mut text = String::from("id,name,price,data\n");
    for id in 1..=count {
        let _ = writeln!(text, "{id},\"name, {id}\",{id}.50,\"{{\"\"n\"\": {id}}}\"");
    }
    text
}

#[test]
fn fifty_thousand_rows_of_csv() {
    let project = postgres_only("seed_csv", BULK);
    project.write("seeds/dev/postgres/item.csv", &csv(50_000));
    let seed = || detail(&project, &["db", "seed"], "postgres.item.csv");
    assert_eq!(detail(&project, &["db", "seed", "--dry-run"], "postgres.item.csv"), "50000 to create");
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "0");
    assert_eq!(seed(), "50000 created");
    let sum = || project.sql_value("SELECT md5(string_agg(xmin::text || item::text, ',' ORDER BY id)) FROM item");
    let before = sum();
    assert_eq!(seed(), "50000 unchanged");
    assert_eq!(sum(), before);
    project.sql("UPDATE item SET price = 7 WHERE id = 17; DELETE FROM item WHERE id IN (18, 19)");
    assert_eq!(seed(), "2 created, 1 updated, 49997 unchanged");
    assert_eq!(project.sql_value("SELECT price FROM item WHERE id = 17"), "17.50");
    // Empty is NULL unless it is quoted.
    project.write("seeds/dev/postgres/item.csv", "id,name,price\n1,\"\",\n");
    assert_eq!(seed(), "1 updated");
    assert_eq!(project.sql_value("SELECT name = '' AND price IS NULL FROM item WHERE id = 1"), "t");
}

#[test]
fn lines_of_json_keep_types_and_digits() {
    let project = postgres_only("seed_lines", BULK);
    let lines = "{\"id\": 1, \"name\": \"a\\nb\", \"price\": 12345678.91, \"data\": {\"x\": [1, null]}, \"tags\": [\"p\", \"q,r\"]}\n\n{\"id\": 2, \"name\": \"ü\"}\n";
    project.write("seeds/dev/postgres/item.ndjson", lines);
    let seed = || detail(&project, &["db", "seed"], "postgres.item.ndjson");
    assert_eq!(seed(), "2 created");
    assert_eq!(
        project.sql_value("SELECT price || data::text || tags[2] FROM item WHERE id = 1"),
        "12345678.91{\"x\": [1, null]}q,r"
    );
    let before = versions(&project, "item");
    assert_eq!(seed(), "2 unchanged");
    assert_eq!(versions(&project, "item"), before);
}

#[test]
fn a_bad_row_is_named_by_file_and_line() {
    let project = postgres_only("seed_bad", BULK);
    let refused = |file: &str, text: &str, place: &str, words: &str| {
        project.write(file, text);
        let output = project.lyrox(&["db", "seed"]);
        output.exit(1).says(place).says(words).says("rolled back; nothing was changed");
        assert_eq!(
            project.sql_value("SELECT (SELECT count(*) FROM item) + (SELECT count(*) FROM part)"),
            "0",
            "{output}"
        );
        project.remove(file);
    };
    let item = "seeds/dev/postgres/item.csv";
    refused(item, &csv(900).replace("\n700,", "\nx700,"), "item.csv:701", "invalid input syntax for type integer");
    refused(item, &csv(900).replace("\n700,", "\n699,"), "item.csv:701", "duplicate key value");
    let lines: String = (1..=300)
        .map(|id| format!("{{\"id\": {id}, \"name\": {}}}\n", if id == 222 { "null" } else { "\"n\"" }))
        .collect();
    refused("seeds/dev/postgres/item.ndjson", &lines, "item.ndjson:222", "null value in column");
    let lines = lines.replace("null", "\"n\"").replace("\"id\": 77,", "\"id\": \"seven\",");
    refused("seeds/dev/postgres/item.jsonl", &lines, "item.jsonl:77", "invalid input syntax for type integer");
    // A foreign key has no line of its own: the row is found again. Line ends within quotes count.
    project.write("seeds/dev/postgres/item.toml", "[rows.one]\nid = 1\nname = \"one\"\n");
    let parts: String = (1..=500).map(|id| format!("{id},{}\n", if id == 321 { 999 } else { 1 })).collect();
    refused("seeds/dev/postgres/part.csv", &format!("id,item\n{parts}"), "part.csv:322", "is not present in table");
    refused(
        "seeds/dev/postgres/part.toml",
        "[rows.a]\nid = 1\nitem = 1\n[rows.b]\nid = 2\nitem = 999\n",
        "part.toml:4",
        "is not present in table",
    );
    refused(
        "seeds/dev/postgres/part.toml",
        "[rows.a]\nid = 1\nitem = 1\n[rows.b]\nid = 2\nitem = \"x\"\n",
        "part.toml:4",
        "invalid input syntax",
    );
}

#[test]
fn files_are_checked_before_anything_is_written() {
    let project = migrated("seed_checks", "");
    let refuse = |code: i32, file: &str, text: &str, says: &[&str]| {
        project.write("seeds/dev/postgres/User.toml", USERS);
        project.write(file, text);
        let output = project.lyrox(&["db", "seed"]);
        output.exit(code);
        for text in says {
            output.says(text);
        }
        assert_eq!(project.sql_value(r#"SELECT count(*) FROM "User""#), "0", "{output}");
        project.remove(file);
    };
    let company = "seeds/dev/postgres/Company.toml";
    refuse(
        2,
        company,
        "[rows.a]\nownerId = \"@User.perdo\"\n",
        &["LYX-SEED-REFERENCE", "Company.toml:2:11", "did you mean `User.pedro`?"],
    );
    refuse(2, company, "[rows.a]\nowerId = \"x\"\n", &["LYX-SEED-FILE", "Company.toml:2:1", "did you mean `ownerId`?"]);
    refuse(
        2,
        company,
        "[rows.a]\nname = { argon2 = \"x\" }\n",
        &["LYX-SEED-FILE", "Company.toml:2:8", "did you mean `argon2id`?"],
    );
    refuse(
        2,
        company,
        "[rows.a]\nname = { env = \"LYROX_NOT_SET\" }\n",
        &["LYROX_NOT_SET is not set", "Company.toml:2"],
    );
    refuse(2, company, "[rows.a]\nname = { now = \"soon\" }\n", &["no distance in time"]);
    refuse(2, company, "key = [\"name\"]\n[rows.a]\nownerId = \"x\"\n", &["lacks `name`", "Company.toml:2:7"]);
    refuse(2, company, "rows.a.name = \n", &["LYX-FILE-SYNTAX", "Company.toml:1"]);
    refuse(
        2,
        "seeds/dev/postgres/Compony.toml",
        "[rows.a]\nname = \"x\"\n",
        &["no table `Compony`", "did you mean `Company`?", "lyrox db migrate"],
    );
    refuse(2, "seeds/dev/postgres/zzz.csv", "id\n1\n", &["no table `zzz`", "hint: lyrox db migrate"]);
    refuse(2, "seeds/dev/postgres/Company.csv", "id,nam\n", &["no column `nam`", "did you mean `name`?"]);
    refuse(
        2,
        "seeds/dev/postgres/Company.csv",
        "id,name\n1,2\n3\n",
        &["Company.csv:3", "1 fields where the header has 2"],
    );
    refuse(2, "seeds/dev/mongodb/c.ndjson", "{\"a\": 1}\n{\"a\": \n", &["c.ndjson:2", "LYX-FILE-SYNTAX"]);
    refuse(2, "seeds/dev/postgres/x.yaml", "", &["LYX-FILE-NAME", "`.yaml` is not known"]);
    refuse(2, "seeds/dev/x.csv", "", &["LYX-FILE-NAME", "seeds/dev/x.csv"]);
    refuse(2, "seeds/dev/postgres/s.sql", "COMMIT;", &["LYX-SEED-FILE", "s.sql:1", "would end the transaction"]);
    refuse(
        2,
        "seeds/dev/redis/nowhere.toml",
        "[rows.a]\nvalue = \"x\"\n",
        &["no key space `nowhere`", "[redis.keyspaces.nowhere]"],
    );
    project.lyrox(&["db", "seed", "--set", "dve"]).exit(2).says("did you mean `dev`?");
}

#[test]
fn before_the_first_migration_the_hint_is_migrate() {
    let project = project("seed_early", "");
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.lyrox(&["db", "seed"]).exit(2).says("LYX-SEED-FILE").says("hint: lyrox db migrate");
}

#[test]
fn sets_extend_each_other_and_modes_differ() {
    let project = postgres_only("seed_sets", "CREATE TABLE t (name text PRIMARY KEY, v int, w int)");
    project
        .write("seeds/base/postgres/t.toml", "[rows.a]\nname = \"a\"\nv = 1\nw = 1\n[rows.b]\nname = \"b\"\nv = 1\n");
    project.write("seeds/demo/set.toml", "extends = \"base\"\n");
    project.write("seeds/demo/postgres/t.toml", "[rows.a]\nv = 2\n[rows.c]\nname = \"c\"\n");
    let seed = || detail(&project, &["db", "seed", "--set", "demo"], "postgres.t");
    let rows = || project.sql_value("SELECT string_agg(concat(name, v, '-', w), ' ' ORDER BY name) FROM t");
    assert_eq!(seed(), "3 created");
    assert_eq!(rows(), "a2-1 b1- c-");
    assert_eq!(seed(), "3 unchanged");

    project.sql("UPDATE t SET v = 9");
    let set_mode = |mode: &str| {
        project.write(
            "seeds/demo/postgres/t.toml",
            &format!("mode = \"{mode}\"\n[rows.a]\nv = 2\n[rows.c]\nname = \"c\"\n"),
        );
    };
    set_mode("insert");
    project.sql("DELETE FROM t WHERE name = 'c'");
    assert_eq!(seed(), "1 created, 2 unchanged");
    assert_eq!(rows(), "a9-1 b9- c-");
    set_mode("once");
    assert_eq!(seed(), "2 updated, 1 unchanged");
    project.sql("DELETE FROM t WHERE name = 'c'");
    assert_eq!(seed(), "3 unchanged; applied once before");
    assert_eq!(rows(), "a2-1 b1-");
    set_mode("replace");
    project.sql("INSERT INTO t VALUES ('z', 1)");
    assert_eq!(
        detail(&project, &["db", "seed", "--set", "demo", "--dry-run"], "postgres.t"),
        "1 to create, 1 to delete, 2 unchanged"
    );
    assert_eq!(seed(), "1 created, 1 deleted, 2 unchanged");
    assert_eq!(rows(), "a2-1 b1- c-");
    assert_eq!(seed(), "3 unchanged");
}

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
fn bulk_files_of_documents_and_keys() {
    let project =
        migrated("seed_bulk", "[redis.keyspaces.cache]\npattern = \"cache:{id}\"\ntype = \"hash\"\nttl = \"1h\"\n");
    let lines: String = (1..=2500).map(|n| format!("{{\"n\": {n}, \"name\": \"x{n}\"}}\n")).collect();
    let keyed = lines.replace("{\"n\": ", "{\"_id\": ");
    project.write("seeds/dev/mongodb/free.ndjson", &lines);
    project.write("seeds/dev/mongodb/keyed.ndjson", &keyed);
    project.write(
        "seeds/dev/redis/cache.csv",
        &format!("id,name\n{}", (1..=2500).map(|n| format!("{n},x{n}\n")).collect::<String>()),
    );
    let seed = |id: &str| detail(&project, &["db", "seed"], id);
    assert_eq!(seed("mongodb.keyed.ndjson"), "2500 created");
    let again = project.lyrox(&["db", "seed", "--output", "json"]);
    again.ok();
    assert_eq!(again.item("mongodb.keyed.ndjson")["detail"], "2500 unchanged");
    assert_eq!(again.item("redis.cache.csv")["detail"], "2500 unchanged");
    assert!(
        again.item("mongodb.free.ndjson")["detail"].as_str().is_some_and(|text| text.starts_with("2500 unchanged"))
    );
    assert_eq!(project.mongo(doc! { "count": "free" }).get_i32("n").ok(), Some(2500));
    project.mongo(doc! { "update": "keyed", "updates": [{ "q": { "_id": 7 }, "u": { "$set": { "name": "y" } } }] });
    project.redis(&["DEL", &format!("{}cache:9", project.prefix)]);
    let mended = project.lyrox(&["db", "seed", "--output", "json"]);
    assert_eq!(mended.item("mongodb.keyed.ndjson")["detail"], "1 updated, 2499 unchanged");
    assert_eq!(mended.item("redis.cache.csv")["detail"], "1 created, 2499 unchanged");
    // A validator's refusal is named by its line, and what was written before it is said.
    project.mongo(doc! { "drop": "keyed" });
    project.mongo(doc! { "create": "keyed", "validator": { "name": { "$ne": "x1234" } } });
    let refused = project.lyrox(&["db", "seed"]);
    refused.exit(1).says("keyed.ndjson:1234").says("running it again goes on");
}

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

const TENANTS: &str = r#"
CREATE TABLE company (id uuid PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE sale (id uuid PRIMARY KEY, company_id uuid NOT NULL REFERENCES company (id), number text NOT NULL,
    UNIQUE (company_id, number));
CREATE TABLE member (email text PRIMARY KEY);
ALTER TABLE company ENABLE ROW LEVEL SECURITY; ALTER TABLE company FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON company USING (id = nullif(current_setting('app.tenant', true), '')::uuid);
ALTER TABLE sale ENABLE ROW LEVEL SECURITY; ALTER TABLE sale FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON sale USING (company_id = nullif(current_setting('app.tenant', true), '')::uuid);
"#;

const TENANCY: &str =
    "[tenancy]\ntable = \"company\"\nkey_column = \"id\"\ncolumn = \"company_id\"\nglobal = [\"member\"]\n";

/// A project whose owner is bound by the policies; the role goes with it.
struct Bound {
    project: Project,
    role: String,
}

impl Bound {
    fn new(name: &str) -> Self {
        let project = Project::new(name, "");
        let role = format!("{}_own", project.name);
        project.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'bound-owner'"));
        project.sql(&format!("GRANT ALL ON DATABASE {} TO {role}; GRANT ALL ON SCHEMA public TO {role}", project.name));
        let address = project.postgres.rsplit_once('@').expect("a host").1;
        project.write(".env", &format!("DATABASE_URL=postgres://{role}:bound-owner@{address}\n"));
        project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n{TENANCY}", project.name));
        project.write("migrations/1_core.up.sql", TENANTS);
        project.lyrox(&["db", "migrate"]).ok();
        Self { project, role }
    }

    /// A query as the bound owner of the tables, for one tenant.
    fn value(&self, tenant: &str, query: &str) -> String {
        let address = self.project.postgres.rsplit_once('@').expect("a host").1;
        let url = format!("postgres://{}:bound-owner@{address}", self.role);
        let rows = sql(&url, &format!("SET app.tenant = '{tenant}'; {query}")).expect("an answer");
        rows[0][0].clone().expect("a value")
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let address = self.project.postgres.rsplit_once('@').expect("a host").1;
        let own = format!("postgres://{}:bound-owner@{address}", self.role);
        let _ = sql(&own, "DROP SCHEMA IF EXISTS lyrox CASCADE; DROP OWNED BY CURRENT_USER CASCADE");
        let _ = sql(
            &self.project.postgres,
            &format!(
                "REVOKE ALL ON DATABASE {} FROM {1}; REVOKE ALL ON SCHEMA public FROM {1}; DROP ROLE {1}",
                self.project.name, self.role
            ),
        );
    }
}

#[test]
fn forced_policies_are_met_tenant_by_tenant() {
    let bound = Bound::new("seed_rls");
    let project = &bound.project;
    let [one, two] = ["aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"];
    project.write(
        "seeds/dev/postgres/company.toml",
        &format!("key = [\"name\"]\n[rows.one]\nid = \"{one}\"\nname = \"one\"\n[rows.two]\nname = \"two\"\nid = \"{two}\"\n[rows.three]\nname = \"three\"\n"),
    );
    project.write(
        "seeds/dev/postgres/sale.toml",
        "key = [\"company_id\", \"number\"]\n[rows.a]\ncompany_id = \"@company.one\"\nnumber = \"1\"\n[rows.b]\ncompany_id = \"@company.three\"\nnumber = \"1\"\n",
    );
    let rows: String = (1..=2000)
        .map(|n| format!("{},{},c{n}\n", uuid::Uuid::from_u128(n), if n % 2 == 0 { one } else { two }))
        .collect();
    project.write("seeds/dev/postgres/sale.csv", &format!("id,company_id,number\n{rows}"));
    let first = project.lyrox(&["db", "seed", "--output", "json"]);
    first.ok();
    assert_eq!(first.item("postgres.company")["detail"], "3 created");
    let bulk = first.item("postgres.sale.csv")["detail"].as_str().expect("a detail").to_owned();
    assert!(bulk.starts_with("2000 created; row-level security"), "{bulk}");
    assert_eq!(bound.value(one, "SELECT count(*) FROM sale"), "1001");
    assert_eq!(bound.value(two, "SELECT count(*) FROM sale"), "1000");
    let sum = || bound.value(one, "SELECT md5(string_agg(xmin::text || id::text, ',' ORDER BY id)) FROM sale");
    let before = sum();
    project.lyrox(&["db", "seed"]).ok().never_says("created").never_says("updated");
    assert_eq!(sum(), before);
    // A row that no policy lets through: the table and what to do are named.
    project.write(
        "migrations/2_member.up.sql",
        "ALTER TABLE member ENABLE ROW LEVEL SECURITY; ALTER TABLE member FORCE ROW LEVEL SECURITY;
         CREATE POLICY nobody ON member USING (false);",
    );
    project.lyrox(&["db", "migrate"]).ok();
    project.write("seeds/dev/postgres/member.toml", "[rows.a]\nemail = \"a\"\n");
    project.lyrox(&["db", "seed"]).exit(1).says("policy nobody").says("BYPASSRLS").says("member.toml:1");
}

#[test]
fn an_upsert_never_moves_a_row_between_tenants() {
    let project = Project::new("seed_move", "");
    project.write(
        "lyrox.toml",
        &format!("[project]\nname = \"{}\"\n[postgres]\n[tenancy]\ncolumn = \"tenant\"\n", project.name),
    );
    project.write("migrations/1_core.up.sql", "CREATE TABLE t (id int PRIMARY KEY, tenant text NOT NULL, v int)");
    project.lyrox(&["db", "migrate"]).ok();
    project.sql("INSERT INTO t VALUES (1, 'a', 1)");
    project.write("seeds/dev/postgres/t.toml", "[rows.x]\nid = 1\ntenant = \"b\"\n");
    project.lyrox(&["db", "seed"]).exit(1).says("belongs to another tenant").says("t.toml:1");
    project.remove("seeds/dev/postgres/t.toml");
    project.write("seeds/dev/postgres/t.csv", "id,tenant\n2,a\n1,b\n");
    project.lyrox(&["db", "seed"]).exit(1).says("belongs to another tenant").says("t.csv:3");
    assert_eq!(project.sql_value("SELECT string_agg(id || tenant, ' ') FROM t"), "1a");
}

#[test]
fn protected_environments_take_only_the_named_set() {
    let project = postgres_only("seed_guard", TABLES);
    project.write("seeds/dev/postgres/User.toml", USERS);
    let settings = |seeds: &str| {
        project.write(
            "lyrox.toml",
            &format!("[project]\nname = \"{}\"\n[postgres]\n[env.local]\nprotected = true\n{seeds}", project.name),
        );
    };
    settings("");
    project.lyrox(&["db", "seed"]).exit(3).says("LYX-PROTECTED").says("[env.local] seeds = \"dev\"");
    project.lyrox(&["db", "seed", "--dry-run"]).exit(3);
    assert_eq!(project.sql_value(r#"SELECT count(*) FROM "User""#), "0");
    settings("seeds = \"other\"\n");
    project.lyrox(&["db", "seed"]).exit(3);
    settings("seeds = \"dev\"\n");
    project.lyrox(&["db", "seed"]).ok().says("2 created");
    // Nothing was contacted: a host that is not this machine needs no answer to be refused.
    project.write(
        "lyrox.toml",
        "[project]\nname = \"x\"\n[postgres]\nurl = \"postgres://u:secret-word@db.example.com/d\"\ndirect_url = \"\"\n",
    );
    project.write(".env", "");
    project.lyrox(&["db", "seed"]).exit(3).says("not on this machine").never_says("secret-word");
}

#[test]
fn another_mark_stops_it() {
    let project = postgres_only("seed_mark", TABLES);
    project.write("seeds/dev/postgres/User.toml", USERS);
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("a file");
    project.write("lyrox.toml", &format!("{text}\n[env.staging]\n"));
    project.lyrox(&["-e", "staging", "db", "seed"]).exit(6).says("LYX-MARK-DIFFERS");
    assert_eq!(project.sql_value(r#"SELECT count(*) FROM "User""#), "0");
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

#[test]
fn stores_left_out_are_said_and_not_referred_to() {
    let project = migrated("seed_only", "");
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nby = \"@postgres.User.pedro\"\n");
    project.lyrox(&["db", "seed", "--only", "mongodb"]).exit(2).says("not part of this run").says("--only");
    project.lyrox(&["db", "seed", "--only", "postgres"]).ok().says("skip");
    project.lyrox(&["db", "seed"]).ok();
    let found = block_on(async { project.database().collection::<bson::Document>("notes").find_one(doc! {}).await });
    let id = project.sql_value(r#"SELECT id FROM "User" WHERE email = 'pedro@example.com'"#);
    assert_eq!(found.expect("an answer").expect("a document").get_str("by").ok(), Some(id.as_str()));
}

#[test]
fn a_reset_forgets_what_was_applied_once() {
    let project = migrated("seed_reset", "");
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
fn passwords_are_in_no_message() {
    let project = postgres_only("seed_secret", TABLES);
    for text in [
        "[rows.a]\nemail = \"a\"\npasswordHash = { argon2id = \"hunter2-hunter2\" \n",
        "[rows.a]\nemail = \"a\"\npasswordHash = { argon2i = \"hunter2-hunter2\" }\n",
        "[rows.a]\nemail = \"a\"\npasswordHsh = { argon2id = \"hunter2-hunter2\" }\n",
        "[rows.a]\nbalance = { argon2id = \"hunter2-hunter2\" }\n",
    ] {
        project.write("seeds/dev/postgres/User.toml", text);
        let output = project.lyrox(&["db", "seed", "-v"]);
        assert_ne!(output.code, 0, "{output}");
        output.never_says("hunter2");
    }
    // From the environment: stored as it is, shown nowhere.
    project.write(
        "seeds/dev/postgres/User.toml",
        "key = [\"email\"]\n[rows.a]\nemail = \"a\"\nbalance = { env = \"SEED_SECRET\" }\n",
    );
    let env = std::fs::read_to_string(project.path(".env")).expect("a file");
    project.write(".env", &format!("{env}SEED_SECRET=hunter2-hunter2\n"));
    project.lyrox(&["db", "seed"]).exit(1).never_says("hunter2");
}

#[test]
fn a_project_without_seeds_has_nothing_to_apply() {
    let project = postgres_only("seed_none", TABLES);
    project.lyrox(&["db", "seed"]).ok().says("holds no sets");
}
