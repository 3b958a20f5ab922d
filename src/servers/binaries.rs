//! Finds the server programs: the path in the configuration, else what is installed, else what was
//! fetched before, else fetched now. It starts no server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use super::pins::{self, Pin};
use super::process::clean_command;
use super::{UpRequest, download, extensions};
use crate::engine::event::Events;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// How long a program may take to print its version; a cold disk is slow.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// A server program and what it said it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// `PostgreSQL`, `MongoDB`, `Redis` or `Valkey`.
    pub name: &'static str,
    /// `15.18`.
    pub version: String,
    /// The numbers of the version.
    pub numbers: Vec<u32>,
    /// PostgreSQL: a folder with further extensions, in `lib/` and `share/extension/`.
    pub extensions: Option<PathBuf>,
}

impl Program {
    /// `PostgreSQL 15.18`.
    pub fn product(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// The first number of the version.
    pub fn major(&self) -> u32 {
        self.numbers.first().copied().unwrap_or(0)
    }
}

/// Finds the program of a store, fetching it where nothing suitable is there. `major` is the version of
/// the data that lies there already; an installed server of that version is preferred.
///
/// # Errors
/// `LYX-SERVER-BINARY`, `LYX-SERVER-DOWNLOAD`.
pub async fn find(kind: StoreKind, request: &UpRequest, major: Option<u32>, events: &dyn Events) -> Result<Program> {
    if let Some(given) = given(kind, request) {
        return explicit(kind, &given).await;
    }
    let mut refused = Vec::new();
    let mut best: Option<Program> = None;
    // Whole but for an extension that the project wants.
    let mut wanting: Option<Program> = None;
    for path in candidates(kind) {
        let program = match probe(kind, &path).await {
            Ok(program) => program,
            Err(why) => {
                refused.push(format!("`{}`: {why}", path.display()));
                continue;
            }
        };
        if let Some(why) = too_old(kind, &program) {
            refused.push(format!("`{}`: {why}", path.display()));
            continue;
        }
        let rank = |program: &Program| (Some(program.major()) == major, program.numbers.clone());
        let lacking =
            if kind == StoreKind::Postgres { extensions::lacking(&path, &request.extensions) } else { Vec::new() };
        if !lacking.is_empty() {
            refused.push(format!("`{}`: it lacks the extension `{}`", path.display(), lacking.join("`, `")));
            // The data that lies there is its; and what nobody can fetch is told by `check` and `migrate`.
            let is_only_choice = Some(program.major()) == major || !extensions::are_fetchable(&lacking);
            if is_only_choice && wanting.as_ref().is_none_or(|best| rank(&program) > rank(best)) {
                wanting = Some(program);
            }
            continue;
        }
        // What comes first in PATH stays first unless a later one is better for a reason.
        let is_better = best.as_ref().is_none_or(|best| match kind {
            StoreKind::Postgres => rank(&program) > rank(best),
            StoreKind::Mongodb | StoreKind::Redis => false,
        });
        if is_better {
            best = Some(program);
        }
    }
    if let Some(program) = best.filter(|best| major.is_none() || wanting.is_none() || Some(best.major()) == major) {
        return Ok(program);
    }
    if let Some(program) = wanting {
        return Ok(program);
    }
    for line in &refused {
        tell_once(format!("passed over {line}"), events);
    }
    let pin = pin(kind);
    let Some(pin) = pin else {
        return Err(missing(kind, &refused)
            .hint(format!("install {} and see that it is in PATH, or name it under [local]", kind.title())));
    };
    let folder = download::folder(pin)?;
    let path = folder.join(pin.program);
    if !path.is_file() {
        if request.offline {
            return Err(missing(kind, &refused).hint(format!(
                "install {}, name it under [local], or run without --offline once to fetch {}",
                kind.title(),
                pin.product
            )));
        }
        download::fetch(pin, &folder, kind, events).await?;
    }
    let mut program = probe(kind, &path).await.map_err(|why| {
        Error::new(Code::ServerBinary, format!("the fetched {} does not run here", pin.product))
            .why(why)
            .hint(format!("install {} and see that it is in PATH, or name it under [local]", kind.title()))
    })?;
    if kind == StoreKind::Postgres && request.extensions.iter().any(|name| name == extensions::VECTOR) {
        program.extensions = vector(&program, request, events).await?;
    }
    Ok(program)
}

/// The folder of the fetched extension `vector`; none where the fetched server is of another version.
async fn vector(program: &Program, request: &UpRequest, events: &dyn Events) -> Result<Option<PathBuf>> {
    let Some(pin) = extensions::vector(program.major()) else { return Ok(None) };
    let folder = download::folder(pin)?;
    if !folder.join(pin.program).is_file() {
        if request.offline {
            return Err(Error::new(Code::ServerBinary, "no PostgreSQL with the extension `vector` was found")
                .why("`[postgres] extensions` asks for it, and it was not fetched before")
                .hint(format!(
                    "install PostgreSQL with pgvector, or run without --offline once to fetch {}",
                    pin.product
                )));
        }
        download::fetch(pin, &folder, StoreKind::Postgres, events).await?;
    }
    Ok(Some(folder))
}

/// A run may look for the same program twice.
fn tell_once(line: String, events: &dyn Events) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(line.clone()) {
        events.note(line);
    }
}

fn missing(kind: StoreKind, refused: &[String]) -> Error {
    let error = Error::new(Code::ServerBinary, format!("no {} server was found", kind.title()));
    if refused.is_empty() {
        error.why("neither in PATH nor in the usual folders nor in the cache")
    } else {
        error.why(refused.join("\n"))
    }
}

/// The pinned program for this machine.
pub fn pin(kind: StoreKind) -> Option<&'static Pin> {
    let all: &'static [(&str, Pin)] = match kind {
        StoreKind::Postgres => &pins::POSTGRES,
        StoreKind::Mongodb => &pins::MONGODB,
        StoreKind::Redis => &pins::REDIS,
    };
    let platform = pins::platform()?;
    all.iter().find(|(name, _)| *name == platform).map(|(_, pin)| pin)
}

/// The program that `[local]` names.
fn given(kind: StoreKind, request: &UpRequest) -> Option<PathBuf> {
    let local = &request.local;
    let text = match kind {
        StoreKind::Postgres => local.postgres_bin.as_ref(),
        StoreKind::Mongodb => local.mongod.as_ref(),
        StoreKind::Redis => local.redis_server.as_ref(),
    }?;
    let path = request.root.join(text);
    Some(if kind == StoreKind::Postgres { path.join("postgres") } else { path })
}

const fn key(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Postgres => "postgres_bin",
        StoreKind::Mongodb => "mongod",
        StoreKind::Redis => "redis_server",
    }
}

async fn explicit(kind: StoreKind, path: &Path) -> Result<Program> {
    let key = key(kind);
    let refuse = |why: String| {
        Error::new(Code::ServerBinary, format!("`[local] {key}` names no {} that can be used", kind.title()))
            .why(format!("`{}`: {why}", path.display()))
            .hint(format!("mend `[local] {key}` in lyrox.toml, or remove it to have one found"))
    };
    if !path.is_file() {
        return Err(refuse("no such file".into()));
    }
    if kind == StoreKind::Postgres && !path.with_file_name("initdb").is_file() {
        return Err(refuse("`initdb` is not beside it".into()));
    }
    let program = probe(kind, path).await.map_err(refuse)?;
    match too_old(kind, &program) {
        Some(why) => Err(refuse(why)),
        None => Ok(program),
    }
}

fn too_old(kind: StoreKind, program: &Program) -> Option<String> {
    let least = match kind {
        StoreKind::Postgres => 15,
        StoreKind::Mongodb => 6,
        StoreKind::Redis => 7,
    };
    (program.major() < least).then(|| format!("version {} is too old; {least} or later is needed", program.version))
}

/// Every installed program of a kind: PATH first, then the folders where packages put them.
fn candidates(kind: StoreKind) -> Vec<PathBuf> {
    let names: &[&str] = match kind {
        StoreKind::Postgres => &["postgres"],
        StoreKind::Mongodb => &["mongod"],
        StoreKind::Redis => &["redis-server", "valkey-server"],
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    folders.extend(usual_folders(kind));
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders {
        for name in names {
            let program = folder.join(name);
            let is_whole = kind != StoreKind::Postgres || folder.join("initdb").is_file();
            if program.is_file() && is_whole && !found.contains(&program) {
                found.push(program);
            }
        }
    }
    found
}

fn usual_folders(kind: StoreKind) -> Vec<PathBuf> {
    // A `*` stands for what a folder's name holds from there to its end.
    let patterns: &[&str] = match kind {
        // Debian keeps the server's programs out of PATH.
        StoreKind::Postgres => &[
            "/usr/lib/postgresql/*/bin",
            "/usr/pgsql-*/bin",
            "/opt/homebrew/opt/postgresql*/bin",
            "/usr/local/opt/postgresql*/bin",
            "/Applications/Postgres.app/Contents/Versions/*/bin",
            "/usr/local/pgsql/bin",
        ],
        StoreKind::Mongodb => {
            &["/usr/bin", "/opt/homebrew/opt/mongodb-community*/bin", "/usr/local/opt/mongodb-community*/bin"]
        }
        StoreKind::Redis => {
            &["/usr/bin", "/opt/homebrew/opt/redis/bin", "/opt/homebrew/opt/valkey/bin", "/usr/local/opt/redis/bin"]
        }
    };
    let mut folders = Vec::new();
    for pattern in patterns {
        let Some((before, after)) = pattern.split_once('*') else {
            folders.push(PathBuf::from(pattern));
            continue;
        };
        let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        let mut matching: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join(after.trim_start_matches('/')))
            .collect();
        matching.sort();
        folders.extend(matching);
    }
    folders
}

/// Asks a program which version it is.
///
/// # Errors
/// Why it does not say, in a few words.
async fn probe(kind: StoreKind, path: &Path) -> Result<Program, String> {
    let mut command = tokio::process::Command::from(clean_command(path));
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PROBE_LIMIT, command.output())
        .await
        .map_err(|_| format!("`--version` did not end within {} s", PROBE_LIMIT.as_secs()))?
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().next().map_or_else(|| "it does not run".to_owned(), str::to_owned));
    }
    let (name, version) = read_version(kind, &text).ok_or("it does not say its version")?;
    let numbers = version.split('.').map_while(|part| part.parse().ok()).collect();
    Ok(Program { path: path.to_path_buf(), name, version, numbers, extensions: None })
}

/// Name and version in what a server prints for `--version`.
fn read_version(kind: StoreKind, text: &str) -> Option<(&'static str, String)> {
    let line = text.lines().next()?;
    let (name, rest) = match kind {
        StoreKind::Postgres => ("PostgreSQL", line.split_once("(PostgreSQL) ")?.1),
        StoreKind::Mongodb => ("MongoDB", line.split_once("db version v")?.1),
        StoreKind::Redis if line.starts_with("Valkey") => ("Valkey", line.split_once("v=")?.1),
        StoreKind::Redis => ("Redis", line.split_once("v=")?.1),
    };
    let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    (!version.is_empty()).then_some((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_servers_print() {
        for (kind, text, expected) in [
            (
                StoreKind::Postgres,
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(("PostgreSQL", "15.18")),
            ),
            (StoreKind::Postgres, "postgres (PostgreSQL) 19devel\n", Some(("PostgreSQL", "19"))),
            (StoreKind::Mongodb, "db version v6.0.5\nBuild Info: {\n", Some(("MongoDB", "6.0.5"))),
            (
                StoreKind::Redis,
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0\n",
                Some(("Redis", "7.0.15")),
            ),
            (StoreKind::Redis, "Valkey server v=9.1.2 sha=00000000:1\n", Some(("Valkey", "9.1.2"))),
            (StoreKind::Redis, "something else\n", None),
        ] {
            assert_eq!(read_version(kind, text), expected.map(|(name, version)| (name, version.to_owned())));
        }
    }

    #[test]
    fn every_pin_is_a_whole_digest_and_a_path_below_its_folder() {
        for (_, pin) in pins::POSTGRES.iter().chain(&pins::MONGODB).chain(&pins::REDIS).chain(&pins::VECTOR) {
            assert!(
                pin.sha256.len() == 64 && pin.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{}",
                pin.folder
            );
            assert!(Path::new(pin.program).is_relative() && pin.size > 0);
        }
    }
}
