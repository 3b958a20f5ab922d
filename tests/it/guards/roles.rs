//! The roles that docs/security.md asks for are the roles that suffice: each block of it is run here, and then
//! lyrox as that role.

use lyrox::kind::StoreKind;

use crate::support::{Output, Project};

/// The block of the guide after `<!-- role: NAME -->`.
fn block(role: &str) -> String {
    let guide = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md"));
    let guide = guide.expect("the guide");
    let text = guide.split(&format!("<!-- role: {role} -->\n```")).nth(1).unwrap_or_else(|| panic!("no block {role}"));
    let (_, text) = text.split_once('\n').expect("a block");
    text.split("```").next().expect("its end").to_owned()
}

/// A project whose stores are owned by the roles of the guide.
struct Roles {
    project: Project,
    names: [(&'static str, String); 4],
}

impl Roles {
    fn new(name: &str, extra: &str) -> Self {
        let project = Project::new(name, extra);
        let names = [
            ("lyrox_migrator", format!("{}_m", project.name)),
            ("lyrox_reader", format!("{}_r", project.name)),
            ("lyrox_app", format!("{}_a", project.name)),
            ("app", project.name.clone()),
        ];
        let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
        project.write(
            "lyrox.toml",
            &text.replace("[postgres]\n", &format!("[postgres]\napp_role = \"{}\"\n", names[2].1)),
        );
        Self { project, names }
    }

    /// The guide's words with the names of this test.
    fn named(&self, text: &str) -> String {
        // The word before the quote is the server's.
        let mut text = text.replace("app:*", &format!("{}*", self.project.prefix));
        for (from, to) in [
            ("'PASSWORD'", "'pass-word-4711'"),
            ("\"PASSWORD\"", "\"pass-word-4711\""),
            (">PASSWORD", ">pass-word-4711"),
        ] {
            text = text.replace(from, to);
        }
        for (name, own) in &self.names[..3] {
            text = text.replace(name, own);
        }
        let own = &self.names[3].1;
        for (from, to) in [("DATABASE app", "DATABASE "), ("\"app\"", "\""), ("authSource=app", "authSource=")] {
            let quote = if from.ends_with('"') { "\"" } else { "" };
            text = text.replace(from, &format!("{to}{own}{quote}"));
        }
        text
    }

    fn sql(&self, role: &str) {
        for statement in self.named(&block(role)).split(";\n").map(str::trim).filter(|text| !text.is_empty()) {
            // The database is there already.
            let owner = statement.strip_prefix("CREATE DATABASE ").and_then(|rest| rest.split_once(" OWNER "));
            let statement =
                owner.map_or(statement.to_owned(), |(name, owner)| format!("ALTER DATABASE {name} OWNER TO {owner}"));
            if statement.starts_with("ALTER DATABASE") {
                let _ =
                    crate::support::sql(&self.project.postgres, &format!("GRANT {} TO CURRENT_USER", self.names[0].1));
            }
            self.project.sql(&statement);
        }
    }

    fn mongodb(&self, role: &str) {
        let command: serde_json::Value = serde_json::from_str(&self.named(&block(role))).expect("JSON");
        self.project.mongo(bson::Document::try_from(command.as_object().expect("a document").clone()).expect("BSON"));
    }

    fn redis(&self, role: &str) {
        let line = self.named(&block(role));
        self.project.redis(&line.split_whitespace().collect::<Vec<_>>());
    }

    fn lyrox(&self, role: usize, arguments: &[&str]) -> Output {
        let place = |kind, url: &str| lyrox::url::parse(kind, url).expect("a URL").authority();
        let (name, user) = (&self.project.name, &self.names[role].1);
        let mut command = self.project.command(arguments);
        command.env(
            "DATABASE_URL",
            format!("postgres://{user}:pass-word-4711@{}/{name}", place(StoreKind::Postgres, &self.project.postgres)),
        );
        command.env(
            "MONGODB_URI",
            format!(
                "mongodb://{user}:pass-word-4711@{}/{name}?authSource={name}&directConnection=true",
                place(StoreKind::Mongodb, &self.project.mongodb)
            ),
        );
        command.env(
            "REDIS_URL",
            format!("redis://{user}:pass-word-4711@{}/0", place(StoreKind::Redis, &self.project.redis)),
        );
        Output::new(arguments, &command.output().expect("lyrox"))
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        for role in [0, 1, 2] {
            let role = &self.names[role].1;
            let _ = crate::support::sql(&self.project.postgres, &format!("GRANT {role} TO CURRENT_USER"));
            let _ = crate::support::sql(&self.project.postgres, &format!("REASSIGN OWNED BY {role} TO CURRENT_USER"));
            let _ = crate::support::sql(&self.project.postgres, &format!("DROP OWNED BY {role} CASCADE"));
        }
        let owner = &self.project.name;
        let _ = crate::support::sql(&self.project.postgres, &format!("ALTER DATABASE {owner} OWNER TO CURRENT_USER"));
        for role in [1, 0, 2] {
            let _ = crate::support::sql(&self.project.postgres, &format!("DROP ROLE {}", self.names[role].1));
        }
        let database = self.project.database();
        let _ = crate::support::block_on(async {
            database.run_command(bson::doc! { "dropAllUsersFromDatabase": 1 }).await
        });
        self.project.redis(&["ACL", "DELUSER", &self.names[0].1, &self.names[1].1]);
    }
}

fn project(name: &str) -> Roles {
    let roles = Roles::new(
        name,
        "[redis.keyspaces.cache]\npattern = \"cache:{id}\"\ntype = \"string\"\nttl = \"10m\"\n\n[redis.channels]\nnews = [\"note.made\"]\n",
    );
    let project = &roles.project;
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text NOT NULL);\nCREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';\n");
    project.write("migrations/1_a.down.sql", "DROP FUNCTION twice(int); DROP TABLE note;");
    project.write(
        "migrations/1_a.up.json",
        r#"[{ "create": "events" }, { "createIndexes": "events", "indexes": [{ "key": { "at": 1 }, "name": "at" }] }]"#,
    );
    project.write("migrations/1_a.down.json", r#"[{ "drop": "events" }]"#);
    project.write("migrations/1_a.up.redis", "SET {{prefix}}config:theme light");
    project.write("migrations/1_a.down.redis", "DEL {{prefix}}config:theme");
    project.write("seeds/dev/postgres/note.toml", "[rows.one]\nid = 1\nbody = \"hello\"\n");
    roles.sql("postgres migrator");
    roles.mongodb("mongodb migrator");
    roles.redis("redis migrator");
    roles
}

#[test]
fn the_documented_role_can_do_the_whole_work_and_is_no_superuser() {
    let roles = project("role_migrator");
    let name = roles.project.name.clone();
    roles.lyrox(0, &["check"]).ok();
    for arguments in [
        &["db", "migrate"][..],
        &["db", "status", "--check"],
        &["db", "seed"],
        &["db", "smoke-test"],
        &["db", "diff"],
        &["db", "rollback", "--yes"],
        &["db", "migrate"],
        &["db", "reset", "--confirm", &name],
        &["db", "unlock"],
    ] {
        roles.lyrox(0, arguments).ok();
    }
    // What it leaves out says so, and nothing fails for want of it.
    let smoke = roles.lyrox(0, &["db", "smoke-test", "--output", "json"]);
    let items = smoke.ok().json()["items"].as_array().expect("items").clone();
    let skipped: Vec<&serde_json::Value> = items.iter().filter(|item| item["outcome"] == "skip").collect();
    assert!(skipped.iter().all(|item| item["detail"].is_string()), "{smoke}");
    assert!(skipped.len() <= 1, "{skipped:?}");
    let rights = roles.project.sql_value(&format!(
        "SELECT concat_ws(' ', rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication) FROM pg_roles WHERE rolname = '{}'",
        roles.names[0].1
    ));
    assert_eq!(rights, "f f f f f");
}

#[test]
fn the_documented_reader_looks_and_cannot_write() {
    let roles = project("role_reader");
    roles.lyrox(0, &["db", "migrate"]).ok();
    let owner = roles.project.postgres.clone();
    // The guide's owner of the schema is the one that migrates.
    let _ = crate::support::sql(&owner, &format!("GRANT {} TO CURRENT_USER", roles.names[0].1));
    let text = roles.named(&block("postgres reader"));
    let place = lyrox::url::parse(StoreKind::Postgres, &owner).expect("a URL").authority();
    let migrator = format!("postgres://{}:pass-word-4711@{place}/{}", roles.names[0].1, roles.project.name);
    for statement in text.split(";\n").map(str::trim).filter(|text| !text.is_empty()) {
        // Only the first needs who may make roles.
        let url = if statement.starts_with("CREATE ROLE") { &owner } else { &migrator };
        crate::support::sql(url, statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    roles.mongodb("mongodb reader");
    roles.redis("redis reader");
    for arguments in [&["db", "status", "--check"][..], &["db", "diff"], &["db", "dump"], &["db", "reset", "--dry-run"]]
    {
        roles.lyrox(1, arguments).ok();
    }
    roles.project.write("migrations/2_b.up.sql", "ALTER TABLE note ADD COLUMN more text;");
    let check = roles.lyrox(1, &["check"]);
    check.says("LYX-PRIVILEGE");
    assert_ne!(check.code, 0, "{check}");
    for arguments in [&["db", "migrate"][..], &["db", "seed"], &["db", "reset", "--confirm", &roles.project.name]] {
        let run = roles.lyrox(1, arguments);
        assert_ne!(run.code, 0, "{run}");
        assert!(run.stdout.contains("permission denied") || run.stderr.contains("LYX-PRIVILEGE"), "{run}");
    }
    assert_eq!(roles.project.sql_value("SELECT count(*) FROM pg_attribute WHERE attname = 'more'"), "0");
}

/// Each right is needed: without it `check` names what is missing and the command that gives it.
#[test]
fn a_missing_right_is_named_with_the_command_that_gives_it() {
    let roles = project("role_less");
    let (name, migrator) = (roles.project.name.clone(), roles.names[0].1.clone());
    roles.project.mongo(bson::doc! { "updateUser": &migrator, "roles": [{ "role": "readWrite", "db": &name }] });
    let check = roles.lyrox(0, &["check", "--output", "json"]);
    let found = check.exit(1).item("mongodb.privileges");
    assert!(found["hint"].as_str().expect("a hint").contains("dbAdmin"), "{check}");
    roles.project.mongo(bson::doc! {
        "updateUser": &migrator, "roles": [{ "role": "readWrite", "db": &name }, { "role": "dbAdmin", "db": &name }],
    });
    roles.project.redis(&["ACL", "SETUSER", &migrator, "-@scripting"]);
    let check = roles.lyrox(0, &["check", "--output", "json"]);
    let found = check.exit(1).item("redis.privileges");
    assert!(found["hint"].as_str().expect("a hint").contains("ACL SETUSER"), "{check}");
    roles.redis("redis migrator");
    roles.project.sql(&format!("ALTER DATABASE {name} OWNER TO CURRENT_USER"));
    roles.project.sql(&format!("REVOKE ALL ON SCHEMA public FROM {migrator}"));
    let check = roles.lyrox(0, &["check", "--output", "json"]);
    let found = check.exit(1).item("postgres.privileges");
    assert!(found["hint"].as_str().expect("a hint").contains("GRANT CREATE"), "{check}");
}

/// What the guide adds for tenants with users of their own: it suffices to make, reach and remove one.
#[test]
fn the_documented_rights_for_tenants_suffice() {
    let roles = Roles::new("role_tenants", "[tenancy]\nmodel = \"schema\"\n");
    let project = &roles.project;
    project.write("migrations/1_a.up.sql", "CREATE TABLE plan (name text PRIMARY KEY);");
    project.write("migrations/tenant/1_own.up.sql", "CREATE TABLE sale (id int PRIMARY KEY);");
    project.write("migrations/tenant/1_own.up.json", r#"[{ "create": "carts" }]"#);
    project.write("migrations/tenant/1_own.up.redis", "SET {{prefix}}theme light");
    roles.sql("postgres migrator");
    roles.mongodb("mongodb migrator");
    roles.redis("redis migrator");
    roles.sql("postgres tenants");
    roles.mongodb("mongodb tenants");
    roles.redis("redis tenants");
    roles.lyrox(0, &["db", "migrate"]).ok();
    let key = format!("{}_one", project.name);
    roles.lyrox(0, &["tenant", "create", &key, "--credentials", "cred"]).ok();
    roles.lyrox(0, &["check", "--tenants", "all"]).ok().says("1 tenant: 1 ok");
    roles.lyrox(0, &["check", "--tenants", "all", "--credentials", "cred"]).ok();
    roles.lyrox(0, &["tenant", "verify", "--all"]).ok();
    roles.lyrox(0, &["tenant", "delete", &key, "--confirm", &key]).ok();
    roles.lyrox(0, &["check", "--tenants", "all"]).ok().says("0 tenants");
}
