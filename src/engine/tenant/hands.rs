//! Connections to where one tenant's data lies: its own schema or databases, or the tables that all share.

use super::Tenant;
use super::registry::Record;
use super::shard::{self, Placement};
use crate::config::file::TenancyModel;
use crate::engine::event::Events;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::Item;
use crate::stores::tenant::Terms;
use crate::stores::tenant_bundle::{BundleStore as _, Scope, Survey};
use crate::stores::{AnyStore, Store as _};

/// One store each, in order.
pub(super) struct Hands {
    /// The connections; a store whose database of the tenant is not there has none.
    pub stores: Vec<AnyStore>,
}

impl Hands {
    /// Connects to where a tenant is. With `may_lack`, a database that is not there is left out.
    pub async fn open(work: Work<'_>, placement: &Placement, tenant: &Tenant, may_lack: bool) -> Result<Self> {
        let placed = shard::targets(work.config, work.targets, placement)?;
        let (config, targets) = tenant.within(work.config, &placed);
        let mut stores = Vec::with_capacity(targets.stores.len());
        for target in &targets.stores {
            match AnyStore::open(&config, target).await {
                Ok(store) => stores.push(store),
                Err(error) if may_lack && error.code() == Code::DatabaseMissing => {}
                Err(error) => {
                    migrate::close(stores).await;
                    return Err(error.data_if_none("nothing was changed"));
                }
            }
        }
        Ok(Self { stores })
    }

    /// Looks what there is, everywhere; what was begun goes on until [`Hands::rest`].
    pub async fn survey(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<(StoreKind, Survey)>> {
        let mut surveys = Vec::with_capacity(self.stores.len());
        for store in &mut self.stores {
            let kind = store.kind();
            surveys.push((kind, store.begin_reading(scope(tenant, terms, kind), None).await?));
        }
        Ok(surveys)
    }

    /// Ends the reading in every store.
    pub async fn rest(&mut self) -> Result<()> {
        for store in &mut self.stores {
            store.end_reading().await?;
        }
        Ok(())
    }

    /// Says goodbye.
    pub async fn close(self) {
        migrate::close(self.stores).await;
    }
}

/// Whose data is meant in a store of this kind.
pub(super) fn scope<'a>(tenant: &'a Tenant, terms: &'a Terms, kind: StoreKind) -> Scope<'a> {
    let is_inside = terms.model() != TenancyModel::Row && kind != StoreKind::Redis;
    Scope { tenant, terms, is_inside }
}

/// Refuses where nobody says whether something is the tenant's.
///
/// # Errors
/// `LYX-TENANT-UNCLASSIFIED` naming all of it.
pub(super) fn refuse_unclassified(tenant: &Tenant, surveys: &[(StoreKind, Survey)]) -> Result<()> {
    let unsaid: Vec<String> = surveys
        .iter()
        .flat_map(|(kind, survey)| survey.unclassified.iter().map(move |what| format!("{kind}: {what}")))
        .collect();
    if unsaid.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Code::TenantUnclassified,
        format!("nobody says whether it is tenant `{}`'s or no tenant's", tenant.shown()),
    )
    .why(unsaid.join("; "))
    .data("nothing was changed")
    .hint("give it the tenant column, or list it: `global` in [tenancy], `tenant` in [redis.keyspaces.NAME]"))
}

/// Refuses where a key could be read as another tenant's in the names of Redis keys.
///
/// # Errors
/// `LYX-TENANT-UNCLASSIFIED`.
pub(super) fn refuse_ambiguous(work: Work<'_>, tenant: &Tenant, records: &[Record]) -> Result<()> {
    let has_spaces = work.config.settings.redis.as_ref().is_some_and(|redis| !redis.keyspaces.is_empty());
    let begins = format!("{}:", tenant.key());
    match records.iter().find(|record| record.tenant.key().starts_with(&begins)) {
        Some(other) if has_spaces => Err(Error::new(
            Code::TenantUnclassified,
            format!("keys of tenant `{}` cannot be told from those of `{}`", tenant.shown(), other.tenant.shown()),
        )
        .why("one's key is the beginning of the other's, up to a colon, which parts the pieces of a Redis key")
        .data("nothing was changed")),
        _ => Ok(()),
    }
}

/// Tells what a survey has to say beside the parts.
pub(super) fn tell_notes(events: &dyn Events, tenant: &Tenant, surveys: &[(StoreKind, Survey)]) {
    for (kind, survey) in surveys {
        for (number, note) in survey.notes.iter().enumerate() {
            let mut item = Item::warn(format!("{}.{kind}.note{number}", tenant.slug()), "note").store(*kind);
            item.tenant = Some(tenant.key().to_owned());
            events.item(item.code(Code::TenantUnclassified).detail(note.clone()));
        }
    }
}

/// An item of one part.
pub(super) fn item(tenant: &Tenant, kind: StoreKind, part: &str, rows: u64) -> Item {
    let mut item = Item::pass(format!("{}.{kind}.{part}", tenant.slug()), part).store(kind);
    item.tenant = Some(tenant.key().to_owned());
    let word = match kind {
        StoreKind::Postgres => "row",
        StoreKind::Mongodb => "document",
        StoreKind::Redis => "key",
    };
    item.detail(crate::report::plural(usize::try_from(rows).unwrap_or(usize::MAX), word))
}
