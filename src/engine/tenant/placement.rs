//! Which shard a new tenant is placed on. Pure, and the same for the same input; what was decided is written to the
//! registry, so that another list of shards moves nobody.

use std::collections::BTreeMap;

use super::shard::Placement;
use crate::config::Settings;
use crate::config::shards::{Candidate, HOME, candidates, has};
use crate::kind::StoreKind;
use crate::project::text::sha256;

/// How a shard is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// That with the fewest tenants for its weight; of equal ones the first of the file.
    Fewest,
    /// By the slug: the same tenant at the same shard in every installation with the same list.
    Hash,
    /// This one; a store that has none of that name places the tenant at home.
    Named(String),
}

/// The policy and the shards of a project, and how many tenants each of them has.
#[derive(Clone, Debug)]
pub struct Places {
    policy: Policy,
    candidates: BTreeMap<StoreKind, Vec<Candidate>>,
    named: Placement,
    counts: BTreeMap<(StoreKind, String), u64>,
}

impl Places {
    /// What the configuration says, without tenants yet.
    pub fn new(settings: &Settings) -> Self {
        let word = settings.tenancy.as_ref().map_or("fewest", |tenancy| tenancy.placement.as_str());
        let policy = match word {
            "fewest" => Policy::Fewest,
            "hash" => Policy::Hash,
            name => Policy::Named(name.to_owned()),
        };
        let mut open = BTreeMap::new();
        let mut named = Placement::home();
        for kind in StoreKind::ALL {
            let mut listed = candidates(settings, kind);
            listed.retain(|candidate| candidate.weight > 0);
            if !listed.is_empty() {
                open.insert(kind, listed);
            }
            if has(settings, kind, word) {
                named = named.with(kind, word);
            }
        }
        Self { policy, candidates: open, named, counts: BTreeMap::new() }
    }

    /// Whether the policy has to know how many tenants there are where.
    pub fn counts(&self) -> bool {
        self.policy == Policy::Fewest && !self.candidates.is_empty()
    }

    /// Whether every tenant is placed at home.
    pub fn is_home_only(&self) -> bool {
        self.candidates.is_empty() && self.named.is_home()
    }

    /// So many tenants are at this place already.
    pub fn count(&mut self, placement: &Placement, tenants: u64) {
        for kind in StoreKind::ALL {
            let name = placement.of(kind).unwrap_or(HOME).to_owned();
            *self.counts.entry((kind, name)).or_default() += tenants;
        }
    }

    /// The place of a new tenant; from now on it counts.
    pub fn choose(&mut self, slug: &str) -> Placement {
        let placement = match &self.policy {
            Policy::Named(_) => self.named.clone(),
            Policy::Fewest | Policy::Hash => {
                let mut placement = Placement::home();
                let mut first: Option<&str> = None;
                for (kind, listed) in &self.candidates {
                    // What has the same name is one place: a tenant's data stays together.
                    let same = listed.iter().find(|candidate| Some(candidate.name.as_str()) == first);
                    let Some(chosen) = same.or_else(|| self.best(*kind, listed, slug)) else { continue };
                    first.get_or_insert(&chosen.name);
                    placement = placement.with(*kind, &chosen.name);
                }
                placement
            }
        };
        self.count(&placement, 1);
        placement
    }

    fn best<'a>(&self, kind: StoreKind, listed: &'a [Candidate], slug: &str) -> Option<&'a Candidate> {
        if self.policy == Policy::Hash {
            // Weighted rendezvous: a shard more takes its part of the tenants from each of the others, and no more.
            let score = |candidate: &Candidate| {
                let digest = sha256(format!("{slug}\0{}", candidate.name).as_bytes());
                let number = u64::from_str_radix(&digest[..13], 16).unwrap_or_default();
                let part = (number as f64 + 0.5) / (1_u64 << 52) as f64;
                f64::from(candidate.weight) / -part.ln()
            };
            return listed.iter().max_by(|one, other| score(one).total_cmp(&score(other)));
        }
        let load =
            |candidate: &Candidate| self.counts.get(&(kind, candidate.name.clone())).copied().unwrap_or_default() + 1;
        // a / wa < b / wb, without fractions; the first of equal ones stays.
        listed.iter().reduce(|best, next| {
            let (a, b) = (u128::from(load(best)), u128::from(load(next)));
            if b * u128::from(best.weight) < a * u128::from(next.weight) { next } else { best }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Places {
        Places::new(&toml::from_str(text).expect("settings"))
    }

    fn shards(kind: &str, list: &[(&str, u32)]) -> String {
        list.iter().map(|(name, weight)| format!("[[{kind}.shards]]\nname = \"{name}\"\nweight = {weight}\n")).collect()
    }

    #[test]
    fn the_fewest_for_their_weight() {
        let mut places = places(&(shards("postgres", &[("a", 1), ("b", 2), ("c", 0)]) + "[tenancy]\n"));
        let chosen: Vec<String> = (0..6).map(|n| places.choose(&format!("t{n}")).text()).collect();
        assert_eq!(chosen.iter().filter(|place| *place == "postgres=b").count(), 4, "{chosen:?}");
        assert_eq!(chosen.iter().filter(|place| *place == "postgres=a").count(), 2, "{chosen:?}");
        places.count(&Placement::home().with(StoreKind::Postgres, "b"), 100);
        assert_eq!(places.choose("next").text(), "postgres=a");
        assert_eq!(places.choose("and").text(), "postgres=a");
    }

    #[test]
    fn home_takes_tenants_only_where_it_is_listed() {
        let mut none = places("[tenancy]\n");
        assert!(none.is_home_only() && none.choose("t").is_home());
        let mut closed = places(&(shards("postgres", &[("a", 0)]) + "[tenancy]\n"));
        assert!(closed.choose("t").is_home(), "no shard takes new tenants");
        let mut listed = places(&(shards("postgres", &[("home", 1), ("a", 1)]) + "[tenancy]\n"));
        assert_eq!([listed.choose("s").text(), listed.choose("t").text()], ["", "postgres=a"]);
    }

    #[test]
    fn shards_of_one_name_hold_the_same_tenants() {
        let both = shards("postgres", &[("eu", 1), ("us", 1)]) + &shards("mongodb", &[("us", 1), ("eu", 1)]);
        let mut same = places(&(both + "[tenancy]\n"));
        assert_eq!(same.choose("s").text(), "postgres=eu,mongodb=eu");
        assert_eq!(same.choose("t").text(), "postgres=us,mongodb=us");
        let other = shards("postgres", &[("eu", 1)]) + &shards("mongodb", &[("m", 1)]);
        assert_eq!(places(&(other.clone() + "[tenancy]\n")).choose("t").text(), "postgres=eu,mongodb=m");
        assert_eq!(places(&(other + "[tenancy]\nplacement = \"m\"\n")).choose("t").text(), "mongodb=m");
    }

    #[test]
    fn by_hash_a_further_shard_moves_only_what_it_takes() {
        let few = shards("postgres", &[("a", 1), ("b", 1), ("c", 2)]);
        let tenancy = "[tenancy]\nplacement = \"hash\"\n";
        let mut before = places(&(few.clone() + tenancy));
        let mut after = places(&(few + &shards("postgres", &[("d", 1)]) + tenancy));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for number in 0..4000 {
            let slug = format!("t{number}");
            let (old, new) = (before.choose(&slug), after.choose(&slug));
            assert!(old == new || new.text() == "postgres=d", "{slug}: {old} {new}");
            *counts.entry(old.text()).or_default() += 1;
        }
        assert!((1800..2200).contains(&counts["postgres=c"]), "{counts:?}");
        assert!((850..1150).contains(&counts["postgres=a"]), "{counts:?}");
    }
}
