//! Throw-away servers in a temporary folder, by the code that runs the local ones. A folder is held by a lock
//! as long as its run lives; what a killed run left is stopped and removed by the next.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::Quiet;
use crate::config::{Endpoint, Origin, Target};
use crate::engine::event::{Events, Silent};
use crate::engine::migrate::Work;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::servers::{self, DownRequest, UpRequest};
use crate::stores::postgres::scratch::create_named;
use crate::url::{self, SecretUrl};

/// What the names of the folders begin with.
const PREFIX: &str = "lyrox-scratch-";
/// The file that is locked while the run lives.
const LOCK: &str = "lock";

/// The throw-away servers of a run.
pub struct Own {
    folder: PathBuf,
    _lock: File,
}

/// Where the running throw-away servers are.
pub struct Started {
    postgres: Option<SecretUrl>,
    mongodb: Option<SecretUrl>,
    redis: Option<SecretUrl>,
}

impl Own {
    /// Starts servers of these kinds. `place` is set before the first of them starts, so that whoever gives
    /// up halfway removes them.
    ///
    /// # Errors
    /// `LYX-SCRATCH-VERSION` where no server of the live one's major version is installed; what keeps a server from
    /// starting.
    pub async fn start(
        work: Work<'_>,
        kinds: &[StoreKind],
        products: &BTreeMap<StoreKind, String>,
        offline: bool,
        place: &mut Option<Self>,
    ) -> Result<Started> {
        let parent = std::env::temp_dir();
        sweep(&parent).await;
        let mut request = UpRequest::new(work.config, kinds, offline);
        let live = |kind: StoreKind| products.get(&kind).map_or("", String::as_str);
        request.postgres_major = major(live(StoreKind::Postgres)).and_then(|(_, number)| number.parse().ok());
        // The ports of the configuration are the local servers'; paths are relative to the project.
        request.local.postgres_port = None;
        request.local.mongodb_port = None;
        request.local.redis_port = None;
        let root = work.config.root.canonicalize().unwrap_or_else(|_| work.config.root.clone());
        for path in [&mut request.local.postgres_bin, &mut request.local.mongod, &mut request.local.redis_server] {
            *path = path.take().map(|path| root.join(path).display().to_string());
        }
        for kind in kinds {
            let found = servers::product(*kind, &request, work.events).await?;
            if major(&found) != major(live(*kind)) {
                return Err(Error::new(
                    Code::ScratchVersion,
                    format!("the live server is {}, and {found} is installed here", live(*kind)),
                )
                .why("servers of different major versions print the same schema differently")
                .data("nothing was started")
                .hint(format!(
                    "install {}, or name a server of that version: --scratch-url {}://...",
                    major(live(*kind))
                        .map_or_else(|| kind.title().to_owned(), |(name, number)| format!("{name} {number}")),
                    if *kind == StoreKind::Postgres { "postgres" } else { kind.name() }
                )));
            }
        }
        let failed = |error: &std::io::Error| {
            Error::new(Code::WriteFailed, format!("no folder can be made in `{}`", parent.display()))
                .why(error.to_string())
                .hint("set TMPDIR to a folder that can be written to")
        };
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent).map_err(|error| failed(&error))?;
        // Under its name it is seen only when it is locked.
        let new = folder.path().join("lock.new");
        let lock = File::create(&new).map_err(|error| failed(&error))?;
        lock.lock().and_then(|()| std::fs::rename(&new, folder.path().join(LOCK))).map_err(|error| failed(&error))?;
        let folder = folder.keep();
        request.root.clone_from(&folder);
        *place = Some(Self { folder: folder.clone(), _lock: lock });
        work.events.note(format!("starting throw-away servers: {}", list(kinds)));
        let quiet = Quiet::new(work.events);
        for (_, result) in servers::up(&request, &quiet as &dyn Events).await? {
            result?;
        }
        let urls = servers::running(&folder)?;
        let parsed = |kind: StoreKind, text: Option<String>| text.map(|text| url::parse(kind, &text)).transpose();
        let superuser = kinds.contains(&StoreKind::Postgres).then(|| servers::superuser_url(&folder)).transpose()?;
        Ok(Started {
            postgres: parsed(StoreKind::Postgres, superuser)?,
            mongodb: parsed(StoreKind::Mongodb, urls.mongodb)?,
            redis: parsed(StoreKind::Redis, urls.redis)?,
        })
    }

    /// Stops the servers and removes the folder.
    ///
    /// # Errors
    /// A server that does not end, by its folder.
    pub async fn stop(self) -> Result<()> {
        end(&self.folder).await
    }
}

/// The targets on throw-away servers: as the live ones, with their names.
///
/// # Errors
/// A database or role that cannot be made.
pub async fn targets(started: &Started, live: &[&Target], roles: &[String]) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for live in live {
        let url = match live.kind {
            StoreKind::Postgres => &started.postgres,
            StoreKind::Mongodb => &started.mongodb,
            StoreKind::Redis => &started.redis,
        };
        let Some(url) = url else { continue };
        let endpoint = |url: SecretUrl| Endpoint { url, origin: Origin::Local };
        let mut url = url.clone();
        if live.kind == StoreKind::Postgres {
            let name = live.direct.url.database().or(live.direct.url.user()).unwrap_or("postgres").to_owned();
            create_named(&endpoint(url.clone()), &name, roles).await?;
            url = url.with_database(&name);
        }
        targets.push(Target {
            kind: live.kind,
            app: endpoint(url.clone()),
            direct: endpoint(url),
            namespace: live.namespace.clone(),
            ca_file: None,
            allows_pooler: false,
            tenant: String::new(),
        });
    }
    Ok(targets)
}

/// The name and the part of a version that decides what a server is compatible with: `PostgreSQL`, `15`.
pub fn major(product: &str) -> Option<(String, String)> {
    let (name, version) = product.split_once(' ')?;
    let number = version.split('.').next()?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then(|| (name.to_owned(), number.to_owned()))
}

fn list(kinds: &[StoreKind]) -> String {
    kinds.iter().map(|kind| kind.title()).collect::<Vec<_>>().join(", ")
}

async fn end(folder: &Path) -> Result<()> {
    let request = DownRequest { root: folder.to_path_buf(), stores: Vec::new(), purges: true };
    for (_, result) in servers::down(&request, &Silent).await? {
        result.map_err(|error| error.data(format!("it may still run; its folder is {}", folder.display())))?;
    }
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}

/// Ends what killed runs left: folders of ours that nobody holds.
async fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        use std::os::unix::fs::MetadataExt as _;
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|data| data.is_dir() && data.uid() == rustix::process::geteuid().as_raw());
        // A folder without the file is one that a run is making at this moment, or an empty one.
        let Some(lock) = is_ours.then(|| File::open(entry.path().join(LOCK)).ok()).flatten() else { continue };
        if lock.try_lock().is_ok() {
            let _ = end(&entry.path()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_product_counts_as_well_as_the_number() {
        assert_eq!(major("PostgreSQL 15.18"), Some(("PostgreSQL".into(), "15".into())));
        assert_ne!(major("Valkey 8.0.1"), major("Redis 8.0.1"));
        assert_eq!(major("Redis of unknown version"), None);
    }
}
