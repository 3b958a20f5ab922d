//! The place of an imported tenant: made, and taken back with all that is in it where it cannot go on.

use super::super::create::pass;
use super::super::credentials::Login;
use super::super::hands::Hands;
use super::super::plan::quoted;
use super::super::registry::{Record, State};
use super::super::shard::Placement;
use super::super::shard::fleet::{Fleet, Site};
use super::super::{credentials, delete, template};
use super::Run;
use crate::config::file::TenancyModel;
use crate::engine::lock::with_lock;
use crate::engine::migrate::Work;
use crate::error::{Error, Result};
use crate::kind::StoreKind;
use crate::secret::Secret;
use crate::stores::tenant::{Place, TenantStore as _};
use crate::stores::tenant_bundle::BundleStore as _;
use crate::stores::{AnyStore, Store as _};

impl Run<'_> {
    /// Makes the shards of its place ready: the ledger, the copy of the registry, the template.
    pub(in crate::engine::tenant) async fn reach(
        &mut self,
        fleet: &mut Fleet<'_>,
        placement: &Placement,
    ) -> Result<()> {
        let missing: Vec<Site> = placement.away().map(|(kind, name)| (kind, name.to_owned())).collect();
        fleet.at(placement).await?;
        let targets = fleet.targets(placement)?;
        let work = Work { targets: &targets, ..self.work };
        for site in &missing {
            let Some(store) = fleet.site(site) else { continue };
            with_lock(std::slice::from_mut(store), work.wait, work.events, async |stores: &mut [AnyStore]| {
                for store in stores.iter_mut() {
                    store.prepare(&work.mark()).await?;
                    store.prepare_tenants().await?;
                }
                Ok(())
            })
            .await?;
        }
        if self.terms.model() == TenancyModel::Database {
            let stores = fleet.at(placement).await?;
            if let Some(store) = stores.into_iter().find(|store| store.kind() == StoreKind::Postgres) {
                self.terms.template = Some(template::ensure(work, store, &self.files).await?);
            }
        }
        Ok(())
    }

    /// Its place in each store. In shared tables its row comes with the others.
    pub(in crate::engine::tenant) async fn placed(
        &self,
        fleet: &mut Fleet<'_>,
        placement: &Placement,
        kinds: &[StoreKind],
    ) -> Result<Vec<Login>> {
        let targets = fleet.targets(placement)?;
        let users = credentials::stores(&self.terms.tenancy, &targets);
        let mut logins = Vec::new();
        for store in fleet.at(placement).await?.into_iter().filter(|store| kinds.contains(&store.kind())) {
            let kind = store.kind();
            let password: Option<Secret> = users.contains(&kind).then(credentials::password);
            if self.terms.model() == TenancyModel::Row && kind == StoreKind::Postgres {
                continue;
            }
            let place =
                Place { tenant: self.tenant.clone(), fields: Vec::new(), password: password.clone(), takes_in: false };
            let made = store.make_places(std::slice::from_ref(&place), &self.terms).await?;
            if let Some((_, error)) = made.failed.into_iter().next() {
                return Err(error);
            }
            pass(kind.name());
            if let (Some(password), Some(target)) = (password, targets.get(kind)) {
                logins.push(credentials::login(&self.tenant, target, &self.terms.tenancy, password));
            }
        }
        Ok(logins)
    }

    /// Takes everything back and says so in the record.
    pub(super) async fn give_up(&self, fleet: &mut Fleet<'_>, mut record: Record, error: Error) -> Error {
        let mut left = Vec::new();
        let emptied = async {
            let mut hands = Hands::open(self.work, &record.placement()?, &self.tenant, true).await?;
            // A transaction that an error left open.
            for store in &mut hands.stores {
                let _ = store.end_reading().await;
            }
            let surveys = hands.survey(&self.tenant, &self.terms).await?;
            hands.rest().await?;
            let emptied = delete::emptied(&self.terms, &self.tenant, &mut hands, &surveys).await;
            hands.close().await;
            emptied
        };
        if let Err(error) = emptied.await {
            left.push(error.to_string());
        }
        if let Err(error) = delete::taken(&self.terms, fleet, &record).await {
            left.push(error.to_string());
        }
        record.state = if left.is_empty() { State::Failed } else { State::Pending };
        (record.version, record.head) = (None, None);
        record.error = Some(format!("{}: {}", error.code(), error.what()));
        if let Err(error) = self.write(fleet, &record).await {
            left.push(error.to_string());
        }
        if left.is_empty() {
            error.data("what was imported was taken back from every store; its record says `failed`")
        } else {
            error.data(format!("something of it is left: {}", left.join("; "))).hint_if_none(format!(
                "lyrox tenant delete {} --confirm {}",
                quoted(self.tenant.key()),
                self.tenant.slug()
            ))
        }
    }
}
