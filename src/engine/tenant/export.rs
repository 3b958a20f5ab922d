//! Writing one tenant to a bundle. Reads only.

use std::path::Path;

use super::bundle::write::Writer;
use super::bundle::{FORMAT, Manifest, TITLE};
use super::hands::{self, Hands, scope};
use super::plan::quoted;
use super::registry::{Record, State, Which};
use super::{Tenant, terms, unknown};
use crate::config::file::TenancyModel;
use crate::engine::event::Event;
use crate::engine::guard;
use crate::engine::ledger::Ledger;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::Change;
use crate::stores::AnyStore;
use crate::stores::tenant::{TenantStore as _, Terms};
use crate::stores::tenant_bundle::{BundleStore as _, Survey};

/// After so many lines progress is told.
const TELL: u64 = 5000;

/// What became of it.
#[derive(Debug, Default)]
pub struct Exported {
    /// The manifest; none after a dry run.
    pub manifest: Option<Manifest>,
    /// So many rows, documents and keys.
    pub rows: u64,
    /// The length of the file.
    pub bytes: u64,
}

/// Exports a tenant, by its key or its slug, to a new file; none: counts only.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`, `LYX-TENANT-UNCLASSIFIED`, `LYX-BUNDLE` where the file cannot be written.
pub async fn export(work: Work<'_>, name: &str, path: Option<&Path>) -> Result<Exported> {
    let terms = terms(work.config)?;
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    let record = found(&mut stores, work, name).await?;
    migrate::close(stores).await;
    if !matches!(record.state, State::Active | State::Suspended) {
        return Err(Error::new(
            Code::TenantState,
            format!("tenant `{}` is {}, and not complete", record.tenant.shown(), record.state.word()),
        )
        .data("nothing was changed")
        .hint(format!("lyrox tenant show {}", quoted(record.tenant.key()))));
    }
    let version = version(&record, &ledgers);
    let mut hands = Hands::open(work, &record.placement()?, &record.tenant, false).await?;
    let exported = written(work, &terms, &record, version, &mut hands, path).await;
    hands.close().await;
    exported
}

/// Refuses a bundle of a tenant that another command changed or removed while it was read.
async fn refuse_changed(work: Work<'_>, record: &Record) -> Result<()> {
    let mut stores = work.open().await?;
    let now = match stores.first_mut() {
        Some(registry) => registry.read_tenants(&Which::Of(vec![record.tenant.clone()])).await,
        None => Ok(Vec::new()),
    };
    migrate::close(stores).await;
    let now = now?.into_iter().find(|now| now.tenant.key() == record.tenant.key());
    if now.as_ref() == Some(record) {
        return Ok(());
    }
    let is = now.map_or_else(|| "gone".to_owned(), |now| now.state.word().to_owned());
    let what = format!("tenant `{}` was changed by another command while it was exported", record.tenant.shown());
    Err(Error::new(Code::TenantState, what)
        .why(format!("it was {}, and is {is} since then", record.state.word()))
        .data("no bundle was written, and nothing was changed")
        .hint(format!("lyrox tenant show {}", quoted(record.tenant.key()))))
}

/// The record of a tenant that is to be read or removed.
pub(super) async fn found(stores: &mut [AnyStore], work: Work<'_>, name: &str) -> Result<Record> {
    let Some(registry) = stores.first_mut() else { return Err(unknown(name)) };
    let record = registry.read_tenants(&Which::Named(name.to_owned())).await?.into_iter().next();
    let record = record.ok_or_else(|| {
        unknown(name)
            .hint(format!("lyrox tenant list; where the application made it: lyrox tenant adopt {}", quoted(name)))
    })?;
    hands::refuse_ambiguous(work, &record.tenant, &registry.read_tenants(&Which::All).await?)?;
    Ok(record)
}

/// The newest migration of the tables in which the tenant lies.
pub(super) fn version(record: &Record, ledgers: &[(StoreKind, Ledger)]) -> Option<String> {
    if record.model != TenancyModel::Row {
        return record.version.clone();
    }
    let applied = |row: &&crate::engine::ledger::Row| row.state == crate::engine::ledger::State::Applied;
    let rows = ledgers.iter().flat_map(|(_, ledger)| &ledger.rows).filter(applied);
    rows.map(|row| &row.version).filter(|version| !version.is_repeatable()).max().map(ToString::to_string)
}

/// Writes the bundle of a tenant whose stores are open.
async fn written(
    work: Work<'_>,
    terms: &Terms,
    record: &Record,
    version: Option<String>,
    hands: &mut Hands,
    path: Option<&Path>,
) -> Result<Exported> {
    let tenant = &record.tenant;
    let mut surveys = hands.survey(tenant, terms).await?;
    hands::refuse_unclassified(tenant, &surveys)?;
    let Some(path) = path else {
        let mut rows = 0;
        for (kind, survey) in &surveys {
            for part in &survey.parts {
                rows += part.rows;
                work.events.item(hands::item(tenant, *kind, &part.name, part.rows).change(Change::Planned));
            }
        }
        hands::tell_notes(work.events, tenant, &surveys);
        hands.rest().await?;
        return Ok(Exported { rows, ..Exported::default() });
    };
    let manifest = Manifest {
        lyrox: TITLE.into(),
        format: FORMAT,
        project: work.config.settings.project.name.clone(),
        model: terms.model().name().into(),
        key: tenant.key().into(),
        slug: tenant.slug().into(),
        version,
        parts: Vec::new(),
    };
    let mut writer = Writer::create(path, manifest)?;
    let rows = match parts(work, terms, tenant, hands, &mut surveys, &mut writer).await {
        Ok(rows) => rows,
        Err(error) => {
            writer.discard();
            return Err(error.data_if_none("no bundle was written, and nothing was changed"));
        }
    };
    let still = async {
        hands.rest().await?;
        refuse_changed(work, record).await
    };
    if let Err(error) = still.await {
        writer.discard();
        return Err(error);
    }
    let (manifest, bytes) = writer.finish()?;
    hands::tell_notes(work.events, tenant, &surveys);
    Ok(Exported { manifest: Some(manifest), rows, bytes })
}

async fn parts(
    work: Work<'_>,
    terms: &Terms,
    tenant: &Tenant,
    hands: &mut Hands,
    surveys: &mut [(StoreKind, Survey)],
    writer: &mut Writer,
) -> Result<u64> {
    let mut all = 0;
    for (store, (kind, survey)) in hands.stores.iter_mut().zip(surveys) {
        let total: u64 = survey.parts.iter().map(|part| part.rows).sum();
        let mut done = 0;
        for part in &mut survey.parts {
            let started = std::time::Instant::now();
            writer.begin(*kind, &part.name, &part.columns, &part.ids);
            let name = part.name.clone();
            let mut take = |line: &[u8]| {
                done += 1;
                if done % TELL == 0 {
                    progress(work, *kind, &name, done, total)?;
                }
                writer.line(line)
            };
            store.read_part(scope(tenant, terms, *kind), part, &mut take).await?;
            let rows = writer.end()?;
            all += rows;
            work.events.item(hands::item(tenant, *kind, &part.name, rows).elapsed(started.elapsed()));
        }
    }
    Ok(all)
}

/// Tells how far it is; ends the work where a signal came.
pub(super) fn progress(work: Work<'_>, kind: StoreKind, name: &str, done: u64, total: u64) -> Result<()> {
    if work.events.is_cancelled() {
        return Err(Error::new(Code::TenantFailed, "cut short by a signal"));
    }
    let task = name.to_owned();
    work.events.event(Event::Progress { task, store: Some(kind), done, total: Some(total), unit: "rows" });
    Ok(())
}
