//! Where a tenant is: the shard of each store that holds its place, as the registry remembers it, and the servers that
//! this comes to. Pure.
//!
//! `postgres=eu,mongodb=eu` in the registry; a store that is not named has the tenant on the project's own server, and so
//! has Redis always. What works inside a tenant takes [`targets`] of its record, then `Tenant::within` or `migrating`.

pub mod fleet;

use std::collections::BTreeMap;
use std::fmt;

use super::registry::Record;
use crate::config::shards::{self, HOME};
use crate::config::{Config, Settings, Targets};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// The shard of each store; what is missing is at home.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placement(BTreeMap<StoreKind, String>);

impl Placement {
    /// The project's own servers.
    pub fn home() -> Self {
        Self::default()
    }

    /// Reads what the registry has.
    ///
    /// # Errors
    /// `LYX-LEDGER-DAMAGED` for what lyrox never wrote.
    pub fn parse(text: &str) -> Result<Self> {
        let mut placement = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let pair = part.split_once('=').and_then(|(kind, name)| Some((kind.parse().ok()?, name)));
            let Some((kind, name)) = pair.filter(|(_, name)| !name.is_empty()) else {
                return Err(Error::new(
                    Code::LedgerDamaged,
                    format!("the shard `{}` of a tenant cannot be read", super::shown(text)),
                )
                .why("the registry has it as STORE=NAME,STORE=NAME")
                .data("nothing was changed"));
            };
            placement = placement.with(kind, name);
        }
        Ok(placement)
    }

    /// The same with a store at a shard, or at [`HOME`].
    #[must_use]
    pub fn with(mut self, kind: StoreKind, name: &str) -> Self {
        if name == HOME || name.is_empty() {
            self.0.remove(&kind);
        } else {
            self.0.insert(kind, name.to_owned());
        }
        self
    }

    /// Every store that has a shard of this name at it, the others at home.
    ///
    /// # Errors
    /// `LYX-SHARD-UNKNOWN` where no store has one.
    pub fn named(settings: &Settings, name: &str) -> Result<Self> {
        let mut placement = Self::default();
        for kind in StoreKind::ALL.into_iter().filter(|kind| shards::has(settings, *kind, name)) {
            placement = placement.with(kind, name);
        }
        if placement.is_home() && name != HOME {
            return Err(shards::unknown(settings, name));
        }
        Ok(placement)
    }

    /// The shard of a store; none: the project's own server.
    pub fn of(&self, kind: StoreKind) -> Option<&str> {
        self.0.get(&kind).map(String::as_str)
    }

    /// Whether every store is the project's own.
    pub fn is_home(&self) -> bool {
        self.0.is_empty()
    }

    /// The stores that are elsewhere, and where.
    pub fn away(&self) -> impl Iterator<Item = (StoreKind, &str)> {
        self.0.iter().map(|(kind, name)| (*kind, name.as_str()))
    }

    /// What the registry remembers.
    pub fn text(&self) -> String {
        self.0.iter().map(|(kind, name)| format!("{kind}={name}")).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Placement {
    /// One name where all stores that are away have the same: `eu`; else `postgres=eu,mongodb=us`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = self.0.values();
        match names.next() {
            None => out.pad(HOME),
            Some(first) if names.all(|name| name == first) => out.pad(first),
            Some(_) => out.pad(&self.text()),
        }
    }
}

impl Record {
    /// Where it is.
    ///
    /// # Errors
    /// As [`Placement::parse`].
    pub fn placement(&self) -> Result<Placement> {
        Placement::parse(&self.shard)
    }
}

/// The servers of a run as a tenant at this place has them: those of its shards, the project's own for the others.
///
/// # Errors
/// `LYX-SHARD-UNKNOWN` where the configuration lacks a shard; a shard without a URL.
pub fn targets(config: &Config, targets: &Targets, placement: &Placement) -> Result<Targets> {
    let mut placed = targets.clone();
    for target in &mut placed.stores {
        if let Some(name) = placement.of(target.kind) {
            let tenant = std::mem::take(&mut target.tenant);
            let allows_pooler = target.allows_pooler;
            *target = shards::target(config, target.kind, name)?;
            (target.tenant, target.allows_pooler) = (tenant, allows_pooler);
        }
    }
    Ok(placed)
}

/// The servers of one shard and no others: what `--shard NAME` works on.
///
/// # Errors
/// `LYX-SHARD-UNKNOWN`; a shard without a URL; `LYX-USAGE` where `--only` leaves none of it.
pub fn only(config: &Config, all: &Targets, name: &str) -> Result<Targets> {
    let placement = Placement::named(&config.settings, name)?;
    if placement.is_home() {
        return Ok(all.clone());
    }
    let mut placed = targets(config, all, &placement)?;
    placed.stores.retain(|target| placement.of(target.kind).is_some());
    placed.absent.clear();
    if placed.stores.is_empty() {
        let kinds: Vec<&str> = placement.away().map(|(kind, _)| kind.name()).collect();
        return Err(Error::new(Code::Usage, format!("shard `{name}` has none of the stores that --only names"))
            .why(format!("it has {}", kinds.join(" and ")))
            .hint("leave --only out"));
    }
    Ok(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let one = Placement::home().with(StoreKind::Postgres, "eu");
        let two = one.clone().with(StoreKind::Mongodb, "eu");
        let three = one.clone().with(StoreKind::Mongodb, "us-1");
        for (placement, text, shown) in [
            (Placement::home(), "", "home"),
            (one, "postgres=eu", "eu"),
            (two, "postgres=eu,mongodb=eu", "eu"),
            (three, "postgres=eu,mongodb=us-1", "postgres=eu,mongodb=us-1"),
        ] {
            assert_eq!((placement.text().as_str(), placement.to_string().as_str()), (text, shown));
            assert_eq!(Placement::parse(text).expect(text), placement);
        }
        for text in ["eu", "mysql=eu", "postgres="] {
            assert!(Placement::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_means_the_stores_that_have_such_a_shard() {
        let settings: Settings = toml::from_str(
            "[[postgres.shards]]\nname = \"eu\"\n[[postgres.shards]]\nname = \"us\"\n[[mongodb.shards]]\nname = \"eu\"\n",
        )
        .expect("settings");
        let text = |name: &str| Placement::named(&settings, name).map(|placement| placement.text());
        assert_eq!(text("eu").expect("eu"), "postgres=eu,mongodb=eu");
        assert_eq!(text("us").expect("us"), "postgres=us");
        assert_eq!(text("home").expect("home"), "");
        assert_eq!(text("asia").expect_err("none").code(), Code::ShardUnknown);
    }
}
