//! Moving a tenant to another shard: copy, verify, switch, remove. A state machine whose every step may be done again.
//!
//! `suspended`, with where it goes -> its place there and its migrations -> its rows and documents, store by store, held
//! against the source's digest, and the source's held against it once more -> the registry says where it is now, and
//! `active`, in one act, and what was copied -> what is left at the source goes, unless something was written there after
//! it was copied: that is told, and goes the next time. A kill
//! before the switch leaves the tenant where it was and suspended; one after it leaves it served at its new place, with
//! something to remove at the old one. The same command goes on from both.

use std::collections::BTreeMap;

use super::bundle::Sum;
use super::bundle::read::Bundle;
use super::bundle::write::Writer;
use super::bundle::{FORMAT, Manifest, TITLE};
use super::create::pass;
use super::credentials::{Keeper, Nobody};
use super::export::found;
use super::hands::{self, Hands, scope};
use super::import::{Fill, Request, Run};
use super::plan::quoted;
use super::registry::{Record, State};
use super::shard::Placement;
use super::shard::fleet::Fleet;
use super::{Tenant, inside, terms};
use crate::config::file::TenancyModel;
use crate::engine::guard;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::kind::StoreKind;
use crate::project::text::sha256;
use crate::report::{Change, Item};
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::tenant_bundle::{BundleStore as _, Survey};
use crate::stores::{AnyStore, Store as _};

/// What the registry has while a tenant is copied, and where it goes.
const COPY: &str = "move to ";
/// What it has once the tenant is there, and where it was; behind [`COPIED`], until the last look at the old place, what
/// was copied.
const DROP: &str = "move from ";
/// What stands before the digest of what was copied.
const COPIED: &str = "; ";
/// So often a source that is written to while it is copied is copied anew.
const TRIES: usize = 3;

/// What it came to.
#[derive(Debug)]
pub struct Moved {
    /// The tenant.
    pub tenant: Tenant,
    /// Where it was.
    pub from: Placement,
    /// Where it is.
    pub to: Placement,
    /// So many rows and documents.
    pub rows: u64,
    /// It was there already.
    pub is_unchanged: bool,
}

/// Whether a step of the registry is a move's.
pub fn is_move(step: &str) -> bool {
    step.starts_with(COPY) || step.starts_with(DROP)
}

/// The command that finishes a move.
pub fn finishing(record: &Record) -> String {
    let to = match record.step.strip_prefix(COPY) {
        Some(text) => Placement::parse(text),
        None => record.placement(),
    };
    let to = to.map(|to| to.to_string()).unwrap_or_else(|_| "SHARD".into());
    format!("lyrox tenant move {} --to {to}", quoted(record.tenant.key()))
}

/// Moves a tenant, by its key or its slug, to a place; a dry run counts.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`, `LYX-TENANT-CLASH` where something is in its way there; a store that refuses: it stays where it was.
pub async fn relocate(work: Work<'_>, name: &str, to: &Placement, keeper: &dyn Keeper, is_dry: bool) -> Result<Moved> {
    let terms = terms(work.config)?;
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    let outcome = if is_dry {
        let record = found(&mut stores, work, name).await?;
        dry(work, &terms, &mut stores, &record, to).await
    } else {
        with_lock(&mut stores, work.wait, work.events, async |stores: &mut [AnyStore]| {
            let record = found(stores, work, name).await?;
            let mut fleet = Fleet::new(work, stores);
            let moved = Move { work, terms, to: to.clone(), keeper }.run(&mut fleet, record).await;
            fleet.close().await;
            moved
        })
        .await
    };
    migrate::close(stores).await;
    outcome
}

/// The stores whose server differs between two places.
fn moving(work: Work<'_>, from: &Placement, to: &Placement) -> Vec<StoreKind> {
    let kinds = work.targets.stores.iter().map(|target| target.kind);
    kinds.filter(|kind| from.of(*kind) != to.of(*kind)).collect()
}

async fn dry(work: Work<'_>, terms: &Terms, stores: &mut [AnyStore], record: &Record, to: &Placement) -> Result<Moved> {
    let from = record.placement()?;
    let kinds = moving(work, &from, to);
    let mut fleet = Fleet::new(work, stores);
    refuse_clashes(terms, &mut fleet, &record.tenant, to, &kinds).await?;
    fleet.close().await;
    let mut hands = Hands::open(work, &from, &record.tenant, false).await?;
    let surveys = hands.survey(&record.tenant, terms).await?;
    hands.rest().await?;
    hands.close().await;
    refuse(&record.tenant, &surveys, &kinds)?;
    let mut rows = 0;
    for (kind, survey) in surveys.iter().filter(|(kind, _)| kinds.contains(kind)) {
        for part in &survey.parts {
            rows += part.rows;
            work.events.item(hands::item(&record.tenant, *kind, &part.name, part.rows).change(Change::Planned));
        }
    }
    Ok(Moved { tenant: record.tenant.clone(), is_unchanged: kinds.is_empty(), from, to: to.clone(), rows })
}

async fn refuse_clashes(
    terms: &Terms,
    fleet: &mut Fleet<'_>,
    tenant: &Tenant,
    to: &Placement,
    kinds: &[StoreKind],
) -> Result<()> {
    for store in fleet.at(to).await?.into_iter().filter(|store| kinds.contains(&store.kind())) {
        let kind = store.kind();
        // A role belongs to the whole server: where both places are on one, it is the tenant's own.
        let clashes = store.tenant_clashes(std::slice::from_ref(tenant), terms).await?;
        if let Some(clash) = clashes.first() {
            return Err(Error::new(
                Code::TenantClash,
                format!("something is in the way of tenant `{}` at `{to}`", tenant.shown()),
            )
            .why(format!("{kind}: {}", clash.why))
            .data("nothing was changed"));
        }
    }
    Ok(())
}

fn refuse(tenant: &Tenant, surveys: &[(StoreKind, Survey)], kinds: &[StoreKind]) -> Result<()> {
    hands::refuse_unclassified(tenant, surveys)?;
    let moving = surveys.iter().filter(|(kind, _)| kinds.contains(kind));
    let holders: Vec<&str> = moving.flat_map(|(_, survey)| &survey.holders).map(String::as_str).collect();
    if holders.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::TenantHeld, format!("others refer to what is tenant `{}`'s", tenant.shown()))
        .why(holders.join("; "))
        .data("nothing was changed")
        .hint("change or remove these references first"))
}

/// One move.
struct Move<'a> {
    work: Work<'a>,
    terms: Terms,
    to: Placement,
    keeper: &'a dyn Keeper,
}

impl Move<'_> {
    async fn run(&self, fleet: &mut Fleet<'_>, mut record: Record) -> Result<Moved> {
        let tenant = record.tenant.clone();
        let place = |text: &str| Placement::parse(text);
        if let Some(source) = record.step.strip_prefix(DROP).map(str::to_owned) {
            // It is there; what is left at its old place goes, wherever this command was to bring it.
            let (source, copied) = match source.split_once(COPIED) {
                Some((source, copied)) => (source, Some(copied.to_owned())),
                None => (source.as_str(), None),
            };
            let from = place(source)?;
            self.refuse_elsewhere(&record, &record.placement()?)?;
            let rows = self.dropped(fleet, &mut record, &from, copied).await?;
            return Ok(Moved { tenant, to: record.placement()?, from, rows, is_unchanged: false });
        }
        let from = record.placement()?;
        let is_resumed = record.step.starts_with(COPY);
        if is_resumed {
            let wanted = place(&record.step[COPY.len()..])?;
            self.refuse_elsewhere(&record, &wanted)?;
        } else if record.state != State::Active && record.state != State::Suspended {
            return Err(Error::new(
                Code::TenantState,
                format!("tenant `{}` is {}, and not complete", tenant.shown(), record.state.word()),
            )
            .data("nothing was changed")
            .hint(format!("lyrox tenant show {}", quoted(tenant.key()))));
        }
        let kinds = moving(self.work, &from, &self.to);
        if kinds.is_empty() {
            return Ok(Moved { tenant, to: from.clone(), from, rows: 0, is_unchanged: true });
        }
        let mut hands = Hands::open(self.work, &from, &tenant, false).await?;
        let surveys = hands.survey(&tenant, &self.terms).await?;
        hands.rest().await?;
        refuse(&tenant, &surveys, &kinds)?;
        if !is_resumed {
            refuse_clashes(&self.terms, fleet, &tenant, &self.to, &kinds).await?;
            self.refuse_occupied(&tenant, &kinds).await?;
        }
        fleet.at(&self.to).await?;
        record.state = State::Suspended;
        record.step = format!("{COPY}{}", self.to.text());
        self.write(fleet, &record).await?;
        pass("suspended");
        let copied = self.copied(fleet, &record, &kinds, &mut hands).await;
        hands.close().await;
        let (there, digests) = match copied {
            Ok(copied) => copied,
            Err(error) if matches!(error.exit(), Exit::Connect | Exit::Lock) => {
                return Err(error
                    .data("the tenant is suspended where it was, whole")
                    .hint_if_none("run the same command again: it goes on where it stopped"));
            }
            Err(error) => return Err(self.give_up(fleet, record, &kinds, error).await),
        };
        // The switch: where it is and that it may be served, in one act.
        let copied = digest(&digests);
        record = Record { state: State::Active, step: format!("{DROP}{}{COPIED}{copied}", from.text()), ..there };
        self.write(fleet, &record).await?;
        pass("switched");
        let rows = self.dropped(fleet, &mut record, &from, Some(copied)).await?;
        Ok(Moved { tenant, from, to: self.to.clone(), rows, is_unchanged: false })
    }

    /// What is there without a record is nobody's to empty.
    async fn refuse_occupied(&self, tenant: &Tenant, kinds: &[StoreKind]) -> Result<()> {
        if self.terms.model() != TenancyModel::Row {
            return Ok(());
        }
        let mut hands = Hands::open(self.work, &self.to, tenant, false).await?;
        let surveys = hands.survey(tenant, &self.terms).await?;
        hands.rest().await?;
        hands.close().await;
        let moving = surveys.iter().filter(|(kind, _)| kinds.contains(kind));
        let mut parts = moving.flat_map(|(kind, survey)| survey.parts.iter().map(move |part| (kind, part)));
        match parts.find(|(_, part)| part.rows > 0) {
            None => Ok(()),
            Some((kind, part)) => Err(Error::new(
                Code::TenantClash,
                format!("there is something of tenant `{}` at `{}` already", tenant.shown(), self.to),
            )
            .why(format!("{kind} has {} of `{}` with its key", part.rows, part.name))
            .data("nothing was changed")),
        }
    }

    fn refuse_elsewhere(&self, record: &Record, wanted: &Placement) -> Result<()> {
        if *wanted == self.to {
            return Ok(());
        }
        let tenant = record.tenant.shown();
        Err(Error::new(Code::TenantState, format!("tenant `{tenant}` is on its way to `{wanted}`"))
            .why("that move was begun and is not finished")
            .data("nothing was changed")
            .hint(format!("lyrox tenant move {} --to {wanted} finishes it", quoted(record.tenant.key()))))
    }

    /// Makes the place and fills it. Answers the record as it will be, and what was copied of each store.
    async fn copied(
        &self,
        fleet: &mut Fleet<'_>,
        record: &Record,
        kinds: &[StoreKind],
        source: &mut Hands,
    ) -> Result<(Record, Digests)> {
        let folder = tempfile::Builder::new().prefix("lyrox-move-").tempdir().map_err(|error| {
            Error::new(Code::Bundle, "there is no room for the copy")
                .why(error.to_string())
                .hint("free space in TMPDIR")
        })?;
        let mut there = Record { shard: self.to.text(), ..record.clone() };
        let files = inside::files(self.work)?;
        for attempt in 0..TRIES {
            let path = folder.path().join(format!("{attempt}.lyrox"));
            let bundle = self.written(record, kinds, source, &path).await?;
            pass("read");
            let request = Request {
                bundle: &bundle,
                key: None,
                slug: None,
                set: Vec::new(),
                maps_ids: false,
                placement: Some(self.to.clone()),
                is_dry: false,
                keeper: &Nobody,
            };
            let mut run = Run::new(self.work, &request, self.terms.clone(), record.tenant.clone(), files.clone());
            if attempt == 0 {
                run.reach(fleet, &self.to).await?;
                let logins = run.placed(fleet, &self.to, kinds).await?;
                pass("placed");
                let copy = Record { state: State::Active, step: String::new(), ..there.clone() };
                let copies = fleet.copies(&self.to).await?;
                for store in copies.into_iter().filter(|store| kinds.contains(&store.kind())) {
                    store.write_tenants(std::slice::from_ref(&copy)).await?;
                }
                inside::migrate(self.work, &mut there, &files, true).await?;
                pass("migrated");
                if !logins.is_empty() {
                    self.keeper.keep(&logins)?;
                }
            }
            let mut hands = Hands::open(self.work, &self.to, &record.tenant, false).await?;
            hands.stores.retain(|store| kinds.contains(&store.kind()));
            let filled = run.filled(&mut hands, Fill::Copy).await;
            hands.close().await;
            filled?;
            pass("filled");
            let digests = of_bundle(&bundle, kinds);
            // Whoever wrote to it meanwhile, although it is suspended, has written what is not there.
            if self.digests(record, kinds, source).await? == digests {
                pass("verified");
                return Ok((there, digests));
            }
        }
        Err(Error::new(
            Code::TenantFailed,
            format!("tenant `{}` is written to while it is copied", record.tenant.shown()),
        )
        .why(format!("it was copied {TRIES} times, and each time its source was another when the copy was complete"))
        .hint("stop the application for this tenant, then run it again"))
    }

    /// Writes what moves to a file.
    async fn written(
        &self,
        record: &Record,
        kinds: &[StoreKind],
        source: &mut Hands,
        path: &std::path::Path,
    ) -> Result<Bundle> {
        let tenant = &record.tenant;
        let manifest = Manifest {
            lyrox: TITLE.into(),
            format: FORMAT,
            project: self.work.config.settings.project.name.clone(),
            model: self.terms.model().name().into(),
            key: tenant.key().into(),
            slug: tenant.slug().into(),
            version: record.version.clone(),
            parts: Vec::new(),
        };
        let mut writer = Writer::create(path, manifest)?;
        for store in source.stores.iter_mut().filter(|store| kinds.contains(&store.kind())) {
            let kind = store.kind();
            let scope = scope(tenant, &self.terms, kind);
            let mut survey = store.begin_reading(scope, None).await?;
            for part in &mut survey.parts {
                writer.begin(kind, &part.name, &part.columns, &part.ids);
                store.read_part(scope, part, &mut |line| writer.line(line)).await?;
                writer.end()?;
            }
            store.end_reading().await?;
        }
        writer.finish()?;
        Bundle::open(path)
    }

    /// The digests of a source as it is now.
    async fn digests(&self, record: &Record, kinds: &[StoreKind], source: &mut Hands) -> Result<Digests> {
        let mut digests = Digests::new();
        for store in source.stores.iter_mut().filter(|store| kinds.contains(&store.kind())) {
            let kind = store.kind();
            let scope = scope(&record.tenant, &self.terms, kind);
            let mut survey = store.begin_reading(scope, None).await?;
            for part in &mut survey.parts {
                let mut sum = Sum::default();
                let mut take = |line: &[u8]| {
                    sum.add(line);
                    Ok(())
                };
                store.read_part(scope, part, &mut take).await?;
                if sum.count > 0 {
                    digests.insert((kind, part.name.clone()), (sum.count, sum.text()));
                }
            }
            store.end_reading().await?;
        }
        Ok(digests)
    }

    /// Removes what is left at the source, the last look at it first: at what `copied` is the digest of; none: it was looked
    /// at, and the removal was begun.
    async fn dropped(
        &self,
        fleet: &mut Fleet<'_>,
        record: &mut Record,
        from: &Placement,
        copied: Option<String>,
    ) -> Result<u64> {
        let tenant = record.tenant.clone();
        let to = record.placement()?;
        let kinds = moving(self.work, from, &to);
        let there = Record { shard: from.text(), ..record.clone() };
        for store in fleet.at(from).await?.into_iter().filter(|store| kinds.contains(&store.kind())) {
            if !self.shares_roles(&to, from, store.kind()) {
                store.shut_out(&tenant, &self.terms).await?;
            }
        }
        let mut hands = Hands::open(self.work, from, &tenant, true).await?;
        hands.stores.retain(|store| kinds.contains(&store.kind()));
        if let Some(copied) = copied {
            let now = digest(&self.digests(&there, &kinds, &mut hands).await?);
            if now != copied {
                hands.close().await;
                // What was told of is removed the next time, unless there is more of it then.
                record.step = format!("{DROP}{}{COPIED}{now}", from.text());
                self.write(fleet, record).await?;
                return Err(self.written_late(record, from));
            }
            // What a kill leaves half removed is another set as well: from here on nothing is compared.
            record.step = format!("{DROP}{}", from.text());
            self.write(fleet, record).await?;
            pass("looked");
        }
        let surveys = hands.survey(&tenant, &self.terms).await?;
        hands.rest().await?;
        let rows = surveys.iter().flat_map(|(_, survey)| &survey.parts).map(|part| part.rows).sum();
        super::delete::emptied(&self.terms, &tenant, &mut hands, &surveys).await?;
        hands.close().await;
        pass("emptied");
        for store in fleet.at(from).await?.into_iter().rev().filter(|store| kinds.contains(&store.kind())) {
            let kind = store.kind();
            let terms = Terms { keeps_roles: self.shares_roles(&to, from, kind), ..self.terms.clone() };
            store.take_places(std::slice::from_ref(&tenant), &terms).await?;
            pass(&format!("taken.{kind}"));
        }
        let mut left = Vec::new();
        for store in fleet.at(from).await?.into_iter().filter(|store| kinds.contains(&store.kind())) {
            let kind = store.kind();
            let shares = self.shares_roles(&to, from, kind);
            let found = store.traces(&tenant, &self.terms).await?;
            left.extend(
                found
                    .into_iter()
                    .filter(|what| !(shares && what.starts_with("role ")))
                    .map(|what| format!("{kind}: {what}")),
            );
        }
        if !left.is_empty() {
            return Err(Error::new(
                Code::TenantLeft,
                format!("something of tenant `{}` is left at `{from}`", tenant.shown()),
            )
            .why(left.join("; "))
            .data(format!("it is whole and served at `{to}`"))
            .hint(format!("lyrox tenant move {} --to {to}: it goes on", quoted(tenant.key()))));
        }
        for store in fleet.copies(from).await? {
            if kinds.contains(&store.kind()) {
                store.forget_tenants(std::slice::from_ref(&tenant)).await?;
            }
        }
        pass("proved");
        record.step = String::new();
        self.write(fleet, record).await?;
        pass("moved");
        for (kind, survey) in &surveys {
            for part in survey.parts.iter().filter(|part| part.rows > 0) {
                self.work.events.item(hands::item(&tenant, *kind, &part.name, part.rows).change(Change::Moved));
            }
        }
        let mut item = Item::pass(format!("tenant.{}", tenant.shown()), tenant.shown());
        item.tenant = Some(tenant.key().to_owned());
        self.work.events.item(item.change(Change::Moved).detail(format!("active at {to}, nothing is left at {from}")));
        Ok(rows)
    }

    /// Whether a tenant's role is the same at both places: databases of one server.
    fn shares_roles(&self, one: &Placement, other: &Placement, kind: StoreKind) -> bool {
        if kind != StoreKind::Postgres {
            return false;
        }
        let host = |placement: &Placement| {
            let targets = super::shard::targets(self.work.config, self.work.targets, placement).ok()?;
            targets.get(kind).map(|target| target.direct.url.host().clone())
        };
        match (host(one), host(other)) {
            (Some(one), Some(other)) => one.name == other.name && one.port == other.port,
            _ => false,
        }
    }

    fn written_late(&self, record: &Record, from: &Placement) -> Error {
        let tenant = record.tenant.shown();
        Error::new(
            Code::TenantLeft,
            format!("something was written for tenant `{tenant}` at `{from}` after it was copied"),
        )
        .why("the rows there are not those that were copied")
        .data(format!("it is served at `{}`; what is at `{from}` is as it is", self.to))
        .hint(format!(
            "bring over what is missing; what is there now is removed by: lyrox tenant move {} --to {}",
            quoted(record.tenant.key()),
            self.to
        ))
    }

    /// Takes the copy away; the tenant is served where it was.
    async fn give_up(&self, fleet: &mut Fleet<'_>, mut record: Record, kinds: &[StoreKind], error: Error) -> Error {
        let tenant = record.tenant.clone();
        let back = async {
            let from = record.placement()?;
            let mut hands = Hands::open(self.work, &self.to, &tenant, true).await?;
            hands.stores.retain(|store| kinds.contains(&store.kind()));
            for store in &mut hands.stores {
                let _ = store.end_reading().await;
            }
            let surveys = hands.survey(&tenant, &self.terms).await?;
            hands.rest().await?;
            if self.terms.model() == TenancyModel::Row {
                super::delete::emptied(&self.terms, &tenant, &mut hands, &surveys).await?;
            }
            hands.close().await;
            for store in fleet.at(&self.to).await?.into_iter().rev().filter(|store| kinds.contains(&store.kind())) {
                let terms =
                    Terms { keeps_roles: self.shares_roles(&self.to, &from, store.kind()), ..self.terms.clone() };
                store.take_places(std::slice::from_ref(&tenant), &terms).await?;
            }
            for store in fleet.copies(&self.to).await? {
                if kinds.contains(&store.kind()) && from.of(store.kind()) != self.to.of(store.kind()) {
                    store.forget_tenants(std::slice::from_ref(&tenant)).await?;
                }
            }
            Ok::<(), Error>(())
        };
        if let Err(left) = back.await {
            return error
                .data(format!("the tenant is suspended where it was, whole; something of the copy is left: {left}"))
                .hint(format!("lyrox tenant move {} --to {}: it goes on", quoted(tenant.key()), self.to));
        }
        record.state = State::Active;
        record.step = String::new();
        match self.write(fleet, &record).await {
            Ok(()) => error.data("the copy was taken away; the tenant is active where it was"),
            Err(left) => error.data(format!("the copy was taken away; the tenant is suspended where it was: {left}")),
        }
    }

    async fn write(&self, fleet: &mut Fleet<'_>, record: &Record) -> Result<()> {
        fleet.registry()?.write_tenants(std::slice::from_ref(record)).await
    }
}

/// Counts and digests by store and part; empty parts have none.
type Digests = BTreeMap<(StoreKind, String), (u64, String)>;

/// One digest of all of them.
fn digest(digests: &Digests) -> String {
    sha256(format!("{digests:?}").as_bytes())
}

fn of_bundle(bundle: &Bundle, kinds: &[StoreKind]) -> Digests {
    let parts = bundle.manifest.parts.iter().filter(|part| part.rows > 0 && kinds.contains(&part.store));
    parts.map(|part| ((part.store, part.name.clone()), (part.rows, part.digest.clone()))).collect()
}
