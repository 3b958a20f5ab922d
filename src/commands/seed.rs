//! `lyrox db seed`

use crate::app::App;
use crate::config::Targets;
use crate::error::Result;
use crate::report::Report;

/// Flags of `db seed`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_app: &App, _args: &Args) -> Result<Report> {
    todo!()
}

/// Applies a seed set (none: the configured one) as part of a larger command; items go to the report.
///
/// # Errors
/// As [`run`].
pub async fn apply(_app: &App, _targets: &Targets, _set: Option<&str>) -> Result<()> {
    todo!()
}
