//! `lyrox db new`

use std::collections::BTreeSet;

use crate::app::App;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::{migration, repeatable};
use crate::report::{Change, Item, Layout, Report};

/// Flags of `db new`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db new add_invoices                          a PostgreSQL migration and its way back\n  lyrox db new invoices --store postgres,mongodb     one version with two parts\n  lyrox db new --repeatable active_users             a view or function that runs again when its text changes"
)]
pub struct Args {
    /// What it does, in a few words
    pub name: String,
    /// The stores it has a part for
    #[arg(long, value_name = "STORE,...", value_delimiter = ',')]
    pub store: Vec<StoreKind>,
    /// Without a version and a way back: runs again whenever its text changes
    #[arg(long)]
    pub repeatable: bool,
}

/// Runs the command.
///
/// # Errors
/// A name that cannot be a file's name, or a file that cannot be written.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db new", Layout::Lines);
    let config = app.config()?;
    let name = file_name(&args.name)?;
    let dir = &config.settings.migrations.dir;
    let folder = config.root.join(dir);
    let mut stores: BTreeSet<StoreKind> = args.store.iter().copied().collect();
    if stores.is_empty() {
        stores.extend(config.stores().first());
    }
    if let Some(missing) = stores.iter().find(|store| !config.stores().contains(store)) {
        return Err(Error::new(Code::Usage, format!("the project has no {missing}"))
            .hint(format!("add a section [{missing}] to lyrox.toml first")));
    }
    let failed = |what: &str, error: std::io::Error| {
        Error::new(Code::WriteFailed, format!("cannot write `{what}`"))
            .why(error.to_string())
            .data("nothing was changed")
    };
    std::fs::create_dir_all(&folder).map_err(|error| failed(dir, error))?;
    let taken = migration::read_all(&config.root, dir).unwrap_or_default();
    let mut version = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
    // Two in the same second, or a timeline that runs ahead of the clock: the next free number.
    if let Some(newest) = taken
        .iter()
        .rfind(|file| !file.version.is_repeatable())
        .filter(|newest| *newest.version.as_str() >= *version.as_str())
    {
        version = next(newest.version.as_str());
    }
    if args.repeatable {
        let below = folder.join(repeatable::FOLDER);
        std::fs::create_dir_all(&below).map_err(|error| failed(&format!("{dir}/{}", repeatable::FOLDER), error))?;
    }
    for store in stores {
        let ways: &[&str] = if args.repeatable { &["repeatable"] } else { &["up", "down"] };
        for way in ways.iter().copied() {
            let file = if args.repeatable {
                format!("{dir}/{}/{name}.{}", repeatable::FOLDER, store.extension())
            } else {
                format!("{dir}/{version}_{name}.{way}.{}", store.extension())
            };
            let path = config.root.join(&file);
            let mut options = std::fs::OpenOptions::new();
            let written = options.write(true).create_new(true).open(&path).and_then(|mut out| {
                use std::io::Write as _;
                out.write_all(template(store, way, &args.name).as_bytes())
            });
            written.map_err(|error| failed(&file, error))?;
            app.item(Item::pass(file.clone(), file).store(store).change(Change::Created));
        }
    }
    let mut report = app.finish();
    report.summary = Some("write the migration, then: lyrox db migrate".into());
    Ok(report)
}

/// What a migration of this name is called on disk.
///
/// # Errors
/// A name that cannot be a file's name.
pub fn file_name(words: &str) -> Result<String> {
    let name: String = words.trim().chars().map(|c| if c.is_whitespace() || c == '-' { '_' } else { c }).collect();
    let is_good = !name.is_empty() && name.len() <= 100 && name.chars().all(|c| c == '_' || c.is_alphanumeric());
    if is_good {
        Ok(name)
    } else {
        Err(Error::new(Code::Usage, "a migration's name is letters, digits and `_`, at most 100 bytes")
            .hint("lyrox db new add_invoices"))
    }
}

fn next(version: &str) -> String {
    let number = version.parse::<u128>().map_or(1, |number| number + 1);
    format!("{number:0width$}", width = version.len())
}

fn template(store: StoreKind, way: &str, name: &str) -> String {
    let what = match way {
        "down" => format!("undo: {name}"),
        "repeatable" => format!("{name}: runs again when this text changes"),
        _ => name.to_owned(),
    };
    match store {
        StoreKind::Postgres => format!("-- {what}\n"),
        StoreKind::Mongodb => format!("// {what}\n[\n]\n"),
        StoreKind::Redis => format!("# {what}\n"),
    }
}
