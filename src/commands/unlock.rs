//! `lyrox db unlock`

use crate::app::App;
use crate::engine::guard::{self, Consent};
use crate::engine::migrate::Work;
use crate::engine::unlock;
use crate::error::Result;
use crate::report::{Layout, Report};
use crate::ui::prompt;

/// Flags of `db unlock`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db unlock                      who holds the locks; ends those whose holder is gone\n  lyrox db unlock --confirm lyrox_os   takes them from a run that may be alive as well; NAME is the database\n\nA lock ends with its run: PostgreSQL's with the session, the others' within 15 s. This is for a run that hangs."
)]
pub struct Args {
    /// Take the lock from a run that may be alive; NAME as `db reset` wants it
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Another name than the right one, or a store that cannot be reached.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db unlock", Layout::Lines);
    let targets = app.targets()?;
    let permit = guard::permit_unlock(&targets, &Consent { confirm: args.confirm.clone() })?;
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: std::time::Duration::ZERO };
    let name = guard::name_to_confirm(&targets);
    let is_held = unlock::unlock(work, permit.as_ref(), &name).await?;
    if is_held && permit.is_none() && prompt::can_ask(app.global.no_input) {
        let answer = prompt::line(&format!("To take the lock from that run all the same, type {name}:"))?;
        if answer == name {
            let report = app.finish();
            app.begin("db unlock", Layout::Lines);
            let permit = guard::permit_unlock(&targets, &Consent { confirm: Some(answer) })?;
            unlock::unlock(work, permit.as_ref(), &name).await?;
            drop(report);
        }
    }
    Ok(app.finish())
}
