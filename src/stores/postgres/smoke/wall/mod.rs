//! The wall between tenants in shared tables, tried: as the application's role, with two tenants that are made up, in a
//! transaction that is rolled back; and with the real ones, reading only.

mod built;
mod copy;
mod judge;
mod real;
mod world;

use super::PostgresSmoke;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::stores::postgres::PostgresStore;
use crate::stores::postgres::tables;
use crate::stores::tenant_verify::{Ask, Part};

/// Tries the shared tables as `role`. `judged` is what their catalog said: what is open to all is not tried with each tenant. Where no policy binds it, what follows from that is not tried: it is told.
///
/// # Errors
/// A lost connection.
pub async fn verify(
    store: &mut PostgresStore,
    ask: &Ask<'_>,
    role: &str,
    is_bound: bool,
    judged: &Proof,
    proof: &mut Proof,
) -> Result<()> {
    let mut smoke = PostgresSmoke::new(store, ask.run.clone());
    let schema = smoke.store.settings.schema.name().to_owned();
    smoke.catalog = tables::read(&mut smoke.store.connection, std::slice::from_ref(&schema)).await?;
    if ask.part == Part::Tenants {
        proof.area("real", "The real tenants see no rows but their own");
        return if is_bound { smoke.try_real(ask, role, judged, proof).await } else { Ok(()) };
    }
    proof.area("isolation", "Two made-up tenants were tried at each other's rows");
    if !is_bound {
        proof.untried(
            "unbound",
            "made-up tenants",
            "no policy binds the application's role: there is nothing to try",
            "",
        );
        return Ok(());
    }
    if ask.run.may_write {
        smoke.try_world(ask, role, proof).await?;
    } else {
        proof.untried(
            "protected",
            "made-up tenants",
            "their rows would be written and rolled back, and the environment is protected",
            "lyrox tenant verify --write",
        );
    }
    if ask.is_all { smoke.look_for_orphans(ask, proof).await } else { Ok(()) }
}
