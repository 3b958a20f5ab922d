//! `lyrox tenant verify`

use std::time::Duration;

use super::work;
use crate::app::App;
use crate::engine::tenant::fanout;
use crate::engine::tenant::run::Selection;
use crate::engine::tenant::verify::Request;
use crate::error::Result;
use crate::report::{Layout, Report};

/// How long a run waits for another one to end that is no verification.
const WAIT: Duration = Duration::from_secs(5);

/// Flags of `tenant verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant verify --all                                   every tenant, and what belongs to none\n  lyrox tenant verify --all --output-file report.html         a report to hand to an auditor\n  lyrox tenant verify --all --output junit                    for CI\n  lyrox tenant verify --all --jobs 4                          four tenants at a time, for many\n  lyrox tenant verify --all --only-failed                     once more, those of the last run that were not apart\n\nIt tries: as the application's role, with two made-up tenants in a transaction that is rolled back; as throw-away users in\nMongoDB and Redis, which are removed again; with the real tenants, reading only. What leaks is named with the statement\nthat closes it. What could not be tried is no success. Each tenant is a unit of the run, and what concerns the whole database is one as well.\nThe run is written down: after a kill the same command goes on within the hour, and several processes with the same\ncommand share the work.\n\nExit codes: 0 no tenant reaches another's data, 1 a leak, something astray, or something that could not be tried;\n5 another run is at work"
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
    /// So many tenants at a time, each with one connection to each of its servers, and one more that keeps the run
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Of the tenants, only those that were not apart in the last run
    #[arg(long)]
    pub only_failed: bool,
    /// With more tenants than this that are not apart no further one is begun; default: all are looked at
    #[arg(long, value_name = "M")]
    pub max_failures: Option<u32>,
}

/// Runs the command.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`; a store that cannot be reached, the lock. What leaks is an item.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant verify", Layout::Lines);
    let targets = app.home()?;
    let is_all = args.keys.is_empty();
    let request = Request { is_all, names: args.keys.clone(), write: args.write };
    let work = work(app, &targets, WAIT)?;
    let (fanned, verified) = fanout::verify(work, &request, |task| fanout::Request {
        task,
        selection: if is_all { Selection::All } else { Selection::Named(args.keys.clone()) },
        jobs: usize::from(args.jobs),
        canary: 0,
        wave: 0,
        max_failures: args.max_failures,
        only_failed: args.only_failed,
        is_dry: false,
    })
    .await?;
    let mut report = app.finish();
    let counts = verified.counts;
    report.data = Some(serde_json::json!({
        "tenants": fanned.total, "held": counts.held, "leaks": counts.leaks, "astray": counts.astray,
        "not_tried": counts.untried, "warnings": counts.weak, "findings": verified.findings,
        "run": fanned.run, "done": fanned.done, "done_here": fanned.done_here, "failed": fanned.failed,
        "skipped": fanned.skipped, "left": fanned.left,
    }));
    let total = usize::try_from(fanned.total).unwrap_or(usize::MAX);
    let mut summary = counts.summary(total, &crate::ui::seconds(report.elapsed_ms));
    if fanned.done > fanned.done_here {
        summary = format!("{summary}; {} apart, {} of them looked at here", fanned.done, fanned.done_here);
    }
    if fanned.left > 0 {
        summary = format!("{summary}; {} not begun", fanned.left);
    }
    report.summary = Some(summary);
    Ok(report)
}
