//! `lyrox db seed`

use crate::app::App;
use crate::config::{Period, Targets};
use crate::engine::lock::WAIT;
use crate::engine::migrate::Work;
use crate::engine::seed::{self, Options, Seeded};
use crate::error::Result;
use crate::project;
use crate::report::{Item, Layout, Report};

/// Flags of `db seed`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db seed                  apply the set named in lyrox.toml\n  lyrox db seed --set dev        apply seeds/dev\n  lyrox db seed --dry-run        count what would be inserted and updated, write nothing\n\nRunning it again changes nothing: rows are found by key and compared before anything is written."
)]
pub struct Args {
    /// The set to apply; default: `[seeds] set`
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Count what would change; write nothing
    #[arg(long, visible_alias = "plan")]
    pub dry_run: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

impl Default for Args {
    fn default() -> Self {
        Self { set: None, dry_run: false, lock_wait: Period::seconds(WAIT.as_secs()) }
    }
}

/// Runs the command.
///
/// # Errors
/// What kept it from starting; a row that is refused is an item of the report.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db seed", Layout::Lines);
    let options = Options { is_dry: args.dry_run, ..Options::default() };
    let seeded = perform(app, &app.targets()?, args.set.as_deref(), &options, args.lock_wait).await?;
    let mut report = app.finish();
    if report.ok && args.dry_run {
        report.summary = Some("a dry run: nothing was changed".into());
    } else if report.ok && seeded.done == 0 {
        report.summary = Some("the set holds nothing to apply".into());
    }
    Ok(report)
}

/// Applies a seed set (none: the configured one) as part of a larger command; items go to the report.
///
/// # Errors
/// As [`run`].
pub async fn apply(app: &App, targets: &Targets, set: Option<&str>) -> Result<()> {
    // Whoever calls this has finished a reset that was cut short, or is in the middle of one.
    let options = Options { is_resetting: true, ..Options::default() };
    perform(app, targets, set, &options, Args::default().lock_wait).await.map(|_| ())
}

async fn perform(app: &App, targets: &Targets, set: Option<&str>, options: &Options, wait: Period) -> Result<Seeded> {
    let config = app.config()?;
    if set.is_none() && project::seed::sets(config)?.is_empty() {
        let why = format!("`{}` holds no sets", config.settings.seeds.dir);
        app.item(Item::skip("seeds", "seeds").detail(why));
        return Ok(Seeded::default());
    }
    let set = project::seed::read_set(config, set.unwrap_or(&config.settings.seeds.set))?;
    let work = Work { config, targets, events: app, wait: wait.duration() };
    seed::seed(work, &set, options).await
}
