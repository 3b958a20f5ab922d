//! What a store does to hand a tenant's data out, take it in and remove it. How a store finds what is a tenant's is said in
//! `stores/*/tenant/bundle/`; the order of things is the engine's (`engine/tenant/{export,import,delete}.rs`).

use super::AnyStore;
use super::tenant::Terms;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::bundle::sort::Sorted;
use crate::error::Result;

/// Whose data is meant, and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// What holds for all tenants.
    pub terms: &'a Terms,
    /// The store is connected to the tenant's own schema or database: everything in it is the tenant's. Else only what
    /// carries the tenant is.
    pub is_inside: bool,
}

/// A table, a collection or a key space, as far as it is the tenant's.
#[derive(Debug, Default)]
pub struct Part {
    /// Its name: of a table (behind its schema where that is not the project's), a collection, a key space.
    pub name: String,
    /// Columns, in the order of the catalog; only tables have them.
    pub columns: Vec<String>,
    /// Those columns of its key that are its own ids and no reference to anything else.
    pub ids: Vec<String>,
    /// So many rows, documents or keys.
    pub rows: u64,
    /// How the store reads it: its own affair.
    pub(crate) read: String,
    /// How the store empties it: its own affair.
    pub(crate) clear: String,
    /// How the store fills it: its own affair.
    pub(crate) write: String,
    /// What has to be done before it is filled, and undone behind it: its own affair.
    pub(crate) around: (String, String),
    /// Rows that are removed from it may bring new ones to other parts: it has triggers.
    pub(crate) fires: bool,
    /// Parts of one group refer to each other: they are filled and emptied in one statement.
    pub(crate) group: usize,
    /// The names of its keys, sorted (Redis).
    pub(crate) keys: Option<Sorted>,
}

/// What a store has of a tenant.
#[derive(Debug, Default)]
pub struct Survey {
    /// What is the tenant's, in the order in which it can be filled.
    pub parts: Vec<Part>,
    /// What may be the tenant's and nobody says so, in sentences: the command stops.
    pub unclassified: Vec<String>,
    /// Rows of others that refer to the tenant's, in sentences: it cannot be deleted.
    pub holders: Vec<String>,
    /// What is left out or goes stale, in sentences.
    pub notes: Vec<String>,
}

/// What of a part is wanted: its name and, for tables, these columns.
pub type Wanted = (String, Vec<String>);

/// Takes lines, each without its end.
pub type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// What every store can do. Nothing is changed but by [`BundleStore::clear_tenant`], [`BundleStore::fill_part`] and those
/// after it.
#[allow(async_fn_in_trait, reason = "used through AnyStore only, never spawned")]
pub trait BundleStore {
    /// Looks what there is of a tenant, and holds it fast for reading where the store can (PostgreSQL: one snapshot).
    /// With `wanted`, only those parts and columns.
    ///
    /// # Errors
    /// What cannot be read; a wanted table or column that is not there.
    async fn begin_reading(&mut self, scope: Scope<'_>, wanted: Option<&[Wanted]>) -> Result<Survey>;

    /// Hands out the lines of a part, sorted by its key: JSON objects.
    ///
    /// # Errors
    /// What cannot be read, and those of the sink.
    async fn read_part(&mut self, scope: Scope<'_>, part: &mut Part, sink: Sink<'_>) -> Result<()>;

    /// Ends the reading.
    async fn end_reading(&mut self) -> Result<()>;

    /// Removes the tenant's rows, documents and keys; its place, its users and its ledger stay.
    ///
    /// # Errors
    /// What is refused; PostgreSQL has then removed nothing, the others perhaps a part.
    async fn clear_tenant(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()>;

    /// Begins to fill: PostgreSQL a transaction.
    async fn begin_filling(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()>;

    /// Takes whole lines, each with its end.
    ///
    /// # Errors
    /// What is refused; the filling is over.
    async fn fill_part(&mut self, scope: Scope<'_>, at: usize, part: &Part, lines: &[u8]) -> Result<()>;

    /// Ends the filling: PostgreSQL commits.
    ///
    /// # Errors
    /// What is refused; PostgreSQL has then nothing of it.
    async fn end_filling(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()>;

    /// The tenant's users cannot log in any more, and those who are logged in are sent away.
    async fn shut_out(&mut self, tenant: &Tenant, terms: &Terms) -> Result<()>;

    /// The server's time, in milliseconds since 1970; none for a store whose data does not expire by itself.
    async fn now_ms(&mut self) -> Result<Option<i64>> {
        Ok(None)
    }

    /// What the ledger or a copy of the registry still holds of a tenant, in words. Reads only.
    async fn traces(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<String>>;
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

impl BundleStore for AnyStore {
    async fn begin_reading(&mut self, scope: Scope<'_>, wanted: Option<&[Wanted]>) -> Result<Survey> {
        forward!(self, store => store.begin_reading(scope, wanted).await)
    }
    async fn read_part(&mut self, scope: Scope<'_>, part: &mut Part, sink: Sink<'_>) -> Result<()> {
        forward!(self, store => store.read_part(scope, part, sink).await)
    }
    async fn end_reading(&mut self) -> Result<()> {
        forward!(self, store => store.end_reading().await)
    }
    async fn clear_tenant(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()> {
        forward!(self, store => store.clear_tenant(scope, parts).await)
    }
    async fn begin_filling(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()> {
        forward!(self, store => store.begin_filling(scope, parts).await)
    }
    async fn fill_part(&mut self, scope: Scope<'_>, at: usize, part: &Part, lines: &[u8]) -> Result<()> {
        forward!(self, store => store.fill_part(scope, at, part, lines).await)
    }
    async fn end_filling(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()> {
        forward!(self, store => store.end_filling(scope, parts).await)
    }
    async fn shut_out(&mut self, tenant: &Tenant, terms: &Terms) -> Result<()> {
        forward!(self, store => store.shut_out(tenant, terms).await)
    }
    async fn now_ms(&mut self) -> Result<Option<i64>> {
        forward!(self, store => store.now_ms().await)
    }
    async fn traces(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<String>> {
        forward!(self, store => store.traces(tenant, terms).await)
    }
}
