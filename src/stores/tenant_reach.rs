//! What a store does to reach one tenant: go where its data lies, as its own user where somebody knows the password, else in
//! its role or by lyrox' own connection, and read what its ledger says. Each store in its own way, in
//! `stores/*/tenant/reach.rs`; what it comes to is the engine's (`engine/tenant/reach/`). Reads only.

use super::AnyStore;
use super::tenant::Terms;
use crate::config::{Endpoint, Target};
use crate::engine::tenant::Tenant;
use crate::error::Result;
use crate::project::migration::Version;

/// Whom to reach, and how.
pub struct Aim<'a> {
    /// The tenant.
    pub tenant: &'a Tenant,
    /// What holds for all tenants.
    pub terms: &'a Terms,
    /// The server as the tenant's own migrations see it: its database, its key prefix.
    pub target: &'a Target,
    /// Its user's own URL, where somebody gave it.
    pub login: Option<&'a Endpoint>,
    /// The role of the application (model `row`).
    pub app_role: Option<&'a str>,
    /// Its migrations have a part for this store: there is a ledger to read.
    pub has_ledger: bool,
}

/// How a tenant was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As its own user, by its password.
    Login,
    /// In its role (model `row`: the application's), by the connection that lyrox has.
    Role,
    /// By the connection that lyrox has: there is no role, or lyrox may not take it.
    Connection,
}

impl Way {
    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Role => "role",
            Self::Connection => "connection",
        }
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Reached {
    /// How.
    pub way: Way,
    /// The versions that its ledger says are applied, with their checksums; none where it was not read.
    pub applied: Option<Vec<(Version, String)>>,
}

/// What every store can do.
#[allow(async_fn_in_trait, reason = "used through AnyStore only, never spawned")]
pub trait ReachStore {
    /// Reaches a tenant: one round trip, beyond the login that a database or a user of its own takes. None where nothing here
    /// is the tenant's alone.
    ///
    /// # Errors
    /// Its place is not there or not its own, its user may not log in, the server does not answer.
    async fn reach_tenant(&mut self, aim: &Aim<'_>) -> Result<Option<Reached>>;
}

impl ReachStore for AnyStore {
    async fn reach_tenant(&mut self, aim: &Aim<'_>) -> Result<Option<Reached>> {
        match self {
            Self::Postgres(store) => store.reach_tenant(aim).await,
            Self::Mongodb(store) => store.reach_tenant(aim).await,
            Self::Redis(store) => store.reach_tenant(aim).await,
        }
    }
}
