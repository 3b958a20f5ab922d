//! Which versions the tenants are at, and who is behind: from the registry alone, whatever their number. Reads only.

use super::fanout::{Request, want};
use super::registry::{Record, Which};
use super::run::{Group, Selection};
use super::unit::Task;
use super::wave;
use super::{inside, terms, unknown};
use crate::engine::guard;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::error::Result;
use crate::kind::StoreKind;
use crate::project::migration::Version;
use crate::stores::Store as _;
use crate::stores::tenant::TenantStore as _;
use crate::stores::tenant_run::RunStore as _;

/// So many tenants that are behind are named.
pub const NAMED: usize = 20;

/// Where the tenants are.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    /// Tenants that are meant.
    pub total: u64,
    /// Complete tenants by version, the newest first; those that are settled before others of the same version.
    pub groups: Vec<Group>,
    /// Complete tenants that are behind, at most [`NAMED`].
    pub behind: Vec<Record>,
    /// Tenants that are not complete, at most [`NAMED`].
    pub incomplete: Vec<Record>,
}

impl Skew {
    /// How many tenants have something to do.
    pub fn behind_count(&self) -> u64 {
        self.groups.iter().filter(|group| !group.is_settled).map(|group| group.tenants).sum()
    }
}

/// Tells where the tenants are.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`; a store that cannot be reached or read.
pub async fn skew(work: Work<'_>, selection: Selection) -> Result<Skew> {
    let terms = terms(work.config)?;
    let files = inside::files(work)?;
    let request = Request {
        task: Task::Migrate(&files, &Goal::Latest),
        selection,
        jobs: 1,
        canary: 0,
        wave: 0,
        max_failures: None,
        only_failed: false,
        is_dry: true,
    };
    let want = want(work, terms.model(), &request);
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    let mut skew = Skew::default();
    if let Some(registry) = stores.first_mut() {
        let seen = if registry.kind() == StoreKind::Postgres {
            let seen = registry.overview(&want).await?;
            skew.groups = registry.groups(&want).await?;
            if seen.behind > 0 {
                skew.behind = registry.behind(&want, NAMED).await?;
            }
            if seen.total > seen.settled + seen.behind {
                skew.incomplete = registry.incomplete(&want, NAMED).await?;
            }
            seen
        } else {
            let records = registry.read_tenants(&Which::All).await?;
            skew.groups = wave::groups(&want, &records);
            skew.behind = wave::behind(&want, &records, NAMED);
            skew.incomplete = wave::incomplete(&want, &records, NAMED);
            wave::overview(&want, &records)
        };
        if let Some(name) = seen.unknown.first() {
            return Err(unknown(name));
        }
        skew.total = seen.total;
    }
    migrate::close(stores).await;
    let order = |group: &Group| (group.version.as_deref().map(Version::new), group.is_settled);
    skew.groups.sort_by_key(|group| std::cmp::Reverse(order(group)));
    Ok(skew)
}
