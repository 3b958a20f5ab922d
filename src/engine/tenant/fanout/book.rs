//! Where a run over tenants is written down: in PostgreSQL for all processes, or in the memory of this one.

use super::super::registry::{Record, Which};
use super::super::run::{Begun, Ended, Summary, Turn, Want};
use super::super::wave::OwnRun;
use crate::engine::ledger;
use crate::error::Result;
use crate::stores::AnyStore;
use crate::stores::tenant::TenantStore as _;
use crate::stores::tenant_run::RunStore as _;

/// Where the run is written down.
pub(super) enum Book<'a> {
    /// In PostgreSQL, for all processes.
    Kept { store: &'a mut AnyStore, id: String, owner: String },
    /// In the memory of this process, which holds the project's lock alone.
    Own { store: &'a mut AnyStore, run: OwnRun },
}

impl Book<'_> {
    pub(super) async fn turn(&mut self, ended: &[Ended], limit: usize) -> Result<Turn> {
        match self {
            Self::Kept { store, id, owner } => store.turn(id, owner, ended, limit).await,
            Self::Own { store, run } => {
                let records: Vec<Record> = ended.iter().filter_map(|end| end.record.clone()).collect();
                if !records.is_empty() {
                    store.write_tenants(&records).await?;
                }
                Ok(run.turn(ended, limit))
            }
        }
    }

    pub(super) async fn renew(&mut self) -> Result<()> {
        match self {
            Self::Kept { store, id, owner } => store.renew(id, owner).await,
            Self::Own { .. } => Ok(()),
        }
    }

    pub(super) async fn release(&mut self) -> Result<()> {
        match self {
            Self::Kept { store, id, owner } => store.release(id, owner).await,
            Self::Own { .. } => Ok(()),
        }
    }

    pub(super) async fn end(&mut self, closes: bool) -> Result<Summary> {
        match self {
            Self::Kept { store, id, owner } => store.end_run(id, owner, closes).await,
            Self::Own { run, .. } => Ok(run.summary()),
        }
    }
}

/// Begins a run, or joins the one that is under way.
pub(super) async fn begin<'a>(store: &'a mut AnyStore, want: &Want, is_kept: bool) -> Result<(Book<'a>, Begun)> {
    if !is_kept {
        let (run, begun) = OwnRun::begin(want, &store.read_tenants(&Which::All).await?);
        return Ok((Book::Own { store, run }, begun));
    }
    store.prepare_tenants().await?;
    let begun = store.begin_run(want).await?;
    let owner = format!("{} {} {}", ledger::actor(), std::process::id(), uuid::Uuid::new_v4().simple());
    Ok((Book::Kept { store, id: begun.id.clone(), owner }, begun))
}
