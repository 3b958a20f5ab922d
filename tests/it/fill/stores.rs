//! MongoDB from validators, Redis from declared key spaces, tenants.

use bson::{Document, doc};

use crate::support::{Project, block_on};

const MIGRATION: &str = r#"[
{ "create": "companies", "validator": { "$jsonSchema": { "bsonType": "object", "required": ["name", "plan"],
  "properties": { "name": { "bsonType": "string", "minLength": 3 }, "plan": { "enum": ["free", "pro"] }, "seats": { "bsonType": "int", "minimum": 1, "maximum": 500 } } } } },
{ "create": "users", "validator": { "$jsonSchema": { "bsonType": "object", "required": ["companyId", "email", "createdAt", "tags"],
  "properties": { "companyId": { "bsonType": "objectId" }, "email": { "bsonType": "string", "pattern": "^.+@.+$" }, "createdAt": { "bsonType": "date" },
    "tags": { "bsonType": "array", "items": { "bsonType": "string" }, "maxItems": 4 }, "score": { "bsonType": "double" } } } } },
{ "createIndexes": "users", "indexes": [{ "key": { "email": 1 }, "name": "email", "unique": true }] },
{ "create": "free" }
]"#;

fn project(name: &str) -> Project {
    let project = Project::new(
        name,
        "[redis.keyspaces.sessions]\npattern = \"session:{id}\"\ntype = \"hash\"\nttl = \"1h\"\n\
         [redis.keyspaces.top]\npattern = \"top\"\ntype = \"zset\"\n\
         [redis.keyspaces.jobs]\npattern = \"jobs:{queue}:{id}\"\ntype = \"list\"\n",
    );
    project.write("migrations/1_core.up.sql", "CREATE TABLE a (id serial PRIMARY KEY, name text NOT NULL);");
    project.write("migrations/1_core.up.json", MIGRATION);
    project.lyrox(&["db", "migrate"]).ok();
    project
}

fn documents(project: &Project, collection: &str) -> Vec<Document> {
    use futures_util::TryStreamExt as _;
    block_on(async {
        let client = mongodb::Client::with_uri_str(&project.mongodb).await.expect("a client");
        let documents = client.database(&project.name).collection::<Document>(collection);
        let found = documents.find(doc! {}).sort(doc! { "_id": 1 }).await;
        found.expect("documents").try_collect().await.expect("documents")
    })
}

#[test]
fn three_stores_are_filled_and_a_second_run_adds_nothing() {
    let project = project("fill_stores");
    let output = project.lyrox(&["db", "seed", "--fill", "600", "--output", "json"]);
    output.ok();
    assert_eq!(output.item("mongodb.free")["outcome"], "skip");
    assert!(output.item("mongodb.free")["detail"].as_str().is_some_and(|detail| detail.contains("no validator")));
    let (companies, users) = (documents(&project, "companies"), documents(&project, "users"));
    assert_eq!((companies.len(), users.len()), (100, 100), "600 rows over six targets");
    let ids: Vec<_> = companies.iter().filter_map(|one| one.get_object_id("_id").ok()).collect();
    assert!(users.iter().all(|user| user.get_object_id("companyId").is_ok_and(|id| ids.contains(&id))));
    assert_eq!(project.sql_value("SELECT count(*) FROM a"), "100");
    let keys = |pattern: &str| {
        let shown = project.lyrox(&["query", "redis", &format!("KEYS {}{pattern}", project.prefix)]);
        shown.ok();
        shown.stdout.lines().filter(|line| line.contains(&project.prefix)).count()
    };
    assert_eq!((keys("session:*"), keys("top"), keys("jobs:*")), (100, 1, 100));

    let again = project.lyrox(&["db", "seed", "--fill", "600", "--output", "json"]);
    again.ok();
    for item in again.json()["items"].as_array().expect("items") {
        assert!(item["change"] == "unchanged" || item["outcome"] == "skip", "{item:#}");
    }
    assert_eq!(documents(&project, "users"), users);
}

#[test]
fn blocks_of_mongodb_and_redis() {
    let project = project("block_stores");
    project.write(
        "seeds/dev/mongodb/companies.toml",
        "[generate]\nrows = 30\n[generate.columns.plan]\nvalues = [\"free\", \"pro\"]\nweights = [0, 1]\n[generate.columns.seats]\nrange = [7, 9]\n[generate.columns.name]\ntemplate = \"Company {row}\"\n",
    );
    project.write("seeds/dev/redis/sessions.toml", "[generate]\nrows = 25\n");
    project.lyrox(&["db", "seed"]).ok();
    let companies = documents(&project, "companies");
    assert_eq!(companies.len(), 30);
    for one in &companies {
        assert_eq!(one.get_str("plan").ok(), Some("pro"));
        assert!(one.get_i32("seats").is_ok_and(|seats| (7..=9).contains(&seats)), "{one}");
        assert!(one.get_str("name").is_ok_and(|name| name.starts_with("Company ")));
    }
    let again = project.lyrox(&["db", "seed", "--output", "json"]);
    again.ok();
    for id in ["mongodb.companies.generate", "redis.sessions.generate"] {
        assert_eq!(again.item(id)["change"], "unchanged", "{id}");
    }
    assert_eq!(documents(&project, "companies"), companies);
}

#[test]
fn rows_are_made_for_the_tenants_that_are_named() {
    let project = Project::new("fill_tenants", "");
    project.write(
        "lyrox.toml",
        "[project]\nname = \"fill\"\n[postgres]\n[tenancy]\nmodel = \"row\"\ntable = \"Company\"\ncolumn = \"companyId\"\n",
    );
    project.write(
        "migrations/1_core.up.sql",
        "CREATE TABLE \"Company\" (id text PRIMARY KEY, name text NOT NULL);
         CREATE TABLE \"User\" (id serial PRIMARY KEY, \"companyId\" text NOT NULL REFERENCES \"Company\", email text NOT NULL);
         CREATE TABLE \"Post\" (id serial PRIMARY KEY, \"companyId\" text NOT NULL REFERENCES \"Company\", \"userId\" int NOT NULL REFERENCES \"User\");
         INSERT INTO \"Company\" VALUES ('acme', 'Acme'), ('globex', 'Globex'), ('other', 'Other');",
    );
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "seed", "--fill", "300", "--tenant", "acme", "--tenant", "globex"]).ok();
    let of = |query: &str| project.sql(query).into_iter().filter_map(|row| row[0].clone()).collect::<Vec<_>>();
    assert_eq!(of("SELECT DISTINCT \"companyId\" FROM \"User\" ORDER BY 1"), ["acme", "globex"]);
    assert_eq!(project.sql_value("SELECT count(*) FROM \"Company\""), "3");
    let strangers = "SELECT count(*) FROM \"Post\" p JOIN \"User\" u ON u.id = p.\"userId\" WHERE u.\"companyId\" <> p.\"companyId\"";
    assert_eq!(project.sql_value(strangers), "0", "a row and its parent belong to one tenant");
}
