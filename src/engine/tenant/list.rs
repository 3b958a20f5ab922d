//! The tenants that there are: those of the registry, and those that the application made without lyrox. Reads only.

use std::collections::BTreeMap;

use super::fanout::kinds;
use super::registry::{Record, State, Which};
use super::shard::Placement;
use super::shard::fleet::{self, Fleet};
use super::unit::settled_heads;
use super::{Tenant, inside, shown, terms, unknown};
use crate::config::file::TenancyModel;
use crate::config::{Targets, shards};
use crate::engine::guard;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Version;
use crate::stores::Store as _;
use crate::stores::tenant::TenantStore as _;

/// So many tenants without a record are listed.
pub const UNMANAGED: usize = 1000;

/// What is there.
#[derive(Debug, Default)]
pub struct Listed {
    /// The records, sorted by key.
    pub records: Vec<Record>,
    /// Keys (model `row`) or slugs of tenants without one, at most [`UNMANAGED`].
    pub unmanaged: Vec<String>,
    /// The same on the shards, by the shard's name.
    pub elsewhere: BTreeMap<String, Vec<String>>,
    /// The newest version that the tenants' migrations have; none where they have none.
    pub newest: Option<String>,
    /// The head of a tenant to which all of its migrations are applied as they are now; none where they have none.
    pub head: Option<String>,
}

/// Tenants at the same version, and at the same state of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The version; none where nothing is applied.
    pub version: Option<String>,
    /// How many tenants.
    pub tenants: usize,
    /// They lack migrations.
    pub is_behind: bool,
    /// They are at the newest version, and something else differs: a file among older ones, another text.
    pub is_other: bool,
}

impl Listed {
    /// Whether a tenant is at the newest version and yet not at the state of its files.
    pub fn is_other(&self, record: &Record) -> bool {
        let differs = self.head.is_some() && record.head.is_some() && record.head != self.head;
        differs && !self.is_behind(record)
    }

    /// The version skew: complete tenants by version, the newest first; empty where they have no migrations.
    pub fn levels(&self) -> Vec<Level> {
        let mut levels: Vec<Level> = Vec::new();
        if self.newest.is_none() {
            return levels;
        }
        for record in self.records.iter().filter(|record| matches!(record.state, State::Active | State::Suspended)) {
            let (is_behind, is_other) = (self.is_behind(record), self.is_other(record));
            let known = levels.iter_mut().find(|level| level.version == record.version && level.is_other == is_other);
            match known {
                Some(level) => level.tenants += 1,
                None => levels.push(Level { version: record.version.clone(), tenants: 1, is_behind, is_other }),
            }
        }
        levels.sort_by_key(|level| std::cmp::Reverse((level.version.as_deref().map(Version::new), !level.is_other)));
        levels
    }

    /// Whether a tenant lacks migrations of its own.
    pub fn is_behind(&self, record: &Record) -> bool {
        match (&self.newest, &record.version) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(newest), Some(version)) => Version::new(version.as_str()) < Version::new(newest.as_str()),
        }
    }
}

/// What a store has of a tenant: a word and what it is.
pub type Found = Vec<(&'static str, String)>;

/// What each store has of one tenant.
#[derive(Debug)]
pub struct Shown {
    /// Its record.
    pub record: Record,
    /// Where it is.
    pub placement: Placement,
    /// Per store: what is there of it, and whether the store's copy of the record agrees.
    pub places: Vec<(StoreKind, Found, bool)>,
    /// It lacks migrations of its own.
    pub is_behind: bool,
}

/// Lists the tenants.
///
/// # Errors
/// A store that cannot be reached or read.
pub async fn list(work: Work<'_>) -> Result<Listed> {
    let terms = terms(work.config)?;
    let files = inside::files(work)?;
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    let head = settled_heads(&files, &kinds(work, &files), &Goal::Latest).into_iter().next();
    let head = head.filter(|_| !files.is_empty());
    let mut listed = Listed { newest: newest(&files), head, ..Listed::default() };
    if let Some(registry) = stores.first_mut() {
        listed.records = registry.read_tenants(&Which::All).await?;
    }
    let has_postgres = stores.iter().any(|store| store.kind() == StoreKind::Postgres);
    for store in &mut stores {
        // PostgreSQL decides where it is there: MongoDB's databases are the same tenants'.
        if !has_postgres || store.kind() == StoreKind::Postgres {
            listed.unmanaged.extend(store.unmanaged_tenants(&terms, UNMANAGED).await?);
        }
    }
    let mut fleet = Fleet::new(work, &mut stores);
    for site in fleet::sites(work) {
        // The registry can be told without them.
        if let Err(error) = fleet.connect(std::slice::from_ref(&site)).await {
            let why = error.why_text().map(|why| format!(": {why}")).unwrap_or_default();
            work.events.note(format!("shard {} of {} was not asked: {}{why}", site.1, site.0, error.what()));
        }
    }
    for ((kind, name), store) in fleet.away() {
        let found = listed.elsewhere.entry(name.clone()).or_default();
        let is_asked = *kind == StoreKind::Postgres || found.is_empty();
        for key in if is_asked { store.unmanaged_tenants(&terms, UNMANAGED).await? } else { Vec::new() } {
            if !found.contains(&key) {
                found.push(key);
            }
        }
    }
    listed.elsewhere.retain(|_, found| !found.is_empty());
    fleet.close().await;
    migrate::close(stores).await;
    Ok(listed)
}

/// Shows one tenant, by its key or its slug.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`; a store that cannot be reached or read.
pub async fn show(work: Work<'_>, name: &str) -> Result<Shown> {
    let terms = terms(work.config)?;
    let files = inside::files(work)?;
    let mut stores = work.open().await?;
    let record = match stores.first_mut() {
        Some(registry) => registry.read_tenants(&Which::Named(name.to_owned())).await?.into_iter().next(),
        None => None,
    };
    let record = record.ok_or_else(|| unknown(name))?;
    let mut places = Vec::new();
    let placement = record.placement()?;
    let mut fleet = Fleet::new(work, &mut stores);
    for store in fleet.at(&placement).await? {
        let found = store.look_at_tenant(&record.tenant, &terms).await?;
        let copies = store.read_tenants(&Which::Of(vec![record.tenant.clone()])).await?;
        places.push((store.kind(), found, copies.iter().any(|copy| copy.tenant == record.tenant)));
    }
    fleet.close().await;
    migrate::close(stores).await;
    let listed = Listed { newest: newest(&files), ..Listed::default() };
    let is_behind = listed.is_behind(&record);
    Ok(Shown { record, placement, places, is_behind })
}

/// The record of one tenant, by its key or its slug: what other commands begin with.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`; a registry that cannot be read.
pub async fn find(store: &mut crate::stores::AnyStore, name: &str) -> Result<Record> {
    let records = store.read_tenants(&Which::Named(name.to_owned())).await?;
    records.into_iter().next().ok_or_else(|| unknown(name))
}

/// The tenant that a key means, and where it is: as the registry has it, else (the application may have made it without
/// lyrox) by the slug that follows from the key or was given, at home.
///
/// # Errors
/// `LYX-TENANT-NAME`; `LYX-TENANT-CLASH` where another slug is given than the registry has; a registry that cannot be read.
pub async fn settle(work: Work<'_>, key: &str, slug: Option<&str>) -> Result<(Tenant, Placement)> {
    let tenant = Tenant::new(key, slug)?;
    let Some(target) = work.targets.stores.first().filter(|_| work.config.settings.tenancy.is_some()) else {
        return Ok((tenant, Placement::home()));
    };
    let targets = Targets { stores: vec![target.clone()], absent: Vec::new() };
    let mut stores = Work { targets: &targets, ..work }.open().await?;
    let found = match stores.first_mut() {
        Some(registry) => registry.read_tenants(&Which::Of(vec![tenant.clone()])).await?,
        None => Vec::new(),
    };
    migrate::close(stores).await;
    match found.into_iter().find(|record| record.tenant.key() == key) {
        None => Ok((tenant, Placement::home())),
        Some(record) if slug.is_some_and(|slug| slug != record.tenant.slug()) => Err(Error::new(
            Code::TenantClash,
            format!("tenant `{}` has the slug `{}`", shown(key), record.tenant.slug()),
        )
        .data("nothing was changed")
        .hint("leave --slug out")),
        Some(record) => {
            let placement = record.placement()?;
            Ok((record.tenant, placement))
        }
    }
}

/// Refuses a reset of shared tables while tenants are on shards: their rows are there, their keys and documents at home, and
/// one of both would be left. `shard` is the one that is to be reset; none: the project's own servers.
///
/// # Errors
/// `LYX-TENANT-STATE`; a registry that cannot be read.
pub async fn refuse_reset(work: Work<'_>, shard: Option<&str>) -> Result<()> {
    let settings = &work.config.settings;
    let is_shared = settings.tenancy.as_ref().is_some_and(|tenancy| tenancy.model == TenancyModel::Row);
    let Some(target) = work.targets.stores.first() else { return Ok(()) };
    if !is_shared || shards::names(settings).is_empty() {
        return Ok(());
    }
    let targets = Targets { stores: vec![target.clone()], absent: Vec::new() };
    let mut stores = Work { targets: &targets, ..work }.open().await?;
    let counts = match stores.first_mut() {
        Some(registry) => registry.tenants_by_shard().await?,
        None => Vec::new(),
    };
    migrate::close(stores).await;
    let mut there = 0;
    for (text, count) in counts {
        let placement = Placement::parse(&text)?;
        let is_meant = match shard {
            None | Some(shards::HOME) => !placement.is_home(),
            Some(name) => placement.away().any(|(_, at)| at == name),
        };
        there += if is_meant { count } else { 0 };
    }
    if there == 0 {
        return Ok(());
    }
    let noun = if there == 1 { "tenant is" } else { "tenants are" };
    let place =
        shard.filter(|name| *name != shards::HOME).map_or("shards".to_owned(), |name| format!("shard `{name}`"));
    Err(Error::new(Code::TenantState, format!("{there} {noun} on {place}"))
        .why("their rows are there, their keys and documents at home: a reset would leave half of each")
        .data("nothing was changed")
        .hint("lyrox tenant list, then lyrox tenant delete each of them"))
}

/// The newest version that files have; none where they have none.
pub(super) fn newest(files: &[crate::project::migration::Migration]) -> Option<String> {
    files.iter().map(|file| &file.version).filter(|version| !version.is_repeatable()).max().map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::TenancyModel;

    fn record(key: &str, version: Option<&str>, head: Option<&str>) -> Record {
        let mut record = Record::new(Tenant::new(key, None).expect("a tenant"), TenancyModel::Schema);
        record.state = State::Active;
        (record.version, record.head) = (version.map(str::to_owned), head.map(str::to_owned));
        record
    }

    #[test]
    fn tenants_are_counted_by_version_and_state() {
        let records = vec![
            record("a", Some("10"), Some("new")),
            record("b", Some("9"), Some("old")),
            record("c", Some("10"), Some("new")),
            record("d", None, None),
            record("e", Some("10"), Some("odd")),
        ];
        let mut listed = Listed { records, newest: Some("10".into()), head: Some("new".into()), ..Listed::default() };
        let levels: Vec<_> = listed
            .levels()
            .into_iter()
            .map(|level| (level.version.unwrap_or_default(), level.tenants, level.is_behind, level.is_other))
            .collect();
        let level = |version: &str, tenants, is_behind, is_other| (version.to_owned(), tenants, is_behind, is_other);
        assert_eq!(
            levels,
            [
                level("10", 2, false, false),
                level("10", 1, false, true),
                level("9", 1, true, false),
                level("", 1, true, false)
            ]
        );
        listed.newest = None;
        assert!(listed.levels().is_empty());
    }
}
