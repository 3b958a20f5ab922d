//! What is refused before anything is written, and what messages never say.

use bson::doc;

use super::{TABLES, USERS, migrated, postgres_only, project};
use crate::support::block_on;

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
