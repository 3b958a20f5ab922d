//! `lyrox db rehearse`

use std::fmt::Write as _;

use super::migrate::{files, known};
use crate::app::App;
use crate::config::Period;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::{Goal, Plan, Step};
use crate::engine::rehearse;
use crate::engine::trial::{Lock, Trial};
use crate::error::Result;
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::report::{Layout, Report, plural};
use crate::scratch::{self, Request, Scratch};

/// Flags of `db rehearse`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db rehearse                     try what is pending on scratch servers of its own\n  lyrox db rehearse --live              on the live PostgreSQL, in one transaction that is rolled back\n  lyrox db rehearse --live --limit 10s  no statement longer than 10 seconds\n\nIt tells time, rows, every lock that others would notice, and tables that are written anew. With --live the\nlocks are real: others wait for them until the transaction is rolled back."
)]
pub struct Args {
    /// Up to and including this version
    #[arg(long, value_name = "VERSION", conflicts_with = "steps")]
    pub to: Option<String>,
    /// Only the next N pending versions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// On the live PostgreSQL: one transaction, rolled back at the end
    #[arg(long)]
    pub live: bool,
    /// With --live: how long one statement may run
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "live")]
    pub limit: Period,
    /// With --live: how long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "live")]
    pub lock_wait: Period,
    /// A server on which lyrox may make and drop a scratch database or prefix, in place of servers of its own
    #[arg(long, value_name = "URL", conflicts_with = "live")]
    pub scratch_url: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// What kept it from starting; a migration that fails when tried is an item of the report.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db rehearse", Layout::Lines);
    let files = files(app)?;
    let goal = match (&args.to, args.steps) {
        (Some(version), _) => Goal::To(known(&files, version)?),
        (None, Some(count)) => Goal::Steps(count as usize),
        (None, None) => Goal::Latest,
    };
    let targets = app.targets()?;
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let tried = if args.live {
        rehearse::live(work, &files, &goal, args.limit.duration()).await?
    } else {
        on_scratch(app, work, &files, &goal, args).await?
    };
    let mut report = app.finish();
    report.data = Some(data(&tried));
    report.text = Some(tried.iter().map(|(step, trial)| text(step, trial)).collect());
    report.summary = Some(match (tried.len(), report.ok) {
        (0, true) => "nothing is pending; nothing was changed".into(),
        (count, true) => format!("{} rehearsed; nothing was changed", plural(count, "step")),
        (_, false) => "it would fail; nothing was changed".into(),
    });
    Ok(report)
}

/// On scratch stores that stand as the live ones' migrations left them.
async fn on_scratch(
    app: &App,
    work: Work<'_>,
    files: &[Migration],
    goal: &Goal,
    args: &Args,
) -> Result<rehearse::Tried> {
    let request =
        Request::new(&args.scratch_url, &work.config.variables, app.global.offline, app.global.allow_argv_secret)?;
    let mut live = work.open().await?;
    let Some((plan, rows)) = rehearse::ahead(work, &mut live, files, goal).await? else { return Ok(Vec::new()) };
    if plan.steps.is_empty() {
        migrate::close(live).await;
        return Ok(Vec::new());
    }
    let behind = scratch::applied(files, &rows);
    // What stands before the first pending step may lack the tables that exceptions of grants name, and what the
    // application may read is no part of a rehearsal.
    let mut config = work.config.clone();
    if let Some(section) = config.settings.postgres.as_mut() {
        section.app_grants_except.clear();
    }
    let apart = Work { config: &config, ..work };
    let scratch = Scratch::open(apart, &mut live, &with_pending(files, &behind, &plan), &request).await?;
    migrate::close(live).await;
    scratch.replay_only(&behind, app).await?;
    let mut stores = scratch.work(app).open().await?;
    let tried = rehearse::on_scratch(work, &mut stores, &plan).await;
    migrate::close(stores).await;
    let closed = scratch.close().await;
    let tried = tried?;
    closed.map(|()| tried)
}

/// The parts that are applied and those that are to be tried.
fn with_pending(files: &[Migration], applied: &[Migration], plan: &Plan) -> Vec<Migration> {
    let is_wanted = |file: &Migration, store: StoreKind| {
        let is_applied = applied.iter().any(|other| other.version == file.version && other.parts.contains_key(&store));
        is_applied || plan.steps.iter().any(|step| step.version == file.version && step.store == store)
    };
    let mut wanted = files.to_vec();
    for file in &mut wanted {
        let whole = file.clone();
        file.parts.retain(|store, _| is_wanted(&whole, *store));
    }
    wanted.retain(|file| !file.parts.is_empty());
    wanted
}

fn data(tried: &[(Step, Trial)]) -> serde_json::Value {
    let steps = tried.iter().map(|(step, trial)| {
        serde_json::json!({
            "store": step.store,
            "version": step.version.as_str(),
            "name": step.name,
            "file": step.script.path,
            "elapsed_ms": trial.elapsed.as_secs_f64() * 1000.0,
            "statements": trial.statements,
            "locks": trial.locks.iter().map(lock_data).collect::<Vec<_>>(),
            "rows": trial.rows,
            "rewrites": trial.rewrites,
            "lasting": trial.lasting,
        })
    });
    serde_json::json!({ "steps": steps.collect::<Vec<_>>() })
}

fn lock_data(lock: &Lock) -> serde_json::Value {
    serde_json::json!({
        "relation": lock.relation,
        "mode": lock.mode.words(),
        "statement": lock.statement,
        "held_ms": lock.held_ms,
        "blocks": lock.mode.blocks(),
        "live": lock.live,
    })
}

/// What was seen of one step, for people.
fn text(step: &Step, trial: &Trial) -> String {
    /// So many statements are shown: the slowest.
    const SHOWN: usize = 20;
    let mut text = format!("\n{}  {}\n", step.script.path, step.store);
    let mut slowest: Vec<f64> = trial.statements.iter().map(|tried| tried.elapsed_ms).collect();
    slowest.sort_by(|a, b| b.total_cmp(a));
    let least = slowest.get(SHOWN - 1).copied().unwrap_or(0.0);
    for tried in trial.statements.iter().filter(|tried| tried.elapsed_ms >= least).take(SHOWN) {
        let line = crate::ui::one_line(&tried.text, 58);
        let _ = writeln!(text, "  {:>5}  {line:<58}  {:>9.1} ms", tried.number, tried.elapsed_ms);
    }
    if trial.statements.is_empty() {
        return String::new();
    }
    if trial.statements.len() > SHOWN {
        let _ = writeln!(text, "         the slowest {SHOWN} of {}", trial.statements.len());
    }
    for lock in trial.locks.iter().filter(|lock| lock.mode.blocks().is_some()) {
        let mode = lock.mode.words();
        let _ = writeln!(
            text,
            "  lock   {mode} on {} for {:.1} ms, from statement {}",
            lock.relation, lock.held_ms, lock.statement
        );
        let _ = writeln!(text, "         it blocks {}", lock.mode.blocks().unwrap_or_default());
        let Some(live) = &lock.live else { continue };
        let rows = live.rows.map_or_else(
            || "rows unknown".to_owned(),
            |rows| format!("about {}", plural(usize::try_from(rows).unwrap_or(usize::MAX), "row")),
        );
        let _ = write!(text, "         live: {rows}, {}", crate::ui::bytes(live.bytes));
        if live.sessions > 0 {
            let _ = write!(
                text,
                "; it would wait for {}, the oldest {:.0} s old",
                plural(usize::try_from(live.sessions).unwrap_or(usize::MAX), "lock"),
                live.oldest_seconds.unwrap_or(0.0)
            );
        }
        text.push('\n');
    }
    let quiet: Vec<&str> =
        trial.locks.iter().filter(|lock| lock.mode.blocks().is_none()).map(|lock| lock.relation.as_str()).collect();
    if !quiet.is_empty() {
        let _ = writeln!(text, "  lock   nothing that others notice on {}", quiet.join(", "));
    }
    for rows in &trial.rows {
        let _ = writeln!(text, "  rows   {}: {}", rows.relation, rows.words());
    }
    if !trial.rewrites.is_empty() {
        let _ = writeln!(text, "  anew   every row of {} is written anew, under that lock", trial.rewrites.join(", "));
    }
    for lasting in &trial.lasting {
        let _ = writeln!(text, "  stays  a rollback does not undo: {lasting}");
    }
    text
}
