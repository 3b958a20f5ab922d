//! The servers of a run that works on many tenants: the project's own, and those of the shards, connected when the first
//! tenant there comes up.

use std::collections::BTreeMap;

use futures_util::future::{join_all, try_join_all};

use super::Placement;
use crate::config::{Targets, shards};
use crate::engine::guard;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::{AnyStore, Store as _};

/// A shard of one store.
pub type Site = (StoreKind, String);

/// The project's own servers, and those shards that were reached so far.
pub struct Fleet<'h> {
    /// What is worked with, at home.
    pub work: Work<'h>,
    /// The project's own, in store order; the first keeps the registry.
    pub home: &'h mut [AnyStore],
    away: BTreeMap<Site, AnyStore>,
}

impl<'h> Fleet<'h> {
    /// Begins with the project's own servers, already connected.
    pub fn new(work: Work<'h>, home: &'h mut [AnyStore]) -> Self {
        Self { work, home, away: BTreeMap::new() }
    }

    /// The store that keeps the registry.
    ///
    /// # Errors
    /// `LYX-TENANCY` where the run has no store.
    pub fn registry(&mut self) -> Result<&mut AnyStore> {
        let none = || Error::new(Code::Tenancy, "the project has no store").data("nothing was changed");
        self.home.first_mut().ok_or_else(none)
    }

    /// The servers as tenants at this place have them.
    ///
    /// # Errors
    /// As [`super::targets`].
    pub fn targets(&self, placement: &Placement) -> Result<Targets> {
        super::targets(self.work.config, self.work.targets, placement)
    }

    /// The shards of a place that are not connected yet.
    pub fn missing(&self, placement: &Placement) -> Vec<Site> {
        let is_ours = |kind: StoreKind| self.work.targets.get(kind).is_some();
        let sites = placement.away().filter(|(kind, _)| is_ours(*kind)).map(|(kind, name)| (kind, name.to_owned()));
        sites.filter(|site| !self.away.contains_key(site)).collect()
    }

    /// Connects to shards, side by side, and looks that each is of this environment and whole.
    ///
    /// # Errors
    /// The first that cannot be reached, bears another mark, or whose reset was cut short.
    pub async fn connect(&mut self, sites: &[Site]) -> Result<()> {
        let opened = try_join_all(sites.iter().map(|site| open(self.work, site))).await?;
        self.away.extend(sites.iter().cloned().zip(opened));
        Ok(())
    }

    /// The connection of a shard that was reached.
    pub fn site(&mut self, site: &Site) -> Option<&mut AnyStore> {
        self.away.get_mut(site)
    }

    /// The stores of a place, in store order, connecting to those of its shards that were not reached yet.
    ///
    /// # Errors
    /// As [`Fleet::connect`].
    pub async fn at(&mut self, placement: &Placement) -> Result<Vec<&mut AnyStore>> {
        let missing = self.missing(placement);
        if !missing.is_empty() {
            self.connect(&missing).await?;
        }
        let home = self.home.iter_mut().filter(|store| placement.of(store.kind()).is_none());
        let away = self.away.iter_mut().filter(|((kind, name), _)| placement.of(*kind) == Some(name.as_str()));
        let mut stores: Vec<&mut AnyStore> = home.chain(away.map(|(_, store)| store)).collect();
        stores.sort_by_key(|store| store.kind());
        Ok(stores)
    }

    /// Those of a place that keep a copy of the record: all but the registry.
    ///
    /// # Errors
    /// As [`Fleet::connect`].
    pub async fn copies(&mut self, placement: &Placement) -> Result<Vec<&mut AnyStore>> {
        let registry = self.registry()?.kind();
        let is_registry = |store: &AnyStore| store.kind() == registry && placement.of(registry).is_none();
        Ok(self.at(placement).await?.into_iter().filter(|store| !is_registry(store)).collect())
    }

    /// The shards that were reached, and their stores.
    pub fn away(&mut self) -> impl Iterator<Item = (&Site, &mut AnyStore)> {
        self.away.iter_mut()
    }

    /// Where it is connected beyond the project's own servers.
    pub fn reached(&self) -> Vec<(StoreKind, Option<String>)> {
        self.away.keys().map(|(kind, name)| (*kind, Some(name.clone()))).collect()
    }

    /// Closes the connections to shards; the project's own stay.
    pub async fn close(self) {
        join_all(self.away.into_values().map(AnyStore::close)).await;
    }
}

/// Every shard of the run's stores.
pub fn sites(work: Work<'_>) -> Vec<Site> {
    let kinds = work.targets.stores.iter().map(|target| target.kind);
    let of = |kind: StoreKind| {
        let listed = shards::candidates(&work.config.settings, kind);
        listed.into_iter().filter(|shard| shard.name != shards::HOME).map(move |shard| (kind, shard.name))
    };
    kinds.flat_map(of).collect()
}

async fn open(work: Work<'_>, (kind, name): &Site) -> Result<AnyStore> {
    let on = |error: Error| {
        let why = error.why_text().map_or_else(String::new, |why| format!(": {why}"));
        error.why(format!("shard `{name}` of {}{why}", kind.title()))
    };
    let target = shards::target(work.config, *kind, name)?;
    let mut opened = [AnyStore::open(work.config, &target).await.map_err(on)?];
    let ledgers = migrate::states(&mut opened).await.map_err(on)?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers)).map_err(on)?;
    if ledgers.iter().any(|(_, ledger)| ledger.is_resetting) {
        return Err(Error::new(Code::ResetUnfinished, format!("a reset of shard `{name}` of {kind} was cut short"))
            .data("nothing was changed")
            .hint(format!("lyrox --shard {name} db migrate finishes it")));
    }
    let [store] = opened;
    Ok(store)
}
