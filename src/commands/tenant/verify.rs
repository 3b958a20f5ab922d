//! `lyrox tenant verify`

use super::work;
use crate::app::App;
use crate::engine::tenant::verify::{self, Request};
use crate::error::Result;
use crate::report::{Layout, Report};

/// Flags of `tenant verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant verify --all                                   every tenant, and what belongs to none\n  lyrox tenant verify --all --output-file report.html         a report to hand to an auditor\n  lyrox tenant verify --all --output junit                    for CI\n\nIt tries: as the application's role, with two made-up tenants in a transaction that is rolled back; as throw-away users in\nMongoDB and Redis, which are removed again; with the real tenants, reading only. What leaks is named with the statement\nthat closes it. What could not be tried is no success.\n\nExit codes: 0 no tenant reaches another's data, 1 a leak, something astray, or something that could not be tried"
)]
pub struct Args {
    /// Keys or slugs of tenants; none: all of them
    #[arg(value_name = "KEY")]
    pub keys: Vec<String>,
    /// Every tenant, and what belongs to none: the default without a KEY
    #[arg(long, conflicts_with = "keys")]
    pub all: bool,
    /// Write what is rolled back or removed although the environment is protected
    #[arg(long)]
    pub write: bool,
}

/// Runs the command.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`; a store that cannot be reached, the lock. What leaks is an item.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant verify", Layout::Lines);
    let targets = app.home()?;
    let request = Request { names: args.keys.clone(), write: args.write };
    let verified = verify::verify(work(app, &targets, std::time::Duration::ZERO)?, &request).await?;
    let mut report = app.finish();
    let counts = verified.counts;
    report.data = Some(serde_json::json!({
        "tenants": verified.tenants, "held": counts.held, "leaks": counts.leaks, "astray": counts.astray,
        "not_tried": counts.untried, "warnings": counts.weak, "findings": verified.findings,
    }));
    report.summary = Some(counts.summary(verified.tenants, &crate::ui::seconds(report.elapsed_ms)));
    Ok(report)
}
