//! `lyrox db migrate`

use super::fan::Fan;
use crate::app::App;
use crate::config::Period;
use crate::engine::event::Events as _;
use crate::engine::lock::WAIT;
use crate::engine::migrate::{self, DryRun, Work};
use crate::engine::plan::{Action, Goal};
use crate::engine::repeatables;
use crate::engine::tenant::inside;
use crate::engine::tenant::run::Selection;
use crate::engine::tenant::unit::Task;
use crate::error::{Code, Error, Result};
use crate::project::formats;
use crate::project::migration::{Migration, Version};
use crate::report::{Layout, Report};
use crate::stores::trips;

/// Flags of `db migrate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db migrate                       apply everything that is pending\n  lyrox db migrate --dry-run             show the plan, change nothing\n  lyrox db migrate --to 20251101090000   up to and including this version\n  lyrox db migrate --tenants all         the migrations of every tenant that is behind\n  lyrox db migrate --tenants all --jobs 4 --canary 1 --wave 100   one first, then a hundred at a time\n\nWith --tenants each tenant stands or falls alone. The run is written down: after a kill the same command goes on, and\nseveral processes with the same command share the work.\n\nExit codes: 0 done; 1 a migration failed; 5 another run holds the lock; 6 files and ledger disagree; 7 some tenants failed"
)]
pub struct Args {
    /// Up to and including this version
    #[arg(long, value_name = "VERSION", conflicts_with = "steps")]
    pub to: Option<String>,
    /// Only the next N pending versions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Show store, file, statements and transactions; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Work through a transaction pooler: files that fit in one transaction each
    #[arg(long)]
    pub allow_pooler: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
    /// Work on this tenant, by its key or slug; may be given several times
    #[arg(long, value_name = "KEY", help_heading = "Tenants")]
    pub tenant: Vec<String>,
    /// Work on so many tenants at a time, with a connection each, and one more that keeps the run
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Tenants")]
    pub jobs: u16,
    /// Which tenants.
    #[command(flatten)]
    pub fan: Fan,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            to: None,
            steps: None,
            dry_run: false,
            allow_pooler: false,
            lock_wait: Period::seconds(WAIT.as_secs()),
            tenant: Vec::new(),
            jobs: 2,
            fan: Fan::default(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What kept it from starting; a migration that fails is an item of the report.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db migrate", Layout::Lines);
    if let Some(selection) = args.fan.selection(&args.tenant)? {
        return tenants(app, args, selection).await;
    }
    let mut targets = app.targets()?;
    for target in &mut targets.stores {
        target.allows_pooler = args.allow_pooler;
    }
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let (opened, files) = work.open_reading(reader(app)?).await?;
    let goal = goal(args, &files)?;
    if args.dry_run {
        let dry = migrate::dry_run_open(work, opened, &files, &goal).await?;
        let mut report = app.finish();
        report.data = Some(data(&dry));
        report.text = Some(text(&dry));
        report.summary = Some("a dry run: nothing was changed".into());
        return Ok(report);
    }
    let outcome = migrate::migrate_open(work, opened, &files, &goal).await?;
    let mut report = app.finish();
    if report.ok && outcome.done == 0 {
        report.summary = Some(format!("up to date in {}", crate::ui::seconds(report.elapsed_ms)));
    }
    tell_trips(app, &mut report);
    Ok(report)
}

/// The tenants' own migrations.
async fn tenants(app: &App, args: &Args, selection: Selection) -> Result<Report> {
    if args.allow_pooler {
        return Err(Error::new(Code::Usage, "tenants are not worked on through a transaction pooler")
            .why("each has a lock of its own, which a pooler does not keep")
            .data("nothing was contacted")
            .hint("set `direct_url` under [postgres] to the server itself, and leave --allow-pooler out"));
    }
    let targets = app.targets()?;
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let files = inside::files(work)?;
    let goal = goal(args, &files)?;
    let how = (&args.fan, usize::from(args.jobs), args.dry_run);
    super::fan::run(app, &targets, args.lock_wait, Task::Migrate(&files, &goal), selection, how).await
}

fn goal(args: &Args, files: &[Migration]) -> Result<Goal> {
    Ok(match (&args.to, args.steps) {
        (Some(version), _) => Goal::To(known(files, version)?),
        (None, Some(count)) => Goal::Steps(count as usize),
        (None, None) => Goal::Latest,
    })
}

/// With `-v` the closing line says how often the servers were waited for.
pub fn tell_trips(app: &App, report: &mut Report) {
    if app.ui.verbosity() > 0
        && let Some(trips) = trips::words()
    {
        let summary = report.summary.take().unwrap_or_else(|| crate::ui::summary(report));
        report.summary = Some(format!("{summary}, {trips}"));
    }
}

/// The project's migrations.
///
/// # Errors
/// As [`formats::read_all`].
pub fn files(app: &App) -> Result<Vec<Migration>> {
    reader(app)?()
}

/// What reads the project's migrations, to be done while something else is waited for.
///
/// # Errors
/// A configuration that cannot be read.
pub fn reader(app: &App) -> Result<impl FnOnce() -> Result<Vec<Migration>> + Send + 'static> {
    let config = app.config()?;
    for note in formats::notes(&config.root, &config.settings) {
        app.note(note);
    }
    let settings = config.settings.clone();
    let root = config.root.clone();
    Ok(move || {
        let files = formats::read_all(&root, &settings)?;
        repeatables::check(&files)?;
        Ok(files)
    })
}

/// The version that a person typed: whole, or its beginning where that is enough.
///
/// # Errors
/// No file or several files with it.
pub fn known(files: &[Migration], typed: &str) -> Result<Version> {
    if let Some(file) = files.iter().find(|file| file.version.as_str() == typed || file.label() == typed) {
        return Ok(file.version.clone());
    }
    let mut matching = files.iter().filter(|file| file.version.as_str().starts_with(typed));
    match (matching.next(), matching.next()) {
        (Some(file), None) => Ok(file.version.clone()),
        (Some(_), Some(_)) => Err(Error::new(Code::Usage, format!("several versions begin with `{typed}`"))
            .hint("lyrox db status lists them")),
        (None, _) => {
            Err(Error::new(Code::Usage, format!("there is no version `{typed}`")).hint("lyrox db status lists them"))
        }
    }
}

pub(super) fn data(dry: &DryRun) -> serde_json::Value {
    let steps = dry.steps.iter().map(|(step, preview)| {
        serde_json::json!({
            "store": step.store,
            "version": step.version.as_str(),
            "name": step.name,
            "file": step.script.path,
            "transaction": preview.transaction,
            "resume_from": step.resume_from,
            "count": preview.count,
            "action": action(step.action),
            "irreversible": step.will_be_irreversible(),
            "statements": preview.statements,
        })
    });
    serde_json::json!({ "steps": steps.collect::<Vec<_>>() })
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Apply => "apply",
        Action::Revert => "revert",
        Action::Record => "record",
        Action::Forget => "forget",
        Action::Hook(moment) => moment.word(),
    }
}

pub(super) fn text(dry: &DryRun) -> String {
    let mut text = String::new();
    for (step, preview) in dry.steps.iter().filter(|(step, _)| !step.is_ledger_only()) {
        let boundary =
            preview.transaction.map_or_else(|| "no transaction".to_owned(), |number| format!("transaction {number}"));
        let remark = if step.will_be_irreversible() { "  irreversible" } else { "" };
        text.push_str(&format!("\n{}  {}  {boundary}{remark}\n", step.script.path, step.store));
        for (index, statement) in preview.statements.iter().enumerate() {
            let skipped = if (index as u64) < u64::from(step.resume_from) { "  (done)" } else { "" };
            text.push_str(&format!("  {:>3}  {}{skipped}\n", index + 1, crate::ui::one_line(statement, 70)));
        }
        if preview.count > preview.statements.len() {
            text.push_str(&format!("  ...  and {} more\n", preview.count - preview.statements.len()));
        }
    }
    text
}
