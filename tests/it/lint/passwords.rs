//! A password in a file is found, whatever the form, and never shown.

use super::Folder;

/// What stands for the password everywhere below.
const PASSWORD: &str = "Hunter2-Zq9";

fn text(form: &str) -> String {
    form.replace("PW", PASSWORD)
}

#[test]
fn every_form_is_found_and_none_is_shown() {
    for (file, form) in [
        ("1_a.up.sql", "CREATE ROLE a LOGIN PASSWORD 'PW';"),
        ("1_a.up.sql", "CREATE USER a WITH ENCRYPTED PASSWORD $$PW$$;"),
        ("1_a.up.sql", "ALTER ROLE a PASSWORD E'PW';"),
        ("1_a.up.sql", "ALTER USER a PASSWORD 'md5PW';"),
        ("1_a.up.sql", "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'a', password 'PW');"),
        ("1_a.up.sql", "CREATE SUBSCRIPTION s CONNECTION 'host=h user=a password=PW dbname=d' PUBLICATION p;"),
        ("1_a.up.sql", "SELECT dblink_connect('c', 'host=h password = PW');"),
        ("1_a.up.sql", "DO $$ BEGIN EXECUTE 'CREATE ROLE a PASSWORD ''PW'''; END $$;"),
        ("1_a.up.sql", "DO $$ BEGIN\n  CREATE ROLE a LOGIN PASSWORD 'PW';\nEND $$;"),
        ("1_a.up.sql", "-- once: postgres://a:PW@db.example.com/shop\nSELECT 1;"),
        ("1_a.up.json", "[{ \"createUser\": \"a\", \"pwd\": \"PW\", \"roles\": [] }]"),
        ("1_a.up.json", "[{ \"updateUser\": \"a\", \"pwd\": \"PW\" }]"),
        ("1_a.up.json", "// mongodb+srv://a:PW@c.mongodb.net/shop\n[{ \"ping\": 1 }]"),
        ("1_a.up.redis", "ACL SETUSER a on >PW ~a:* +@all"),
        ("1_a.up.redis", "ACL SETUSER a on \">PW\" ~a:*"),
        ("1_a.up.redis", "CONFIG SET requirepass PW"),
        ("1_a.up.redis", "AUTH a PW"),
        ("1_a.up.redis", "# redis://:PW@cache:6379\nPING"),
    ] {
        let folder = Folder::new("").write(&format!("migrations/{file}"), &text(form));
        for output in ["human", "json", "github", "junit", "sarif"] {
            let run = folder.lyrox(&["db", "lint", "--output", output]);
            run.exit(1).says("literal-password").never_says(PASSWORD).never_says("Hunter");
        }
        let rules: Vec<_> = folder.rules(&[]).into_values().flatten().filter(|rule| rule != "redis-server").collect();
        assert_eq!(rules, ["literal-password"], "{form}");
    }
}

/// Another rule's finding on the same line, or inside the same statement, shows it no more; nor does it where
/// the rule about passwords is off.
#[test]
fn an_excerpt_ends_where_a_password_begins() {
    let statement = text("ALTER TABLE a DROP COLUMN b; ALTER ROLE a PASSWORD 'PW'; DROP TABLE c;\n");
    for header in ["", "-- lyrox: lint ignore literal-password\n"] {
        let folder = Folder::new("").write("migrations/1_a.up.sql", &format!("{header}{statement}"));
        let run = folder.lyrox(&["db", "lint"]);
        run.exit(1)
            .never_says(PASSWORD)
            .says("ALTER ROLE a PASSWORD '***")
            .says("ban-drop-column")
            .says("ban-drop-table");
    }
}

#[test]
fn a_password_over_several_lines_is_not_shown_either() {
    let folder = Folder::new("")
        .write("migrations/1_a.up.sql", "ALTER ROLE a PASSWORD 'Hunter\nDROP TABLE Zq9'; DROP TABLE c;\n");
    folder.lyrox(&["db", "lint"]).exit(1).never_says("Hunter").never_says("Zq9");
}

#[test]
fn what_is_filled_in_or_cannot_be_a_password_is_left_alone() {
    let folder = Folder::new("")
        .write(
            "migrations/1_a.up.sql",
            "-- lyrox: vars\n-- postgres://user:<password>@host/db, postgres://host:5432/db?a=b@c\n\
             ALTER ROLE a PASSWORD '${APP_PASSWORD}';\nALTER ROLE a PASSWORD NULL;\n\
             ALTER ROLE b PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy';\n\
             CREATE TABLE users (password text NOT NULL DEFAULT 'x', note text DEFAULT 'password: see the manual');\n\
             DO $$ BEGIN EXECUTE format('ALTER ROLE a PASSWORD %L', current_setting('app.password')); END $$;\n",
        )
        .write(
            "migrations/1_a.up.json",
            "// lyrox: vars\n[{ \"createUser\": \"a\", \"pwd\": \"${APP_PASSWORD}\", \"roles\": [] }]",
        )
        .write("migrations/1_a.up.redis", "# lyrox: vars\nACL SETUSER a on >${APP_PASSWORD} ~a:*\n");
    folder.lyrox(&["db", "lint"]).ok().says("nothing found in 3 files");
}
