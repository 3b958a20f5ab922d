//! `lyrox tenant export`

use std::path::PathBuf;

use serde_json::json;

use super::work;
use crate::app::App;
use crate::engine::tenant::export::export;
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report};

/// Flags of `tenant export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant export acme --dry-run        what there is of the tenant acme, counted\n  lyrox tenant export acme acme.lyrox       all of it, in one new file that only you can read\n\nThe file is a tar archive (zstd) of NDJSON files and a manifest with counts and SHA-256; the same data makes the same bytes.\nPostgreSQL is read as it is at one moment, MongoDB and Redis as they are read: what the application writes meanwhile may be\nin it or not, so let it rest for a bundle that is to replace the tenant. Passwords of the tenant's users are not in it.\n\nExit codes: 0 done; 2 there is no such tenant, or the file is there already; 6 nobody says whether something is its own"
)]
pub struct Args {
    /// The tenant's key or slug
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The new file
    #[arg(value_name = "FILE", required_unless_present = "dry_run")]
    pub file: Option<PathBuf>,
    /// Count what would be written; write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
///
/// # Errors
/// What kept it from being written whole.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant export", Layout::Lines);
    let targets = app.home()?;
    let file = args.file.as_deref().filter(|_| !args.dry_run);
    if file.is_none() && !args.dry_run {
        return Err(Error::new(Code::Usage, "no file was named").hint("lyrox tenant export KEY FILE"));
    }
    let exported = export(work(app, &targets, std::time::Duration::ZERO)?, &args.key, file).await?;
    let mut report = app.finish();
    report.data = Some(json!({
        "file": file.map(|file| file.display().to_string()), "rows": exported.rows, "bytes": exported.bytes,
        "manifest": exported.manifest,
    }));
    let seconds = crate::ui::seconds(report.elapsed_ms);
    report.summary = Some(match file {
        Some(file) => format!(
            "{} rows, documents and keys in {}, {} in {seconds}",
            exported.rows,
            file.display(),
            crate::ui::bytes(exported.bytes)
        ),
        None => format!("{} rows, documents and keys; a dry run: nothing was written", exported.rows),
    });
    Ok(report)
}
