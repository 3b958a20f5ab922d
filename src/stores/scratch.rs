//! Scratch namespaces: a database or key prefix of a name that is nobody else's, on a server that may be shared,
//! made before work and removed after it. Which server that is, is not decided here.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::{Config, Endpoint};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::stores::{mongodb, postgres, redis};

/// What the names of scratch databases begin with.
pub const PREFIX: &str = "lyrox_scratch_";

/// A name for a scratch namespace: when it was made, in seconds, and chance.
pub fn name() -> String {
    let chance = uuid::Uuid::new_v4().simple().to_string();
    format!("{PREFIX}{}_{}", jiff::Timestamp::now().as_second(), &chance[..10])
}

/// Whether a name is one that [`name`] made so many seconds ago or longer.
pub fn is_older(name: &str, seconds: i64) -> bool {
    let made = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).and_then(|(time, _)| time.parse().ok());
    made.is_some_and(|made: i64| jiff::Timestamp::now().as_second() - made >= seconds)
}

/// A scratch namespace on a server.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// The kind of server.
    pub kind: StoreKind,
    /// The server, as it was named.
    pub endpoint: Endpoint,
    /// An additional certificate authority.
    pub ca_file: Option<std::path::PathBuf>,
    /// The database's name; for Redis the key prefix.
    pub name: String,
    /// What migrations make beside it on the whole server: roles, libraries, users.
    pub beside: Vec<(&'static str, String)>,
}

impl Namespace {
    /// Makes it: a database in PostgreSQL; nothing where the first write makes it. What runs that were killed
    /// left on the server is removed first, as far as it can be told.
    ///
    /// # Errors
    /// The server cannot be reached, or does not let a database be made.
    pub async fn create(&mut self, config: &Config) -> Result<()> {
        let ca = self.ca_file.as_deref();
        match self.kind {
            StoreKind::Postgres => {
                let role = config.settings.postgres.as_ref().and_then(|section| section.app_role.clone());
                let made = postgres::scratch::create(&self.endpoint, ca, &self.name, role.as_deref()).await?;
                self.beside.extend(made.map(|role| ("role", role)));
                Ok(())
            }
            StoreKind::Mongodb => mongodb::scratch::create(&self.endpoint, ca, &self.name).await,
            StoreKind::Redis => redis::scratch::create(&self.endpoint, ca, &self.beside).await,
        }
    }

    /// Removes it with everything in it. Removing it twice is no error.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn remove(&self) -> Result<()> {
        let ca: Option<&Path> = self.ca_file.as_deref();
        match self.kind {
            StoreKind::Postgres => postgres::scratch::remove(&self.endpoint, ca, &self.name, &self.beside).await,
            StoreKind::Mongodb => mongodb::scratch::remove(&self.endpoint, ca, &self.name).await,
            StoreKind::Redis => redis::scratch::remove(&self.endpoint, ca, &self.name, &self.beside).await,
        }
        .map_err(|error| error.data(format!("`{}` may still be on the scratch server", self.name)))
    }
}

/// Refuses migrations that would reach beyond a scratch namespace on a server that others use.
///
/// # Errors
/// `LYX-SCRATCH-CLUSTER`, naming the first of them and its place.
pub fn refuse_cluster_statements(files: &[Migration], kind: StoreKind) -> Result<()> {
    if kind != StoreKind::Postgres {
        return Ok(());
    }
    let mut all: Vec<(String, Place)> = Vec::new();
    for script in files.iter().filter_map(|file| file.parts.get(&kind)).map(|part| &part.up) {
        let found = postgres::cluster::cluster_statements(&script.text);
        all.extend(found.into_iter().map(|statement| (statement.what, script.place(statement.offset, 0))));
    }
    let Some((what, place)) = all.first().cloned() else { return Ok(()) };
    let lines: Vec<String> = all.iter().map(|(what, place)| format!("{}:{} {what}", place.file, place.line)).collect();
    Err(Error::new(Code::ScratchCluster, format!("`{what}` would change the whole scratch server"))
        .why(lines.join("\n"))
        .at(place)
        .data("nothing was run")
        .hint("leave --scratch-url out: a throw-away server of its own may run it"))
}

/// What migrations make beside their namespace on the whole server.
///
/// # Errors
/// A script that cannot be read.
pub fn beside(files: &[Migration], kind: StoreKind, config: &Config) -> Result<Vec<(&'static str, String)>> {
    match kind {
        StoreKind::Redis => redis::scratch::beside(files, config),
        StoreKind::Postgres | StoreKind::Mongodb => Ok(Vec::new()),
    }
}

/// The roles that PostgreSQL migrations name and do not make themselves.
pub fn roles_named(files: &[Migration]) -> BTreeSet<String> {
    let scripts = || files.iter().filter_map(|file| file.parts.get(&StoreKind::Postgres)).map(|part| &part.up.text);
    let made: BTreeSet<String> = scripts().flat_map(|text| postgres::cluster::roles_made(text)).collect();
    scripts().flat_map(|text| postgres::cluster::names(text)).filter(|name| !made.contains(name)).collect()
}

/// The names that PostgreSQL's migrations or the configuration speak of: among them roles and extensions.
pub fn names_spoken_of(files: &[Migration], config: &Config) -> BTreeSet<String> {
    let scripts = files.iter().filter_map(|file| file.parts.get(&StoreKind::Postgres)).map(|part| &part.up.text);
    let mut names: BTreeSet<String> = scripts.flat_map(|text| postgres::cluster::names(text)).collect();
    let section = config.settings.postgres.as_ref();
    names.extend(section.and_then(|section| section.app_role.clone()));
    names.extend(section.into_iter().flat_map(|section| section.extensions.clone()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_age() {
        let name = name();
        assert!(name.len() <= 63 && is_older(&name, 0) && !is_older(&name, 60));
        assert!(is_older("lyrox_scratch_1000_abc", 3600));
        assert!(!is_older("lyrox_scratchy", 0) && !is_older("lyrox_scratch_x_y", 0) && !is_older("customers", 0));
    }
}
