//! Proof that tenants cannot reach each other: each store tries, and here the stores are compared. It fails closed: what
//! could not be tried is counted and is no success.

pub mod proof;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::proof::{Counts, Proof, Weight, items};
use super::list::{Listed, UNMANAGED};
use super::plan::quoted;
use super::registry::{Record, State, Which};
use super::{Tenant, inside, shown, terms, unknown};
use crate::engine::guard;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::plural;
use crate::stores::smoke::Run;
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::tenant_verify::{Ask, VerifyStore as _};
use crate::stores::{AnyStore, Store as _};

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
    let mut records = BTreeMap::new();
    for store in stores.iter_mut() {
        records.insert(store.kind(), store.read_tenants(&Which::All).await?);
    }
    let Some(registry) = stores.first().map(|store| store.kind()) else { return Ok(Verified::default()) };
    let known: Vec<Record> = records.get(&registry).cloned().unwrap_or_default();
    let chosen = chosen(&known, &request.names)?;
    let all: Vec<Tenant> = known.iter().map(|record| record.tenant.clone()).collect();
    // What is not complete is not served: there is nothing to prove of it yet.
    let is_complete = |record: &&Record| matches!(record.state, State::Active | State::Suspended);
    let tenants: Vec<Tenant> = chosen.iter().filter(is_complete).map(|record| record.tenant.clone()).collect();
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    let run = Run { id, config: work.config, may_write, is_local: work.targets.is_local() };
    let mut verified = Verified { tenants: chosen.len(), ..Verified::default() };
    let slugs: BTreeMap<&str, &str> = known.iter().map(|record| (record.tenant.key(), record.tenant.slug())).collect();
    let slug = |key: &str| slugs.get(key).map(|slug| (*slug).to_owned());
    let is_all = request.names.is_empty();
    for store in stores.iter_mut() {
        if may_write {
            for removed in store.clean_verification().await? {
                work.events.note(format!("removed what a verification that was cut short left: {removed}"));
            }
        }
        let ca_file = work.targets.get(store.kind()).and_then(|target| target.ca_file.clone());
        let ask = Ask { terms, run: run.clone(), tenants: &tenants, all: &all, is_all, ca_file };
        let proof = store.verify_tenants(&ask).await?;
        tell(work, Some(store.kind()), &proof, &slug, terms, &mut verified);
    }
    let mut listed = Listed { newest: super::list::newest(&files), ..Listed::default() };
    if is_all {
        for store in stores.iter_mut() {
            listed.unmanaged.extend(store.unmanaged_tenants(terms, UNMANAGED).await?);
        }
    }
    let mut places = Vec::new();
    for store in stores.iter_mut() {
        places.push((store.kind(), store.tenants_without_place(&tenants, terms).await?));
    }
    let proof = together(&chosen, &records, registry, &listed, &places);
    tell(work, None, &proof, &slug, terms, &mut verified);
    Ok(verified)
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
    store: Option<StoreKind>,
    proof: &Proof,
    slug: &dyn Fn(&str) -> Option<String>,
    terms: &Terms,
    verified: &mut Verified,
) {
    for item in items(store, proof, &terms.tenancy.accepted, slug, &mut verified.counts) {
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
fn together(
    chosen: &[Record],
    records: &BTreeMap<StoreKind, Vec<Record>>,
    registry: StoreKind,
    listed: &Listed,
    places: &[(StoreKind, Vec<(usize, String)>)],
) -> Proof {
    let mut proof = Proof::default();
    proof.area("states", "Every tenant is complete");
    for record in chosen {
        if matches!(record.state, State::Active | State::Suspended) {
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
    let complete = |records: &[Record]| -> BTreeSet<Tenant> {
        let is = |record: &&Record| matches!(record.state, State::Active | State::Suspended);
        records.iter().filter(is).map(|record| record.tenant.clone()).collect()
    };
    for (store, theirs) in records.iter().filter(|(store, _)| **store != registry) {
        let theirs = complete(theirs);
        for record in chosen.iter().filter(|record| matches!(record.state, State::Active | State::Suspended)) {
            let tenant = &record.tenant;
            if theirs.contains(tenant) {
                proof.held(1);
            } else {
                let object = format!("tenant {} in {}", tenant.shown(), store.title());
                let why = format!("{} has no record of it: the store may have been emptied", store.title());
                let close = format!("lyrox tenant create {}", quoted(tenant.key()));
                proof.of(tenant.key(), Weight::Astray, "unknown_here", object, why, close);
            }
        }
        let ours = records.get(&registry).map(|known| known.iter().map(|record| record.tenant.clone()));
        let ours: BTreeSet<Tenant> = ours.into_iter().flatten().collect();
        for tenant in theirs.difference(&ours) {
            let object = format!("tenant {} in {}", tenant.shown(), store.title());
            let why = format!("{} has a record of it, and {} has none", store.title(), registry.title());
            let close = format!("lyrox tenant create {} --slug {}", quoted(tenant.key()), tenant.slug());
            proof.of(tenant.key(), Weight::Astray, "orphan_record", object, why, close);
        }
    }
    proof.area("places", "Every tenant has its place in every store");
    let complete: Vec<&Record> =
        chosen.iter().filter(|record| matches!(record.state, State::Active | State::Suspended)).collect();
    for (store, missing) in places {
        proof.held(complete.len().saturating_sub(missing.len()));
        for (index, what) in missing {
            let Some(record) = complete.get(*index) else { continue };
            let object = format!("{what} in {}", store.title());
            let why = format!("tenant {} has no {what} in {}", record.tenant.shown(), store.title());
            let close = format!("lyrox tenant create {}", quoted(record.tenant.key()));
            proof.of(record.tenant.key(), Weight::Astray, "no_place", object, why, close);
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
        let mut elsewhere = chosen[1..].to_vec();
        elsewhere.push(record("z", "x", "2"));
        let records = BTreeMap::from([(StoreKind::Postgres, all.clone()), (StoreKind::Redis, elsewhere)]);
        let listed = Listed { newest: Some("2".into()), unmanaged: vec!["u".into()], ..Listed::default() };
        let proof =
            together(&all, &records, StoreKind::Postgres, &listed, &[(StoreKind::Redis, vec![(1, "user".into())])]);
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
                ("no_place", "b"),
                ("unmanaged", "u"),
                ("behind", "d"),
                ("skew", "c"),
            ]
        );
    }
}
