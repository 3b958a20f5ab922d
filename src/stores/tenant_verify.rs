//! What a store does to prove that tenants cannot reach each other. Each store tries it in its own way, in
//! `stores/*/tenant/verify/`; what all of it comes to is the engine's (`engine/tenant/verify/`).

use super::AnyStore;
use super::smoke::Run;
use super::tenant::Terms;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;

/// Which part of the proof is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is asked of the whole store once: its catalog, its policies, tenants and users that are made up, what is nobody's.
    Whole,
    /// What is tried with each of the tenants, of whom a few are given.
    Tenants,
}

/// What is to be proved.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Which part of it.
    pub part: Part,
    /// What holds for all tenants.
    pub terms: &'a Terms,
    /// The run: whether it may write what it rolls back or removes, and the marker of what it makes.
    pub run: Run<'a>,
    /// The tenants that are looked at.
    pub tenants: &'a [Tenant],
    /// All tenants of the registry, those included that are not complete; for single tenants some neighbours are enough.
    pub all: &'a [Tenant],
    /// Keys of tenants that a store holds and the registry has no record of, as far as they are known: what is theirs is
    /// not nobody's.
    pub unmanaged: &'a [String],
    /// All tenants are asked for: what belongs to none is looked for too.
    pub is_all: bool,
    /// The certificate authority of the server, where the project names one.
    pub ca_file: Option<std::path::PathBuf>,
}

/// What every store can do.
#[allow(async_fn_in_trait, reason = "used through AnyStore only, never spawned")]
pub trait VerifyStore {
    /// Removes what verifications that were cut short left. Only under the project's lock. Says what was removed.
    async fn clean_verification(&mut self) -> Result<Vec<String>>;

    /// Tries to reach one tenant's data as another.
    ///
    /// # Errors
    /// A lost connection. What is refused to the tries is what they are for; what cannot be tried is in the proof.
    async fn verify_tenants(&mut self, ask: &Ask<'_>) -> Result<Proof>;

    /// Which of these tenants lack their place here, by index, and what it is that is not there. Reads only.
    async fn tenants_without_place(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<(usize, String)>>;
}

impl VerifyStore for AnyStore {
    async fn clean_verification(&mut self) -> Result<Vec<String>> {
        match self {
            Self::Postgres(store) => store.clean_verification().await,
            Self::Mongodb(store) => store.clean_verification().await,
            Self::Redis(store) => store.clean_verification().await,
        }
    }
    async fn verify_tenants(&mut self, ask: &Ask<'_>) -> Result<Proof> {
        match self {
            Self::Postgres(store) => store.verify_tenants(ask).await,
            Self::Mongodb(store) => store.verify_tenants(ask).await,
            Self::Redis(store) => store.verify_tenants(ask).await,
        }
    }
    async fn tenants_without_place(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<(usize, String)>> {
        match self {
            Self::Postgres(store) => store.tenants_without_place(tenants, terms).await,
            Self::Mongodb(store) => store.tenants_without_place(tenants, terms).await,
            Self::Redis(store) => store.tenants_without_place(tenants, terms).await,
        }
    }
}
