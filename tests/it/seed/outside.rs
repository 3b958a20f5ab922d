//! References to rows that the set does not hold: by key, and to rows of other sets. They must be there.

use bson::doc;

use super::{USERS, migrated};
use crate::support::{Project, block_on};

fn by(project: &Project) -> bson::Document {
    let notes = project.database().collection::<bson::Document>("notes");
    block_on(async { notes.find_one(doc! {}).await }).expect("an answer").expect("a note")
}

fn users(project: &Project) -> (String, String) {
    project.sql(r#"INSERT INTO "User" (email) VALUES ('ana@example.com'), ('bo@example.com')"#);
    let id = |name: &str| project.sql_value(&format!(r#"SELECT id FROM "User" WHERE email = '{name}@example.com'"#));
    (id("ana"), id("bo"))
}

#[test]
fn a_row_of_another_store_is_named_by_its_key() {
    let project = migrated("seed_where", "[redis.keyspaces.cache]\npattern = \"cache:{id}\"\ntype = \"hash\"\n");
    let (ana, bo) = users(&project);
    project.write(
        "seeds/dev/mongodb/notes.toml",
        r#"
[rows.a]
by = { ref = "postgres.User", where = { email = "ana@example.com" } }
mail = { ref = "postgres.User", where = { email = "ana@example.com" }, field = "email" }
also = [{ ref = "postgres.User", where = { email = "bo@example.com" } }]
"#,
    );
    project.write(
        "seeds/dev/redis/cache.toml",
        "[rows.a]\nid = { ref = \"postgres.User\", where = { email = \"ana@example.com\" } }\nfields = { x = \"1\" }\n",
    );
    project.write(
        "seeds/dev/postgres/Company.toml",
        "key = [\"ownerId\", \"name\"]\n[rows.a]\nname = \"A\"\nownerId = { ref = \"User\", where = { email = \"bo@example.com\" } }\n",
    );
    project.lyrox(&["db", "seed", "--plan"]).ok();
    project.lyrox(&["db", "seed"]).ok();
    let note = by(&project);
    assert_eq!((note.get_str("by").ok(), note.get_str("mail").ok()), (Some(ana.as_str()), Some("ana@example.com")));
    assert_eq!(note.get_array("also").expect("a list")[0].as_str(), Some(bo.as_str()));
    assert_eq!(project.redis(&["EXISTS", &format!("{}cache:{ana}", project.prefix)]), redis::Value::Int(1));
    assert_eq!(project.sql_value(r#"SELECT "ownerId" FROM "Company""#), bo);
    project.lyrox(&["db", "seed"]).ok().never_says("created").never_says("updated");
    // The row goes: what names it is refused, in every store, before anything is written.
    project.sql(r#"DELETE FROM "User" WHERE email = 'ana@example.com'"#);
    project.mongo(doc! { "drop": "notes" });
    let refused = project.lyrox(&["db", "seed"]);
    refused.exit(2).says("LYX-SEED-REFERENCE").says("ana@example.com").says("is not there").says("nothing was changed");
    assert_eq!(project.mongo(doc! { "count": "notes" }).get_i32("n").ok(), Some(0));
    project.lyrox(&["db", "seed", "--plan"]).exit(2).says("is not there");
    project.write(
        "seeds/dev/mongodb/notes.toml",
        "[rows.a]\nby = { ref = \"postgres.User\", where = { emial = \"x\" } }\n",
    );
    project.lyrox(&["db", "seed"]).exit(2).says("no column `emial`").says("notes.toml:2");
}

#[test]
fn a_row_of_another_set_is_found_by_that_sets_key() {
    let project = migrated("seed_other", "");
    // Stored under another id than the one that follows from the name.
    let stored = "11111111-1111-4111-8111-111111111111";
    project.write("seeds/base/postgres/User.toml", USERS);
    project.write(
        "seeds/dev/mongodb/notes.toml",
        "[rows.a]\nby = \"@postgres.User.pedro\"\nmail = \"@postgres.User.pedro.email\"\n",
    );
    let refused = project.lyrox(&["db", "seed"]);
    refused.exit(2).says("LYX-SEED-REFERENCE").says("lyrox db seed --set base");
    project.sql(&format!(r#"INSERT INTO "User" (id, email) VALUES ('{stored}', 'pedro@example.com')"#));
    project.lyrox(&["db", "seed"]).ok();
    let note = by(&project);
    assert_eq!((note.get_str("by").ok(), note.get_str("mail").ok()), (Some(stored), Some("pedro@example.com")));
    // Nothing of the other set was written, its passwords least of all.
    assert_eq!(project.sql_value(r#"SELECT count(*) FROM "User" WHERE "passwordHash" IS NOT NULL"#), "0");
    project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nby = \"@postgres.User.perdo\"\n");
    project.lyrox(&["db", "seed"]).exit(2).says("refers to no row of this or another set");
}

#[test]
fn a_bulk_file_may_bring_the_row() {
    let project = migrated("seed_where_bulk", "");
    project.write("seeds/dev/postgres/User.csv", "id,email\n11111111-1111-4111-8111-111111111111,csv@example.com\n");
    project.write(
        "seeds/dev/mongodb/notes.toml",
        "[rows.a]\nby = { ref = \"postgres.User\", where = { email = \"csv@example.com\" } }\n",
    );
    project.lyrox(&["db", "seed", "--plan"]).ok();
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(by(&project).get_str("by").ok(), Some("11111111-1111-4111-8111-111111111111"));
}

#[test]
fn a_row_that_is_gone_and_not_written_again_is_no_reference() {
    let project = migrated("seed_once_gone", "");
    project.write("seeds/dev/postgres/User.toml", &format!("mode = \"once\"\n{USERS}"));
    project.lyrox(&["db", "seed"]).ok();
    project.sql(r#"DELETE FROM "User" WHERE email = 'maya@example.com'"#);
    project.lyrox(&["db", "seed"]).ok().says("applied once before");
    project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nby = \"@postgres.User.maya\"\n");
    project.lyrox(&["db", "seed"]).exit(2).says("`postgres.User.maya` is not there").says("mode `once`");
    project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nby = \"@postgres.User.pedro\"\n");
    project.lyrox(&["db", "seed"]).ok();
    project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nby = \"@postgres.User.pedro.emial\"\n");
    project.lyrox(&["db", "seed"]).exit(2).says("no column `emial`").says("did you mean `email`?");
}
