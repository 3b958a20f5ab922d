//! `lyrox db dump`

use std::path::Path;
use std::time::Duration;

use crate::app::App;
use crate::engine::dump::{self, Dump, Written};
use crate::engine::event::Events as _;
use crate::engine::migrate::Work;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item, Layout, Report};

/// Lines of a difference that `--check` shows.
const SHOWN: usize = 12;

/// Flags of `db dump`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db dump                     write schema/postgres.sql, mongodb.json and redis.redis\n  lyrox db dump --check             for CI: exit 6 where a file is not what would be written\n  lyrox db dump --dir docs/schema   into another folder\n\nThe files hold no data, no clock and no host: the same schema gives the same bytes. Each is a migration as it\nstands; postgres.sql runs in psql as well. What a dump cannot hold is listed."
)]
pub struct Args {
    /// The folder, relative to the project's root
    #[arg(long, value_name = "DIR", default_value = "schema")]
    pub dir: String,
    /// Write nothing; end with 6 where a file is missing or differs
    #[arg(long)]
    pub check: bool,
}

/// Runs the command.
///
/// # Errors
/// A store that cannot be read, a file that cannot be written. A file that differs is an item.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db dump", Layout::Lines);
    let config = app.config()?;
    let targets = app.targets()?;
    let work = Work { config, targets: &targets, events: app, wait: Duration::ZERO };
    let dumps = dump::dump(work).await?;
    let folder = config.root.join(&args.dir);
    for (store, dump) in &dumps {
        one(app, args, &folder, *store, dump)?;
        for left_out in &dump.left_out {
            app.note(format!("{store}: not in the dump: {left_out}"));
        }
    }
    let mut report = app.finish();
    let left_out = dumps.iter().map(|(store, dump)| (store.name().to_owned(), serde_json::json!(dump.left_out)));
    report.data = Some(serde_json::json!({ "left_out": left_out.collect::<serde_json::Map<_, _>>() }));
    Ok(report)
}

fn one(app: &App, args: &Args, folder: &Path, store: StoreKind, dump: &Dump) -> Result<()> {
    let main = dump::file_name(store);
    let files = std::iter::once((main.to_owned(), dump.text.as_str()))
        .chain(dump.beside.iter().map(|(name, text)| (name.clone(), text.as_str())));
    for (name, text) in files {
        let path = folder.join(&name);
        let shown = format!("{}/{name}", args.dir.trim_end_matches('/'));
        let item = if args.check {
            check(&path, &shown, &name, text)?
        } else {
            let change = match dump::write(&path, &shown, text)? {
                Written::Created => Change::Created,
                Written::Updated => Change::Updated,
                Written::Unchanged => Change::Unchanged,
            };
            Item::pass(name.clone(), &shown).change(change)
        };
        let word = store.step_word(dump.statements as u64);
        let item = item.store(store);
        let says = name == main && item.outcome == crate::report::Outcome::Pass;
        app.item(if says { item.detail(format!("{} {word}", dump.statements)) } else { item });
    }
    // A library that is gone leaves its file behind.
    for name in stale(folder, store, dump) {
        let shown = format!("{}/{name}", args.dir.trim_end_matches('/'));
        if args.check {
            let error = Error::new(Code::DumpDrift, format!("`{shown}` is of nothing that is there"))
                .hint("lyrox db dump, and commit what it writes");
            app.item(Item::fail(name, &shown, &error).store(store));
        } else {
            std::fs::remove_file(folder.join(&name)).map_err(|error| {
                Error::new(Code::WriteFailed, format!("cannot remove `{shown}`")).why(error.to_string())
            })?;
            app.item(Item::pass(name, &shown).store(store).change(Change::Dropped));
        }
    }
    Ok(())
}

fn check(path: &Path, shown: &str, id: &str, text: &str) -> Result<Item> {
    let unreadable =
        |error: std::io::Error| Error::new(Code::FileKind, format!("cannot read `{shown}`")).why(error.to_string());
    let error = match dump::compare(path, text).map_err(unreadable)? {
        Written::Unchanged => return Ok(Item::pass(id, shown).change(Change::Unchanged)),
        Written::Created => Error::new(Code::DumpDrift, format!("`{shown}` does not exist")),
        Written::Updated => {
            let found = std::fs::read(path).map_err(unreadable)?;
            Error::new(Code::DumpDrift, format!("`{shown}` is not what would be written")).why(dump::difference(
                &String::from_utf8_lossy(&found),
                text,
                SHOWN,
            ))
        }
    };
    Ok(Item::fail(id, shown, &error.data("nothing was written").hint("lyrox db dump, and commit what it writes")))
}

/// Files of libraries that the dump no longer has.
fn stale(folder: &Path, store: StoreKind, dump: &Dump) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>) else {
        return Vec::new();
    };
    if store != StoreKind::Redis {
        return Vec::new();
    }
    let mut names: Vec<String> = entries
        .iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("redis.") && name.ends_with(".lua"))
        .filter(|name| !dump.beside.iter().any(|(kept, _)| kept == name))
        .collect();
    names.sort();
    names
}
