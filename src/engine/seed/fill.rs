//! `--fill`: every table, collection and key space gets rows without a file. The total is split among the stores
//! by how many targets each has, within a store by what its schema says. Running it again adds nothing.

use super::{Options, load_terms};
use crate::config::Targets;
use crate::engine::event::Event;
use crate::engine::guard;
use crate::engine::lock::with_lock;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item};
use crate::stores::load::{AnyLoader, FillOrder, Filled, Load as _, Loader as _, Terms};
use crate::stores::{AnyStore, Store as _};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Fill {
    /// How many rows all targets shall hold together.
    pub rows: u64,
    /// The seed number.
    pub seed: u64,
    /// Only for these tenants; empty: for all.
    pub tenants: Vec<String>,
    /// Count what would be added; write nothing.
    pub is_dry: bool,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Rows that were added.
    pub added: u64,
    /// Rows that were there before, of the targets that were looked at.
    pub before: u64,
    /// Targets that have none and should.
    pub empty: usize,
}

/// Fills the stores.
///
/// # Errors
/// What kept the run from starting: nothing was changed. What cannot be filled is an item.
pub async fn fill(work: Work<'_>, fill: &Fill) -> Result<Total> {
    permit(work, work.targets, &[]).map_err(|error| error.data("nothing was sent"))?;
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    permit(work, work.targets, &migrate::marks(&ledgers))?;
    if let Some((kind, _)) = ledgers.iter().find(|(_, ledger)| ledger.is_resetting) {
        return Err(Error::new(Code::ResetUnfinished, format!("a reset of {kind} was cut short"))
            .data("nothing was changed")
            .hint("lyrox db migrate finishes it; then fill again"));
    }
    let what = if fill.is_dry { "would fill up to" } else { "filling up to" };
    let project = &work.config.settings.project.name;
    let heading = format!("{project} ({}): {what} {} rows, seed {}", work.config.environment, fill.rows, fill.seed);
    work.events.event(Event::Heading(heading));
    let outcome = if fill.is_dry {
        apply(work, &mut stores, fill).await
    } else {
        let wait = work.wait;
        with_lock(&mut stores, wait, work.events, async |stores| apply(work, stores, fill).await).await
    };
    migrate::close(stores).await;
    outcome
}

/// Generated rows belong on this machine, and never where anything is protected.
fn permit(work: Work<'_>, targets: &Targets, marks: &[(StoreKind, Option<crate::engine::ledger::Mark>)]) -> Result<()> {
    guard::refuse_other_mark(work.config, marks)?;
    guard::refuse_protected(work.config, marks, "`--fill`")?;
    if targets.is_local() {
        return Ok(());
    }
    Err(Error::new(Code::Protected, "`--fill` is refused: a server is not on this machine")
        .why("generated rows are for databases that nobody needs")
        .data("nothing was changed")
        .hint("lyrox up starts servers on this machine"))
}

async fn apply(work: Work<'_>, stores: &mut [AnyStore], fill: &Fill) -> Result<Total> {
    let options = Options { is_dry: fill.is_dry, ..Options::default() };
    let terms = load_terms(work, &[], &options);
    if !fill.tenants.is_empty() && terms.tenant_column.is_none() {
        return Err(Error::new(Code::Usage, "`--tenant` needs a column that holds the tenant")
            .why("[tenancy] column is not set")
            .data("nothing was changed")
            .hint("lyrox config show"));
    }
    let mut counts = Vec::with_capacity(stores.len());
    for store in stores.iter_mut() {
        let mut loader = store.loader(&Terms { is_dry: true, ..terms.clone() }).await?;
        counts.push(loader.targets().await?);
        loader.abandon().await;
    }
    let all: u64 = counts.iter().sum();
    let mut total = Total::default();
    let mut left = fill.rows;
    for (at, store) in stores.iter_mut().enumerate() {
        let kind = store.kind();
        let is_last = counts[at + 1..].iter().all(|count| *count == 0);
        let wide = u128::from(fill.rows) * u128::from(counts[at]) / u128::from(all.max(1));
        let rows = if is_last { left } else { u64::try_from(wide).unwrap_or(left) };
        let rows = if counts[at] == 0 { 0 } else { rows };
        left = left.saturating_sub(rows);
        let order = FillOrder { rows, seed: fill.seed, tenants: fill.tenants.clone() };
        let mut loader = store.loader(&terms).await?;
        match loader.fill(&order, work.events).await {
            Ok(filled) => {
                if !fill.is_dry {
                    loader.flush().await?;
                    loader.commit().await?;
                } else {
                    loader.abandon().await;
                }
                tell(work, kind, &filled, fill, &mut total);
            }
            Err(error) => {
                abandon(&mut loader).await;
                return Err(error.data_if_none("rolled back; nothing of this store was changed"));
            }
        }
    }
    Ok(total)
}

async fn abandon(loader: &mut AnyLoader<'_>) {
    loader.abandon().await;
}

fn tell(work: Work<'_>, kind: StoreKind, filled: &[Filled], fill: &Fill, total: &mut Total) {
    for one in filled {
        total.added += one.added;
        total.before += one.before;
        work.events.item(item(kind, one, fill.is_dry, total));
    }
}

fn item(kind: StoreKind, one: &Filled, is_dry: bool, total: &mut Total) -> Item {
    let id = format!("{kind}.{}", one.target);
    let unit = match kind {
        StoreKind::Postgres => "row",
        StoreKind::Mongodb => "document",
        StoreKind::Redis => "key",
    };
    let counted = |count: u64| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    let reason = one.reason.as_deref().unwrap_or("lyrox knows no more that fit");
    if one.is_skipped {
        return Item::skip(id, &one.target).store(kind).detail(reason.to_owned());
    }
    if one.before + one.added == 0 && one.wanted > 0 {
        total.empty += 1;
        let next = match kind {
            StoreKind::Postgres => {
                format!("write rows for it: seeds/dev/postgres/{}.toml, then lyrox db seed", one.target)
            }
            StoreKind::Mongodb => {
                format!("write documents for it: seeds/dev/mongodb/{}.ndjson, then lyrox db seed", one.target)
            }
            StoreKind::Redis => format!("write keys for it: seeds/dev/redis/{}.toml, then lyrox db seed", one.target),
        };
        return Item::warn(id, &one.target)
            .store(kind)
            .detail(format!("not filled: {reason}"))
            .hint(next)
            .elapsed(one.elapsed);
    }
    let has_less = one.before + one.added < one.wanted;
    let mut detail = match (one.added, one.before) {
        (0, before) => format!("{} there", counted(before)),
        (added, _) if is_dry => format!("{added} to create"),
        (added, 0) => format!("{added} created"),
        (added, before) => format!("{added} created, {before} there"),
    };
    if has_less && !is_dry && one.added > 0 {
        detail = format!("{detail}, of {}: {reason}", one.wanted);
    }
    let change = match (is_dry, one.added) {
        (_, 0) => Change::Unchanged,
        (true, _) => Change::Planned,
        (false, _) => Change::Created,
    };
    Item::pass(id, &one.target).store(kind).change(change).detail(detail).elapsed(one.elapsed)
}
