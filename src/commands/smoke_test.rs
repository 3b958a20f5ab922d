//! `lyrox smoke_test`

use crate::app::App;
use crate::error::Result;
use crate::report::Report;

/// Flags of `smoke_test`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_app: &App, _args: &Args) -> Result<Report> {
    todo!()
}

/// Runs every test as part of a larger command; items go to the report.
///
/// # Errors
/// What kept the tests from starting.
pub async fn prove(_app: &App, _targets: &crate::config::Targets) -> Result<()> {
    todo!()
}
