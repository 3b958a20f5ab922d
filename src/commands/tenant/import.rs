//! `lyrox tenant import`

use std::path::PathBuf;

use serde_json::json;

use super::create::pair;
use super::keep::{self, Given};
use super::work;
use crate::app::App;
use crate::config::Period;
use crate::engine::tenant::bundle::read::Bundle;
use crate::engine::tenant::credentials::{Keeper, Nobody};
use crate::engine::tenant::import::{Request, import};
use crate::error::Result;
use crate::report::{Layout, Report};

/// Flags of `tenant import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant import acme.lyrox --dry-run          does it fit here? what would come, counted\n  lyrox tenant import acme.lyrox --no-credentials   take the tenant in, with the key, slug and ids that it had\n\nThe file is read to its end and its checksums are held against its manifest before anything is changed. Its tables are made\nby the project's own migrations; what it refers to outside the tenant (a user that owns it) must be there, or is named\nanew: `--set ownerId=...`. The tenant is active when every store holds what the bundle has, byte for byte. An import that was\ncut short goes on with the same command.\n`--key NEW --ids map` makes a second tenant of it beside the first: UUIDs and ObjectIds of its rows and documents are new\nones, wherever they stand.\n\nExit codes: 0 done; 1 it was refused and taken back; 2 the file cannot be used; 6 a name is taken"
)]
pub struct Args {
    /// The file that `lyrox tenant export` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Another key than the one that it had
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Another slug; default: the one that it had, or with another key the one that follows from it
    #[arg(long, value_name = "NAME")]
    pub slug: Option<String>,
    /// Another value for a column of its row in the tenant table
    #[arg(long = "set", value_name = "COLUMN=VALUE")]
    pub set: Vec<String>,
    /// Whether rows and documents keep their ids or get new ones
    #[arg(long, value_enum, default_value = "keep")]
    pub ids: IdsGiven,
    /// Where passwords go.
    #[command(flatten)]
    pub given: Given,
    /// Show what would come; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// What becomes of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum IdsGiven {
    /// They stay
    Keep,
    /// New ones
    Map,
}

/// Runs the command.
///
/// # Errors
/// What keeps the tenant from being taken in whole.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant import", Layout::Lines);
    let targets = app.home()?;
    let bundle = Bundle::open(&args.file)?;
    let keeper: Box<dyn Keeper> = if args.dry_run { Box::new(Nobody) } else { keep::keeper(app, &args.given)? };
    let request = Request {
        bundle: &bundle,
        key: args.key.clone(),
        slug: args.slug.clone(),
        set: args.set.iter().map(|given| pair(given)).collect::<Result<_>>()?,
        maps_ids: args.ids == IdsGiven::Map,
        placement: super::placement(app)?,
        is_dry: args.dry_run,
        keeper: keeper.as_ref(),
    };
    let imported = import(work(app, &targets, args.lock_wait.duration())?, &request).await?;
    keeper.finish()?;
    let mut report = app.finish();
    report.data = Some(json!({
        "key": imported.tenant.key(), "slug": imported.tenant.slug(), "rows": imported.rows, "imported": !args.dry_run,
    }));
    let seconds = crate::ui::seconds(report.elapsed_ms);
    report.summary = Some(if args.dry_run {
        format!("{} rows, documents and keys; a dry run: nothing was changed", imported.rows)
    } else {
        format!("{} is here: {} rows, documents and keys in {seconds}", imported.tenant.shown(), imported.rows)
    });
    Ok(report)
}
