//! Tenants in MongoDB: the registry or its copy (collection `lyrox_tenants`), and a database and a user for each in the
//! models `schema` and `database`. In the model `row` collections are shared, and a tenant's place is its documents.

mod bundle;
mod place;
mod reach;
mod registry;
mod verify;

pub(super) use registry::TENANTS;

use super::ledger::Books;
use super::{MongodbStore, foreign};
use crate::config::file::TenancyModel;
use crate::config::{Config, Target};
use crate::engine::tenant::{Record, Tenant, Which};
use crate::error::Result;
use crate::stores::Store as _;
use crate::stores::tenant::{Clash, Made, Place, TenantStore, Terms};
use crate::stores::tenant_run::Enter;

impl Enter for MongodbStore {
    async fn enter(&mut self, config: &Config, target: &Target) -> Result<()> {
        if self.endpoint.url.expose() != target.direct.url.expose() {
            let before = std::mem::replace(self, Self::open(config, target).await?);
            before.close().await;
            return Ok(());
        }
        let database = self.connected.client.database(&target.namespace);
        self.connected.database = database.clone();
        self.books = Books {
            database,
            project: config.settings.project.name.clone(),
            tenant: String::new(),
            history: foreign::History::of(config)?,
        };
        Ok(())
    }
}

impl TenantStore for MongodbStore {
    async fn prepare_tenants(&mut self) -> Result<()> {
        self.make_registry().await.map_err(self.failed("make the registry of tenants"))
    }
    async fn read_tenants(&mut self, which: &Which) -> Result<Vec<Record>> {
        self.read_registry(which).await
    }
    async fn write_tenants(&mut self, records: &[Record]) -> Result<()> {
        self.write_registry(records).await
    }
    async fn forget_tenants(&mut self, tenants: &[Tenant]) -> Result<()> {
        self.strike_out(tenants).await.map_err(self.failed("write the registry of tenants"))
    }
    async fn tenant_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>> {
        match terms.model() {
            TenancyModel::Row => Ok(Vec::new()),
            _ => self.place_clashes(tenants, terms).await.map_err(self.failed("look for databases and users")),
        }
    }
    async fn make_places(&mut self, places: &[Place], terms: &Terms) -> Result<Made> {
        match terms.model() {
            TenancyModel::Row => Ok(Made::all(places.len())),
            _ => self.make_users(places).await,
        }
    }
    async fn keep_places(&mut self, _terms: &Terms) -> Result<Option<String>> {
        Ok(None)
    }
    async fn take_places(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<()> {
        for tenant in tenants {
            let taken = match terms.model() {
                TenancyModel::Row => self.delete_documents(tenant, terms).await,
                _ => self.drop_place(tenant).await,
            };
            taken.map_err(self.failed("take a tenant's place back"))?;
            self.forget_seeds(tenant).await.map_err(self.failed("forget a tenant's seeds"))?;
        }
        self.strike_out(tenants).await.map_err(self.failed("write the registry of tenants"))
    }
    async fn look_at_tenant(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<(&'static str, String)>> {
        match terms.model() {
            TenancyModel::Row => Ok(Vec::new()),
            _ => self.look_at_place(tenant).await.map_err(self.failed("look at a tenant's place")),
        }
    }
    async fn unmanaged_tenants(&mut self, terms: &Terms, limit: usize) -> Result<Vec<String>> {
        match terms.model() {
            TenancyModel::Row => Ok(Vec::new()),
            _ => self.unmanaged_databases(limit).await,
        }
    }
}
