//! `lyrox tenant policies`
use crate::app::App;
use crate::error::Result;
use crate::report::{Layout, Report};
/// Flags of `tenant policies`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lyrox tenant policies")]
pub struct Args {}
/// Runs the command.
///
/// # Errors
/// None.
pub async fn run(app: &App, _args: &Args) -> Result<Report> {
    app.begin("tenant policies", Layout::Lines);
    Ok(app.finish())
}
