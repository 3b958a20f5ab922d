//! `lyrox db dump`

use crate::app::App;
use crate::error::Result;
use crate::report::{Layout, Report};

/// Flags of `db dump`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// A store that cannot be read.
pub async fn run(app: &App, _args: &Args) -> Result<Report> {
    app.begin("db dump", Layout::Lines);
    Ok(app.finish())
}
