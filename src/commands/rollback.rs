//! `lyrox db rollback`

use super::migrate::{files, known};
use crate::app::App;
use crate::config::Period;
use crate::engine::event::Events as _;
use crate::engine::guard::{self, Consent};
use crate::engine::migrate::{self, Agreement, Work};
use crate::engine::plan::Goal;
use crate::error::{Code, Error, Result};
use crate::project::migration::{Migration, Version};
use crate::report::{Layout, Report};
use crate::typed::again;
use crate::ui::prompt;

/// Flags of `db rollback`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db rollback --yes                       undo the last version\n  lyrox db rollback --steps 3 --yes             undo the last three versions\n  lyrox db rollback --run --yes                 undo what the last run applied\n  lyrox db rollback --to 20251101090000 --yes   undo everything above this version\n  lyrox db rollback --dry-run                   show what would be undone, and how\n\nIt asks first; without a terminal it needs --yes, on a protected environment --confirm NAME.\nThe way back is the .down file; where the file is gone or is another one now, the text that the ledger kept."
)]
pub struct Args {
    /// Undo the last N versions
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["to", "run", "version"], value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Undo every version above this one; 0 undoes all
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["run", "version"])]
    pub to: Option<String>,
    /// Undo what the last run applied
    #[arg(long, conflicts_with = "version")]
    pub run: bool,
    /// Undo this version alone, such as one whose file went with a branch
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Use the ways back that the ledger kept, whatever the .down files say now
    #[arg(long)]
    pub from_ledger: bool,
    /// Show what would be undone; change nothing
    #[arg(long)]
    pub dry_run: bool,
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
    let mut files = files(app)?;
    let goal = match (&args.to, &args.version) {
        (Some(version), _) if version == "0" => Goal::BackTo(Version::new("0")),
        (Some(version), _) => Goal::BackTo(typed(&files, version)?),
        (None, Some(version)) => Goal::BackOne(typed(&files, version)?),
        (None, None) if args.run => Goal::BackRun,
        (None, None) => Goal::Back(args.steps as usize),
    };
    if args.from_ledger {
        files.iter_mut().flat_map(|file| file.parts.values_mut()).for_each(|part| part.down = None);
    }
    let targets = app.targets()?;
    let config = app.config()?;
    if args.dry_run {
        let work = Work { config, targets: &targets, events: app, wait: args.lock_wait.duration() };
        let dry = migrate::dry_run(work, &files, &goal).await?;
        let mut report = app.finish();
        report.data = Some(super::migrate::data(&dry));
        report.text = Some(super::migrate::text(&dry));
        report.summary = Some("a dry run: nothing was changed".into());
        return Ok(report);
    }
    let can_ask = prompt::can_ask(app.global.no_input);
    if !can_ask && !app.global.yes && args.confirm.is_none() {
        return Err(Error::new(Code::Consent, "rollback needs consent")
            .why("there is no terminal to ask on")
            .data("nothing was sent")
            .hint(again("--yes", None)));
    }
    let work = Work { config, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let Agreement { plan, marks, remarks } = migrate::plan_back(work, &files, &goal).await?;
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
        for (step, remark) in plan.steps.iter().zip(&remarks).filter(|(step, _)| !step.is_ledger_only()) {
            let remark = if remark.is_empty() { String::new() } else { format!("  ({remark})") };
            app.ui.say(&format!("  undo  {}  {}  {}{remark}", step.label(), step.store, step.script.path));
        }
        if is_protected {
            let name = guard::name_to_confirm(&targets);
            consent.confirm = Some(prompt::line(&format!("This environment is protected. Type {name} to roll back:"))?);
        } else {
            said_yes = prompt::yes("Roll back? What these migrations made is dropped, with its data.", false)?;
        }
    }
    let permit = guard::permit_rollback(config, &targets, &marks, &consent, said_yes)?;
    for (step, remark) in plan.steps.iter().zip(&remarks).filter(|(_, remark)| !remark.is_empty()) {
        app.note(format!("{} on {}: the way back is {remark}", step.label(), step.store));
    }
    migrate::rollback(work, &files, &goal, &plan, &permit).await?;
    Ok(app.finish())
}

/// The version that a person typed; one that no file has may be in a ledger.
fn typed(files: &[Migration], version: &str) -> Result<Version> {
    let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    known(files, version).or_else(|error| if is_version { Ok(Version::new(version)) } else { Err(error) })
}
