//! Taking a tenant in from a bundle: a state machine whose every step may be done again.
//!
//! `pending` in the registry, with the bundle's id -> its place in each store -> its migrations (`schema`, `database`) -> its
//! rows, documents and keys, store by store -> its passwords handed out -> `active`. A store is filled when the digest of
//! what it holds is that of the bundle: one that is filled already is left, one that is filled in part is emptied and filled
//! anew, so that a kill at any moment costs nothing but time. What cannot go on is taken back from every store.

use std::collections::{BTreeMap, BTreeSet};

use super::bundle::lines::{Ids, Mapping, each};
use super::bundle::read::Bundle;
use super::bundle::spaces::{Carrier, spaces};
use super::bundle::{Entry, Sum};
use super::create::pass;
use super::credentials::{self, Keeper, Login};
use super::delete;
use super::export::progress;
use super::hands::{self, Hands, scope};
use super::placement::Places;
use super::plan::quoted;
use super::registry::{Record, State, Which};
use super::shard::Placement;
use super::shard::fleet::{Fleet, Site};
use super::{Tenant, inside, template, terms};
use crate::config::file::TenancyModel;
use crate::engine::guard;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::report::{Change, Item};
use crate::secret::Secret;
use crate::stores::tenant::{Place, TenantStore as _, Terms};
use crate::stores::tenant_bundle::{BundleStore as _, Survey, Wanted};
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

/// What all steps share.
struct Run<'a> {
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
    let mapping = mapping(work, request, &terms, &tenant)?;
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

/// What becomes of lines; ids are gathered from the bundle where they are to change.
fn mapping(work: Work<'_>, request: &Request<'_>, terms: &Terms, tenant: &Tenant) -> Result<Mapping> {
    let manifest = &request.bundle.manifest;
    let tenancy = &terms.tenancy;
    let mut mapping = Mapping { old: manifest.key.clone(), new: tenant.key().to_owned(), ..Mapping::default() };
    for part in manifest.parts.iter().filter(|_| terms.model() == TenancyModel::Row) {
        let carrier = match part.store {
            StoreKind::Postgres if tenancy.table.as_ref() == Some(&part.name) => Some(tenancy.key_column.clone()),
            StoreKind::Postgres => tenancy.column.clone().filter(|column| part.columns.contains(column)),
            StoreKind::Mongodb => tenancy.column.clone(),
            StoreKind::Redis => None,
        };
        mapping.carriers.extend(carrier.map(|carrier| ((part.store, part.name.clone()), carrier)));
    }
    if let Some(section) = &work.config.settings.redis {
        let old = Tenant::new(&manifest.key, Some(&manifest.slug))?;
        for space in spaces(section, tenancy)? {
            let name = format!("keyspace {}", space.name);
            if let Carrier::Field(field) = &space.carrier {
                mapping.carriers.insert((StoreKind::Redis, name.clone()), field.clone());
            }
            if manifest.parts.iter().any(|part| part.store == StoreKind::Redis && part.name == name) {
                mapping.spaces.extend(space.matcher(&old)?.map(|matcher| (name, matcher)));
            }
        }
    }
    if !request.set.is_empty() {
        let table = tenancy.table.clone().filter(|_| terms.model() == TenancyModel::Row).ok_or_else(|| {
            Error::new(Code::Tenancy, "`--set` needs a tenant table")
                .why("only in the model `row` a tenant has a row of its own")
                .data("nothing was changed")
        })?;
        let columns: Option<&Entry> =
            manifest.parts.iter().find(|part| part.store == StoreKind::Postgres && part.name == table);
        if let Some((column, _)) =
            request.set.iter().find(|(name, _)| !columns.is_some_and(|part| part.columns.contains(name)))
        {
            return Err(Error::new(Code::Bundle, format!("the bundle has no column `{column}` of `{table}`"))
                .data("nothing was changed"));
        }
        mapping.set = Some((table, request.set.clone()));
    }
    if request.maps_ids {
        let mut ids = Ids::new(&work.config.settings.project.name, tenant.key());
        for store in [StoreKind::Postgres, StoreKind::Mongodb] {
            let parts = request.bundle.parts(store);
            let mut pieces = request.bundle.pieces(store)?;
            while let Some((at, lines)) = pieces.next()? {
                each(&lines, |line| ids.learn(parts[at], line))?;
            }
        }
        ids.seal();
        mapping.ids = Some(ids);
    }
    Ok(mapping)
}

/// With new ids, keys whose name is no id and whose value alone tells the tenant cannot be there twice.
fn left_out(work: Work<'_>, request: &Request<'_>, terms: &Terms) -> Result<BTreeSet<String>> {
    let Some(section) = work.config.settings.redis.as_ref().filter(|_| request.maps_ids) else {
        return Ok(BTreeSet::new());
    };
    let spaces = spaces(section, &terms.tenancy)?.into_iter();
    let by_field = spaces.filter(|space| matches!(space.carrier, Carrier::Field(_)));
    Ok(by_field.map(|space| format!("keyspace {}", space.name)).collect())
}

impl Run<'_> {
    /// The parts of a store that come here.
    fn parts(&self, kind: StoreKind) -> Vec<&Entry> {
        let is_left = |part: &&Entry| kind == StoreKind::Redis && self.left_out.contains(&part.name);
        self.request.bundle.parts(kind).into_iter().filter(|part| part.rows > 0 && !is_left(part)).collect()
    }

    fn tell_versions(&self, ledgers: &[(StoreKind, crate::engine::ledger::Ledger)]) {
        let theirs = self.request.bundle.manifest.version.clone();
        let ours = if self.terms.model() == TenancyModel::Row {
            super::export::version(&Record::new(self.tenant.clone(), self.terms.model()), ledgers)
        } else {
            super::list::newest(&self.files)
        };
        if ours != theirs {
            let word = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".into());
            let item = Item::warn(format!("{}.version", self.tenant.slug()), "version").code(Code::Bundle);
            let detail = format!("the bundle is of {}, and here is {}", word(&theirs), word(&ours));
            self.work.events.item(item.detail(detail));
        }
    }

    /// What is in the way, or that the import goes on.
    async fn settled(&self, fleet: &mut Fleet<'_>) -> Result<Settled> {
        let registry = fleet.registry()?;
        let all = registry.read_tenants(&Which::All).await?;
        hands::refuse_ambiguous(self.work, &self.tenant, &all)?;
        let shown = self.tenant.shown();
        let tenant = &self.tenant;
        let state =
            |why: String, hint: String| Err(Error::new(Code::TenantState, why).data("nothing was changed").hint(hint));
        let near =
            all.into_iter().find(|record| record.tenant.key() == tenant.key() || record.tenant.slug() == tenant.slug());
        match near {
            Some(record) if record.tenant != *tenant => Err(Error::new(
                Code::TenantClash,
                format!("the slug or key of tenant `{shown}` is that of tenant `{}`", record.tenant.shown()),
            )
            .why(format!("that one has the slug `{}`, and this would have `{}`", record.tenant.slug(), tenant.slug()))
            .data("nothing was changed")
            .hint("lyrox tenant import FILE --slug NAME")),
            Some(record) if record.state == State::Pending && record.step.starts_with(&self.step) => {
                Ok(Settled { record, is_resumed: true })
            }
            Some(record) if record.state == State::Pending && is_import(&record.step) => state(
                format!("the import of another bundle as tenant `{shown}` was begun and is not finished"),
                format!("finish it with its own file, or remove it: lyrox tenant delete {}", quoted(tenant.key())),
            ),
            Some(record) if record.state == State::Deleting => state(
                format!("tenant `{shown}` is being removed"),
                format!("lyrox tenant delete {} finishes it", quoted(tenant.key())),
            ),
            Some(record) if record.state != State::Failed => Err(Error::new(
                Code::TenantClash,
                format!("tenant `{shown}` is there already: it is {}", record.state.word()),
            )
            .data("nothing was changed")
            .hint(format!(
                "lyrox tenant import FILE --key KEY --ids map, or first: lyrox tenant delete {}",
                quoted(tenant.key())
            ))),
            found => {
                let mut record = found.unwrap_or_else(|| Record::new(tenant.clone(), self.terms.model()));
                record.shard = self.chosen(fleet).await?.text();
                let mut clashes = Vec::new();
                for store in fleet.at(&record.placement()?).await? {
                    clashes.extend(store.tenant_clashes(std::slice::from_ref(tenant), &self.terms).await?);
                }
                match clashes.first() {
                    None => Ok(Settled { record, is_resumed: false }),
                    Some(clash) => {
                        Err(Error::new(Code::TenantClash, format!("something is in the way of tenant `{shown}`"))
                            .why(clash.why.clone())
                            .data("nothing was changed")
                            .hint("lyrox tenant import FILE --key KEY, or --slug NAME"))
                    }
                }
            }
        }
    }

    /// Where it is placed.
    async fn chosen(&self, fleet: &mut Fleet<'_>) -> Result<Placement> {
        if let Some(placement) = &self.request.placement {
            return Ok(placement.clone());
        }
        let mut places = Places::new(&self.work.config.settings);
        if places.counts() {
            for (shard, tenants) in fleet.registry()?.tenants_by_shard().await? {
                places.count(&Placement::parse(&shard)?, tenants);
            }
        }
        Ok(places.choose(self.tenant.slug()))
    }

    /// Makes the shards of its place ready: the ledger, the copy of the registry, the template.
    async fn reach(&mut self, fleet: &mut Fleet<'_>, placement: &Placement) -> Result<()> {
        let missing: Vec<Site> = placement.away().map(|(kind, name)| (kind, name.to_owned())).collect();
        fleet.at(placement).await?;
        let targets = fleet.targets(placement)?;
        let work = Work { targets: &targets, ..self.work };
        for site in &missing {
            let Some(store) = fleet.site(site) else { continue };
            with_lock(std::slice::from_mut(store), work.wait, work.events, async |stores: &mut [AnyStore]| {
                for store in stores.iter_mut() {
                    store.prepare(&work.mark()).await?;
                    store.prepare_tenants().await?;
                }
                Ok(())
            })
            .await?;
        }
        if self.terms.model() == TenancyModel::Database {
            let stores = fleet.at(placement).await?;
            if let Some(store) = stores.into_iter().find(|store| store.kind() == StoreKind::Postgres) {
                self.terms.template = Some(template::ensure(work, store, &self.files).await?);
            }
        }
        Ok(())
    }

    async fn dry(&self, fleet: &mut Fleet<'_>) -> Result<Imported> {
        let placement = self.settled(fleet).await?.record.placement()?;
        if self.terms.model() == TenancyModel::Row {
            let mut hands = Hands::open(self.work, &placement, &self.tenant, true).await?;
            for store in &mut hands.stores {
                let kind = store.kind();
                let wanted = self.wanted(kind);
                let survey = store.begin_reading(scope(&self.tenant, &self.terms, kind), Some(&wanted)).await?;
                self.refuse_occupied(kind, &survey)?;
                store.end_reading().await?;
            }
            hands.close().await;
        }
        let mut rows = 0;
        for part in StoreKind::ALL.into_iter().flat_map(|kind| self.parts(kind)) {
            rows += part.rows;
            let item = hands::item(&self.tenant, part.store, &part.name, part.rows);
            self.work.events.item(item.change(Change::Planned));
        }
        self.tell_left_out();
        Ok(Imported { tenant: self.tenant.clone(), rows })
    }

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
        let logins = self.placed(fleet, &placement).await?;
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
        let filled = self.filled(&mut hands).await;
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

    /// Its place in each store. In shared tables its row comes with the others.
    async fn placed(&self, fleet: &mut Fleet<'_>, placement: &Placement) -> Result<Vec<Login>> {
        let targets = fleet.targets(placement)?;
        let users = credentials::stores(&self.terms.tenancy, &targets);
        let mut logins = Vec::new();
        for store in fleet.at(placement).await? {
            let kind = store.kind();
            let password: Option<Secret> = users.contains(&kind).then(credentials::password);
            if self.terms.model() == TenancyModel::Row && kind == StoreKind::Postgres {
                continue;
            }
            let place =
                Place { tenant: self.tenant.clone(), fields: Vec::new(), password: password.clone(), takes_in: false };
            let made = store.make_places(std::slice::from_ref(&place), &self.terms).await?;
            if let Some((_, error)) = made.failed.into_iter().next() {
                return Err(error);
            }
            pass(kind.name());
            if let (Some(password), Some(target)) = (password, targets.get(kind)) {
                logins.push(credentials::login(&self.tenant, target, &self.terms.tenancy, password));
            }
        }
        Ok(logins)
    }

    /// What of a store's parts is to be there.
    fn wanted(&self, kind: StoreKind) -> Vec<Wanted> {
        self.parts(kind).into_iter().map(|part| (part.name.clone(), part.columns.clone())).collect()
    }

    fn refuse_occupied(&self, kind: StoreKind, survey: &Survey) -> Result<()> {
        let Some(part) = survey.parts.iter().find(|part| part.rows > 0) else { return Ok(()) };
        let found = hands::item(&self.tenant, kind, &part.name, part.rows).detail.unwrap_or_default();
        Err(Error::new(Code::TenantClash, format!("there is something of tenant `{}` already", self.tenant.shown()))
            .why(format!("{kind} has {found} of `{}` with its key", part.name))
            .data("nothing was changed")
            .hint("lyrox tenant import FILE --key KEY, or take in and remove what is there: lyrox tenant adopt"))
    }

    /// Fills every store.
    async fn filled(&self, hands: &mut Hands) -> Result<u64> {
        // What the tables cannot take is found before the first of them is filled.
        for store in &mut hands.stores {
            let kind = store.kind();
            store.begin_reading(scope(&self.tenant, &self.terms, kind), Some(&self.wanted(kind))).await?;
            store.end_reading().await?;
        }
        let mut rows = 0;
        for store in &mut hands.stores {
            let started = std::time::Instant::now();
            let kind = store.kind();
            let mut expected = self.expected(store, kind).await?;
            let is_filled = self.actual(store, kind, &expected).await? == expected.sums;
            if !is_filled {
                self.fill(store, kind).await?;
                pass(&format!("filled.{kind}"));
                // Time has passed: what expires soon is another set now.
                expected = self.expected(store, kind).await?;
                let actual = self.actual(store, kind, &expected).await?;
                if actual != expected.sums {
                    return Err(self.differs(kind, &expected.sums, &actual));
                }
            }
            pass(&format!("checked.{kind}"));
            for part in self.parts(kind) {
                rows += part.rows;
                let change = if is_filled { Change::Unchanged } else { Change::Created };
                let item = hands::item(&self.tenant, kind, &part.name, part.rows).change(change);
                self.work.events.item(item.elapsed(started.elapsed()));
            }
        }
        Ok(rows)
    }

    fn tell_left_out(&self) {
        for part in self.request.bundle.parts(StoreKind::Redis) {
            if part.rows > 0 && self.left_out.contains(&part.name) {
                let item = hands::item(&self.tenant, StoreKind::Redis, &part.name, part.rows);
                let count = item.detail.clone().unwrap_or_default();
                let mut item = Item { outcome: crate::report::Outcome::Warn, ..item };
                item.code = Some(Code::Bundle.text().to_owned());
                self.work
                    .events
                    .item(item.detail(format!("{count} left out: their names would be the other tenant's")));
            }
        }
    }

    /// The digests of what a store is to hold.
    async fn expected(&self, store: &mut AnyStore, kind: StoreKind) -> Result<Expected> {
        let horizon = store.now_ms().await?.map(|now| now + MARGIN_MS);
        let parts = self.request.bundle.parts(kind);
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        let mut pieces = self.request.bundle.pieces(kind)?;
        while let Some((at, lines)) = pieces.next()? {
            if kind == StoreKind::Redis && self.left_out.contains(&parts[at].name) {
                continue;
            }
            let sum = sums.entry(parts[at].name.clone()).or_default();
            each(&lines, |line| {
                let line = self.mapping.line(kind, parts[at], line)?;
                if !expires_by(&line, horizon)? {
                    sum.add(&line);
                }
                Ok(())
            })?;
        }
        sums.retain(|_, sum| sum.count > 0);
        Ok(Expected { horizon, sums })
    }

    /// The digests of what it holds.
    async fn actual(
        &self,
        store: &mut AnyStore,
        kind: StoreKind,
        expected: &Expected,
    ) -> Result<BTreeMap<String, Sum>> {
        let scope = scope(&self.tenant, &self.terms, kind);
        let wanted = self.wanted(kind);
        let mut sums = BTreeMap::new();
        let mut survey = store.begin_reading(scope, Some(&wanted)).await?;
        for part in &mut survey.parts {
            let mut sum = Sum::default();
            let mut take = |line: &[u8]| {
                if !expires_by(line, expected.horizon)? {
                    sum.add(line);
                }
                Ok(())
            };
            store.read_part(scope, part, &mut take).await?;
            if sum.count > 0 {
                sums.insert(part.name.clone(), sum);
            }
        }
        store.end_reading().await?;
        Ok(sums)
    }

    /// Empties a store of the tenant and fills it from the bundle.
    async fn fill(&self, store: &mut AnyStore, kind: StoreKind) -> Result<()> {
        let scope = scope(&self.tenant, &self.terms, kind);
        let all = store.begin_reading(scope, None).await?;
        store.end_reading().await?;
        store.clear_tenant(scope, &all.parts).await?;
        pass(&format!("cleared.{kind}"));
        let wanted = self.wanted(kind);
        let survey = store.begin_reading(scope, Some(&wanted)).await?;
        store.end_reading().await?;
        let entries = self.request.bundle.parts(kind);
        let total: u64 = self.parts(kind).iter().map(|part| part.rows).sum();
        let mut targets = survey.parts;
        // A collection comes to be with its first document.
        for (name, _) in &wanted {
            if !targets.iter().any(|part| part.name == *name) {
                targets.push(crate::stores::tenant_bundle::Part { name: name.clone(), ..Default::default() });
            }
        }
        store.begin_filling(scope, &targets).await?;
        let mut pieces = self.request.bundle.pieces(kind)?;
        let mut done = 0;
        while let Some((number, lines)) = pieces.next()? {
            let entry = entries[number];
            if kind == StoreKind::Redis && self.left_out.contains(&entry.name) {
                continue;
            }
            let Some(at) = targets.iter().position(|part| part.name == entry.name) else {
                return Err(Error::bug("a part without a place"));
            };
            let mut out = Vec::with_capacity(lines.len());
            each(&lines, |line| {
                done += 1;
                out.extend_from_slice(&self.mapping.line(kind, entry, line)?);
                out.push(b'\n');
                Ok(())
            })?;
            store.fill_part(scope, at, &targets[at], &out).await?;
            progress(self.work, kind, &entry.name, done, total)?;
            pass(&format!("part.{kind}"));
        }
        store.end_filling(scope, &targets).await
    }

    fn differs(&self, kind: StoreKind, expected: &BTreeMap<String, Sum>, actual: &BTreeMap<String, Sum>) -> Error {
        let mut names: Vec<&String> = expected.keys().chain(actual.keys()).collect();
        names.sort();
        names.dedup();
        let words: Vec<String> = names
            .into_iter()
            .filter(|name| expected.get(*name) != actual.get(*name))
            .map(|name| {
                let count = |sums: &BTreeMap<String, Sum>| sums.get(name).map_or(0, |sum| sum.count);
                format!("`{name}`: {} in the bundle, {} in {kind}", count(expected), count(actual))
            })
            .collect();
        Error::new(Code::TenantFailed, format!("what {kind} holds now is not what the bundle has"))
            .why(format!("{}; where counts agree, values differ: a trigger or default changed them", words.join("; ")))
    }

    /// Takes everything back and says so in the record.
    async fn give_up(&self, fleet: &mut Fleet<'_>, mut record: Record, error: Error) -> Error {
        let mut left = Vec::new();
        let emptied = async {
            let mut hands = Hands::open(self.work, &record.placement()?, &self.tenant, true).await?;
            // A transaction that an error left open.
            for store in &mut hands.stores {
                let _ = store.end_reading().await;
            }
            let surveys = hands.survey(&self.tenant, &self.terms).await?;
            hands.rest().await?;
            let emptied = delete::emptied(&self.terms, &self.tenant, &mut hands, &surveys).await;
            hands.close().await;
            emptied
        };
        if let Err(error) = emptied.await {
            left.push(error.to_string());
        }
        if let Err(error) = delete::taken(&self.terms, fleet, &record).await {
            left.push(error.to_string());
        }
        record.state = if left.is_empty() { State::Failed } else { State::Pending };
        (record.version, record.head) = (None, None);
        record.error = Some(format!("{}: {}", error.code(), error.what()));
        if let Err(error) = self.write(fleet, &record).await {
            left.push(error.to_string());
        }
        if left.is_empty() {
            error.data("what was imported was taken back from every store; its record says `failed`")
        } else {
            error.data(format!("something of it is left: {}", left.join("; "))).hint_if_none(format!(
                "lyrox tenant delete {} --confirm {}",
                quoted(self.tenant.key()),
                self.tenant.slug()
            ))
        }
    }

    async fn write(&self, fleet: &mut Fleet<'_>, record: &Record) -> Result<()> {
        fleet.registry()?.write_tenants(std::slice::from_ref(record)).await
    }
}

struct Settled {
    record: Record,
    is_resumed: bool,
}

struct Expected {
    horizon: Option<i64>,
    sums: BTreeMap<String, Sum>,
}

/// Whether a line is of a key that is gone by this moment.
fn expires_by(line: &[u8], horizon: Option<i64>) -> Result<bool> {
    let Some(horizon) = horizon else { return Ok(false) };
    #[derive(serde::Deserialize)]
    struct Line {
        expires: Option<i64>,
    }
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| Error::new(Code::Bundle, "a line of the bundle cannot be read").why(error.to_string()))?;
    Ok(line.expires.is_some_and(|moment| moment <= horizon))
}
