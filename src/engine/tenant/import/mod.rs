//! Taking a tenant in from a bundle: a state machine whose every step may be done again.
//!
//! `pending` in the registry, with the bundle's id -> its place in each store -> its migrations (`schema`, `database`) -> its
//! rows, documents and keys, store by store -> its passwords handed out -> `active`. A store is filled when the digest of
//! what it holds is that of the bundle: one that is filled already is left, one that is filled in part is emptied and filled
//! anew, so that a kill at any moment costs nothing but time. What cannot go on is taken back from every store.

mod fill;
mod mapping;
mod place;
mod settle;

use std::collections::BTreeSet;

use self::mapping::left_out;
use self::settle::Settled;
use super::bundle::lines::Mapping;
use super::bundle::read::Bundle;
use super::create::pass;
use super::credentials::Keeper;
use super::hands::Hands;
use super::registry::{Record, State};
use super::shard::Placement;
use super::shard::fleet::Fleet;
use super::{Tenant, hands, inside, terms};
use crate::config::file::TenancyModel;
use crate::engine::lock::with_lock;
use crate::engine::migrate::Work;
use crate::engine::{guard, migrate};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::report::{Change, Item};
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::{AnyStore, Store as _};

/// Keys that expire within this time are not compared: they may be gone by then.
const MARGIN_MS: i64 = 60_000;

/// What is asked for.
pub struct Request<'a> {
    /// The bundle, read to its end.
    pub bundle: &'a Bundle,
    /// Another key than the bundle's.
    pub key: Option<String>,
    /// A slug; none: the bundle's, or with another key the one that follows from it.
    pub slug: Option<String>,
    /// Columns of its row in the tenant table that get other values.
    pub set: Vec<(String, String)>,
    /// Rows and documents get new ids.
    pub maps_ids: bool,
    /// `--shard`: where it is placed; none: where the policy says.
    pub placement: Option<Placement>,
    /// Look, change nothing.
    pub is_dry: bool,
    /// Who takes the passwords.
    pub keeper: &'a dyn Keeper,
}

/// What it came to.
#[derive(Debug)]
pub struct Imported {
    /// The tenant as it is here.
    pub tenant: Tenant,
    /// So many rows, documents and keys.
    pub rows: u64,
}

/// Whether a step of the registry is an import's.
pub fn is_import(step: &str) -> bool {
    step.starts_with("import ")
}

/// Whether what is filled is told: a move tells it once it is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// Each part is an item.
    Told,
    /// Nothing is told.
    Copy,
}

/// What all steps share.
pub(super) struct Run<'a> {
    work: Work<'a>,
    request: &'a Request<'a>,
    terms: Terms,
    tenant: Tenant,
    mapping: Mapping,
    /// Key spaces that stay behind: the names of their keys would be the other tenant's.
    left_out: BTreeSet<String>,
    step: String,
    files: Vec<Migration>,
}

/// Imports a bundle.
///
/// # Errors
/// `LYX-BUNDLE`, `LYX-TENANT-CLASH`; a store that refuses: what was made was taken back, or the message says what is left.
pub async fn import(work: Work<'_>, request: &Request<'_>) -> Result<Imported> {
    let terms = terms(work.config)?;
    let manifest = &request.bundle.manifest;
    if manifest.model != terms.model().name() {
        return Err(Error::new(Code::Bundle, "the bundle is of another tenancy model")
            .why(format!("it is of the model `{}`, and [tenancy] says `{}`", manifest.model, terms.model().name()))
            .data("nothing was changed"));
    }
    let key = request.key.as_deref().unwrap_or(&manifest.key);
    let same = (key == manifest.key).then_some(manifest.slug.as_str());
    let tenant = Tenant::new(key, request.slug.as_deref().or(same))?;
    let mapping = mapping::mapping(work, request, &terms, &tenant)?;
    let step = format!("import {}", &request.bundle.id[..16]);
    let files = inside::files(work)?;
    let left_out = left_out(work, request, &terms)?;
    let mut run = Run { work, request, terms, tenant, mapping, left_out, step, files };
    let missing: Vec<&str> = manifest
        .parts
        .iter()
        .filter(|part| part.rows > 0 && work.targets.get(part.store).is_none())
        .map(|part| part.store.name())
        .collect();
    if let Some(store) = missing.first() {
        return Err(Error::new(Code::Bundle, format!("the bundle has data of {store}, which this project has not"))
            .data("nothing was changed"));
    }
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    run.tell_versions(&ledgers);
    let outcome = if request.is_dry {
        let mut fleet = Fleet::new(work, &mut stores);
        let outcome = run.dry(&mut fleet).await;
        fleet.close().await;
        outcome
    } else {
        with_lock(&mut stores, work.wait, work.events, async |stores: &mut [AnyStore]| run.locked(stores).await).await
    };
    migrate::close(stores).await;
    outcome
}

impl<'a> Run<'a> {
    /// A run that takes every line as it is: what a move fills its copy with.
    pub(super) fn new(
        work: Work<'a>,
        request: &'a Request<'a>,
        terms: Terms,
        tenant: Tenant,
        files: Vec<Migration>,
    ) -> Self {
        let key = tenant.key().to_owned();
        let mapping = Mapping { old: key.clone(), new: key, ..Mapping::default() };
        Self { work, request, terms, tenant, mapping, left_out: BTreeSet::new(), step: String::new(), files }
    }
}

impl Run<'_> {
    async fn locked(&mut self, stores: &mut [AnyStore]) -> Result<Imported> {
        let mark = self.work.mark();
        for store in stores.iter_mut() {
            store.prepare(&mark).await?;
            store.prepare_tenants().await?;
        }
        let mut fleet = Fleet::new(self.work, stores);
        let outcome = self.imported(&mut fleet).await;
        fleet.close().await;
        outcome
    }

    async fn imported(&mut self, fleet: &mut Fleet<'_>) -> Result<Imported> {
        let Settled { mut record, is_resumed } = self.settled(fleet).await?;
        let placement = record.placement()?;
        self.reach(fleet, &placement).await?;
        if !is_resumed && self.terms.model() == TenancyModel::Row {
            // Before anything is written: what is there without a record is nobody's to empty.
            let mut hands = Hands::open(self.work, &placement, &self.tenant, false).await?;
            let surveys = hands.survey(&self.tenant, &self.terms).await?;
            hands.rest().await?;
            hands.close().await;
            hands::refuse_unclassified(&self.tenant, &surveys)?;
            for (kind, survey) in &surveys {
                self.refuse_occupied(*kind, survey)?;
            }
        }
        record.state = State::Pending;
        record.step.clone_from(&self.step);
        record.error = None;
        self.write(fleet, &record).await?;
        pass("registered");
        match self.made(fleet, &mut record).await {
            Ok(rows) => {
                record.state = State::Active;
                record.step = String::new();
                self.write(fleet, &record).await?;
                pass("active");
                let mut item = Item::pass(format!("tenant.{}", self.tenant.shown()), self.tenant.shown());
                item.tenant = Some(self.tenant.key().to_owned());
                let detail = format!("active, {}", self.tenant.name());
                self.work.events.item(item.change(Change::Created).detail(detail));
                Ok(Imported { tenant: self.tenant.clone(), rows })
            }
            // The same command goes on where it stopped.
            Err(error) if matches!(error.exit(), Exit::Connect | Exit::Lock) => Err(error
                .data("the tenant is pending; what is filled stays filled")
                .hint_if_none("run the same command again: it goes on where it stopped")),
            Err(error) => Err(self.give_up(fleet, record, error).await),
        }
    }

    /// Everything between the record and `active`.
    async fn made(&self, fleet: &mut Fleet<'_>, record: &mut Record) -> Result<u64> {
        let placement = record.placement()?;
        let logins = self.placed(fleet, &placement, &StoreKind::ALL).await?;
        let copy = Record { state: State::Active, step: String::new(), ..record.clone() };
        for store in fleet.copies(&placement).await? {
            store.write_tenants(std::slice::from_ref(&copy)).await?;
        }
        pass("copied");
        if !self.files.is_empty() {
            inside::migrate(self.work, record, &self.files, true).await?;
            record.step.clone_from(&self.step);
            self.write(fleet, record).await?;
            pass("migrated");
        }
        let mut hands = Hands::open(self.work, &placement, &self.tenant, false).await?;
        let filled = self.filled(&mut hands, Fill::Told).await;
        hands.close().await;
        let rows = filled?;
        if !logins.is_empty() {
            self.request.keeper.keep(&logins)?;
        }
        for store in fleet.at(&placement).await? {
            if let Some(warning) = store.keep_places(&self.terms).await? {
                let kind = store.kind();
                let item = Item::warn(format!("{kind}.users"), "users of tenants").store(kind);
                self.work.events.item(item.detail(warning).code(Code::Privilege));
            }
        }
        self.tell_left_out();
        pass("handed");
        Ok(rows)
    }

    async fn write(&self, fleet: &mut Fleet<'_>, record: &Record) -> Result<()> {
        fleet.registry()?.write_tenants(std::slice::from_ref(record)).await
    }
}
