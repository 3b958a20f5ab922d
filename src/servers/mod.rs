//! Real local servers under `.lyrox/`: started, found again, stopped. No container and no root needed.
//!
//! Every server runs as a daemon on 127.0.0.1 with a password of its own. What is remembered of it is
//! in `state.json`; that it runs is proven by a locked file and the start time of its process. The
//! servers are for development and tests: PostgreSQL runs without `fsync`, so that a killed server
//! loses nothing, but a machine that loses power may.

mod binaries;
mod download;
mod extensions;
mod files;
mod logs;
mod mongodb;
mod occupant;
mod pins;
mod place;
mod postgres;
mod privileges;
mod process;
mod redis;
mod start;
mod state;
mod stop;
mod unpack;

use std::path::{Path, PathBuf};

pub use logs::{Follow, tail};
pub use start::{Server, up};
pub use stop::down;

use crate::config::target::LocalUrls;
use crate::config::{Config, file};
use crate::engine::event::Events;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

use process::{Process, Seat, Sitter};
use state::{FOLDER, Record, State};

/// Which servers are wanted, and how.
#[derive(Clone, Debug, Default)]
pub struct UpRequest {
    /// The project's root; `.lyrox/` is below it.
    pub root: PathBuf,
    /// The project's name: the PostgreSQL database is named after it.
    pub project: String,
    /// The stores to start.
    pub stores: Vec<StoreKind>,
    /// PostgreSQL: the application's role, where it is not the owner.
    pub app_role: Option<String>,
    /// MongoDB: the database in the URL; the project's name where not set.
    pub mongodb_database: Option<String>,
    /// PostgreSQL: an installed server of this major version is preferred for a new data folder.
    pub postgres_major: Option<u32>,
    /// PostgreSQL: the extensions that it must offer.
    pub extensions: Vec<String>,
    /// `[local]`.
    pub local: file::Local,
    /// Fetch nothing.
    pub offline: bool,
}

impl UpRequest {
    /// The servers that a project's configuration asks for.
    pub fn new(config: &Config, stores: &[StoreKind], offline: bool) -> Self {
        let settings = &config.settings;
        Self {
            root: config.root.clone(),
            project: settings.project.name.clone(),
            stores: stores.to_vec(),
            app_role: settings.postgres.as_ref().and_then(|postgres| postgres.app_role.clone()),
            mongodb_database: settings.mongodb.as_ref().and_then(|mongodb| mongodb.database.clone()),
            postgres_major: None,
            extensions: settings.postgres.as_ref().map(|postgres| postgres.extensions.clone()).unwrap_or_default(),
            local: settings.local.clone(),
            offline,
        }
    }

    const fn port(&self, kind: StoreKind) -> Option<u16> {
        match kind {
            StoreKind::Postgres => self.local.postgres_port,
            StoreKind::Mongodb => self.local.mongodb_port,
            StoreKind::Redis => self.local.redis_port,
        }
    }
}

/// Which servers to stop.
#[derive(Clone, Debug, Default)]
pub struct DownRequest {
    /// The project's root.
    pub root: PathBuf,
    /// The stores to stop; empty: all that there are.
    pub stores: Vec<StoreKind>,
    /// Remove their data as well. Whoever sets it has asked for consent.
    pub purges: bool,
}

/// The URLs of the local servers that are running for this project; reads state only, starts nothing
/// and contacts nobody.
///
/// # Errors
/// `LYX-SERVER-STATE` where the state cannot be used.
pub fn running(root: &Path) -> Result<LocalUrls> {
    let Ok(root) = root.canonicalize() else { return Ok(LocalUrls::default()) };
    if !root.join(FOLDER).is_dir() {
        return Ok(LocalUrls::default());
    }
    Ok(State::read(&root)?.urls(&root))
}

/// What `up` would start for a store: `PostgreSQL 15.18`. It is found, and fetched where need be; nothing is
/// started.
///
/// # Errors
/// `LYX-SERVER-BINARY`, `LYX-SERVER-DOWNLOAD`.
pub async fn product(kind: StoreKind, request: &UpRequest, events: &dyn Events) -> Result<String> {
    Ok(binaries::find(kind, request, request.postgres_major, events).await?.product())
}

/// A server's program that is there to be started.
#[derive(Clone, Debug)]
pub struct Found {
    /// `PostgreSQL 15.18`.
    pub product: String,
    /// It lies in the cache of what lyrox fetched.
    pub is_fetched: bool,
    /// The program itself.
    pub path: PathBuf,
}

/// The programs that `up` would start for the stores of a request, side by side; what is missing is fetched. A server
/// that runs is not looked for again.
///
/// # Errors
/// `LYX-SERVER-STATE` where the state cannot be used. What fails for one store is in the answer.
pub async fn programs(request: &UpRequest, events: &dyn Events) -> Result<Vec<(StoreKind, Result<Found>)>> {
    let root = canonical(&request.root)?;
    let state = if root.join(FOLDER).is_dir() { State::read(&root)? } else { State::default() };
    let one = async |kind: StoreKind| {
        let record = state.servers.get(&kind);
        if let Some(record) = record.filter(|record| find(&root, kind, record).is_some())
            && let (Some(product), Some(program)) = (&record.product, &record.program)
        {
            return Ok(Found {
                product: product.clone(),
                is_fetched: download::is_fetched(program),
                path: program.clone(),
            });
        }
        let data = record.filter(|_| kind == StoreKind::Postgres).map(|record| home(&root, kind, record));
        let major = data.and_then(|home| postgres::data_version(&home)).or(request.postgres_major);
        let program = binaries::find(kind, request, major, events).await?;
        Ok(Found { product: program.product(), is_fetched: download::is_fetched(&program.path), path: program.path })
    };
    let found = futures_util::future::join_all(request.stores.iter().map(|kind| one(*kind))).await;
    Ok(request.stores.iter().copied().zip(found).collect())
}

/// The URL of a running PostgreSQL as its superuser: for throw-away servers alone, where everything that a
/// migration does may be tried.
///
/// # Errors
/// `LYX-SERVER-STATE` where the state cannot be used or no PostgreSQL was made.
pub fn superuser_url(root: &Path) -> Result<String> {
    let state = State::read(&canonical(root)?)?;
    let record = state.servers.get(&StoreKind::Postgres).ok_or_else(|| Error::bug("PostgreSQL has no record"))?;
    let password = record.password(state::ADMIN)?;
    Ok(format!("postgres://{}:{}@127.0.0.1:{}/postgres", state::ADMIN, password.expose(), record.port))
}

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It runs and has answered.
    Running,
    /// It runs and was not seen to answer yet.
    Starting,
    /// It was stopped.
    Stopped,
    /// It ended without being asked to.
    Crashed,
}

impl Condition {
    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
        }
    }
}

/// One server as `ps` shows it.
#[derive(Clone, Debug)]
pub struct Status {
    /// The store.
    pub kind: StoreKind,
    /// How it is.
    pub condition: Condition,
    /// The process, where there is one.
    pub pid: Option<i32>,
    /// Its port.
    pub port: u16,
    /// `PostgreSQL 15.18`; none before its first start.
    pub product: Option<String>,
    /// Its data folder.
    pub data: PathBuf,
    /// The size of the data folder in bytes.
    pub size: u64,
    /// When it was started, RFC 3339.
    pub since: Option<String>,
}

/// The servers of a project, whether they run or not. Contacts nobody.
///
/// # Errors
/// `LYX-SERVER-STATE`, `LYX-SERVER-DISK`.
pub fn list(root: &Path) -> Result<Vec<Status>> {
    let Ok(root) = root.canonicalize() else { return Ok(Vec::new()) };
    if !root.join(FOLDER).is_dir() {
        return Ok(Vec::new());
    }
    let state = State::read(&root)?;
    let mut list = Vec::new();
    for (kind, record) in &state.servers {
        let found = find(&root, *kind, record);
        let condition = match (&found, &record.process) {
            (Some(found), Some(known)) if found == known => Condition::Running,
            (Some(_), _) => Condition::Starting,
            (None, Some(_)) => Condition::Crashed,
            (None, None) => Condition::Stopped,
        };
        let data = home(&root, *kind, record).join("data");
        list.push(Status {
            kind: *kind,
            condition,
            pid: found.as_ref().map(|process| process.pid),
            port: record.port,
            product: record.product.clone(),
            size: files::size(&data),
            data,
            since: record.since.clone().filter(|_| found.is_some()),
        });
    }
    Ok(list)
}

/// The folder of a server below `.lyrox/`: its log and its seat.
fn folder(root: &Path, kind: StoreKind) -> PathBuf {
    root.join(FOLDER).join(kind.name())
}

/// Where a server's data and configuration lie.
fn home(root: &Path, kind: StoreKind, record: &Record) -> PathBuf {
    record.home.clone().unwrap_or_else(|| folder(root, kind))
}

/// The log of a server.
pub fn log(root: &Path, kind: StoreKind) -> PathBuf {
    folder(root, kind).join("log")
}

/// The process of a server, if it runs.
fn find(root: &Path, kind: StoreKind, record: &Record) -> Option<Process> {
    let folder = folder(root, kind);
    if folder.is_dir()
        && let Ok(Sitter::Server(process)) = Seat::look(&folder, root)
    {
        return Some(process);
    }
    record.process.clone().filter(|process| process.runs_for(root))
}

fn canonical(root: &Path) -> Result<PathBuf> {
    root.canonicalize().map_err(|error| {
        Error::new(Code::FileMissing, format!("`{}` is no folder", root.display())).why(error.to_string())
    })
}
