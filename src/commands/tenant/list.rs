//! `lyrox tenant list`

use serde_json::json;

use super::{placement, work};
use crate::app::App;
use crate::engine::tenant::list::{self, Listed, UNMANAGED};
use crate::engine::tenant::{Placement, Record, State, shown};
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report, plural};

/// Flags of `tenant list`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant list                    every tenant, its slug, state and version\n  lyrox tenant list --state active     only those that are complete\n  lyrox tenant list --state unmanaged  only those that the application made without lyrox\n  lyrox tenant list --output json      for a program\n\n`--shard NAME` shows the tenants of one shard."
)]
pub struct Args {
    /// Only those in this state: pending, active, failed, suspended, deleting or unmanaged
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// An unknown state; a store that cannot be reached.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant list", Layout::Lines);
    let state = args.state.as_deref().filter(|word| *word != "unmanaged").map(parse).transpose()?;
    let targets = app.home()?;
    let named = placement(app)?;
    let mut listed = list::list(work(app, &targets, std::time::Duration::ZERO)?).await?;
    if args.state.as_deref() == Some("unmanaged") {
        listed.records.clear();
    } else if let Some(state) = state {
        listed.records.retain(|record| record.state == state);
        listed.unmanaged.clear();
        listed.elsewhere.clear();
    }
    if let Some(placement) = &named {
        listed.records.retain(|record| is_at(record, placement));
        listed.elsewhere.retain(|shard, _| Some(shard.as_str()) == app.global.shard.as_deref());
        if !placement.is_home() {
            listed.unmanaged.clear();
        }
    }
    let mut report = app.finish();
    report.data = Some(data(&listed));
    report.text = Some(text(&listed));
    report.summary = Some(summary(&listed));
    Ok(report)
}

/// Whether a tenant is on a shard that `--shard` names: in one store at least, or with `home` in all.
fn is_at(record: &Record, named: &Placement) -> bool {
    match record.placement() {
        Ok(placement) if named.is_home() => placement.is_home(),
        Ok(placement) => named.away().any(|(kind, name)| placement.of(kind) == Some(name)),
        Err(_) => false,
    }
}

fn parse(word: &str) -> Result<State> {
    State::parse(word).ok_or_else(|| {
        let known: Vec<&str> = State::ALL.iter().map(|state| state.word()).collect();
        Error::new(Code::Usage, format!("there is no state `{}`", shown(word)))
            .hint(format!("--state {}, or unmanaged", known.join(", ")))
    })
}

/// A record as programs read it.
pub(super) fn record_json(record: &Record, is_behind: bool) -> serde_json::Value {
    json!({
        "key": record.tenant.key(), "slug": record.tenant.slug(), "state": record.state.word(), "model": record.model.name(),
        "step": record.step, "shard": record.shard, "version": record.version, "behind": is_behind,
        "adopted": record.is_adopted, "created_at": record.created_at, "updated_at": record.updated_at, "error": record.error,
    })
}

fn data(listed: &Listed) -> serde_json::Value {
    let tenants: Vec<_> = listed.records.iter().map(|record| record_json(record, listed.is_behind(record))).collect();
    let levels = listed.levels().into_iter().map(|level| {
        json!({ "version": level.version, "tenants": level.tenants, "behind": level.is_behind, "other": level.is_other })
    });
    let levels: Vec<_> = levels.collect();
    json!({
        "tenants": tenants, "unmanaged": listed.unmanaged, "unmanaged_on_shards": listed.elsewhere, "newest": listed.newest,
        "versions": levels,
    })
}

fn text(listed: &Listed) -> String {
    let mut lines: Vec<[String; 5]> = Vec::new();
    for record in &listed.records {
        let version = match (&record.version, listed.is_behind(record)) {
            (Some(version), true) => format!("{version}  behind"),
            (Some(version), false) if listed.is_other(record) => format!("{version}  other files"),
            (Some(version), false) => version.clone(),
            (None, true) => "none  behind".to_owned(),
            (None, false) => String::new(),
        };
        let shard = match record.placement() {
            Ok(placement) if placement.is_home() => String::new(),
            Ok(placement) => placement.to_string(),
            Err(_) => record.shard.clone(),
        };
        let (key, slug) = (shown(record.tenant.key()), record.tenant.slug().to_owned());
        lines.push([key, slug, record.state.word().to_owned(), shard, version]);
    }
    let mut unmanaged = |key: &str, shard: &str| {
        lines.push([shown(key), String::new(), "unmanaged".into(), shard.to_owned(), String::new()]);
    };
    listed.unmanaged.iter().for_each(|key| unmanaged(key, ""));
    listed.elsewhere.iter().for_each(|(shard, keys)| keys.iter().for_each(|key| unmanaged(key, shard)));
    let has = |at: usize| lines.iter().any(|line| !line[at].is_empty());
    let shard_width =
        if has(3) { lines.iter().map(|line| line[3].chars().count()).max().unwrap_or(0).max(5) } else { 0 };
    let mut text = String::new();
    let mut write = |[key, slug, state, shard, version]: &[String; 5]| {
        let line = match shard_width {
            0 => format!("{key:<38} {slug:<40} {state:<9} {version}"),
            _ => format!("{key:<38} {slug:<40} {state:<9} {shard:<shard_width$} {version}"),
        };
        text.push_str(line.trim_end());
        text.push('\n');
    };
    if !lines.is_empty() {
        let version = if listed.newest.is_some() { "version" } else { "" };
        write(&["key", "slug", "state", "shard", version].map(str::to_owned));
    }
    lines.iter().for_each(&mut write);
    let levels = listed.levels();
    if levels.len() > 1 {
        text.push_str("\nversion skew\n");
        for level in levels {
            let remark = match (level.is_behind, level.is_other) {
                (true, _) => ", behind",
                (false, true) => ", with other files than there are now",
                (false, false) => "",
            };
            let version = level.version.unwrap_or_else(|| "none".into());
            text.push_str(&format!("  {version:<36} {}{remark}\n", plural(level.tenants, "tenant")));
        }
    }
    text
}

fn summary(listed: &Listed) -> String {
    let mut words = vec![plural(listed.records.len(), "tenant")];
    for state in State::ALL.into_iter().filter(|state| *state != State::Active) {
        let count = listed.records.iter().filter(|record| record.state == state).count();
        if count > 0 {
            words.push(format!("{count} {}", state.word()));
        }
    }
    let behind = listed.records.iter().filter(|record| listed.is_behind(record)).count();
    if behind > 0 {
        words.push(format!("{behind} behind: lyrox db migrate --tenants all"));
    }
    let others = listed.records.iter().filter(|record| listed.is_other(record)).count();
    if others > 0 {
        words.push(format!("{others} with other files"));
    }
    for (shard, found) in &listed.elsewhere {
        words.push(format!("{} unmanaged on {shard}: lyrox tenant adopt --all --shard {shard}", found.len()));
    }
    match listed.unmanaged.len() {
        0 => {}
        UNMANAGED => words.push(format!("{UNMANAGED} or more unmanaged: lyrox tenant adopt --all")),
        count => words.push(format!("{count} unmanaged: lyrox tenant adopt --all")),
    }
    words.join(", ")
}
