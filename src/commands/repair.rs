//! `lyrox db repair`

use crate::app::App;
use crate::config::Period;
use crate::engine::ledger::Amendment;
use crate::engine::migrate::Work;
use crate::engine::repair::{self, Repair};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Layout, Report};
use crate::typed::again;
use crate::ui::prompt;

/// Flags of `db repair`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db repair --done 20251101090000              the step in doubt took effect: go on behind it\n  lyrox db repair --not-done 20251101090000          it did not: run it again\n  lyrox db repair --accept 20251101090000 --yes      the file as it is now counts as applied\n  lyrox db repair --forget 20251101090000 --yes      a migration whose file is gone, or that is to begin anew\n  lyrox db repair --replay redis                     redis was emptied: run its migrations again\n  lyrox db repair --record mongodb                   its data is there, only the ledger is gone: write the rows\n\nNothing of the data is changed, but by --replay. Every state and its way on: docs/recovery.md."
)]
#[command(group = clap::ArgGroup::new("how").required(true))]
pub struct Args {
    /// The step that was begun took effect, or its work was done by hand
    #[arg(long, value_name = "VERSION", group = "how")]
    pub done: Option<String>,
    /// The step that was begun did not take effect: the next run runs it again
    #[arg(long, value_name = "VERSION", group = "how")]
    pub not_done: Option<String>,
    /// Text and name of the file as they are now count as what was applied
    #[arg(long, value_name = "VERSION", group = "how")]
    pub accept: Option<String>,
    /// Strike a version without a file, or an unfinished one, out of the ledger; what it made stays
    #[arg(long, value_name = "VERSION", group = "how")]
    pub forget: Option<String>,
    /// Run this store's migrations again
    #[arg(long, value_name = "STORE", group = "how")]
    pub replay: Option<StoreKind>,
    /// Write this store's ledger rows without running anything
    #[arg(long, value_name = "STORE", group = "how")]
    pub record: Option<StoreKind>,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

impl Args {
    /// The row's amendment and the version that was typed.
    fn amendment(&self) -> Option<(Amendment, &str)> {
        [
            (Amendment::Done, &self.done),
            (Amendment::NotDone, &self.not_done),
            (Amendment::Accept, &self.accept),
            (Amendment::Forget, &self.forget),
        ]
        .into_iter()
        .find_map(|(what, version)| Some((what, version.as_deref()?)))
    }
}

/// Runs the command.
///
/// # Errors
/// Nothing to repair, no consent, or what kept it from starting.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db repair", Layout::Lines);
    let files = super::migrate::files(app)?;
    let targets = app.targets()?;
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: args.lock_wait.duration() };
    match (args.amendment(), args.replay, args.record) {
        (Some((what, version)), ..) => {
            agree(app, work, &files, what, version).await?;
            repair::amend(work, &files, version, what).await?;
        }
        (None, Some(store), _) => repair::repair(work, &files, Repair::Replay(store)).await.map(|_| ())?,
        (None, None, Some(store)) => repair::repair(work, &files, Repair::Record(store)).await.map(|_| ())?,
        (None, None, None) => return Err(Error::new(Code::Usage, "say what to repair: --done, --accept, ...")),
    }
    Ok(app.finish())
}

/// What overrules the ledger is asked for; what only says what a person saw is not.
async fn agree(
    app: &App,
    work: Work<'_>,
    files: &[crate::project::migration::Migration],
    what: Amendment,
    version: &str,
) -> Result<()> {
    let (flag, question) = match what {
        Amendment::Done | Amendment::NotDone => return Ok(()),
        Amendment::Accept => ("--accept", "Let the file as it is now count as what was applied?"),
        Amendment::Forget => ("--forget", "Strike it out of the ledger? What it made stays."),
    };
    if app.global.yes {
        return Ok(());
    }
    if !prompt::can_ask(app.global.no_input) {
        return Err(Error::new(Code::Consent, format!("{flag} needs consent"))
            .why("it overrules the ledger, and there is no terminal to ask on")
            .data("nothing was sent")
            .hint(again("--yes", None)));
    }
    for affected in repair::affected(work, files, version, what).await? {
        app.ui.say(&format!("  {}", affected.label()));
    }
    if prompt::yes(question, false)? {
        return Ok(());
    }
    Err(Error::new(Code::Consent, "the repair was declined").data("nothing was changed"))
}
