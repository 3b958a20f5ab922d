//! `lyrox db dump`: a schema that has of everything is dumped, the dump is loaded into an empty project as its
//! only migration, and both schemas are equal.

use std::collections::BTreeMap;

use lyrox::config::{self, Choice, Targets};
use lyrox::kind::StoreKind;
use lyrox::stores::{AnyStore, Store as _};

use crate::support::{Project, block_on};

/// A project with the rich schema, and the role and names of its own that the schema speaks of.
pub struct Rich {
    /// The project.
    pub project: Project,
    /// A role of the server.
    pub role: String,
    /// A Redis user.
    pub user: String,
    /// A Redis library.
    pub library: String,
}

impl Rich {
    /// A project with the rich schema's files, not migrated.
    pub fn new(name: &str) -> Self {
        let project = Project::new(name, "");
        let role = format!("{}_r", project.name);
        project.sql(&format!("CREATE ROLE {role}"));
        let rich = Self { user: format!("{}_u", project.name), library: format!("{}_l", project.name), role, project };
        rich.configure(&rich.project);
        let fill = |text: &str| {
            text.replace("{role}", &rich.role).replace("{user}", &rich.user).replace("{library}", &rich.library)
        };
        rich.project.write("migrations/1_rich.up.sql", &fill(include_str!("../fixtures/rich/1_rich.up.sql")));
        rich.project.write("migrations/1_rich.up.json", include_str!("../fixtures/rich/1_rich.up.json"));
        rich.project.write("migrations/1_rich.up.redis", &fill(include_str!("../fixtures/rich/1_rich.up.redis")));
        rich.project.write("migrations/rich.lua", &fill(include_str!("../fixtures/rich/rich.lua")));
        rich
    }

    /// Gives a project the application's role.
    pub fn configure(&self, project: &Project) {
        let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
        project
            .write("lyrox.toml", &text.replace("[postgres]", &format!("[postgres]\napp_role = \"{}_app\"", self.role)));
    }
}

impl Drop for Rich {
    fn drop(&mut self) {
        self.project.redis(&["ACL", "DELUSER", &self.user]);
        block_on(async {
            let client = redis::Client::open(self.project.redis.as_str()).expect("a URL");
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return };
            let _: Result<(), _> =
                redis::cmd("FUNCTION").arg("DELETE").arg(&self.library).query_async(&mut connection).await;
        });
        for role in [self.role.clone(), format!("{}_app", self.role)] {
            // In a database that is dropped the moment after.
            let _ = crate::support::sql(&self.project.postgres, &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
        }
    }
}

/// The live schemas, as the stores read them.
pub fn snapshots(project: &Project) -> BTreeMap<StoreKind, BTreeMap<String, String>> {
    let choice = Choice { directory: Some(project.root().to_path_buf()), ..Choice::default() };
    let config = config::load(&choice).expect("a configuration");
    let targets = Targets::resolve(&config, &[], &Default::default()).expect("targets");
    block_on(async {
        let mut snapshots = BTreeMap::new();
        for target in &targets.stores {
            let mut store = AnyStore::open(&config, target).await.expect("a store");
            let snapshot = store.snapshot().await.expect("a snapshot");
            store.close().await;
            let plain = |text: &String| text.replace(&project.prefix, "PREFIX");
            let objects = snapshot.objects.iter().map(|(object, text)| (object.clone(), plain(text))).collect();
            snapshots.insert(target.kind, objects);
        }
        snapshots
    })
}

fn files(project: &Project) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(project.path("schema")).expect("schema/");
    entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .map(|(name, path)| (name, std::fs::read_to_string(path).expect("text").replace(&project.name, "NAME")))
        .collect()
}

#[test]
fn a_loaded_dump_is_equal_to_the_migrated_stores() {
    let rich = Rich::new("dump_rich");
    let migrated = &rich.project;
    migrated.lyrox(&["db", "migrate"]).ok();
    let run = migrated.lyrox(&["db", "dump"]);
    run.ok()
        .says("schema/postgres.sql")
        .says("not in the dump: the passwords of user")
        .never_says("a-password-of-the-test");
    let first = files(migrated);
    assert_eq!(first.len(), 4, "{:?}", first.keys());
    assert!(!first.values().any(|text| text.contains("a-password-of-the-test")));

    // The same schema gives the same bytes, and nothing is written again.
    migrated.lyrox(&["db", "dump"]).ok().says("unchanged").never_says("updated");
    assert_eq!(files(migrated), first);

    let loaded = Project::new("dump_load", "");
    rich.configure(&loaded);
    for (from, to) in
        [("postgres.sql", "1_dump.up.sql"), ("mongodb.json", "1_dump.up.json"), ("redis.redis", "1_dump.up.redis")]
    {
        let text = std::fs::read_to_string(migrated.path("schema").join(from)).expect("a dump");
        loaded.write(&format!("migrations/{to}"), &text);
    }
    let library = format!("redis.{}.lua", rich.library);
    let text = std::fs::read_to_string(migrated.path("schema").join(&library)).expect("a library");
    loaded.write(&format!("migrations/{library}"), &text);
    let before = snapshots(migrated);
    // They belong to the whole server: the loaded project must be the one that makes them.
    migrated.redis(&["ACL", "DELUSER", &rich.user]);
    migrated.redis(&["FUNCTION", "DELETE", &rich.library]);
    loaded.lyrox(&["db", "migrate"]).ok();
    let after = snapshots(&loaded);
    for (kind, before) in &before {
        let after = &after[kind];
        for (object, definition) in before {
            assert_eq!(Some(definition), after.get(object), "{kind}: {object}");
        }
        let extra: Vec<&String> = after.keys().filter(|object| !before.contains_key(*object)).collect();
        assert!(extra.is_empty(), "{kind}: {extra:?}");
        assert!(before.len() >= 5, "{kind} has {}", before.len());
    }
    assert!(before[&StoreKind::Postgres].len() > 200, "{}", before[&StoreKind::Postgres].len());

    // And the dump of what was loaded is the dump that was loaded.
    loaded.lyrox(&["db", "dump"]).ok();
    let second = files(&loaded);
    for (name, text) in &first {
        let other = &second[name];
        let plain = |text: &str| {
            text.lines().filter(|line| !line.contains("The schema of")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(plain(text), plain(&other.replace(&migrated.name, "NAME")), "{name}");
    }
}

#[test]
fn psql_loads_the_dump_in_one_transaction() {
    let Ok(psql) = std::process::Command::new("psql").arg("--version").output() else {
        // Without psql on the machine its way of loading cannot be tried.
        return;
    };
    assert!(psql.status.success());
    let rich = Rich::new("dump_psql");
    rich.project.lyrox(&["-q", "db", "migrate", "--only", "postgres"]).ok();
    rich.project.lyrox(&["-q", "db", "dump", "--only", "postgres"]).ok();
    let empty = Project::new("dump_psql_to", "");
    let load = std::process::Command::new("psql")
        .args(["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(rich.project.path("schema/postgres.sql"))
        .arg(&empty.postgres)
        .output()
        .expect("psql");
    assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    assert_eq!(
        empty.sql_value("SELECT count(*) FROM pg_class WHERE relnamespace IN ('public'::regnamespace, '\"other place\"'::regnamespace)"),
        rich.project.sql_value("SELECT count(*) FROM pg_class WHERE relnamespace IN ('public'::regnamespace, '\"other place\"'::regnamespace)")
    );
}

#[test]
fn check_tells_files_that_are_not_of_the_live_schema_and_writes_nothing() {
    let project = Project::new("dump_check", "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY);");
    project.write("migrations/1_a.up.json", r#"[{ "create": "notes" }]"#);
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "dump", "--check"]).exit(6).says("does not exist").says("LYX-DUMP-DRIFT");
    assert!(!project.path("schema").exists());
    project.lyrox(&["db", "dump"]).ok();
    project.lyrox(&["db", "dump", "--check"]).ok();
    project.sql("ALTER TABLE note ADD body text");
    let run = project.lyrox(&["db", "dump", "--check", "--output", "json"]);
    run.exit(6);
    let item = run.item("postgres.sql");
    assert!(item["why"].as_str().expect("why").contains("+    body text"), "{run}");
    assert_eq!(run.item("mongodb.json")["outcome"], "pass");
    let text = std::fs::read_to_string(project.path("schema/postgres.sql")).expect("a dump");
    assert!(!text.contains("body text"));
    project.lyrox(&["db", "dump"]).ok().says("updated");
    project.lyrox(&["db", "dump", "--check"]).ok();
    // A file of a library that is not there any more goes.
    project.write("schema/redis.gone.lua", "#!lua name=gone\n");
    project.lyrox(&["db", "dump", "--check"]).exit(6).says("redis.gone.lua");
    project.lyrox(&["db", "dump"]).ok();
    assert!(!project.path("schema/redis.gone.lua").exists());
    project.lyrox(&["db", "dump", "--check", "--dir", "elsewhere", "--only", "mongodb"]).exit(6);
}

#[test]
fn what_a_dump_cannot_hold_is_said() {
    let project = Project::new("dump_left", "");
    project.write(
        "migrations/1_a.up.sql",
        "CREATE TABLE note (id int); CREATE FUNCTION eq(note, note) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
         CREATE OPERATOR === (LEFTARG = note, RIGHTARG = note, FUNCTION = eq);",
    );
    project.lyrox(&["db", "migrate", "--only", "postgres"]).ok();
    let run = project.lyrox(&["db", "dump", "--only", "postgres"]);
    run.ok().says("not in the dump: operator ===(note,note)");
}
