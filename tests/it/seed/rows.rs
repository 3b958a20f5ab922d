//! Named rows: found by key, compared, written only where they differ.

use bson::doc;

use super::{TABLES, USERS, detail, migrated, postgres_only, versions};

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
fn a_project_without_seeds_has_nothing_to_apply() {
    let project = postgres_only("seed_none", TABLES);
    project.lyrox(&["db", "seed"]).ok().says("holds no sets");
}
