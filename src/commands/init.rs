//! `lyrox init`

use crate::app::App;
use crate::error::Result;
use crate::report::Report;

/// Flags of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_app: &App, _args: &Args) -> Result<Report> {
    todo!()
}
