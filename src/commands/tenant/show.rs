//! `lyrox tenant show`

use serde_json::json;

use super::work;
use crate::app::App;
use crate::engine::tenant::list::{self, Shown};
use crate::engine::tenant::plan::quoted;
use crate::engine::tenant::{State, shown};
use crate::error::{Code, Result};
use crate::report::{Item, Layout, Report};

/// Flags of `tenant show`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant list --state active\n\n`lyrox tenant show KEY` shows one of them: its record, and what each store has of it."
)]
pub struct Args {
    /// The tenant's key or slug
    #[arg(value_name = "KEY")]
    pub key: String,
}

/// Runs the command.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`; a store that cannot be reached.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant show", Layout::Lines);
    let targets = app.home()?;
    let found = list::show(work(app, &targets, std::time::Duration::ZERO)?, &args.key).await?;
    let record = &found.record;
    for (store, places, is_known) in &found.places {
        let mut words: Vec<String> = places.iter().map(|(what, name)| format!("{what} {name}")).collect();
        if let (false, Some(shard)) = (words.is_empty(), found.placement.of(*store)) {
            words.push(format!("shard {shard}"));
        }
        let item = if *is_known || record.state != State::Active {
            Item::pass(format!("{}.{store}", record.tenant.slug()), store.title())
        } else {
            Item::warn(format!("{}.{store}", record.tenant.slug()), store.title())
                .code(Code::LedgerBehind)
                .hint(format!("lyrox tenant credentials {}", quoted(record.tenant.key())))
        };
        let detail = match (words.is_empty(), *is_known) {
            (true, true) => "known here".to_owned(),
            (true, false) => "not known here".to_owned(),
            (false, true) => words.join(", "),
            (false, false) => format!("{}; not known here", words.join(", ")),
        };
        let mut item = item.store(*store).detail(detail);
        item.tenant = Some(record.tenant.key().to_owned());
        app.item(item);
    }
    let mut report = app.finish();
    let mut data = super::list::record_json(record, found.is_behind);
    data["stores"] = found
        .places
        .iter()
        .map(|(store, places, is_known)| {
            let places: serde_json::Map<String, serde_json::Value> =
                places.iter().map(|(what, name)| ((*what).to_owned(), json!(name))).collect();
            json!({ "store": store, "known": is_known, "places": places })
        })
        .collect();
    report.data = Some(data);
    report.text = Some(text(&found));
    report.summary = Some(format!("{} is {}", record.tenant.shown(), record.state.word()));
    Ok(report)
}

fn text(found: &Shown) -> String {
    let record = &found.record;
    let mut lines = vec![
        ("key", shown(record.tenant.key())),
        ("slug", record.tenant.slug().to_owned()),
        ("model", record.model.name().to_owned()),
        ("state", record.state.word().to_owned()),
    ];
    if !record.step.is_empty() {
        lines.push(("last step", record.step.clone()));
    }
    if !found.placement.is_home() {
        lines.push(("shard", found.placement.to_string()));
    }
    if let Some(version) = &record.version {
        lines.push(("version", if found.is_behind { format!("{version}, behind") } else { version.clone() }));
    }
    lines.push((
        "made",
        format!("{}{}", record.created_at, if record.is_adopted { ", by the application" } else { "" }),
    ));
    lines.extend(record.error.as_ref().map(|error| ("error", error.clone())));
    lines.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}
