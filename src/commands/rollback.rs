//! `lyrox db rollback`

use super::migrate::{files, known};
use crate::app::App;
use crate::config::Period;
use crate::engine::guard::{self, Consent};
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::error::{Code, Error, Result};
use crate::project::migration::Version;
use crate::report::{Layout, Report};
use crate::ui::prompt;

/// Flags of `db rollback`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db rollback --yes                       undo the last version\n  lyrox db rollback --steps 3 --yes             undo the last three versions\n  lyrox db rollback --to 20251101090000 --yes   undo everything above this version\n\nIt asks first; without a terminal it needs --yes, on a protected environment --confirm NAME."
)]
pub struct Args {
    /// Undo the last N versions
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "to", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Undo every version above this one; 0 undoes all
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// The name that a protected environment asks for
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// Runs the command.
///
/// # Errors
/// No consent, a migration without a way back, or what kept it from starting.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db rollback", Layout::Lines);
    let files = files(app)?;
    let goal = match args.to.as_deref() {
        Some("0") => Goal::BackTo(Version::new("0")),
        Some(version) => Goal::BackTo(known(&files, version)?),
        None => Goal::Back(args.steps as usize),
    };
    let targets = app.targets()?;
    let config = app.config()?;
    let can_ask = prompt::can_ask(app.global.no_input);
    if !can_ask && !app.global.yes && args.confirm.is_none() {
        return Err(Error::new(Code::Consent, "rollback needs consent")
            .why("there is no terminal to ask on")
            .data("nothing was sent")
            .hint("lyrox db rollback --yes"));
    }
    let work = Work { config, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let (plan, marks) = migrate::plan_back(work, &files, &goal).await?;
    if plan.steps.is_empty() {
        let mut report = app.finish();
        report.summary = Some("nothing to roll back".into());
        return Ok(report);
    }
    let mut consent = Consent { confirm: args.confirm.clone() };
    let mut said_yes = app.global.yes;
    let is_protected =
        config.is_protected || marks.iter().any(|(_, mark)| mark.as_ref().is_some_and(|mark| mark.is_protected));
    if can_ask && !said_yes && consent.confirm.is_none() {
        for step in &plan.steps {
            app.ui.say(&format!("  undo  {}  {}  {}", step.label(), step.store, step.script.path));
        }
        if is_protected {
            let name = guard::name_to_confirm(&targets);
            consent.confirm = Some(prompt::line(&format!("This environment is protected. Type {name} to roll back:"))?);
        } else {
            said_yes = prompt::yes("Roll back? What these migrations made is dropped, with its data.", false)?;
        }
    }
    let permit = guard::permit_rollback(config, &targets, &marks, &consent, said_yes)?;
    migrate::rollback(work, &files, &goal, &plan, &permit).await?;
    Ok(app.finish())
}
