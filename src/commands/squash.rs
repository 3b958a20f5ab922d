//! `lyrox db squash`

use std::collections::BTreeMap;
use std::time::Duration;

use super::migrate::{files, known};
use super::new::file_name;
use crate::app::App;
use crate::config::file::Format;
use crate::engine::diff;
use crate::engine::event::{Event, Events as _};
use crate::engine::ledger::State;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::{Drift, Goal};
use crate::engine::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Part, Version};
use crate::project::squash::{self, FOLDER, Moves};
use crate::report::{Change, Item, Layout, Report, plural};
use crate::scratch::{Request, Scratch};
use crate::stores::squash::{Piece, join};

/// Flags of `db squash`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db squash --dry-run core   prove that one file could stand for all of them; touch none\n  lyrox db squash core             make them one\n\nThe texts of the versions become one file a store, in order, nothing cut out. Both are replayed on scratch stores, and\nonly where their schemas are equal are files touched: the old ones go to `squashed/` below the migrations folder.\nWhere all of the old ones are applied, the next migrate only records the new one; an empty store runs it."
)]
pub struct Args {
    /// What the new version is called
    #[arg(required_unless_present = "finish")]
    pub name: Option<String>,
    /// Up to and including this version
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// Prove it; touch no file
    #[arg(long)]
    pub dry_run: bool,
    /// Finish a squash that was cut short between its files
    #[arg(long, conflicts_with_all = ["name", "to", "dry_run", "scratch_url"])]
    pub finish: bool,
    /// Replay on this server, in a scratch database or prefix that is removed again; once a store
    #[arg(long, value_name = "URL")]
    pub scratch_url: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// Files that cannot be one, schemas that differ, or what kept the replay from starting.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db squash", Layout::Lines);
    let config = app.config()?;
    let dir = config.settings.migrations.dir.trim_end_matches('/').to_owned();
    let Some(name) = args.name.as_deref().filter(|_| !args.finish) else {
        let moves = squash::finish(&config.root, &dir)?;
        let Some(moves) = moves else {
            return Err(Error::new(Code::Usage, "no squash was cut short").data("nothing was changed"));
        };
        tell(app, &moves, false);
        return Ok(app.finish());
    };
    if config.settings.migrations.format != Format::Lyrox {
        return Err(Error::new(Code::Usage, "only lyrox's own migrations can be squashed")
            .why("another tool keeps the history of these and would not know the new file")
            .data("nothing was changed"));
    }
    let name = file_name(name)?;
    let all = files(app)?;
    let until = match args.to.as_deref() {
        Some(typed) => known(&all, typed)?,
        None => {
            let last = all.iter().rfind(|file| !file.version.is_repeatable());
            last.map(|file| file.version.clone())
                .ok_or_else(|| Error::new(Code::Usage, "there is no migration").data("nothing was changed"))?
        }
    };
    let old: Vec<Migration> =
        all.iter().filter(|file| !file.version.is_repeatable() && file.version <= until).cloned().collect();
    if old.len() < 2 {
        return Err(Error::new(Code::Usage, "one migration is one already").data("nothing was changed"));
    }
    let request =
        Request::new(&args.scratch_url, &app.config()?.variables, app.global.offline, app.global.allow_argv_secret)?;
    let new = squashed(&dir, &until, &name, &old)?;
    if old.iter().any(|file| file.version == new.version && file.name == new.name) {
        return Err(Error::new(Code::Usage, format!("{} exists, and is one of those that become one", new.label()))
            .data("nothing was changed")
            .hint("give it another name"));
    }
    let targets = app.targets()?;
    let work = Work { config, targets: &targets, events: app, wait: Duration::ZERO };
    refuse_half_applied(work, &all, &old, &new).await?;
    if !prove(app, work, &old, &new, &request).await? {
        return Ok(app.finish());
    }
    let moves = moves(&dir, &old, &new);
    if !args.dry_run {
        squash::carry_out(&config.root, &dir, &moves)?;
    }
    tell(app, &moves, args.dry_run);
    let mut report = app.finish();
    let count = plural(old.len(), "version");
    report.summary = Some(if args.dry_run {
        format!("{count} could be one; no file was touched")
    } else {
        format!("{count} are one; lyrox db migrate records it where they are applied")
    });
    Ok(report)
}

/// The version that stands for the old ones: theirs that is the last, so that the timeline stays as it is.
fn squashed(dir: &str, version: &Version, name: &str, old: &[Migration]) -> Result<Migration> {
    let mut new = Migration { version: version.clone(), name: name.to_owned(), parts: BTreeMap::new() };
    for store in StoreKind::ALL {
        let parts: Vec<(&Migration, &Part)> =
            old.iter().filter_map(|file| Some((file, file.parts.get(&store)?))).collect();
        if parts.is_empty() {
            continue;
        }
        let path = |way: &str| format!("{dir}/{}.{way}.{}", new.label(), store.extension());
        // What is itself squashed stands for what it replaces no more: it is applied, or it is not.
        let replaces: Vec<_> =
            parts.iter().map(|(file, part)| (file.version.clone(), part.up.checksum.clone())).collect();
        let pieces: Vec<Piece<'_>> = parts.iter().map(|(file, part)| (file.label(), &*part.up)).collect();
        let up = join(store, &path("up"), &pieces, &replaces)?;
        let downs: Option<Vec<Piece<'_>>> =
            parts.iter().rev().map(|(file, part)| Some((file.label(), &**part.down.as_ref()?))).collect();
        let down = downs.map(|pieces| join(store, &path("down"), &pieces, &[])).transpose()?;
        new.parts.insert(store, Part { up, down });
    }
    Ok(new)
}

/// The stores of this environment must be able to go over to the new file.
async fn refuse_half_applied(work: Work<'_>, all: &[Migration], old: &[Migration], new: &Migration) -> Result<()> {
    let mut stores = work.open().await?;
    let ledgers = migrate::ledgers(&mut stores, all).await?;
    migrate::close(stores).await;
    crate::engine::guard::refuse_other_mark(work.config, &migrate::marks(&ledgers))?;
    let is_applied = |store: StoreKind, file: &Migration| {
        let rows = ledgers.iter().find(|(kind, _)| *kind == store).map(|(_, ledger)| ledger.rows.as_slice());
        rows.unwrap_or_default().iter().any(|row| row.version == file.version && row.state == State::Applied)
    };
    for (store, _) in &ledgers {
        let parts: Vec<&Migration> = old.iter().filter(|file| file.parts.contains_key(store)).collect();
        let pending: Vec<&&Migration> = parts.iter().filter(|file| !is_applied(*store, file)).collect();
        if let Some(first) = pending.first().filter(|_| pending.len() < parts.len()) {
            return Err(Error::new(
                Code::DriftSquash,
                format!("{} is not applied to {store}, and others are", first.label()),
            )
            .why("a squashed migration is recorded where all that it stands for is applied, and run where none is")
            .data("nothing was changed")
            .hint("lyrox db migrate"));
        }
    }
    // Anything else that keeps the new file from being taken up: an edited text, a rollback cut short.
    let mut files: Vec<Migration> = all.to_vec();
    files.retain(|file| !old.iter().any(|old| old.version == file.version));
    let at = files.iter().position(|file| file.version > new.version).unwrap_or(files.len());
    files.insert(at, new.clone());
    let drift = migrate::planned(&files, &ledgers, &Goal::Latest).err().unwrap_or_default();
    match drift.iter().find(|drift| !matches!(drift, Drift::OutOfOrder { .. })) {
        Some(drift) => Err(drift.error()),
        None => Ok(()),
    }
}

/// Replays both, and says whether what they made is equal.
async fn prove(app: &App, work: Work<'_>, old: &[Migration], new: &Migration, request: &Request) -> Result<bool> {
    let before = replay(app, work, old, request).await?;
    let after = replay(app, work, std::slice::from_ref(new), request).await?;
    let mut is_equal = true;
    for before in &before {
        let kind = before.store;
        let Some(after) = after.iter().find(|after| after.store == kind) else {
            return Err(Error::bug(format!("{kind} was replayed once")));
        };
        let entries = diff::entries(before, after);
        let id = format!("{kind}.proof");
        if entries.is_empty() {
            let detail = format!("the same schema, {}", diff::count(before));
            app.item(Item::pass(id, kind.name()).store(kind).detail(detail));
            continue;
        }
        is_equal = false;
        let shown: Vec<String> = entries.iter().take(10).map(diff::Entry::title).collect();
        let more = if entries.len() > shown.len() {
            format!("\n... and {} more", entries.len() - shown.len())
        } else {
            String::new()
        };
        let error =
            Error::new(Code::SquashDiffers, format!("one file makes another schema of {kind} than the versions do"))
                .why(format!("it differs in {}:\n{}{more}", plural(entries.len(), "object"), shown.join("\n")))
                .data("no file was touched")
                .hint("lyrox db squash --to VERSION NAME, up to the version before the one that makes it differ");
        app.item(Item::fail(id, kind.name(), &error).store(kind));
    }
    Ok(is_equal)
}

async fn replay(app: &App, work: Work<'_>, files: &[Migration], request: &Request) -> Result<Vec<Snapshot>> {
    let heading = match files {
        [one] => format!("replaying `{}` as one", one.label()),
        many => format!("replaying {}", plural(many.len(), "version")),
    };
    app.event(Event::Heading(heading));
    let mut live = work.open().await?;
    let scratch = Scratch::open(work, &mut live, files, request).await;
    migrate::close(live).await;
    let scratch = scratch?;
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
    Ok(replayed)
}

/// Where the old files go, and what the new ones say.
fn moves(dir: &str, old: &[Migration], new: &Migration) -> Moves {
    let mut moves = Moves::default();
    let folder = format!("{dir}/{FOLDER}/{}", new.label());
    for part in old.iter().flat_map(|file| file.parts.values()) {
        for script in [Some(&part.up), part.down.as_ref()].into_iter().flatten() {
            let file = script.path.rsplit('/').next().unwrap_or(&script.path);
            moves.moved.push((script.path.clone(), format!("{folder}/{file}")));
        }
    }
    for part in new.parts.values() {
        for script in [Some(&part.up), part.down.as_ref()].into_iter().flatten() {
            moves.written.push((script.path.clone(), script.text.clone()));
        }
    }
    moves
}

fn tell(app: &App, moves: &Moves, is_dry: bool) {
    let change = |change: Change| if is_dry { Change::Planned } else { change };
    for (path, _) in &moves.written {
        app.item(Item::pass(path, path).change(change(Change::Created)));
    }
    for (from, to) in &moves.moved {
        app.item(Item::pass(format!("moved {from}"), from).change(change(Change::Moved)).detail(format!("to {to}")));
    }
}
