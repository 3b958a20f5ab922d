//! `lyrox db status`

use std::collections::HashMap;

use crate::app::App;
use crate::engine::event::{Event, Events as _};
use crate::engine::guard;
use crate::engine::ledger::{Row, State};
use crate::engine::migrate::{self, Work};
use crate::engine::plan::{Drift, Goal};
use crate::engine::repeatables;
use crate::engine::tenant::run::Selection;
use crate::engine::tenant::skew::{self, NAMED};
use crate::error::{Code, Result};
use crate::exit::Exit;
use crate::project::migration::label;
use crate::report::{Change, Item, Layout, Report, plural};

/// Flags of `db status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db status           what is applied, pending or changed\n  lyrox db status --check   for CI: exit 8 when something is pending, 6 when something drifted\n  lyrox db status --tenants all   which versions the tenants are at, and who is behind"
)]
pub struct Args {
    /// End with 8 when something is pending, with 6 when files and ledger disagree
    #[arg(long)]
    pub check: bool,
    /// The migrations of tenants: all, keys or slugs with commas between them, or @FILE with one on each line
    #[arg(long, value_name = "all|KEYS|@FILE")]
    pub tenants: Option<String>,
    /// The migrations of this tenant, by its key or slug; may be given several times
    #[arg(long, value_name = "KEY", conflicts_with = "tenants")]
    pub tenant: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// A store that cannot be read.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db status", Layout::Status);
    let targets = app.targets()?;
    let config = app.config()?;
    let work = Work { config, targets: &targets, events: app, wait: std::time::Duration::ZERO };
    let selection = match &args.tenants {
        Some(text) => Some(Selection::read(text)?),
        None => Some(Selection::Named(args.tenant.clone())).filter(|_| !args.tenant.is_empty()),
    };
    if let Some(selection) = selection {
        return tenants(app, work, selection, args.check).await;
    }
    let (opened, files) = work.open_reading(super::migrate::reader(app)?).await?;
    let migrate::Opened { mut stores, ledgers } = opened;
    guard::refuse_other_mark(config, &migrate::marks(&ledgers))?;
    let rows = migrate::rows(&ledgers);
    let drift = migrate::planned(&files, &ledgers, &Goal::Latest).err().unwrap_or_default();
    let drift = migrate::with_texts(&mut stores, drift).await;
    migrate::close(stores).await;

    app.event(Event::Heading(format!("{} ({})", config.settings.project.name, config.environment)));
    let again = repeatables::pending(&files, &rows);
    let runs_again = |row: &Row| again.iter().any(|step| step.store == row.store && step.version == row.version);
    let mut lines = Vec::new();
    for (store, rows) in &rows {
        let known: HashMap<_, _> = rows.iter().map(|row| (&row.version, row)).collect();
        let has_file = |row: &&Row| {
            !row.version.is_repeatable()
                || files.iter().any(|file| file.version == row.version && file.parts.contains_key(store))
        };
        for row in rows.iter().filter(|row| row.state == State::Applied && !runs_again(row)).filter(has_file) {
            let subject = (*store, label(&row.version, &row.name));
            if drift.iter().any(|drift| drift.subject() == subject && !matches!(drift, Drift::OutOfOrder { .. })) {
                continue;
            }
            let when = row.finished_at.as_deref().unwrap_or(&row.started_at);
            let when =
                if when.is_empty() { "applied".into() } else { when.get(..16).unwrap_or(when).replace('T', " ") };
            let item = Item::pass(format!("{store}.{}", row.version), &subject.1).store(*store);
            // A line of a terminal has no room for who it was.
            let is_short = app.ui.is_human() && app.ui.verbosity() == 0;
            let detail = if is_short { when } else { format!("{when} by {}", row.actor) };
            lines.push((row.version.clone(), *store, item.detail(detail)));
        }
        for file in files.iter().filter(|file| file.parts.contains_key(store)) {
            let row = known.get(&file.version).copied();
            let subject = (*store, file.label());
            if row.is_some_and(|row| row.state == State::Applied && !runs_again(row))
                || drift.iter().any(|drift| drift.subject() == subject)
            {
                continue;
            }
            let detail = match row {
                Some(row) if file.version.is_repeatable() => match row.state {
                    State::Applied => "changed".to_owned(),
                    State::Reverted => "runs again after a rollback".to_owned(),
                    State::Started | State::Failed => "did not end; runs again".to_owned(),
                },
                Some(row) if row.state == State::Reverted => "was rolled back".to_owned(),
                Some(row) => format!("stopped after step {} of {}", row.steps_done, row.steps_total),
                None => String::new(),
            };
            let id = format!("{store}.{}", file.version);
            // A repeatable runs from its beginning whatever became of it.
            let left = row.filter(|row| row.state != State::Reverted && !row.version.is_repeatable());
            let item = match left {
                Some(row) => Item::warn(id, file.label()).code(Code::Unfinished).hint(format!(
                    "lyrox db migrate {}; lyrox db repair --forget {} --only {store} begins anew",
                    match row.steps_done + 1 {
                        next if next > row.steps_total => "writes that it is done".to_owned(),
                        next => format!("goes on at step {next}"),
                    },
                    row.version
                )),
                None => Item::pass(id, file.label()),
            };
            let item = item.store(*store).change(Change::Planned);
            lines.push((file.version.clone(), *store, if detail.is_empty() { item } else { item.detail(detail) }));
        }
    }
    // In the order of the timeline; what has no file is drift.
    let places: HashMap<_, _> = files.iter().enumerate().map(|(at, file)| (&file.version, at)).collect();
    lines.sort_by_key(|(version, store, _)| (places.get(version).copied(), *store));
    let mut orphans = Vec::new();
    for row in repeatables::orphans(&files, &rows) {
        let item = Item::skip(format!("{}.{}", row.store, row.version), row.version.as_str()).store(row.store);
        orphans.push(item.detail("its file is gone; what it made is still there"));
    }
    let pending = lines.iter().filter(|(_, _, item)| item.change == Some(Change::Planned)).count();
    let applied = lines.len() - pending;
    app.items(lines.into_iter().map(|(.., item)| item).chain(orphans));
    for drift in &drift {
        let (store, subject) = drift.subject();
        let error = drift.error();
        let id = format!("{store}.{subject}");
        let mut item = Item::fail(id, subject, &error).store(store);
        if !args.check {
            item.outcome = crate::report::Outcome::Warn;
        }
        app.item(item);
    }
    let mut report = app.finish();
    if args.check && pending > 0 {
        report.decide(Exit::Pending);
        if let Some(item) = report.items.iter_mut().find(|item| item.change == Some(Change::Planned)) {
            item.code = Some(Code::Pending.text().to_owned());
            item.hint = Some("lyrox db migrate".into());
        }
    }
    let mut summary = format!("{applied} applied, {pending} pending");
    if !drift.is_empty() {
        summary.push_str(&format!(", {} in disagreement", drift.len()));
    }
    report.summary = Some(summary);
    super::migrate::tell_trips(app, &mut report);
    Ok(report)
}

/// Where the tenants are.
async fn tenants(app: &App, work: Work<'_>, selection: Selection, checks: bool) -> Result<Report> {
    let skew = skew::skew(work, selection).await?;
    app.event(Event::Heading(format!("{} ({})", work.config.settings.project.name, work.config.environment)));
    let count = |count: u64| plural(usize::try_from(count).unwrap_or(usize::MAX), "tenant");
    for group in &skew.groups {
        let version = group.version.as_deref().unwrap_or("none");
        let id = format!("version.{version}.{}", if group.is_settled { "applied" } else { "behind" });
        let item = Item::pass(id, version);
        let item = if group.is_settled {
            item.detail(count(group.tenants))
        } else {
            item.change(Change::Planned).detail(format!("{} behind", count(group.tenants)))
        };
        app.item(item);
    }
    let named = skew
        .behind
        .iter()
        .map(|record| (record, "behind"))
        .chain(skew.incomplete.iter().map(|record| (record, "not complete")));
    for (record, what) in named {
        let mut item = Item::skip(format!("tenant.{}", record.tenant.shown()), record.tenant.shown());
        item.tenant = Some(record.tenant.key().to_owned());
        let at = record.version.as_deref().map_or_else(|| "no version".to_owned(), |version| format!("at {version}"));
        let state = if what == "behind" { at } else { format!("{}, {at}", record.state.word()) };
        app.item(item.detail(format!("{what}, {state}")));
    }
    let behind = skew.behind_count();
    if behind > NAMED as u64 {
        app.note(format!("the first {NAMED} of {behind} that are behind; lyrox tenant list shows all"));
    }
    let mut report = app.finish();
    report.data = Some(serde_json::json!({ "tenants": skew.total, "behind": behind, "versions": skew.groups }));
    if checks && behind > 0 {
        report.decide(Exit::Pending);
        if let Some(item) = report.items.iter_mut().find(|item| item.change == Some(Change::Planned)) {
            item.code = Some(Code::Pending.text().to_owned());
            item.hint = Some("lyrox db migrate --tenants all".into());
        }
    }
    report.summary = Some(format!("{}, {behind} behind", count(skew.total)));
    super::migrate::tell_trips(app, &mut report);
    Ok(report)
}
