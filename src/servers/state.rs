//! What lyrox remembers of the local servers: `.lyrox/state.json`, made once and kept. It holds ports
//! and passwords (0600), is written whole to a temporary file and renamed, and has a copy beside it.
//! It knows no driver and starts nothing.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rand::distr::{Alphanumeric, SampleString as _};
use serde::{Deserialize, Serialize};

use super::files::{self, disk};
use super::process::Process;
use crate::config::target::LocalUrls;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::secret::{Secret, register};

/// The folder of the local servers, below the project's root.
pub const FOLDER: &str = ".lyrox";
/// PostgreSQL's superuser. Nothing but `lyrox up` uses it.
pub const ADMIN: &str = "lyrox_admin";
/// The owner of the databases, and the user of MongoDB and Redis.
/// Not `lyrox`: `search_path` begins with "$user", and the ledger's schema must never be the one that an
/// application's unqualified names lead to.
pub const OWNER: &str = "lyrox_owner";
/// What the owner may: as much as the role that Supabase and Neon hand out, and no more.
pub const OWNER_RIGHTS: &str = "LOGIN NOSUPERUSER BYPASSRLS CREATEDB CREATEROLE";

const FILE: &str = "state.json";
const COPY: &str = "state.copy.json";
const LAYOUT: u32 = 1;
const PASSWORD_LENGTH: usize = 32;

/// Everything that is remembered of a project's servers.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The servers that were ever made and not purged.
    pub servers: BTreeMap<StoreKind, Record>,
}

/// What is remembered of one server.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Passwords by user.
    pub logins: BTreeMap<String, String>,
    /// The database in the URL.
    pub database: String,
    /// PostgreSQL: the application's role, where it is not the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_role: Option<String>,
    /// The data folder was made and its users exist.
    #[serde(default)]
    pub is_made: bool,
    /// The process that was proven to answer; none after a stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// When it was started, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The program that ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// What that program is and which version: `PostgreSQL 15.18`, `Valkey 9.1.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// As whom it runs.
    #[serde(default)]
    pub privileges: super::privileges::Privileges,
    /// Where its data lies, if not below the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<PathBuf>,
    /// PostgreSQL: the settings of `[local] postgres_settings` it was started with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// PostgreSQL: the extensions that the project wants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
}

impl Record {
    /// A new server on a port, with the passwords of these users made now.
    pub fn new(port: u16, users: &[&str], database: &str) -> Self {
        let logins = users.iter().map(|user| ((*user).to_owned(), password())).collect();
        Self { port, logins, database: database.to_owned(), ..Self::default() }
    }

    /// The password of a user.
    ///
    /// # Errors
    /// The state lacks it.
    pub fn password(&self, user: &str) -> Result<Secret> {
        self.logins
            .get(user)
            .map(|text| Secret::new(text.as_str()))
            .ok_or_else(|| damaged(format!("the password of `{user}` is not in it")))
    }
}

impl State {
    /// Reads the state. Where the file cannot be parsed or is gone, its copy is used.
    ///
    /// # Errors
    /// `LYX-SERVER-STATE` where neither can be used although there is data.
    pub fn read(root: &Path) -> Result<Self> {
        let folder = root.join(FOLDER);
        let main = read_one(&folder.join(FILE))?;
        let state = match main {
            Ok(Some(state)) => state,
            broken => match (broken, read_one(&folder.join(COPY))?) {
                (_, Ok(Some(state))) => state,
                (Ok(_), Ok(None)) => {
                    if let Some(kind) =
                        StoreKind::ALL.into_iter().find(|kind| folder.join(kind.name()).join("data").exists())
                    {
                        return Err(damaged(format!("`{FOLDER}/{FILE}` is gone, and there is data of {kind}")));
                    }
                    Self { version: LAYOUT, ..Self::default() }
                }
                (Err(why), _) | (_, Err(why)) => return Err(damaged(why)),
            },
        };
        if state.version > LAYOUT {
            return Err(damaged("a newer lyrox wrote it".into()));
        }
        for text in state.servers.values().flat_map(|record| record.logins.values()) {
            register(text);
        }
        Ok(state)
    }

    /// Writes the state: to a temporary file, synced and renamed; then the copy.
    ///
    /// # Errors
    /// `LYX-SERVER-DISK`.
    pub fn write(&self, root: &Path) -> Result<()> {
        let folder = root.join(FOLDER);
        let mut text = serde_json::to_string_pretty(self).map_err(|error| Error::bug(error.to_string()))?;
        text.push('\n');
        for name in [FILE, COPY] {
            let what = || format!("cannot write `{FOLDER}/{name}`");
            let mut file = tempfile::Builder::new()
                .prefix(".state")
                .permissions(files::mode(0o600))
                .tempfile_in(&folder)
                .map_err(|error| disk(&what(), &error))?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.as_file().sync_data())
                .and_then(|()| files::hand_over(file.path()))
                .map_err(|error| disk(&what(), &error))?;
            file.persist(folder.join(name)).map_err(|error| disk(&what(), &error.error))?;
        }
        Ok(())
    }

    /// The URLs of the servers that run now.
    pub fn urls(&self, root: &Path) -> LocalUrls {
        let mut urls = LocalUrls::default();
        for (kind, record) in &self.servers {
            let runs = record.process.as_ref().is_some_and(|process| process.runs_for(root));
            if !runs {
                continue;
            }
            let user = |name: &str| record.logins.get(name).map(|password| format!("{name}:{password}"));
            let Some(owner) = user(OWNER) else { continue };
            let port = record.port;
            let database = percent_encoding::utf8_percent_encode(&record.database, crate::secret::STRICT);
            match kind {
                StoreKind::Postgres => {
                    let direct = format!("postgres://{owner}@127.0.0.1:{port}/{database}");
                    let app = record.app_role.as_deref().and_then(|role| {
                        let password = record.logins.get(role)?;
                        let role = percent_encoding::utf8_percent_encode(role, crate::secret::STRICT);
                        Some(format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}"))
                    });
                    urls.postgres = Some(app.unwrap_or_else(|| direct.clone()));
                    urls.postgres_direct = Some(direct);
                }
                StoreKind::Mongodb => {
                    urls.mongodb = Some(format!(
                        "mongodb://{owner}@127.0.0.1:{port}/{database}?authSource=admin&replicaSet={REPLICA_SET}&directConnection=true"
                    ));
                }
                StoreKind::Redis => urls.redis = Some(format!("redis://{owner}@127.0.0.1:{port}/{database}")),
            }
        }
        urls
    }
}

/// The name of MongoDB's replica set.
pub const REPLICA_SET: &str = "rs0";

/// A password that no URL, shell or configuration file could misread.
pub fn password() -> String {
    let text = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
    register(&text);
    text
}

/// The name of a project as a database name: `[a-z0-9_]`, at most 63 bytes.
pub fn slug(project: &str) -> String {
    let mut slug: String = project
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(63)
        .collect();
    if !slug.starts_with(|c: char| c.is_ascii_alphabetic()) {
        slug.insert_str(0, "app_");
        slug.truncate(63);
    }
    if matches!(slug.as_str(), "postgres" | "template0" | "template1" | "admin" | "local" | "config") {
        slug.push_str("_app");
    }
    slug
}

/// The inner error is the reason why the file is no use; the outer one means that it cannot be reached.
fn read_one(path: &Path) -> Result<Result<Option<State>, String>> {
    let shown = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match std::fs::read(path) {
        // The parser's message quotes no value of a string, only the place.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            format!("`{FOLDER}/{shown}` is damaged at line {}, column {}", error.line(), error.column())
        })),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(Ok(None))
        }
        Err(error) => {
            Err(Error::new(Code::ServerState, format!("cannot read `{FOLDER}/{shown}`")).why(error.to_string()))
        }
    }
}

fn damaged(why: String) -> Error {
    Error::new(Code::ServerState, "the record of the local servers cannot be used")
        .why(why)
        .data("the servers' data is untouched")
        .hint(format!(
            "bring `{FOLDER}/{FILE}` back, or begin anew: lyrox down --purge --confirm PROJECT, then lyrox up"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_projects_become_names_of_databases() {
        for (name, expected) in [
            ("lyrox-os", "lyrox_os"),
            ("LYROX OS", "lyrox_os"),
            ("9lives", "app_9lives"),
            ("postgres", "postgres_app"),
            ("é", "app__"),
        ] {
            assert_eq!(slug(name), expected);
        }
        assert_eq!(slug(&"a".repeat(100)).len(), 63);
    }

    #[test]
    fn passwords_are_long_random_and_plain() {
        let (one, two) = (password(), password());
        assert_ne!(one, two);
        assert!(one.len() >= 24 && one.chars().all(|c| c.is_ascii_alphanumeric()));
    }

    #[test]
    fn a_damaged_file_is_replaced_by_its_copy_and_two_damaged_ones_are_an_error() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join(FOLDER)).expect("a folder");
        let mut state = State::read(root.path()).expect("an empty state");
        state.servers.insert(StoreKind::Redis, Record::new(4711, &[OWNER], "0"));
        state.write(root.path()).expect("written");
        let path = |name| root.path().join(FOLDER).join(name);
        std::fs::write(path(FILE), "{ \"version\": 1, \"serv").expect("damaged");
        let again = State::read(root.path()).expect("the copy");
        assert_eq!(again.servers[&StoreKind::Redis].port, 4711);
        std::fs::write(path(COPY), "").expect("damaged");
        let error = State::read(root.path()).err().expect("an error");
        assert_eq!(error.code(), Code::ServerState);
    }

    #[test]
    fn a_state_that_is_gone_beside_data_is_an_error_and_not_a_new_state() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join(FOLDER).join("postgres/data")).expect("a folder");
        assert_eq!(State::read(root.path()).err().map(|error| error.code()), Some(Code::ServerState));
    }
}
