//! What a store does for tenants: remember them, make their place, take it away again. Each method takes the whole
//! batch, so that a thousand tenants are a handful of round trips. The order of things is the engine's
//! (`engine/tenant/create.rs`); the rest is said by each store in its `tenant/`.

use std::collections::BTreeSet;

use super::AnyStore;
use crate::config::file::{Tenancy, TenancyModel};
use crate::engine::tenant::policies::Table;
use crate::engine::tenant::{Record, Tenant, Which};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What is to be there for one tenant.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its names.
    pub tenant: Tenant,
    /// `--set`: columns of its row in the tenant table, with their values as text.
    pub fields: Vec<(String, String)>,
    /// The password of its user in this store; none: it gets no user.
    pub password: Option<Secret>,
    /// What is there already, made by the application, is taken in; else it would be in the way.
    pub takes_in: bool,
}

/// What holds for all tenants of a run.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The project's name.
    pub project: String,
    /// `[tenancy]` as it is in force.
    pub tenancy: Tenancy,
    /// The template database that new databases are made from (model `database`).
    pub template: Option<String>,
    /// Roles stay where a place is taken away: the tenant has another place on the same server.
    pub keeps_roles: bool,
}

impl Terms {
    /// The model.
    pub fn model(&self) -> TenancyModel {
        self.tenancy.model
    }
}

/// Something that is in a tenant's way: its place, by index, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clash {
    /// Which of the tenants that were asked about.
    pub index: usize,
    /// What is wrong, in a sentence without its subject: `role "t_acme" is there and none of this project's`.
    pub why: String,
    /// The application made it: `tenant adopt` can take it in.
    pub is_unmanaged: bool,
    /// The key itself is wrong, and no other slug would help; the one that is meant, where there is one.
    pub key: Option<Option<String>>,
}

/// What became of a batch of places.
#[derive(Debug, Default)]
pub struct Made {
    /// Places that are there, by index.
    pub done: BTreeSet<usize>,
    /// Places that cannot be made, by index; nothing of such a one is left in this store.
    pub failed: Vec<(usize, Error)>,
}

impl Made {
    /// All of so many.
    pub fn all(count: usize) -> Self {
        Self { done: (0..count).collect(), failed: Vec::new() }
    }
}

/// What every store can do for tenants. Everything may be called again after a kill at any moment and comes to the same.
#[allow(async_fn_in_trait, reason = "used through AnyStore only, never spawned")]
pub trait TenantStore {
    /// Makes what holds the records. Called before the first write.
    async fn prepare_tenants(&mut self) -> Result<()>;

    /// Reads records; a store that has none answers none.
    async fn read_tenants(&mut self, which: &Which) -> Result<Vec<Record>>;

    /// How many tenants the registry has at each shard, by what it remembers of where they are. Those count that have a place,
    /// or are to have one.
    async fn tenants_by_shard(&mut self) -> Result<Vec<(String, u64)>> {
        let mut counts = std::collections::BTreeMap::new();
        for record in self.read_tenants(&Which::All).await? {
            *counts.entry(record.shard).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }

    /// Writes records, new or as they are now, in one act. The server's clock gives the times.
    async fn write_tenants(&mut self, records: &[Record]) -> Result<()>;

    /// Strikes records out.
    async fn forget_tenants(&mut self, tenants: &[Tenant]) -> Result<()>;

    /// What is in the way of new tenants: names that are taken by others, rows that are there without lyrox, keys that the
    /// tenant column cannot hold. Reads only.
    async fn tenant_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>>;

    /// Makes the place of each tenant, or brings it to what it should be.
    ///
    /// # Errors
    /// What concerns all of them: the connection, a right. What concerns one is in the answer.
    async fn make_places(&mut self, places: &[Place], terms: &Terms) -> Result<Made>;

    /// After all places of a run: what makes them last (ACL SAVE). A warning where the server cannot.
    async fn keep_places(&mut self, terms: &Terms) -> Result<Option<String>>;

    /// Takes places away that nobody has used yet: the way back of a making that cannot go on.
    async fn take_places(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<()>;

    /// What this store has of a tenant, as pairs of a word and what it is: `("schema", "t_acme")`. Reads only.
    async fn look_at_tenant(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<(&'static str, String)>>;

    /// Begins a template database; false where it is complete already. What a kill left of one is dropped first.
    async fn begin_template(&mut self, name: &str) -> Result<bool> {
        Err(Error::bug(format!("a template `{name}` for a store that has none")))
    }

    /// Closes a template database: from now on nobody connects to it, and databases are made from it.
    async fn finish_template(&mut self, name: &str) -> Result<()> {
        Err(Error::bug(format!("a template `{name}` for a store that has none")))
    }

    /// The tables of the project, with what row-level security there is on them. Reads only; other stores have none.
    async fn tenant_tables(&mut self) -> Result<Vec<Table>> {
        Ok(Vec::new())
    }

    /// Why policies would not hold the application's role; none where they do, or there is none yet.
    async fn application_role_trouble(&mut self, role: &str) -> Result<Option<String>> {
        let _ = role;
        Ok(None)
    }

    /// Tenants that are in this store and that no record names: keys of the tenant table's rows (model `row`), else the
    /// slugs of schemas and databases with a tenant's name. At most `limit`, sorted.
    async fn unmanaged_tenants(&mut self, terms: &Terms, limit: usize) -> Result<Vec<String>>;
}

macro_rules! forward {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            AnyStore::Postgres($store) => $call,
            AnyStore::Mongodb($store) => $call,
            AnyStore::Redis($store) => $call,
        }
    };
}

impl TenantStore for AnyStore {
    async fn prepare_tenants(&mut self) -> Result<()> {
        forward!(self, store => store.prepare_tenants().await)
    }
    async fn read_tenants(&mut self, which: &Which) -> Result<Vec<Record>> {
        forward!(self, store => store.read_tenants(which).await)
    }
    async fn tenants_by_shard(&mut self) -> Result<Vec<(String, u64)>> {
        forward!(self, store => store.tenants_by_shard().await)
    }
    async fn write_tenants(&mut self, records: &[Record]) -> Result<()> {
        forward!(self, store => store.write_tenants(records).await)
    }
    async fn forget_tenants(&mut self, tenants: &[Tenant]) -> Result<()> {
        forward!(self, store => store.forget_tenants(tenants).await)
    }
    async fn tenant_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>> {
        forward!(self, store => store.tenant_clashes(tenants, terms).await)
    }
    async fn make_places(&mut self, places: &[Place], terms: &Terms) -> Result<Made> {
        forward!(self, store => store.make_places(places, terms).await)
    }
    async fn keep_places(&mut self, terms: &Terms) -> Result<Option<String>> {
        forward!(self, store => store.keep_places(terms).await)
    }
    async fn take_places(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<()> {
        forward!(self, store => store.take_places(tenants, terms).await)
    }
    async fn look_at_tenant(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<(&'static str, String)>> {
        forward!(self, store => store.look_at_tenant(tenant, terms).await)
    }
    async fn tenant_tables(&mut self) -> Result<Vec<Table>> {
        forward!(self, store => store.tenant_tables().await)
    }
    async fn application_role_trouble(&mut self, role: &str) -> Result<Option<String>> {
        forward!(self, store => store.application_role_trouble(role).await)
    }
    async fn begin_template(&mut self, name: &str) -> Result<bool> {
        forward!(self, store => store.begin_template(name).await)
    }
    async fn finish_template(&mut self, name: &str) -> Result<()> {
        forward!(self, store => store.finish_template(name).await)
    }
    async fn unmanaged_tenants(&mut self, terms: &Terms, limit: usize) -> Result<Vec<String>> {
        forward!(self, store => store.unmanaged_tenants(terms, limit).await)
    }
}
