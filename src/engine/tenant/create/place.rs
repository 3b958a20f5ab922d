//! A tenant's place in each store: made, and taken back where it cannot go on.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::super::credentials::Login;
use super::super::delete;
use super::super::hands::Hands;
use super::super::plan::quoted;
use super::super::registry::{Record, State};
use super::super::shard::Placement;
use super::super::shard::fleet::{Fleet, Site};
use super::super::{Tenant, credentials, template};
use super::{Run, Unit, pass};
use crate::config::Targets;
use crate::config::file::TenancyModel;
use crate::engine::lock::with_lock;
use crate::engine::migrate::Work;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::Item;
use crate::secret::Secret;
use crate::stores::tenant::{Place, TenantStore as _};
use crate::stores::{AnyStore, Store as _};

impl Run<'_> {
    /// Connects to the shards of a place and makes them ready: the ledger, the registry's copy, the template.
    pub(super) async fn reach(&self, fleet: &mut Fleet<'_>, placement: &Placement) -> Result<()> {
        let missing = fleet.missing(placement);
        fleet.connect(&missing).await?;
        if self.request.is_dry {
            return Ok(());
        }
        let targets = fleet.targets(placement)?;
        for site in &missing {
            if let Some(store) = fleet.site(site) {
                self.prepare(store, site, &targets).await?;
            }
        }
        Ok(())
    }

    /// Makes one shard ready, under its own lock: another run may be migrating it.
    async fn prepare(&self, store: &mut AnyStore, site: &Site, targets: &Targets) -> Result<()> {
        let work = Work { targets, ..self.work };
        with_lock(std::slice::from_mut(store), work.wait, work.events, async |stores| {
            for store in stores.iter_mut() {
                store.prepare(&work.mark()).await?;
                store.prepare_tenants().await?;
                if self.terms.model() == TenancyModel::Database && site.0 == StoreKind::Postgres {
                    template::ensure(work, store, &self.files).await?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Makes the places in every store: PostgreSQL first, where the keys of tenants are held against its rules.
    pub(super) async fn place(
        &self,
        fleet: &mut Fleet<'_>,
        placement: &Placement,
        units: &mut Vec<Unit>,
    ) -> Result<Vec<Login>> {
        let targets = fleet.targets(placement)?;
        let users = credentials::stores(&self.terms.tenancy, &targets);
        let passwords: BTreeMap<(StoreKind, Tenant), Secret> = units
            .iter()
            .flat_map(|unit| users.iter().map(|kind| ((*kind, unit.record.tenant.clone()), credentials::password())))
            .collect();
        for kind in targets.stores.iter().map(|target| target.kind) {
            let places: Vec<Place> = units
                .iter()
                .map(|unit| Place {
                    tenant: unit.record.tenant.clone(),
                    fields: unit.fields.clone(),
                    password: passwords.get(&(kind, unit.record.tenant.clone())).cloned(),
                    takes_in: unit.record.is_adopted,
                })
                .collect();
            let mut stores = fleet.at(placement).await?;
            let Some(store) = stores.iter_mut().find(|store| store.kind() == kind) else { continue };
            let made = store.make_places(&places, &self.terms).await?;
            pass(kind.name());
            let mut failed: BTreeMap<usize, Error> = made.failed.into_iter().collect();
            if !failed.is_empty() {
                let mut kept = Vec::with_capacity(units.len());
                for (index, unit) in std::mem::take(units).into_iter().enumerate() {
                    match failed.remove(&index) {
                        Some(error) => self.give_up(fleet, placement, unit, error).await?,
                        None => kept.push(unit),
                    }
                }
                *units = kept;
            }
        }
        // The other stores keep copies: what they say of a tenant is that it has a place in them.
        let copies: Vec<Record> = units
            .iter()
            .map(|unit| Record { state: State::Active, step: String::new(), ..unit.record.clone() })
            .collect();
        try_join_all(fleet.copies(placement).await?.into_iter().map(|store| store.write_tenants(&copies))).await?;
        pass("copied");
        let mut logins = Vec::new();
        for target in &targets.stores {
            for unit in units.iter() {
                if let Some(password) = passwords.get(&(target.kind, unit.record.tenant.clone())) {
                    logins.push(credentials::login(&unit.record.tenant, target, &self.terms.tenancy, password.clone()));
                }
            }
        }
        if !self.request.is_brief {
            for unit in units.iter() {
                self.tell_places(fleet, placement, &unit.record.tenant).await?;
            }
        }
        Ok(logins)
    }

    /// Takes back what was made for a tenant that cannot go on, and says so in its record. What the application made
    /// stays.
    pub(super) async fn give_up(
        &self,
        fleet: &mut Fleet<'_>,
        placement: &Placement,
        mut unit: Unit,
        error: Error,
    ) -> Result<()> {
        let tenant = unit.record.tenant.clone();
        let mut left = Vec::new();
        if !unit.record.is_adopted {
            if self.terms.model() == TenancyModel::Row && self.request.seeds.is_some() {
                // Its seeds are rows and documents among those of others.
                left.extend(self.unseeded(placement, &tenant).await.err().map(|error| error.to_string()));
            }
            for store in fleet.at(placement).await?.into_iter().rev() {
                if let Err(error) = store.take_places(std::slice::from_ref(&tenant), &self.terms).await {
                    left.push(format!("{}: {error}", store.kind().title()));
                }
            }
        }
        // Of one that failed nothing is left: what is there after that is somebody else's.
        unit.record.state = if left.is_empty() { State::Failed } else { State::Pending };
        unit.record.version = None;
        unit.record.head = None;
        unit.record.error = Some(format!("{}: {}", error.code(), error.what()));
        fleet.registry()?.write_tenants(std::slice::from_ref(&unit.record)).await?;
        let error = match (unit.record.is_adopted, left.is_empty()) {
            (true, _) => error.data("what the application made is as it was"),
            (false, true) => error.data("what was made for it was taken back; its record says `failed`"),
            (false, false) => {
                error.data(format!("its record says `pending`, and something is left: {}", left.join("; ")))
            }
        };
        self.tell_failed(
            tenant.key(),
            None,
            &error.hint_if_none(format!("lyrox tenant create {}", quoted(tenant.key()))),
        );
        Ok(())
    }

    /// Removes what seeds wrote to shared tables and collections.
    async fn unseeded(&self, placement: &Placement, tenant: &Tenant) -> Result<()> {
        let mut hands = Hands::open(self.work, placement, tenant, true).await?;
        let emptied = async {
            let surveys = hands.survey(tenant, &self.terms).await?;
            hands.rest().await?;
            delete::emptied(&self.terms, tenant, &mut hands, &surveys).await
        };
        let emptied = emptied.await;
        hands.close().await;
        emptied
    }

    /// What makes users last, once for all of them: Redis is never elsewhere, and the others keep them anyway.
    pub(super) async fn keep(&self, stores: &mut [AnyStore]) -> Result<()> {
        for store in stores.iter_mut() {
            if let Some(warning) = store.keep_places(&self.terms).await? {
                let kind = store.kind();
                let item = Item::warn(format!("{kind}.users"), "users of tenants").store(kind);
                self.work.events.item(item.detail(warning).code(Code::Privilege));
            }
        }
        Ok(())
    }
}
