//! Proof that tenants cannot reach each other: each store tries, and here the stores are compared. It fails closed: what
//! could not be tried is counted and is no success.

pub mod proof;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;

use self::proof::{Counts, Proof, Weight, items};
use super::list::{Listed, UNMANAGED};
use super::plan::quoted;
use super::registry::{Record, State, Which};
use super::shard::Placement;
use super::shard::fleet::{self, Fleet, Site};
use super::{Tenant, inside, shown, terms, unknown};
use crate::config::shards::HOME;
use crate::engine::guard;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::report::plural;
use crate::stores::smoke::Run;
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::tenant_verify::{Ask, VerifyStore as _};
use crate::stores::{AnyStore, Store as _};

/// The ledgers of so many tenants are read side by side.
const AT_ONCE: usize = 8;

/// How long a run waits for another one to end.
const WAIT: Duration = Duration::from_secs(5);

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Keys or slugs; none: all tenants.
    pub names: Vec<String>,
    /// Tries may write what they roll back or remove, although the environment is protected.
    pub write: bool,
}

/// What it came to.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// How many tenants were looked at.
    pub tenants: usize,
    /// What was found, by weight.
    pub counts: Counts,
    /// Each finding as a program reads it.
    pub findings: Vec<serde_json::Value>,
}

/// Tries to break the walls between the tenants; each group of tries and each finding is told as an item.
///
/// # Errors
/// What keeps it from starting, and a lost connection. What leaks is an item.
pub async fn verify(work: Work<'_>, request: &Request) -> Result<Verified> {
    let terms = terms(work.config)?;
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    let marks = migrate::marks(&ledgers);
    guard::refuse_other_mark(work.config, &marks)?;
    let may_write = request.write || guard::refuse_protected(work.config, &marks, "a verification").is_ok();
    let outcome = if may_write {
        with_lock(&mut stores, WAIT, work.events, async |stores: &mut [AnyStore]| {
            prove(work, stores, &terms, request, may_write).await
        })
        .await
    } else {
        prove(work, &mut stores, &terms, request, may_write).await
    };
    migrate::close(stores).await;
    outcome
}

async fn prove(
    work: Work<'_>,
    stores: &mut [AnyStore],
    terms: &Terms,
    request: &Request,
    may_write: bool,
) -> Result<Verified> {
    let files = inside::files(work)?;
    let mut fleet = Fleet::new(work, stores);
    let Some(registry) = fleet.home.first().map(|store| store.kind()) else { return Ok(Verified::default()) };
    let known: Vec<Record> = fleet.registry()?.read_tenants(&Which::All).await?;
    let chosen = chosen(&known, &request.names)?;
    let is_all = request.names.is_empty();
    let mut sites: BTreeSet<Site> = BTreeSet::new();
    if is_all {
        sites.extend(fleet::sites(work));
    }
    for record in &chosen {
        let placement = record.placement()?;
        sites.extend(fleet.missing(&placement));
    }
    fleet.connect(&sites.into_iter().collect::<Vec<_>>()).await?;
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let mut verified = Verified { tenants: chosen.len(), ..Verified::default() };
    let slugs: BTreeMap<&str, &str> = known.iter().map(|record| (record.tenant.key(), record.tenant.slug())).collect();
    let slug = |key: &str| slugs.get(key).map(|slug| (*slug).to_owned());
    let mut looked = Vec::new();
    let mut listed = Listed { newest: super::list::newest(&files), ..Listed::default() };
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
        if may_write {
            for removed in store.clean_verification().await? {
                work.events.note(format!("removed what a verification that was cut short left: {removed}"));
            }
        }
        if is_all {
            listed.unmanaged.extend(store.unmanaged_tenants(terms, UNMANAGED).await?);
        }
        let run = Run { id: id.clone(), config: work.config, may_write, is_local: targets.is_local() };
        let ca_file = targets.get(kind).and_then(|target| target.ca_file.clone());
        let ask = Ask { terms, run, tenants: &tenants, all: &all, unmanaged: &listed.unmanaged, is_all, ca_file };
        let proof = store.verify_tenants(&ask).await?;
        tell(work, Some((kind, shard.as_deref())), &proof, &slug, terms, &mut verified);
        let missing = store.tenants_without_place(&tenants, terms).await?;
        let is_registry = kind == registry && shard.is_none();
        let copies = if is_registry { None } else { Some(store.read_tenants(&Which::All).await?) };
        looked.push(Looked { kind, shard, tenants, missing, copies });
    }
    let mut proof = Proof::default();
    let chosen = if files.is_empty() { chosen } else { live(work, chosen, &files, &mut proof).await };
    tell(work, None, &proof, &slug, terms, &mut verified);
    let proof = together(&chosen, &known, registry, &listed, &looked);
    tell(work, None, &proof, &slug, terms, &mut verified);
    fleet.close().await;
    Ok(verified)
}

/// The records as the tenants' own ledgers say they are; where the registry says otherwise, that is found.
async fn live(work: Work<'_>, chosen: Vec<Record>, files: &[Migration], proof: &mut Proof) -> Vec<Record> {
    proof.area("ledgers", "The registry says what each tenant's ledgers say");
    let asked = chosen.into_iter().map(async |record| {
        let live = if is_complete(&record) { Some(inside::live(work, &record, files).await) } else { None };
        (record, live)
    });
    let answers: Vec<_> = futures_util::stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut records = Vec::with_capacity(answers.len());
    for (record, live) in answers {
        let object = format!("ledgers of tenant {}", record.tenant.shown());
        match live {
            None => records.push(record),
            Some(Ok(live)) if live.head == record.head && live.version == record.version => {
                proof.held(1);
                records.push(live);
            }
            Some(Ok(live)) => {
                let at = |record: &Record| record.version.clone().unwrap_or_else(|| "no version".into());
                let why = match at(&live) == at(&record) {
                    true => format!("at {}, but not with the files that the registry noted", at(&live)),
                    false => format!("the registry says {}, and they are at {}", at(&record), at(&live)),
                };
                let close = format!("lyrox db migrate --tenants {}", quoted(record.tenant.key()));
                proof.of(record.tenant.key(), Weight::Astray, "ledger_differs", object, why, close);
                records.push(live);
            }
            Some(Err(error)) => {
                let why = format!("they cannot be read: {}", error.what());
                proof.of(record.tenant.key(), Weight::Untried, "ledger_unread", object, why, "");
                records.push(record);
            }
        }
    }
    records
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

fn tell(
    work: Work<'_>,
    at: Option<(StoreKind, Option<&str>)>,
    proof: &Proof,
    slug: &dyn Fn(&str) -> Option<String>,
    terms: &Terms,
    verified: &mut Verified,
) {
    let store = at.map(|(store, _)| store);
    for mut item in items(store, proof, &terms.tenancy.accepted, slug, &mut verified.counts) {
        if let Some((_, Some(shard))) = at {
            item.id = format!("{shard}.{}", item.id);
            item.detail = Some(format!("shard {shard}: {}", item.detail.unwrap_or_default()));
        }
        if let Some(code) = &item.code {
            verified.findings.push(serde_json::json!({
                "id": item.id, "store": store, "tenant": item.tenant, "code": code, "object": item.title,
                "reached": item.detail, "close": item.hint,
            }));
        }
        work.events.item(item);
    }
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

/// The error of a verification that found something: for those that run it inside something larger.
///
/// # Errors
/// `LYX-TENANT-LEAK` or `LYX-TENANT-UNTRIED`.
pub fn refuse(verified: &Verified) -> Result<()> {
    let counts = verified.counts;
    if counts.leaks + counts.astray + counts.untried == 0 {
        return Ok(());
    }
    let code = if counts.leaks > 0 {
        Code::TenantLeak
    } else if counts.astray > 0 {
        Code::TenantAstray
    } else {
        Code::TenantUntried
    };
    Err(Error::new(code, "tenants are not proved to be apart")
        .why(counts.summary(verified.tenants, "all"))
        .hint("lyrox tenant verify"))
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
