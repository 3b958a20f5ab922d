//! Removing a tenant from every store: a state machine whose every step may be done again.
//!
//! `deleting` in the registry (from here on nobody serves it) -> its users can log in no more -> its rows, documents and keys
//! go -> its places go -> every store is asked what is left -> copies of the record, then the record itself. A kill at any
//! moment leaves a record that says `deleting`, and the same command goes on.

use super::create::pass;
use super::export::found;
use super::hands::{self, Hands, scope};
use super::plan::quoted;
use super::registry::{Record, State};
use super::shard::fleet::Fleet;
use super::{Tenant, terms};
use crate::config::file::TenancyModel;
use crate::engine::guard::{self, Permit};
use crate::engine::ledger::Mark;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item};
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::tenant_bundle::{BundleStore as _, Survey};
use crate::stores::{AnyStore, Store as _};

/// What would go, and whether the removal was begun before.
#[derive(Debug)]
pub struct Preview {
    /// The tenant.
    pub tenant: Tenant,
    /// Consent was given, and the removal was cut short.
    pub is_resumed: bool,
    /// So many rows, documents and keys.
    pub rows: u64,
    /// The environment that each store remembers.
    pub marks: Vec<(StoreKind, Option<Mark>)>,
}

/// Looks what would go, and whether it can; tells each part as planned where `tells`.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`, `LYX-TENANT-UNCLASSIFIED`, `LYX-TENANT-HELD`.
pub async fn preview(work: Work<'_>, name: &str, tells: bool) -> Result<Preview> {
    let terms = terms(work.config)?;
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    let marks = migrate::marks(&ledgers);
    guard::refuse_other_mark(work.config, &marks)?;
    let record = found(&mut stores, work, name).await?;
    migrate::close(stores).await;
    refuse_state(&record, &terms)?;
    let mut hands = Hands::open(work, &record.placement()?, &record.tenant, true).await?;
    let surveys = hands.survey(&record.tenant, &terms).await?;
    hands.rest().await?;
    hands.close().await;
    refuse(&record.tenant, &surveys)?;
    let rows = rows(&surveys);
    if tells {
        for (kind, survey) in &surveys {
            for part in &survey.parts {
                let item = hands::item(&record.tenant, *kind, &part.name, part.rows);
                work.events.item(item.change(Change::Planned));
            }
        }
        hands::tell_notes(work.events, &record.tenant, &surveys);
    }
    Ok(Preview { tenant: record.tenant, is_resumed: record.state == State::Deleting, rows, marks })
}

/// Removes a tenant. Answers how many rows, documents and keys went.
///
/// # Errors
/// As [`preview`]; a store that refuses: the record says `deleting`, and the next run goes on.
pub async fn delete(work: Work<'_>, tenant: &Tenant, permit: &Permit) -> Result<u64> {
    let terms = terms(work.config)?;
    let mut stores = work.open().await?;
    let outcome = with_lock(&mut stores, work.wait, work.events, async |stores: &mut [AnyStore]| {
        let record = found(stores, work, tenant.key()).await?;
        if record.tenant != *tenant {
            // Another one was asked for when consent was given.
            return Err(super::unknown(tenant.key()));
        }
        refuse_state(&record, &terms)?;
        removed(work, &terms, stores, record, permit).await
    })
    .await;
    migrate::close(stores).await;
    outcome
}

/// Removes a tenant from stores that are open and locked.
pub(super) async fn removed(
    work: Work<'_>,
    terms: &Terms,
    stores: &mut [AnyStore],
    mut record: Record,
    _permit: &Permit,
) -> Result<u64> {
    let tenant = record.tenant.clone();
    let placement = record.placement()?;
    let mut fleet = Fleet::new(work, stores);
    // A shard that cannot be reached, or is another environment's, stops it before anything is written.
    fleet.at(&placement).await?;
    let mut hands = Hands::open(work, &placement, &tenant, true).await?;
    let surveys = hands.survey(&tenant, terms).await?;
    hands.rest().await?;
    refuse(&tenant, &surveys)?;
    record.state = State::Deleting;
    fleet.registry()?.write_tenants(std::slice::from_ref(&record)).await?;
    pass("deleting");
    let went = rows(&surveys);
    let undone = async {
        for store in fleet.at(&placement).await? {
            store.shut_out(&tenant, terms).await?;
        }
        pass("shut_out");
        emptied(terms, &tenant, &mut hands, &surveys).await?;
        // A database that is to go must have nobody in it.
        hands.close().await;
        taken(terms, &mut fleet, &record).await?;
        for store in fleet.at(&placement).await? {
            if let Some(warning) = store.keep_places(terms).await? {
                let kind = store.kind();
                let item = Item::warn(format!("{kind}.users"), "users of tenants").store(kind);
                work.events.item(item.detail(warning).code(Code::Privilege));
            }
        }
        prove(work, terms, &mut fleet, &record).await
    };
    undone.await.map_err(|error: Error| {
        error
            .data_if_none("the tenant says `deleting`; some of it is gone, and nobody may serve it")
            .hint_if_none(format!("lyrox tenant delete {}: it goes on", quoted(tenant.key())))
    })?;
    pass("proved");
    for (kind, survey) in &surveys {
        for part in survey.parts.iter().filter(|part| part.rows > 0) {
            work.events.item(hands::item(&tenant, *kind, &part.name, part.rows).change(Change::Dropped));
        }
    }
    hands::tell_notes(work.events, &tenant, &surveys);
    let gone = std::slice::from_ref(&tenant);
    for store in fleet.copies(&placement).await? {
        store.forget_tenants(gone).await?;
    }
    pass("copies");
    fleet.registry()?.forget_tenants(gone).await?;
    pass("forgotten");
    fleet.close().await;
    Ok(went)
}

/// Removes what lies among others' rows, documents and keys: the last store first, so that what refers goes before what is
/// referred to.
pub(super) async fn emptied(
    terms: &Terms,
    tenant: &Tenant,
    hands: &mut Hands,
    surveys: &[(StoreKind, Survey)],
) -> Result<()> {
    for (store, (kind, survey)) in hands.stores.iter_mut().zip(surveys).rev() {
        let scope = scope(tenant, terms, *kind);
        if !scope.is_inside {
            store.clear_tenant(scope, &survey.parts).await?;
            pass(&format!("emptied.{kind}"));
        }
    }
    Ok(())
}

/// Takes the places away, the registry's store last.
pub(super) async fn taken(terms: &Terms, fleet: &mut Fleet<'_>, record: &Record) -> Result<()> {
    let placement = record.placement()?;
    for store in fleet.at(&placement).await?.into_iter().rev() {
        store.take_places(std::slice::from_ref(&record.tenant), terms).await?;
        pass(&format!("taken.{}", store.kind()));
    }
    let registry = fleet.registry()?;
    if registry.kind() != StoreKind::Postgres {
        // Its place and its record went together: the record stays until nothing else does.
        registry.write_tenants(std::slice::from_ref(record)).await?;
    }
    Ok(())
}

/// Asks every store anew what there is of the tenant: nothing must be.
async fn prove(work: Work<'_>, terms: &Terms, fleet: &mut Fleet<'_>, record: &Record) -> Result<()> {
    let (tenant, placement) = (&record.tenant, record.placement()?);
    let mut left = Vec::new();
    let mut count = 0;
    for store in fleet.at(&placement).await? {
        count += 1;
        let kind = store.kind();
        left.extend(store.traces(tenant, terms).await?.into_iter().map(|what| format!("{kind}: {what}")));
    }
    let mut asked = 0;
    let mut hands = Hands::open(work, &placement, tenant, true).await?;
    for (kind, survey) in hands.survey(tenant, terms).await? {
        asked += survey.parts.len();
        if terms.model() == TenancyModel::Row || kind == StoreKind::Redis {
            let some = survey.parts.iter().filter(|part| part.rows > 0);
            left.extend(some.map(|part| format!("{kind}: {} of `{}`", part.rows, part.name)));
        }
    }
    hands.rest().await?;
    hands.close().await;
    if left.is_empty() {
        let mut item = Item::pass(format!("{}.proof", tenant.slug()), "nothing is left");
        item.tenant = Some(tenant.key().to_owned());
        let stores = crate::report::plural(count, "store");
        let what =
            if asked > 0 { format!("{stores}, {asked} tables asked again") } else { format!("{stores} asked again") };
        work.events.item(item.detail(what));
        return Ok(());
    }
    Err(Error::new(Code::TenantLeft, format!("something of tenant `{}` is left", tenant.shown()))
        .why(left.join("; "))
        .data("the tenant says `deleting`; the rest of it is gone")
        .hint(format!("end what writes for it, then run it again: lyrox tenant delete {}", quoted(tenant.key()))))
}

fn refuse(tenant: &Tenant, surveys: &[(StoreKind, Survey)]) -> Result<()> {
    hands::refuse_unclassified(tenant, surveys)?;
    let holders: Vec<&str> = surveys.iter().flat_map(|(_, survey)| &survey.holders).map(String::as_str).collect();
    if holders.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::TenantHeld, format!("others refer to what is tenant `{}`'s", tenant.shown()))
        .why(holders.join("; "))
        .data("nothing was changed")
        .hint("change or remove these references first"))
}

/// Refuses what cannot be removed as it is: a tenant of another model, and one that is on its way between two places.
fn refuse_state(record: &Record, terms: &Terms) -> Result<()> {
    if super::relocate::is_move(&record.step) && record.state != State::Deleting {
        return Err(Error::new(Code::TenantState, format!("tenant `{}` is being moved", record.tenant.shown()))
            .why(format!("its registry says `{}`: something of it is at both places", record.step))
            .data("nothing was changed")
            .hint(format!("{} finishes it", super::relocate::finishing(record))));
    }
    if record.model == terms.model() {
        return Ok(());
    }
    Err(Error::new(
        Code::TenantState,
        format!(
            "tenant `{}` was made in the model `{}`, and [tenancy] says `{}`",
            record.tenant.shown(),
            record.model.name(),
            terms.model().name()
        ),
    )
    .data("nothing was changed")
    .hint("give [tenancy] model its old value for this"))
}

fn rows(surveys: &[(StoreKind, Survey)]) -> u64 {
    surveys.iter().flat_map(|(_, survey)| &survey.parts).map(|part| part.rows).sum()
}
