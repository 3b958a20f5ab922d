//! `lyrox db baseline`

use super::migrate::{files, known};
use crate::app::App;
use crate::config::Period;
use crate::engine::baseline;
use crate::engine::migrate::Work;
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report, plural};
use crate::typed::again;
use crate::ui::prompt;

/// Flags of `db baseline`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db baseline --dry-run                      what would be recorded\n  lyrox db baseline --to 20251101090000 --yes      the database holds everything up to this version\n  lyrox db baseline --only postgres --yes          one store alone\n\nFor stores that hold the schema already and have no ledger. Nothing of the files is run."
)]
pub struct Args {
    /// Up to and including this version
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// Show what would be recorded; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// Runs the command.
///
/// # Errors
/// No consent, rows that are in the way, or what kept it from starting.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db baseline", Layout::Lines);
    let files = files(app)?;
    let to = args.to.as_deref().map(|version| known(&files, version)).transpose()?;
    let targets = app.targets()?;
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let can_ask = prompt::can_ask(app.global.no_input);
    if !args.dry_run && !can_ask && !app.global.yes {
        return Err(Error::new(Code::Consent, "a baseline needs consent")
            .why("it says that files were applied without running them, and there is no terminal to ask on")
            .data("nothing was sent")
            .hint(again("--yes", None)));
    }
    let steps = baseline::preview(work, &files, to.as_ref()).await?;
    if steps.is_empty() {
        let mut report = app.finish();
        report.summary = Some("nothing to record: every file is in the ledger".into());
        return Ok(report);
    }
    if args.dry_run {
        baseline::tell(work, &steps);
        let mut report = app.finish();
        report.summary = Some("a dry run: nothing was changed".into());
        return Ok(report);
    }
    if !app.global.yes {
        for step in &steps {
            app.ui.say(&format!("  record  {}  {}  {}", step.label(), step.store, step.script.path));
        }
        let count = plural(steps.len(), "file");
        if !prompt::yes(&format!("Record {count} as applied without running them?"), false)? {
            return Err(Error::new(Code::Consent, "the baseline was declined").data("nothing was changed"));
        }
    }
    baseline::baseline(work, &files, to.as_ref()).await?;
    Ok(app.finish())
}
