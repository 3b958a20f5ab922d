//! `lyrox up`

use crate::app::App;
use crate::error::Result;
use crate::report::Report;

/// Flags of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_app: &App, _args: &Args) -> Result<Report> {
    todo!()
}

/// Starts the local servers of these stores as part of a larger command; items go to the report.
///
/// # Errors
/// A server that cannot be found, fetched or started.
pub async fn start(_app: &App, _stores: &[crate::kind::StoreKind]) -> Result<()> {
    todo!()
}

/// The stores of the run whose URL is not set, and which the local servers serve.
///
/// # Errors
/// A configuration that cannot be read.
pub fn stores_without_url(_app: &App) -> Result<Vec<crate::kind::StoreKind>> {
    todo!()
}
