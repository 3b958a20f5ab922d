//! `lyrox completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::app::App;
use crate::cli::Cli;
use crate::error::Result;
use crate::report::{Layout, Report};

/// Flags of `completions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox completions bash > lyrox.bash    then: source lyrox.bash\n  lyrox completions zsh > _lyrox         into a folder of $fpath\n  lyrox completions fish > lyrox.fish    into ~/.config/fish/completions"
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
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "lyrox", &mut script);
    let mut report = app.finish();
    report.text = Some(String::from_utf8_lossy(&script).into_owned());
    Ok(report)
}
