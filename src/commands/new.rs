//! `lyrox db new`

use std::collections::BTreeSet;

use crate::app::App;
use crate::config::Config;
use crate::config::file::Format;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::formats::{self, Folder};
use crate::project::text::write_new;
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
    let migrations = &config.settings.migrations;
    let mut stores: BTreeSet<StoreKind> = args.store.iter().copied().collect();
    if stores.is_empty() {
        stores.extend(config.stores().first());
    }
    if let Some(missing) = stores.iter().find(|store| !config.stores().contains(store)) {
        return Err(Error::new(Code::Usage, format!("the project has no {missing}"))
            .hint(format!("add a section [{missing}] to lyrox.toml first")));
    }
    // golang-migrate's MongoDB files have a folder and numbers of their own.
    let section = config.settings.mongodb.as_ref().filter(|section| section.format == Format::GolangMigrate);
    if let Some(section) = section.filter(|_| !args.repeatable && stores.remove(&StoreKind::Mongodb)) {
        let dir = section.migrations_dir.as_deref().unwrap_or(&migrations.dir);
        let folder = Folder { root: &config.root, dir, settings: migrations };
        for (file, text) in formats::golang_migrate::new_mongodb_files(folder, &name, jiff::Timestamp::now())? {
            write(app, config, StoreKind::Mongodb, &file, &text)?;
        }
    }
    let is_foreign = migrations.format != Format::Lyrox;
    let dir = match &migrations.parts_dir {
        Some(dir) if is_foreign => dir,
        None if is_foreign && (args.repeatable || stores.iter().any(|store| *store != StoreKind::Postgres)) => {
            let format = migrations.format.name();
            return Err(Error::new(Code::Usage, format!("there is no folder for parts beside those of {format}"))
                .data("nothing was changed")
                .hint("set `parts_dir` under [migrations] in lyrox.toml"));
        }
        _ => &migrations.dir,
    };
    let mut version = String::new();
    // Another tool's files are named as that tool does it; the parts of other stores follow its digits.
    if is_foreign && !args.repeatable && stores.remove(&StoreKind::Postgres) {
        let folder = Folder { root: &config.root, dir: &migrations.dir, settings: migrations };
        let files = formats::new_files(folder, &name, jiff::Timestamp::now())?;
        let first = files.first().map_or("", |(file, _)| file.as_str());
        let below = first.strip_prefix(migrations.dir.as_str()).unwrap_or(first);
        let digits = below.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
        version = digits.collect();
        for (file, text) in files {
            write(app, config, StoreKind::Postgres, &file, &text)?;
        }
    }
    if version.is_empty() {
        version = next_version(config, dir);
    }
    for store in stores {
        let ways: &[&str] = if args.repeatable { &["repeatable"] } else { &["up", "down"] };
        for way in ways.iter().copied() {
            let file = if args.repeatable {
                format!("{dir}/{}/{name}.{}", repeatable::FOLDER, store.extension())
            } else {
                format!("{dir}/{version}_{name}.{way}.{}", store.extension())
            };
            write(app, config, store, &file, &template(store, way, &args.name))?;
        }
    }
    let mut report = app.finish();
    report.summary = Some("write the migration, then: lyrox db migrate".into());
    Ok(report)
}

/// The time as digits; where a timeline runs ahead of the clock, or two are made in one second, the next number.
pub(super) fn next_version(config: &Config, dir: &str) -> String {
    let version = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
    let is_own = config.settings.migrations.format == Format::Lyrox;
    let taken =
        if is_own { migration::read_all(&config.root, dir) } else { formats::read_all(&config.root, &config.settings) };
    let taken = taken.unwrap_or_default();
    let newest = taken.iter().rfind(|file| !file.version.is_repeatable()).map(|newest| &newest.version);
    let digits = newest.map(|newest| newest.as_str().chars().take_while(char::is_ascii_digit).collect::<String>());
    match digits.filter(|newest| **newest >= *version) {
        Some(newest) => next(&newest),
        None => version,
    }
}

/// Writes a new file, with the folders it needs; never over another.
fn write(app: &App, config: &Config, store: StoreKind, file: &str, text: &str) -> Result<()> {
    let path = config.root.join(file);
    // drizzle lists its files in one of them: that is replaced as a whole.
    let is_list = file.ends_with(formats::drizzle::JOURNAL) && path.exists();
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        if is_list {
            let beside = path.with_extension("json.new");
            std::fs::write(&beside, text)?;
            return std::fs::rename(&beside, &path);
        }
        write_new(&path, text)
    });
    written.map_err(|error| {
        Error::new(Code::WriteFailed, format!("cannot write `{file}`"))
            .why(error.to_string())
            .data("the file is as it was")
    })?;
    let change = if is_list { Change::Updated } else { Change::Created };
    app.item(Item::pass(file.to_owned(), file).store(store).change(change));
    Ok(())
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
