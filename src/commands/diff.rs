//! `lyrox db diff`

use std::collections::BTreeSet;
use std::time::Duration;

use crate::app::App;
use crate::engine::diff::{self, Against, Entry, Reading};
use crate::engine::event::{Event, Events as _};
use crate::engine::migrate::{self, Work};
use crate::engine::plan::{Drift, Goal, plan};
use crate::engine::snapshot::Snapshot;
use crate::error::Result;
use crate::kind::StoreKind;
use crate::report::{Item, Layout, Report, plural};
use crate::scratch::{self, Scratch};

/// Flags of `db diff`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db diff                                what was changed by hand since the last migrate\n  lyrox db diff --replay                       and what is in the stores that no migration makes\n  lyrox db diff --only postgres --replay       of one store\n\n`+` is there and should not be, `-` should be there and is not, `~` is defined otherwise.\n--replay runs the applied migrations on throw-away servers of the same major versions and removes them.\n--scratch-url '${SCRATCH_URL}' makes a scratch database on the server that this variable names, once a store.\nExit 6 where anything differs. Nothing of the live stores is changed."
)]
pub struct Args {
    /// Compare the snapshot with a replay of the migrations as well
    #[arg(long)]
    pub replay: bool,
    /// Replay on this server, in a scratch database or prefix that is removed again; once a store
    #[arg(long, value_name = "URL", requires = "replay")]
    pub scratch_url: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// A store that cannot be read, or what kept the replay from starting. A difference is an item.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db diff", Layout::Diff);
    let request = scratch::Request::new(
        &args.scratch_url,
        &app.config()?.variables,
        app.global.offline,
        app.global.allow_argv_secret,
    )?;
    let targets = app.targets()?;
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: Duration::ZERO };
    let mut stores = work.open().await?;
    let readings = diff::read(work, &mut stores).await?;
    let mut data = Vec::new();
    let mut count = 0;
    for reading in &readings {
        for label in reading.unfinished() {
            app.note(format!("{}: {label} is not finished: what it made so far shows as drift", reading.kind));
        }
        match reading.snapshot() {
            Ok(kept) => {
                let entries = diff::entries(kept, &reading.live);
                let of = reading.newest().map_or(String::new(), |version| format!(" of {version}"));
                count += tell(app, reading.kind, Against::Snapshot, &entries, kept, &format!("the snapshot{of}"));
                data.extend(entries.iter().map(|entry| json(reading.kind, "snapshot", entry)));
            }
            Err(error) => {
                app.item(Item::fail(format!("{}.snapshot", reading.kind), "snapshot", &error).store(reading.kind))
            }
        }
    }
    if args.replay {
        let replayed = replay(app, work, &mut stores, &readings, &request).await?;
        for (kept, replayed) in &replayed {
            let entries = diff::entries(replayed, kept);
            count += tell(app, kept.store, Against::Replay, &entries, kept, "a replay of the migrations");
            data.extend(entries.iter().map(|entry| json(kept.store, "replay", entry)));
        }
    }
    migrate::close(stores).await;
    let mut report = app.finish();
    report.data = Some(serde_json::json!({ "differences": data }));
    report.summary = Some(match count {
        0 if report.ok => format!("no differences in {}", crate::ui::seconds(report.elapsed_ms)),
        count => plural(count, "difference"),
    });
    Ok(report)
}

/// Tells the differences of one comparison; answers how many there are.
fn tell(app: &App, store: StoreKind, against: Against, entries: &[Entry], kept: &Snapshot, what: &str) -> usize {
    if entries.is_empty() {
        let id = if against == Against::Snapshot { "schema" } else { "replay" };
        let item = Item::pass(format!("{store}.{id}"), id).store(store);
        app.item(item.detail(format!("{} as in {what}", diff::count(kept))));
        return 0;
    }
    let subject = if against == Against::Snapshot { "live" } else { "the snapshot" };
    let heading = format!("{store}: {subject} differs from {what} in {}", plural(entries.len(), "object"));
    app.event(Event::Heading(heading));
    for entry in entries {
        app.item(entry.item(store, against));
    }
    entries.len()
}

/// Replays what is applied, and answers each kept snapshot with what the replay came to.
async fn replay(
    app: &App,
    work: Work<'_>,
    stores: &mut [crate::stores::AnyStore],
    readings: &[Reading],
    request: &scratch::Request,
) -> Result<Vec<(Snapshot, Snapshot)>> {
    let files = super::migrate::files(app)?;
    let rows = readings.iter().map(|reading| (reading.kind, reading.ledger.rows.clone())).collect();
    let planned = plan(&files, &rows, &Goal::Latest);
    for step in planned.iter().flat_map(|plan| &plan.steps).filter(|step| step.version.is_repeatable()) {
        app.note(format!("{}: {} is pending; a replay runs it as it is now", step.store, step.label()));
    }
    let mut drift = planned.err().unwrap_or_default();
    // A late file is pending, and has no part in a replay of what is applied.
    drift.retain(|drift| !matches!(drift, Drift::OutOfOrder { .. }));
    if !drift.is_empty() {
        // What was applied is not what the files say: a replay of them would be of something else.
        for drift in migrate::with_texts(stores, drift).await {
            let (store, subject) = drift.subject();
            app.item(Item::fail(format!("{store}.{subject}"), subject, &drift.error()).store(store));
        }
        return Ok(Vec::new());
    }
    let files = scratch::applied(&files, &rows);
    let names = crate::stores::scratch::names_spoken_of(&files, work.config);
    let scratch = Scratch::open(work, stores, &files, request).await?;
    let replayed = async {
        scratch.replay(app).await?;
        diff::read_live(scratch.work(app)).await
    }
    .await;
    let replayed: Result<Vec<Snapshot>> =
        replayed.map(|snapshots| snapshots.into_iter().map(|snapshot| scratch.as_live(snapshot)).collect());
    let closed = scratch.close().await;
    let replayed = replayed?;
    if let Err(error) = closed {
        app.note(format!("a scratch store could not be removed: {error}"));
    }
    let mut pairs = Vec::new();
    for reading in readings {
        let Ok(kept) = reading.snapshot() else { continue };
        let mut kept = kept.clone();
        // Where no migration has a part for the store, the replay has nothing of it.
        let mut made = replayed.iter().find(|snapshot| snapshot.store == reading.kind).cloned().unwrap_or_else(|| {
            let mut empty = Snapshot::new(reading.kind);
            let declared = kept.objects.iter().filter(|(object, _)| is_declared(object));
            empty.objects.extend(declared.map(|(object, definition)| (object.clone(), definition.clone())));
            empty
        });
        let left_out = leave_out_foreign(&mut kept, &mut made, &names);
        if left_out > 0 {
            app.note(format!(
                "{}: {} that no migration names left out (grants, extensions, publications)",
                reading.kind,
                plural(left_out, "object")
            ));
        }
        pairs.push((kept, made));
    }
    Ok(pairs)
}

/// What `lyrox.toml` says, not a migration.
fn is_declared(object: &str) -> bool {
    object.starts_with("keyspace ") || object.starts_with("channels ")
}

/// What a server or its provider hands out by itself is not the project's: grants to roles, extensions and
/// publications that neither a migration nor the configuration speaks of. Answers how many the snapshot has.
fn leave_out_foreign(kept: &mut Snapshot, made: &mut Snapshot, names: &BTreeSet<String>) -> usize {
    let is_foreign = |object: &String| {
        let name = if object.starts_with("grant ") || object.starts_with("default privileges ") {
            object.rsplit_once(" to ").map_or("", |(_, role)| role)
        } else if let Some(name) = object.strip_prefix("extension ").or_else(|| object.strip_prefix("publication ")) {
            name
        } else {
            return false;
        };
        name != "PUBLIC" && name != "its owner" && !names.contains(name)
    };
    let before = kept.objects.len();
    kept.objects.retain(|object, _| !is_foreign(object));
    made.objects.retain(|object, _| !is_foreign(object));
    before - kept.objects.len()
}

fn json(store: StoreKind, against: &str, entry: &Entry) -> serde_json::Value {
    let mut value = serde_json::to_value(entry).unwrap_or_default();
    if let serde_json::Value::Object(fields) = &mut value {
        fields.insert("store".into(), serde_json::json!(store));
        fields.insert("against".into(), serde_json::json!(against));
    }
    value
}
