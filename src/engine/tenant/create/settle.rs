//! What is to be done for each tenant that was asked for, and what is in its way.

use std::collections::HashMap;
use std::time::Instant;

use futures_util::future::join_all;

use super::super::Tenant;
use super::super::plan::{Act, Wanted, decide, quoted};
use super::super::registry::{Record, State, Which};
use super::super::shard::Placement;
use super::super::shard::fleet::Fleet;
use super::{Run, Unit};
use crate::error::{Code, Error, Result};
use crate::stores::tenant::{Clash, TenantStore as _};
use crate::stores::{AnyStore, Store as _};

impl Run<'_> {
    /// Counts the tenants of each shard, where the policy asks for it.
    pub(super) async fn count(&self, stores: &mut [AnyStore]) -> Result<()> {
        if self.request.placement.is_some() || !self.places.borrow().counts() {
            return Ok(());
        }
        let Some(registry) = stores.first_mut() else { return Ok(()) };
        for (shard, tenants) in registry.tenants_by_shard().await? {
            self.places.borrow_mut().count(&Placement::parse(&shard)?, tenants);
        }
        Ok(())
    }

    /// Looks the tenants up in the registry and decides what is to be done for each.
    pub(super) async fn settled(&self, fleet: &mut Fleet<'_>, wanted: Vec<Wanted>) -> Result<Vec<Unit>> {
        let started = Instant::now();
        let named: Vec<Tenant> =
            wanted.iter().filter_map(|wanted| Tenant::new(&wanted.key, wanted.slug.as_deref()).ok()).collect();
        let found = fleet.registry()?.read_tenants(&Which::Of(named)).await?;
        let mut units = Vec::with_capacity(wanted.len());
        for (wanted, act) in wanted.iter().zip(decide(&wanted, &found, self.terms.model())) {
            match act {
                Ok(Act::Make(tenant)) => {
                    let mut record = Record::new(tenant, self.terms.model());
                    let given = self.request.placement.clone();
                    // What the application made is where its servers are, unless it is said to be elsewhere.
                    let given = given.or_else(|| self.request.takes_in.then(Placement::home));
                    let chosen = given.unwrap_or_else(|| self.places.borrow_mut().choose(record.tenant.slug()));
                    record.shard = chosen.text();
                    units.push(Unit { record, fields: wanted.fields.clone(), is_new: true, started });
                }
                Ok(Act::Resume(mut record)) => {
                    if let Some(error) = self.elsewhere(&mut record)? {
                        self.tell_failed(&wanted.key, wanted.line, &error);
                        continue;
                    }
                    units.push(Unit { record: *record, fields: wanted.fields.clone(), is_new: false, started });
                }
                Ok(Act::Leave(mut record)) => match self.elsewhere(&mut record)? {
                    Some(error) => self.tell_failed(&wanted.key, wanted.line, &error),
                    None => self.tell_unchanged(&record),
                },
                Err(error) => self.tell_failed(&wanted.key, wanted.line, &error),
            }
        }
        Ok(units)
    }

    /// Why a tenant that has a place cannot be made at the one that was asked for. Of one that failed nothing is left: it
    /// goes where it is wanted.
    fn elsewhere(&self, record: &mut Record) -> Result<Option<Error>> {
        let Some(wanted) = &self.request.placement else { return Ok(None) };
        let there = record.placement()?;
        if there == *wanted {
            return Ok(None);
        }
        if record.state == State::Failed {
            record.shard = wanted.text();
            return Ok(None);
        }
        let what = format!("tenant `{}` is at `{there}`, not at `{wanted}`", record.tenant.shown());
        Ok(Some(Error::new(Code::TenantState, what).data("nothing was changed for it").hint("leave --shard out")))
    }

    /// Leaves out new tenants that something is in the way of; with `takes_in`, those of which nothing is there.
    pub(super) async fn without_clashes(
        &self,
        fleet: &mut Fleet<'_>,
        placement: &Placement,
        units: Vec<Unit>,
    ) -> Result<Vec<Unit>> {
        let new: Vec<usize> = (0..units.len()).filter(|index| units[*index].was_free()).collect();
        let tenants: Vec<Tenant> = new.iter().map(|index| units[*index].record.tenant.clone()).collect();
        if tenants.is_empty() {
            return Ok(units);
        }
        let stores = fleet.at(placement).await?;
        let asked = join_all(stores.into_iter().map(async |store| {
            let kind = store.kind();
            let asked = store.tenant_clashes(&tenants, &self.terms).await;
            // The project's own tables, where they are missing, are missing on the shard.
            asked.map_err(|error| match placement.of(kind) {
                Some(shard) if error.code() == Code::Tenancy => error.hint(format!("lyrox db migrate --shard {shard}")),
                _ => error,
            })
        }))
        .await;
        let mut clashes: HashMap<usize, Vec<Clash>> = HashMap::new();
        for clash in asked.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            clashes.entry(new[clash.index]).or_default().push(clash);
        }
        let mut clear = Vec::with_capacity(units.len());
        for (index, unit) in units.into_iter().enumerate() {
            let found = clashes.remove(&index).unwrap_or_default();
            match self.judged(&unit, &found) {
                Some(error) => self.tell_failed(unit.record.tenant.key(), None, &error),
                None => clear.push(unit),
            }
        }
        Ok(clear)
    }

    /// Why a new tenant cannot be made, or not be taken in.
    fn judged(&self, unit: &Unit, clashes: &[Clash]) -> Option<Error> {
        let tenant = &unit.record.tenant;
        let error = |clash: &Clash| {
            Error::new(Code::TenantClash, format!("something is in the way of tenant `{}`", tenant.shown()))
                .why(clash.why.clone())
                .data("nothing was changed for it")
        };
        if let Some(key) = clashes.iter().find(|clash| clash.key.is_some()) {
            return Some(match &key.key {
                Some(Some(meant)) => error(key).hint(format!("lyrox tenant create {}", quoted(meant))),
                _ => error(key),
            });
        }
        if let Some(clash) = clashes.iter().find(|clash| !clash.is_unmanaged) {
            return Some(error(clash).hint(format!("lyrox tenant create {} --slug NAME", quoted(tenant.key()))));
        }
        let clash = clashes.first();
        match (self.request.takes_in, clash) {
            (false, Some(clash)) => Some(error(clash).hint(format!("lyrox tenant adopt {}", quoted(tenant.key())))),
            (true, None) if unit.is_new => Some(
                Error::new(Code::TenantUnknown, format!("there is nothing of tenant `{}` to take in", tenant.shown()))
                    .why("no store has a row, schema or database of this name")
                    .data("nothing was changed")
                    .hint(format!("lyrox tenant create {}", quoted(tenant.key()))),
            ),
            _ => None,
        }
    }
}
