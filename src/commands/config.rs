//! `lyrox config`

use crate::app::App;
use crate::error::Result;
use crate::report::Report;

/// The commands below `config`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {}

/// Runs the command.
pub async fn run(_app: &App, _command: &Command) -> Result<Report> {
    todo!()
}
