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
    report.text = Some(if args.shell == Shell::Zsh { loaded_at_need(&script) } else { script });
    Ok(report)
}

/// zsh reads a file of `$fpath` at the first TAB, as the body of the function that is to answer that very TAB: the script
/// answers it, and only where it is sourced leaves it at the registration.
fn loaded_at_need(script: &str) -> String {
    let registered = "compdef _clap_dynamic_completer_lyrox lyrox";
    let answered = format!(
        "if [ \"$funcstack[1]\" = \"_lyrox\" ]; then\n    _clap_dynamic_completer_lyrox \"$@\"\nelse\n    {registered}\nfi"
    );
    script.replace(registered, &answered)
}
