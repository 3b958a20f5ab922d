//! What stores do for work over many tenants: go from one tenant to the next with the connection they have, and, in
//! PostgreSQL, keep the record of the run, by which a kill loses nothing and several processes share the work.

use super::AnyStore;
use crate::config::{Config, Target};
use crate::engine::tenant::Record;
use crate::engine::tenant::run::{Begun, Ended, Group, Overview, Summary, Turn, Want};
use crate::error::{Error, Result};

/// What every store can do.
#[allow(async_fn_in_trait, reason = "used through AnyStore only, never spawned")]
pub trait Enter {
    /// From now on the store works inside this tenant: with the same connection where it is on the same server and
    /// database, else with a new one. No lock is held.
    ///
    /// # Errors
    /// As the store's `open`.
    async fn enter(&mut self, config: &Config, target: &Target) -> Result<()>;

    /// From now on the project's lock is taken shared: it keeps out whoever takes it for himself, and not others who
    /// share it. Stores that cannot share take it for themselves.
    fn share_lock(&mut self) {}
}

/// The record of runs.
#[allow(async_fn_in_trait, reason = "used through AnyStore only, never spawned")]
pub trait RunStore {
    /// Tells in one query who is behind. Reads only.
    async fn overview(&mut self, want: &Want) -> Result<Overview>;

    /// The versions that the tenants are at, and how many are at each, in one query. Reads only.
    async fn groups(&mut self, want: &Want) -> Result<Vec<Group>>;

    /// The tenants that are behind, sorted by key, at most `limit`. Reads only.
    async fn behind(&mut self, want: &Want, limit: usize) -> Result<Vec<Record>>;

    /// The tenants that are meant and not complete, sorted by key, at most `limit`. Reads only.
    async fn incomplete(&mut self, want: &Want, limit: usize) -> Result<Vec<Record>>;

    /// Begins a run, or joins the one that is asked for with the same words.
    ///
    /// # Errors
    /// `LYX-LOCK-HELD` where processes are at work on a run that is another.
    async fn begin_run(&mut self, want: &Want) -> Result<Begun>;

    /// Writes how units ended, and leases others to the owner: at most so many, of the first wave that has not ended.
    async fn turn(&mut self, run: &str, owner: &str, ended: &[Ended], limit: usize) -> Result<Turn>;

    /// Renews what is leased to the owner.
    async fn renew(&mut self, run: &str, owner: &str) -> Result<()>;

    /// Gives back what is leased to the owner.
    async fn release(&mut self, run: &str, owner: &str) -> Result<()>;

    /// Tells how a run stands; `closes`: nothing more of it is to be begun, it has ended.
    async fn end_run(&mut self, run: &str, owner: &str, closes: bool) -> Result<Summary>;
}

impl Enter for AnyStore {
    async fn enter(&mut self, config: &Config, target: &Target) -> Result<()> {
        match self {
            Self::Postgres(store) => store.enter(config, target).await,
            Self::Mongodb(store) => store.enter(config, target).await,
            Self::Redis(store) => store.enter(config, target).await,
        }
    }
    fn share_lock(&mut self) {
        if let Self::Postgres(store) = self {
            store.share_lock();
        }
    }
}

macro_rules! postgres {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            AnyStore::Postgres($store) => $call,
            AnyStore::Mongodb(_) | AnyStore::Redis(_) => Err(Error::bug("a record of runs is PostgreSQL's")),
        }
    };
}

impl RunStore for AnyStore {
    async fn overview(&mut self, want: &Want) -> Result<Overview> {
        postgres!(self, store => store.overview(want).await)
    }
    async fn groups(&mut self, want: &Want) -> Result<Vec<Group>> {
        postgres!(self, store => store.groups(want).await)
    }
    async fn behind(&mut self, want: &Want, limit: usize) -> Result<Vec<Record>> {
        postgres!(self, store => store.behind(want, limit).await)
    }
    async fn incomplete(&mut self, want: &Want, limit: usize) -> Result<Vec<Record>> {
        postgres!(self, store => store.incomplete(want, limit).await)
    }
    async fn begin_run(&mut self, want: &Want) -> Result<Begun> {
        postgres!(self, store => store.begin_run(want).await)
    }
    async fn turn(&mut self, run: &str, owner: &str, ended: &[Ended], limit: usize) -> Result<Turn> {
        postgres!(self, store => store.turn(run, owner, ended, limit).await)
    }
    async fn renew(&mut self, run: &str, owner: &str) -> Result<()> {
        postgres!(self, store => store.renew(run, owner).await)
    }
    async fn release(&mut self, run: &str, owner: &str) -> Result<()> {
        postgres!(self, store => store.release(run, owner).await)
    }
    async fn end_run(&mut self, run: &str, owner: &str, closes: bool) -> Result<Summary> {
        postgres!(self, store => store.end_run(run, owner, closes).await)
    }
}
