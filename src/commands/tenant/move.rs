//! `lyrox tenant move`

use serde_json::json;

use super::keep::{self, Given};
use super::work;
use crate::app::App;
use crate::config::Period;
use crate::engine::tenant::Placement;
use crate::engine::tenant::credentials::{Keeper, Nobody};
use crate::engine::tenant::relocate::relocate;
use crate::error::Result;
use crate::report::{Layout, Report};

/// Flags of `tenant move`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant move acme --to eu --dry-run          what would be moved, counted\n  lyrox tenant move acme --to eu --no-credentials   move the tenant acme to the shard eu\n  lyrox tenant move acme --to home                  back to the project's own servers\n\nThe tenant is suspended while it is copied: the application must not serve it then. The copy is held against its source,\nand the source once more against the copy, before the registry says where it is now. Then the old place is removed. Its users\nhave new passwords there. A move that was cut short goes on with the same command.\n\nExit codes: 0 done; 1 it was refused, and the tenant is where it was; 2 there is no such tenant or shard; 6 something is\nin the way, or left"
)]
pub struct Args {
    /// The tenant's key or slug
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The shard that it goes to; `home` for the project's own servers
    #[arg(long, value_name = "SHARD")]
    pub to: String,
    /// Where passwords go.
    #[command(flatten)]
    pub given: Given,
    /// Count what would be moved; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// Runs the command.
///
/// # Errors
/// What keeps the tenant from being moved whole.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant move", Layout::Lines);
    let to = Placement::named(&app.config()?.settings, &args.to)?;
    let targets = app.home()?;
    let keeper: Box<dyn Keeper> = if args.dry_run { Box::new(Nobody) } else { keep::keeper(app, &args.given)? };
    let work = work(app, &targets, args.lock_wait.duration())?;
    let moved = relocate(work, &args.key, &to, keeper.as_ref(), args.dry_run).await?;
    keeper.finish()?;
    let mut report = app.finish();
    report.data = Some(json!({
        "key": moved.tenant.key(), "slug": moved.tenant.slug(), "from": moved.from.to_string(), "to": moved.to.to_string(),
        "rows": moved.rows, "moved": !args.dry_run && !moved.is_unchanged,
    }));
    let seconds = crate::ui::seconds(report.elapsed_ms);
    let tenant = moved.tenant.shown();
    report.summary = Some(if moved.is_unchanged {
        format!("{tenant} is at {} already", moved.to)
    } else if args.dry_run {
        format!("{} rows and documents; a dry run: nothing was changed", moved.rows)
    } else {
        format!("{tenant} is at {}: {} rows and documents in {seconds}", moved.to, moved.rows)
    });
    Ok(report)
}
