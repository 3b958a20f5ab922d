//! `lyrox db repair`

use crate::app::App;
use crate::config::Period;
use crate::engine::migrate::Work;
use crate::engine::repair::{self, Repair};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Layout, Report};

/// Flags of `db repair`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db repair --replay redis     redis was emptied: run its migrations again\n  lyrox db repair --record mongodb   its data is there, only the ledger is gone: write the rows\n\nFor a store that lacks migrations which PostgreSQL recorded for it (LYX-LEDGER-BEHIND)."
)]
#[command(group = clap::ArgGroup::new("how").required(true))]
pub struct Args {
    /// Run this store's migrations again
    #[arg(long, value_name = "STORE", group = "how")]
    pub replay: Option<StoreKind>,
    /// Write this store's ledger rows without running anything
    #[arg(long, value_name = "STORE", group = "how")]
    pub record: Option<StoreKind>,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// Runs the command.
///
/// # Errors
/// Nothing to repair, or what kept it from starting.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db repair", Layout::Lines);
    let repair = match (args.replay, args.record) {
        (Some(store), _) => Repair::Replay(store),
        (None, Some(store)) => Repair::Record(store),
        (None, None) => return Err(Error::new(Code::Usage, "say --replay STORE or --record STORE")),
    };
    let files = super::migrate::files(app)?;
    let targets = app.targets()?;
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: args.lock_wait.duration() };
    repair::repair(work, &files, repair).await?;
    Ok(app.finish())
}
