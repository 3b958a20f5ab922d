//! Seeding: read the set, ask the guard, lock, describe the targets, check everything, then write rows,
//! bulk files and scripts in the order that references and foreign keys ask for. Running it again
//! changes nothing.

pub mod bulk;
pub mod encrypted;
pub mod fill;
pub mod ids;
pub mod made;
pub mod order;
pub mod outside;
pub mod reader;
pub mod references;
pub mod row_set;
mod run;
mod sheet;
pub mod terms;
pub mod transforms;

use jiff::Timestamp;

use self::reader::Reader;
use self::references::{Names, Reference};
use self::row_set::RowSet;
use self::run::Run;
use self::sheet::Sheet;
use self::terms::Term;
use super::event::Event;
use super::guard;
use super::lock::with_lock;
use super::migrate::{self, Work};
use super::tenant::Tenant;
use crate::config::Targets;
use crate::config::file::TenancyModel;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::formats;
use crate::project::seed::Set;
use crate::report::Item;
use crate::stores::load::{Load as _, Terms};
use crate::stores::{AnyStore, Store as _};

/// What is asked for beside the set.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The tenant the run is for: part of the ids that follow from names.
    pub tenant: Option<Tenant>,
    /// Look at everything, write nothing.
    pub is_dry: bool,
    /// Connections that load a large file at once; 0 or 1: one.
    pub jobs: usize,
    /// Where rows go that a store refuses: the path, and as the user named it.
    pub reject: Option<(std::path::PathBuf, String)>,
    /// Indexes stay while an empty table is filled.
    pub keeps_indexes: bool,
    /// The last part of a reset, which clears `resetting` only when this is done.
    pub is_resetting: bool,
    /// Part of making a tenant: the caller holds the project's locks, and what a new tenant begins with is wanted in every
    /// environment.
    pub is_part: bool,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Targets that are as the set wants them.
    pub done: usize,
    /// Something failed; its item is in the report.
    pub has_failed: bool,
    /// A dry run found something that would change.
    pub has_changes: bool,
    /// What became of the named rows, in the order of writing.
    pub row_sets: Vec<RowSet>,
}

/// Applies a set.
///
/// # Errors
/// What kept the run from starting: nothing was changed. What fails while rows are written is an item.
pub async fn seed(work: Work<'_>, set: &Set, options: &Options) -> Result<Seeded> {
    if !options.is_part {
        guard::permit_seeds(work.config, work.targets, &[], &set.name)
            .map_err(|error| error.data("nothing was sent"))?;
    }
    let sources = set
        .bulks
        .iter()
        .map(|file| {
            if options.reject.is_some() { bulk::FileSource::read_leniently(file) } else { bulk::FileSource::read(file) }
        })
        .collect::<Result<Vec<_>>>()?;
    let mut names = Names::of(set);
    let outside = outside::tables(work.config, set, &mut names).map_err(|error| error.data("nothing was changed"))?;
    let mut wanted = set.stores();
    wanted.extend(outside.iter().map(|table| table.store));
    wanted.sort();
    wanted.dedup();
    let targets = Targets {
        stores: work.targets.stores.iter().filter(|target| wanted.contains(&target.kind)).cloned().collect(),
        absent: work.targets.absent.clone(),
    };
    let now = Timestamp::now();
    let mut sheets = Vec::with_capacity(set.tables.len() + outside.len());
    for (table, is_outside) in
        set.tables.iter().map(|table| (table, false)).chain(outside.iter().map(|table| (table, true)))
    {
        let reader = Reader {
            names: &names,
            variables: &work.config.variables,
            now,
            tenant: options.tenant.as_ref(),
            root: &work.config.root,
            origin: run::origin(work, options, table),
            row: "",
        };
        sheets.push(Sheet::read(table, &reader, is_outside)?);
    }
    refuse_left_out(&sheets, &targets)?;
    skip_left_out(work, &wanted, &targets);

    let work = Work { targets: &targets, ..work };
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    if !options.is_part {
        guard::permit_seeds(work.config, &targets, &migrate::marks(&ledgers), &set.name)?;
    }
    if let Some((kind, _)) = ledgers.iter().find(|(_, ledger)| ledger.is_resetting && !options.is_resetting) {
        return Err(Error::new(Code::ResetUnfinished, format!("a reset of {kind} was cut short"))
            .data("nothing was changed")
            .hint("lyrox db migrate finishes it; then seed again"));
    }
    let what = if options.is_dry { "would apply" } else { "applying" };
    let project = &work.config.settings.project.name;
    let whom = options.tenant.as_ref().map(|tenant| format!(" for tenant `{}`", tenant.key())).unwrap_or_default();
    let heading = format!("{project} ({}): {what} seeds `{}`{whom}", work.config.environment, set.name);
    work.events.event(Event::Heading(heading));

    let outcome = if options.is_dry || options.is_part {
        apply(work, &mut stores, set, sheets, sources, options).await
    } else {
        let wait = work.wait;
        with_lock(&mut stores, wait, work.events, async |stores| {
            apply(work, stores, set, sheets, sources, options).await
        })
        .await
    };
    migrate::close(stores).await;
    outcome
}

/// A row whose store is not part of the run can be neither found nor written.
fn refuse_left_out(sheets: &[Sheet<'_>], targets: &Targets) -> Result<()> {
    for sheet in sheets.iter().filter(|sheet| targets.get(sheet.table.store).is_some()) {
        for line in &sheet.lines {
            let Some(reference) =
                line.references().into_iter().find(|reference| targets.get(reference.store).is_none()).cloned()
            else {
                continue;
            };
            return Err(Error::new(
                Code::SeedReference,
                format!("`{reference}` is in a store that is not part of this run"),
            )
            .at(line.row.place())
            .data("nothing was changed")
            .hint(format!("add {} to --only, or leave --only out", reference.store)));
        }
    }
    Ok(())
}

fn skip_left_out(work: Work<'_>, wanted: &[StoreKind], targets: &Targets) {
    for kind in wanted.iter().filter(|kind| targets.get(**kind).is_none()) {
        let absent = targets.absent.iter().find(|(absent, _)| absent == kind);
        let why = absent.map_or_else(|| "not part of this run (--only)".to_owned(), |(_, why)| why.clone());
        work.events.item(Item::skip(format!("{kind}.seeds"), format!("seeds of {kind}")).store(*kind).detail(why));
    }
}

async fn apply(
    work: Work<'_>,
    stores: &mut [AnyStore],
    set: &Set,
    sheets: Vec<Sheet<'_>>,
    sources: Vec<bulk::FileSource>,
    options: &Options,
) -> Result<Seeded> {
    let mut terms = load_terms(work, &sheets, options);
    // Bulk files are staged and merged: a dry run of a set that has some is rolled back.
    let stages = set.bulks.iter().any(|bulk| bulk.store == StoreKind::Postgres);
    terms.is_read_only = options.is_dry && !stages;
    let mut loaders = Vec::new();
    for store in stores.iter_mut() {
        let has_migrations = has_migrations(work, store.kind());
        loaders.push(store.loader(&Terms { has_migrations, ..terms.clone() }).await?);
    }
    let kinds: Vec<StoreKind> = loaders.iter().map(crate::stores::load::AnyLoader::kind).collect();
    let sheets = sheets.into_iter().filter(|sheet| kinds.contains(&sheet.table.store)).collect();
    let mut run = Run::new(work, loaders, sheets, terms, options);
    let ready = run.fit(set, sources, options).await;
    if let Err(error) = ready {
        run.abandon().await;
        return Err(error.data_if_none("nothing was changed"));
    }
    Ok(run.write().await)
}

fn has_migrations(work: Work<'_>, kind: StoreKind) -> bool {
    let config = work.config;
    // A folder that cannot be read is migrate's to report.
    formats::read_all(&config.root, &config.settings)
        .is_ok_and(|files| files.iter().any(|file| file.parts.contains_key(&kind)))
}

/// What holds for every store, tenants included: the keys of the tenants that the set itself names.
fn load_terms(work: Work<'_>, sheets: &[Sheet<'_>], options: &Options) -> Terms {
    let settings = &work.config.settings;
    let tenancy = settings.tenancy.as_ref().filter(|tenancy| tenancy.model == TenancyModel::Row);
    let table = tenancy.and_then(|tenancy| Some((tenancy.table.clone()?, tenancy.key_column.clone())));
    let column = tenancy.and_then(|tenancy| tenancy.column.clone());
    let mut tenants = Vec::new();
    if let Some((table, key)) = &table {
        for sheet in
            sheets.iter().filter(|sheet| sheet.table.store == StoreKind::Postgres && sheet.table.target == *table)
        {
            let origin = run::origin(work, options, sheet.table);
            tenants.extend(sheet.lines.iter().filter_map(|line| match line.term(key) {
                Some(Term::Literal(value)) => run::plain(value),
                Some(_) => None,
                None => Some(origin.uuid(&line.row.name).to_string()),
            }));
        }
    }
    // Tenants that rows name without the tenant table being part of the set.
    if let Some(column) = &column {
        for sheet in sheets.iter().filter(|sheet| sheet.table.store == StoreKind::Postgres) {
            tenants.extend(sheet.lines.iter().filter_map(|line| match line.term(column) {
                Some(Term::Literal(value)) => run::plain(value),
                _ => None,
            }));
        }
    }
    if let Some(tenant) = &options.tenant {
        tenants = vec![tenant.key().to_owned()];
    }
    tenants.sort();
    tenants.dedup();
    Terms {
        is_dry: options.is_dry,
        is_read_only: false,
        tenant: options.tenant.clone(),
        tenants,
        tenant_table: table,
        tenant_column: column,
        tenant_setting: tenancy.map_or_else(|| "app.tenant".into(), |tenancy| tenancy.setting.clone()),
        has_migrations: false,
        project: settings.project.name.clone(),
        keyspaces: settings.redis.as_ref().map(|redis| redis.keyspaces.clone()).unwrap_or_default(),
    }
}

/// The fields of a target's rows that others refer to.
fn referred<'a>(sheets: &'a [Sheet<'_>], store: StoreKind, target: &'a str) -> Vec<String> {
    let references = sheets.iter().flat_map(|sheet| sheet.lines.iter().flat_map(|line| line.references()));
    let fields = references
        .filter(|Reference { store: kind, target: other, .. }| *kind == store && other == target)
        .filter_map(|reference| reference.field.clone());
    fields.collect()
}
