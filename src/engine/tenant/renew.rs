//! New passwords for the users of one tenant.

use super::credentials::{self, Keeper};
use super::plan::quoted;
use super::registry::{State, Which};
use super::shard::fleet::Fleet;
use super::{terms, unknown};
use crate::config::file::TenancyModel;
use crate::engine::guard;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item};
use crate::stores::Store as _;
use crate::stores::tenant::{Place, TenantStore as _};

/// Gives the users of a tenant new passwords and hands them out.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`; `LYX-TENANT-STATE` for one that is not complete; a store that refuses.
pub async fn renew(work: Work<'_>, name: &str, keeper: &dyn Keeper) -> Result<()> {
    let terms = terms(work.config)?;
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    let users = credentials::stores(&terms.tenancy, work.targets);
    let outcome = with_lock(&mut stores, work.wait, work.events, async |stores| {
        let mut fleet = Fleet::new(work, stores);
        let found = fleet.registry()?.read_tenants(&Which::Named(name.to_owned())).await?;
        let record = found.into_iter().next().ok_or_else(|| unknown(name))?;
        let tenant = record.tenant.clone();
        if !matches!(record.state, State::Active | State::Suspended) {
            return Err(Error::new(
                Code::TenantState,
                format!("tenant `{}` is {}", tenant.shown(), record.state.word()),
            )
            .data("nothing was changed")
            .hint(match record.state {
                State::Deleting => format!("lyrox tenant delete {} finishes it", quoted(tenant.key())),
                _ => format!("lyrox tenant show {}", quoted(tenant.key())),
            }));
        }
        let placement = record.placement()?;
        let targets = fleet.targets(&placement)?;
        for store in fleet.at(&placement).await? {
            let place = match terms.model() {
                TenancyModel::Schema => "schema",
                TenancyModel::Database => "database",
                TenancyModel::Row => break,
            };
            // A place that is gone would be made anew, empty. MongoDB's comes to be with the first document.
            if store.kind() == StoreKind::Postgres
                && !store.look_at_tenant(&tenant, &terms).await?.iter().any(|(what, _)| *what == place)
            {
                let what = format!("the {place} of tenant `{}` is not there", tenant.shown());
                return Err(Error::new(Code::TenantState, what)
                    .why(format!(
                        "the registry says that it is {}, and somebody removed its {place}",
                        record.state.word()
                    ))
                    .data("nothing was changed")
                    .hint(format!("lyrox tenant delete {} removes the rest of it", quoted(tenant.key()))));
            }
        }
        for store in fleet.at(&placement).await?.into_iter().filter(|store| users.contains(&store.kind())) {
            let kind = store.kind();
            let password = credentials::password();
            // Where the place is a database, it is there: its template is not needed.
            let place = Place {
                tenant: tenant.clone(),
                fields: Vec::new(),
                password: Some(password.clone()),
                takes_in: record.is_adopted,
            };
            let made = store.make_places(std::slice::from_ref(&place), &terms).await?;
            if let Some((_, error)) = made.failed.into_iter().next() {
                return Err(error);
            }
            if let Some(warning) = store.keep_places(&terms).await? {
                work.events.note(warning);
            }
            if let Some(target) = targets.get(kind) {
                keeper.keep(&[credentials::login(&tenant, target, &terms.tenancy, password)])?;
            }
            let mut item = Item::pass(format!("{}.{kind}", tenant.slug()), "password").store(kind);
            item.tenant = Some(tenant.key().to_owned());
            work.events.item(item.change(Change::Updated).detail(format!("user {}", tenant.name())));
        }
        // A store that was emptied learns of it again.
        let copies = std::slice::from_ref(&record);
        for store in fleet.copies(&placement).await? {
            store.write_tenants(copies).await?;
        }
        fleet.close().await;
        Ok(())
    })
    .await;
    migrate::close(stores).await;
    outcome
}
