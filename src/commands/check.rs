//! `lyrox check`

use crate::app::App;
use crate::error::Result;
use crate::report::Report;

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_app: &App, _args: &Args) -> Result<Report> {
    todo!()
}

/// Verifies every store as part of a larger command; items go to the report.
///
/// # Errors
/// None that an item can hold.
pub async fn verify(_app: &App, _targets: &crate::config::Targets, _wait: Option<std::time::Duration>) -> Result<()> {
    todo!()
}
