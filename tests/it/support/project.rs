//! A project of a test's own: a folder, a database in each store, removed at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use lyrox::kind::StoreKind;
use lyrox::url::SecretUrl;

use super::servers::{binary, servers};
use super::{Output, block_on, sql};

/// A throw-away project with its own PostgreSQL database, MongoDB database and Redis prefix.
pub struct Project {
    folder: tempfile::TempDir,
    /// Unique; the PostgreSQL and the MongoDB database have this name.
    pub name: String,
    /// PostgreSQL, as the owner of the database.
    pub postgres: String,
    /// MongoDB, without a database in its path.
    pub mongodb: String,
    /// Redis.
    pub redis: String,
    /// Every key of the project begins with it.
    pub prefix: String,
}

impl Project {
    /// Makes the databases and a `lyrox.toml` with all three stores; `extra` is appended to it.
    pub fn new(name: &str, extra: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("it_{name}_{}_{count}", std::process::id());
        assert!(name.len() < 60, "a shorter name for {name}");
        let servers = servers();
        sql(&servers.postgres, &format!("CREATE DATABASE {name}")).expect("a database");
        let postgres = parse(StoreKind::Postgres, &servers.postgres).with_database(&name).expose();
        let folder = tempfile::Builder::new().prefix("lyrox-it-").tempdir().expect("a folder");
        let prefix = format!("{name}:");
        let project = Self {
            folder,
            postgres,
            mongodb: servers.mongodb.clone(),
            redis: servers.redis.clone(),
            prefix: prefix.clone(),
            name: name.clone(),
        };
        project.write(
            "lyrox.toml",
            &format!(
                "[project]\nname = \"{name}\"\n\n[postgres]\n\n[mongodb]\ndatabase = \"{name}\"\n\n[redis]\nkey_prefix = \"{prefix}\"\n\n{extra}"
            ),
        );
        project.write(
            ".env",
            &format!(
                "DATABASE_URL='{}'\nMONGODB_URI='{}'\nREDIS_URL='{}'\n",
                project.postgres, project.mongodb, project.redis
            ),
        );
        project
    }

    /// The project's folder.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file below the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    /// Writes a file below the folder, with the folders it needs.
    pub fn write(&self, file: &str, text: &str) -> &Self {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
        self
    }

    /// Removes a file below the folder.
    pub fn remove(&self, file: &str) -> &Self {
        std::fs::remove_file(self.path(file)).expect("a file to remove");
        self
    }

    /// The command, ready to run or to change: clean environment, no standard input.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.root()).env_clear().stdin(Stdio::null());
        for name in ["PATH", "HOME", "USER", "LYROX_CACHE_DIR", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Runs lyrox in the project's folder, as a user would type it.
    pub fn lyrox(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().expect("lyrox runs");
        Output::new(arguments, &output)
    }

    /// A query in the project's database, as its owner; every value as text.
    #[track_caller]
    pub fn sql(&self, query: &str) -> Vec<Vec<Option<String>>> {
        match sql(&self.postgres, query) {
            Ok(rows) => rows,
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// The first value of a query.
    #[track_caller]
    pub fn sql_value(&self, query: &str) -> String {
        let rows = self.sql(query);
        let value = rows.first().and_then(|row| row.first()).cloned().flatten();
        value.unwrap_or_else(|| panic!("{query}: no value in {rows:?}"))
    }

    /// The project's MongoDB database.
    pub fn database(&self) -> mongodb::Database {
        block_on(async { mongodb::Client::with_uri_str(&self.mongodb).await.expect("a client").database(&self.name) })
    }

    /// A command on the project's MongoDB database.
    #[track_caller]
    pub fn mongo(&self, command: bson::Document) -> bson::Document {
        let shown = format!("{command}");
        let database = self.database();
        match block_on(async { database.run_command(command).await }) {
            Ok(reply) => reply,
            Err(error) => panic!("{shown}: {error:?}"),
        }
    }

    /// A Redis command, its words as they are.
    #[track_caller]
    pub fn redis(&self, words: &[&str]) -> redis::Value {
        block_on(async {
            let client = redis::Client::open(self.redis.as_str()).expect("a URL");
            // A machine that is busy with other tests answers late.
            let patient = redis::AsyncConnectionConfig::new()
                .set_connection_timeout(Some(std::time::Duration::from_secs(20)))
                .set_response_timeout(Some(std::time::Duration::from_secs(20)));
            let connection = client.get_multiplexed_async_connection_with_config(&patient).await;
            let mut connection = connection.expect("a connection");
            let mut command = redis::cmd(words[0]);
            for word in &words[1..] {
                command.arg(*word);
            }
            match command.query_async(&mut connection).await {
                Ok(value) => value,
                Err(error) => panic!("{words:?}: {error}"),
            }
        })
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = sql(&servers().postgres, &drop);
        block_on(async {
            if let Ok(client) = mongodb::Client::with_uri_str(&self.mongodb).await {
                let _ = client.database(&self.name).drop().await;
            }
            let Ok(client) = redis::Client::open(self.redis.as_str()) else { return };
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return };
            let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end";
            let _: Result<(), _> = redis::cmd("EVAL")
                .arg(script)
                .arg(0)
                .arg(format!("{}*", self.prefix))
                .query_async(&mut connection)
                .await;
        });
    }
}

fn parse(kind: StoreKind, url: &str) -> SecretUrl {
    lyrox::url::parse(kind, url).expect("a URL")
}
