//! `lyrox completions`

use clap_complete::Shell;

use super::complete;
use crate::app::App;
use crate::error::{Error, Result};
use crate::report::{Layout, Report};

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox completions bash > lyrox.bash    then: source lyrox.bash\n  lyrox completions zsh > _lyrox         into a folder of $fpath\n  lyrox completions fish > lyrox.fish    into ~/.config/fish/completions\n\nThe script asks lyrox itself: it completes environments, versions, seed sets, tags and tenants as well, and\nstays right when lyrox is updated."
)]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// None of its own.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("completions", Layout::Lines);
    let shell = args.shell.to_string();
    let script = complete::script(&shell).ok_or_else(|| Error::bug(format!("no completions for `{shell}`")))?;
    let mut report = app.finish();
    report.text = Some(script);
    Ok(report)
}
