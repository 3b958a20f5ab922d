//! Proof that tenants cannot reach each other: each store tries, and here the stores are compared. It fails closed: what
//! could not be tried is counted and is no success. The whole is one unit of a run over tenants, each tenant is another
//! ([`fanout`](super::fanout)).

pub mod proof;

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use self::proof::{Area, Counts, Proof, Weight, items};
use super::list::{Listed, UNMANAGED};
use super::plan::quoted;
use super::registry::{Record, State, Which};
use super::shard::Placement;
use super::shard::fleet::{self, Fleet, Site};
use super::unit::enter;
use super::{Tenant, inside, shard, shown, terms, unknown};
use crate::config::Targets;
use crate::config::shards::HOME;
use crate::engine::guard;
use crate::engine::ledger::Mark;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::report::{Item, Outcome, plural};
use crate::stores::smoke::Run;
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::tenant_verify::{Ask, Part, VerifyStore as _};
use crate::stores::{AnyStore, Store as _};

/// So many tenants beside those that are tried: somebody to be tried at.
const NEIGHBOURS: usize = 2;

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// All tenants: what belongs to none is looked for too.
    pub is_all: bool,
    /// Keys or slugs; none: all tenants.
    pub names: Vec<String>,
    /// Tries may write what they roll back or remove, although the environment is protected.
    pub write: bool,
}

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What was found, by weight.
    pub counts: Counts,
    /// Each finding as a program reads it.
    pub findings: Vec<serde_json::Value>,
}

/// A verification: the whole of it is one unit, and each tenant is one.
pub struct Verification {
    request: Request,
    terms: Terms,
    files: Vec<Migration>,
    /// The registry as it was when this process began.
    known: Vec<Record>,
    may_write: bool,
    told: RefCell<Told>,
}

/// What this process found.
#[derive(Default)]
struct Told {
    verified: Verified,
    /// What held in the tries with single tenants, by store and area: it is told once, at the end.
    areas: Vec<(Where, Area)>,
    /// The whole was looked at here.
    has_whole: bool,
    /// Tenants whose registry and ledgers differed once: another run may have been at work in them.
    doubted: BTreeSet<String>,
}

/// A store, at home or of a shard; none: what no store says alone.
type Where = Option<(StoreKind, Option<String>)>;

/// What became of one tenant.
pub enum Verdict {
    /// Nothing was found.
    Apart,
    /// Code and sentence.
    Found(String, String),
    /// It is to be looked at again: another run may be at work in it.
    Again,
}

impl Verification {
    /// Reads what its units share. Whether tries may write follows from the request, the environment and its marks.
    ///
    /// # Errors
    /// Migrations that cannot be read; a registry that cannot be read.
    pub async fn begin(
        work: Work<'_>,
        request: &Request,
        registry: &mut AnyStore,
        marks: &[(StoreKind, Option<Mark>)],
    ) -> Result<Self> {
        Ok(Self {
            terms: terms(work.config)?,
            files: inside::files(work)?,
            known: registry.read_tenants(&Which::All).await?,
            may_write: request.write || guard::refuse_protected(work.config, marks, "a verification").is_ok(),
            request: request.clone(),
            told: RefCell::default(),
        })
    }

    /// Whether what it does may be written down, and tried with rows that are rolled back.
    pub const fn may_write(&self) -> bool {
        self.may_write
    }

    /// Whether the whole was looked at by this process, and told.
    pub fn has_whole(&self) -> bool {
        self.told.borrow().has_whole
    }

    /// What else says that two runs are the same one.
    pub fn words(&self) -> String {
        format!("{:?} {}", self.request, self.may_write)
    }

    /// Tells what held, and answers all that was found.
    pub fn finish(&self, work: Work<'_>) -> Verified {
        let areas = std::mem::take(&mut self.told.borrow_mut().areas);
        for (place, area) in areas {
            self.tell(work, &place, &Proof { areas: vec![area] });
        }
        std::mem::take(&mut self.told.borrow_mut().verified)
    }

    /// What is asked of the stores once: catalogs, policies, made-up tenants, what is nobody's, and what the stores say
    /// together. Answers what it says of single tenants, by key, and the sentence of what is no tenant's; none: nothing.
    ///
    /// # Errors
    /// A store or a shard that cannot be reached; `LYX-TENANT-UNKNOWN`.
    pub async fn whole(&self, work: Work<'_>, stores: &mut Vec<AnyStore>) -> Result<Whole> {
        let placed = shard::targets(work.config, work.targets, &Placement::home())?;
        enter(stores, work.config, &placed).await?;
        let mut fleet = Fleet::new(work, stores);
        let Some(registry) = fleet.home.first().map(|store| store.kind()) else { return Ok(Whole::default()) };
        let (known, is_all) = (&self.known, self.request.is_all);
        let chosen = chosen(known, &self.request.names)?;
        let mut sites: BTreeSet<Site> = BTreeSet::new();
        if is_all {
            sites.extend(fleet::sites(work));
        }
        for record in &chosen {
            sites.extend(fleet.missing(&record.placement()?));
        }
        fleet.connect(&sites.into_iter().collect::<Vec<_>>()).await?;
        let mut found = Found::default();
        let mut looked = Vec::new();
        let mut listed = Listed { newest: super::list::newest(&self.files), ..Listed::default() };
        let home: Vec<StoreKind> = fleet.home.iter().map(|store| store.kind()).collect();
        for (kind, shard) in home.into_iter().map(|kind| (kind, None)).chain(fleet.reached()) {
            let placement = Placement::home().with(kind, shard.as_deref().unwrap_or(HOME));
            let targets = fleet.targets(&placement)?;
            let mut there = fleet.at(&placement).await?;
            let Some(store) = there.iter_mut().find(|store| store.kind() == kind) else { continue };
            let is_here = |record: &&Record| record.placement().is_ok_and(|there| there.of(kind) == shard.as_deref());
            let all: Vec<Tenant> = known.iter().filter(is_here).map(|record| record.tenant.clone()).collect();
            // What is not complete is not served: there is nothing to prove of it yet.
            let complete = chosen.iter().filter(|record| is_complete(record)).filter(is_here);
            let tenants: Vec<Tenant> = complete.map(|record| record.tenant.clone()).collect();
            if self.may_write {
                for removed in store.clean_verification().await? {
                    work.events.note(format!("removed what a verification that was cut short left: {removed}"));
                }
            }
            if is_all {
                listed.unmanaged.extend(store.unmanaged_tenants(&self.terms, UNMANAGED).await?);
            }
            let ask =
                Ask { unmanaged: &listed.unmanaged, ..self.ask(work, Part::Whole, &targets, kind, (&tenants, &all)) };
            let proof = store.verify_tenants(&ask).await?;
            found.take(self.tell(work, &Some((kind, shard.clone())), &proof));
            let missing = store.tenants_without_place(&tenants, &self.terms).await?;
            let is_registry = kind == registry && shard.is_none();
            let copies = if is_registry { None } else { Some(store.read_tenants(&Which::All).await?) };
            looked.push(Looked { kind, shard, tenants, missing, copies });
        }
        let proof = together(&chosen, known, registry, &listed, &looked);
        found.take(self.tell(work, &None, &proof));
        fleet.close().await;
        self.told.borrow_mut().has_whole = true;
        Ok(found.whole())
    }

    /// What is tried with each tenant: its ledgers against the registry, then each store. `records` are as the registry has
    /// them now.
    ///
    /// # Errors
    /// A server that cannot be reached.
    pub async fn tenants(
        &self,
        work: Work<'_>,
        stores: &mut Vec<AnyStore>,
        records: &[&Record],
    ) -> Result<Vec<Verdict>> {
        let mut verdicts: Vec<Verdict> = records.iter().map(|_| Verdict::Apart).collect();
        let mut found = Found::default();
        for (record, verdict) in records.iter().zip(&mut verdicts) {
            let Some(proof) = self.ledgers(work, stores, record).await? else {
                *verdict = Verdict::Again;
                continue;
            };
            found.take(self.note(work, None, proof));
        }
        let mut places: BTreeMap<Placement, Vec<usize>> = BTreeMap::new();
        for (at, record) in records.iter().enumerate().filter(|(at, _)| !matches!(verdicts[*at], Verdict::Again)) {
            places.entry(record.placement()?).or_default().push(at);
        }
        for (placement, members) in places {
            let targets = shard::targets(work.config, work.targets, &placement)?;
            enter(stores, work.config, &targets).await?;
            let tenants: Vec<Tenant> = members.iter().map(|at| records[*at].tenant.clone()).collect();
            for store in stores.iter_mut() {
                let kind = store.kind();
                let all = self.around(kind, &placement, &tenants);
                let ask = self.ask(work, Part::Tenants, &targets, kind, (&tenants, &all));
                let proof = store.verify_tenants(&ask).await?;
                let place = Some((kind, placement.of(kind).map(str::to_owned)));
                found.take(self.note(work, place, proof));
            }
        }
        for (record, verdict) in records.iter().zip(&mut verdicts) {
            if let Some((code, sentence)) = found.tenants.remove(record.tenant.key()) {
                *verdict = Verdict::Found(code, sentence);
            }
        }
        Ok(verdicts)
    }

    fn ask<'a>(
        &'a self,
        work: Work<'a>,
        part: Part,
        targets: &Targets,
        kind: StoreKind,
        (tenants, all): (&'a [Tenant], &'a [Tenant]),
    ) -> Ask<'a> {
        let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let run = Run { id, config: work.config, may_write: self.may_write, is_local: targets.is_local() };
        let ca_file = targets.get(kind).and_then(|target| target.ca_file.clone());
        Ask { part, terms: &self.terms, run, tenants, all, unmanaged: &[], is_all: self.request.is_all, ca_file }
    }

    /// These tenants and the next ones at their place: of a pair each is tried at the other.
    fn around(&self, kind: StoreKind, placement: &Placement, tenants: &[Tenant]) -> Vec<Tenant> {
        let is_here = |record: &&Record| {
            record.placement().is_ok_and(|there| there.of(kind) == placement.of(kind)) && is_complete(record)
        };
        let last = tenants.last().and_then(|last| self.known.iter().position(|record| record.tenant == *last));
        let (before, after) = self.known.split_at(last.map_or(0, |last| last + 1));
        let others = after.iter().chain(before).filter(is_here).filter(|record| !tenants.contains(&record.tenant));
        let mut all = tenants.to_vec();
        all.extend(others.take(NEIGHBOURS).map(|record| record.tenant.clone()));
        all
    }

    /// Whether a tenant's ledgers say what the registry says; none: it is to be asked again.
    async fn ledgers(&self, work: Work<'_>, stores: &mut Vec<AnyStore>, record: &Record) -> Result<Option<Proof>> {
        let mut proof = Proof::default();
        if self.files.is_empty() {
            return Ok(Some(proof));
        }
        proof.area("ledgers", "The registry says what each tenant's ledgers say");
        let object = format!("ledgers of tenant {}", record.tenant.shown());
        match inside::live(work, stores, record, &self.files).await {
            Ok(live) if live.head == record.head && live.version == record.version => proof.held(1),
            Ok(_) if self.told.borrow_mut().doubted.insert(record.tenant.key().to_owned()) => return Ok(None),
            Ok(live) => {
                let at = |record: &Record| record.version.clone().unwrap_or_else(|| "no version".into());
                let why = match at(&live) == at(record) {
                    true => format!("at {}, but not with the files that the registry noted", at(&live)),
                    false => format!("the registry says {}, and they are at {}", at(record), at(&live)),
                };
                let close = format!("lyrox db migrate --tenants {}", quoted(record.tenant.key()));
                proof.of(record.tenant.key(), Weight::Astray, "ledger_differs", object, why, close);
            }
            Err(error) if error.code() == Code::ConnectLimit => return Err(error),
            Err(error) => {
                // What a failure left in the session is not the next tenant's.
                migrate::close(std::mem::take(stores)).await;
                let why = format!("they cannot be read: {}", error.what());
                proof.of(record.tenant.key(), Weight::Untried, "ledger_unread", object, why, "");
            }
        }
        Ok(Some(proof))
    }

    /// Tells what was found in tries with single tenants; what held is told at the end.
    fn note(&self, work: Work<'_>, place: Where, proof: Proof) -> Vec<Item> {
        let mut only = Proof::default();
        let mut told = self.told.borrow_mut();
        for mut area in proof.areas {
            let findings = std::mem::take(&mut area.findings);
            let known = told.areas.iter_mut().find(|(at, known)| *at == place && known.id == area.id);
            match known {
                Some((_, known)) => known.held += area.held,
                None => told.areas.push((place.clone(), area.clone())),
            }
            only.areas.push(Area { held: 0, findings, ..area });
        }
        drop(told);
        self.tell(work, &place, &only)
    }

    /// Tells a proof, and answers what was found.
    fn tell(&self, work: Work<'_>, place: &Where, proof: &Proof) -> Vec<Item> {
        let known = |key: &str| self.known.iter().find(|record| record.tenant.key() == key);
        let slug = |key: &str| known(key).map(|record| record.tenant.slug().to_owned());
        let store = place.as_ref().map(|(store, _)| *store);
        let accepted = &self.terms.tenancy.accepted;
        let mut told = self.told.borrow_mut();
        let mut found = Vec::new();
        for mut item in items(store, proof, accepted, &slug, &mut told.verified.counts) {
            if let Some((_, Some(shard))) = place {
                item.id = format!("{shard}.{}", item.id);
                item.detail = Some(format!("shard {shard}: {}", item.detail.unwrap_or_default()));
            }
            if let Some(code) = &item.code {
                told.verified.findings.push(serde_json::json!({
                    "id": item.id, "store": store, "tenant": item.tenant, "code": code, "object": item.title,
                    "reached": item.detail, "close": item.hint,
                }));
            }
            if item.outcome == Outcome::Fail {
                found.push(item.clone());
            }
            work.events.item(item);
        }
        found
    }
}

/// What the whole says: of single tenants (key, code, sentence), and of what is no tenant's.
#[derive(Debug, Default)]
pub struct Whole {
    /// Of single tenants.
    pub marks: Vec<(String, String, String)>,
    /// Of what is nobody's, or everybody's: code and sentence.
    pub failure: Option<(String, String)>,
}

/// Failed items as sentences.
#[derive(Default)]
struct Found {
    tenants: BTreeMap<String, (String, String)>,
    rest: Option<(String, String)>,
}

impl Found {
    fn take(&mut self, items: Vec<Item>) {
        for item in items {
            let code = item.code.clone().unwrap_or_default();
            let sentence = format!("{}: {}", item.id, item.detail.unwrap_or_default());
            let known = match item.tenant {
                Some(key) => match self.tenants.entry(key) {
                    Entry::Vacant(entry) => {
                        entry.insert((code, sentence));
                        continue;
                    }
                    Entry::Occupied(entry) => entry.into_mut(),
                },
                None => match &mut self.rest {
                    None => {
                        self.rest = Some((code, sentence));
                        continue;
                    }
                    Some(known) => known,
                },
            };
            known.1 = format!("{}; {sentence}", known.1);
            // A leak weighs more than what is astray or was not tried.
            if code == Code::TenantLeak.to_string() {
                known.0 = code;
            }
        }
    }

    fn whole(self) -> Whole {
        let marks = self.tenants.into_iter().map(|(key, (code, sentence))| (key, code, sentence));
        Whole { marks: marks.collect(), failure: self.rest }
    }
}

/// What one store, at home or of a shard, has of the tenants that are to be there.
struct Looked {
    kind: StoreKind,
    shard: Option<String>,
    /// Those that are asked for and complete.
    tenants: Vec<Tenant>,
    /// Which of them lack something, and what.
    missing: Vec<(usize, String)>,
    /// Its copies of the records; none: it keeps the registry.
    copies: Option<Vec<Record>>,
}

impl Looked {
    fn title(&self) -> String {
        match &self.shard {
            Some(shard) => format!("{} of shard {shard}", self.kind.title()),
            None => self.kind.title().to_owned(),
        }
    }

    fn has(&self, record: &Record) -> bool {
        record.placement().is_ok_and(|there| there.of(self.kind) == self.shard.as_deref())
    }
}

fn is_complete(record: &Record) -> bool {
    matches!(record.state, State::Active | State::Suspended)
}

/// The records that are asked for.
fn chosen(known: &[Record], names: &[String]) -> Result<Vec<Record>> {
    if names.is_empty() {
        return Ok(known.to_vec());
    }
    let mut chosen: Vec<Record> = Vec::new();
    for name in names {
        let by_key = known.iter().find(|record| record.tenant.key() == name);
        let found = by_key.or_else(|| known.iter().find(|record| record.tenant.slug() == name));
        let found = found.ok_or_else(|| unknown(name))?;
        if !chosen.contains(found) {
            chosen.push(found.clone());
        }
    }
    Ok(chosen)
}

/// What no store can say alone: the same tenants everywhere, at the same version, and nothing of nobody's. Pure.
fn together(chosen: &[Record], known: &[Record], registry: StoreKind, listed: &Listed, looked: &[Looked]) -> Proof {
    let mut proof = Proof::default();
    proof.area("states", "Every tenant is complete");
    for record in chosen {
        if is_complete(record) {
            proof.held(1);
            continue;
        }
        let close = match record.state {
            State::Deleting => format!("lyrox tenant delete {}", quoted(record.tenant.key())),
            _ => format!("lyrox tenant create {}", quoted(record.tenant.key())),
        };
        let why = format!("it is {}: nothing of it was tried", record.state.word());
        proof.of(
            record.tenant.key(),
            Weight::Untried,
            "state",
            format!("tenant {}", record.tenant.shown()),
            why,
            close,
        );
    }
    proof.area("registry", "Every store knows the same tenants");
    for there in looked {
        let Some(copies) = &there.copies else { continue };
        let title = there.title();
        let theirs: BTreeSet<&Tenant> =
            copies.iter().filter(|record| is_complete(record)).map(|record| &record.tenant).collect();
        for tenant in &there.tenants {
            if theirs.contains(tenant) {
                proof.held(1);
            } else {
                let object = format!("tenant {} in {title}", tenant.shown());
                let why = format!("{title} has no record of it: the store may have been emptied");
                let close = format!("lyrox tenant create {}", quoted(tenant.key()));
                proof.of(tenant.key(), Weight::Astray, "unknown_here", object, why, close);
            }
        }
        let ours: BTreeSet<&Tenant> =
            known.iter().filter(|record| there.has(record)).map(|record| &record.tenant).collect();
        for tenant in theirs.into_iter().filter(|tenant| !ours.contains(tenant)) {
            let object = format!("tenant {} in {title}", tenant.shown());
            let elsewhere = known.iter().find(|record| record.tenant == *tenant);
            let (why, close) = match elsewhere.map(|record| (record, record.placement().unwrap_or_default())) {
                Some((_, place)) => (
                    format!("{title} has a record of it, and it is at `{place}`"),
                    format!("lyrox tenant show {}", quoted(tenant.key())),
                ),
                None => (
                    format!("{title} has a record of it, and {} has none", registry.title()),
                    format!("lyrox tenant create {} --slug {}", quoted(tenant.key()), tenant.slug()),
                ),
            };
            proof.of(tenant.key(), Weight::Astray, "orphan_record", object, why, close);
        }
    }
    proof.area("places", "Every tenant has its place in every store");
    let complete: Vec<&Record> = chosen.iter().filter(|record| is_complete(record)).collect();
    for there in looked {
        let title = there.title();
        proof.held(there.tenants.len().saturating_sub(there.missing.len()));
        for (index, what) in &there.missing {
            let Some(tenant) = there.tenants.get(*index) else { continue };
            let object = format!("{what} in {title}");
            let why = format!("tenant {} has no {what} in {title}", tenant.shown());
            let close = format!("lyrox tenant create {}", quoted(tenant.key()));
            proof.of(tenant.key(), Weight::Astray, "no_place", object, why, close);
        }
    }
    for key in &listed.unmanaged {
        let why = "it is in the store, and lyrox has no record of it";
        let close = format!("lyrox tenant adopt {}", quoted(key));
        proof.of(key, Weight::Astray, "unmanaged", format!("tenant {}", shown(key)), why, close);
    }
    proof.area("versions", "Every tenant is at the same version");
    if let Some(newest) = &listed.newest {
        for record in &complete {
            if listed.is_behind(record) {
                let at = record.version.as_deref().unwrap_or("no version");
                let why = format!("it is at {at}, the newest is {newest}");
                let object = format!("tenant {}", record.tenant.shown());
                proof.of(record.tenant.key(), Weight::Astray, "behind", object, why, "lyrox db migrate --tenants all");
            } else {
                proof.held(1);
            }
        }
        let mut heads: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        for record in complete.iter().filter(|record| !listed.is_behind(record)) {
            heads.entry(record.head.as_deref().unwrap_or_default()).or_default().push(record);
        }
        let usual = heads.values().map(Vec::len).max().unwrap_or(0);
        let mut is_usual_met = false;
        for others in heads.values() {
            if others.len() == usual && !std::mem::replace(&mut is_usual_met, true) {
                continue;
            }
            for record in others {
                let why = format!("what was applied to it differs from what {} have", plural(usual, "tenant"));
                let object = format!("tenant {}", record.tenant.shown());
                proof.of(record.tenant.key(), Weight::Astray, "skew", object, why, "lyrox db migrate --tenants all");
            }
        }
    }
    proof
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::TenancyModel;

    fn record(key: &str, head: &str, version: &str) -> Record {
        let mut record = Record::new(Tenant::new(key, None).expect("a tenant"), TenancyModel::Schema);
        record.state = State::Active;
        (record.head, record.version) = (Some(head.into()), Some(version.into()));
        record
    }

    #[test]
    fn what_differs_between_stores_is_named() {
        let chosen =
            [record("a", "x", "2"), record("b", "x", "2"), record("c", "y", "2"), record("d", "x", "1")].to_vec();
        let mut pending = record("e", "", "");
        pending.state = State::Pending;
        let mut all = chosen.clone();
        all.push(pending);
        let mut away = record("s", "x", "2");
        away.shard = "postgres=eu".into();
        all.push(away);
        let mut copies = chosen[1..].to_vec();
        copies.push(record("z", "x", "2"));
        let tenants: Vec<Tenant> = chosen.iter().map(|record| record.tenant.clone()).collect();
        let at = |kind, shard: Option<&str>, tenants: &[Tenant], missing, copies| Looked {
            kind,
            shard: shard.map(str::to_owned),
            tenants: tenants.to_vec(),
            missing,
            copies,
        };
        let looked = [
            at(StoreKind::Postgres, None, &tenants, Vec::new(), None),
            at(StoreKind::Redis, None, &tenants, vec![(1, "user".into())], Some(copies)),
            at(
                StoreKind::Postgres,
                Some("eu"),
                &[all[5].tenant.clone()],
                Vec::new(),
                Some(vec![record("a", "x", "2")]),
            ),
        ];
        let listed = Listed { newest: Some("2".into()), unmanaged: vec!["u".into()], ..Listed::default() };
        let proof = together(&all[..5], &all, StoreKind::Postgres, &listed, &looked);
        let found: Vec<(&str, &str)> = proof
            .areas
            .iter()
            .flat_map(|area| &area.findings)
            .map(|finding| (finding.kind, finding.tenant.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            found,
            [
                ("state", "e"),
                ("unknown_here", "a"),
                ("orphan_record", "z"),
                ("unknown_here", "s"),
                ("orphan_record", "a"),
                ("no_place", "b"),
                ("unmanaged", "u"),
                ("behind", "d"),
                ("skew", "c"),
            ]
        );
    }
}
