//! `lyrox ps`

use std::fmt::Write as _;

use serde_json::json;

use crate::app::App;
use crate::error::Result;
use crate::report::{Layout, Report};
use crate::servers::{self, Status};

/// Flags of `ps`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox ps                    the local servers: state, process, port, version, size of their data\n  lyrox --output json ps      the same under `data` of the report\n\nA server that is `crashed` ended without being asked to: lyrox logs STORE says why, lyrox up starts it."
)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// As [`servers::list`].
pub async fn run(app: &App, _args: &Args) -> Result<Report> {
    app.begin("ps", Layout::Lines);
    let mut list = servers::list(&app.config()?.root)?;
    list.retain(|status| app.global.only.is_empty() || app.global.only.contains(&status.kind));
    let mut report = app.finish();
    report.data = Some(list.iter().map(entry).collect());
    report.text = Some(table(&list));
    Ok(report)
}

fn entry(status: &Status) -> serde_json::Value {
    json!({
        "store": status.kind,
        "state": status.condition.word(),
        "pid": status.pid,
        "port": status.port,
        "version": status.product,
        "data": status.data.display().to_string(),
        "bytes": status.size,
        "since": status.since,
    })
}

fn table(list: &[Status]) -> String {
    if list.is_empty() {
        return "no local server was ever started here; lyrox up starts them\n".into();
    }
    let mut text = format!(
        "{:<9} {:<9} {:>8} {:>6}  {:<18} {:>9}  {}\n",
        "STORE", "STATE", "PID", "PORT", "VERSION", "DATA", "SINCE"
    );
    for status in list {
        let pid = status.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let version = status.product.as_deref().unwrap_or("-");
        let since = status.since.as_deref().unwrap_or("-");
        let line = format!(
            "{:<9} {:<9} {pid:>8} {:>6}  {version:<18} {:>9}  {since}",
            status.kind,
            status.condition.word(),
            status.port,
            megabytes(status.size),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn megabytes(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
    let megabytes = bytes as f64 / 1_000_000.0;
    format!("{megabytes:.1} MB")
}
