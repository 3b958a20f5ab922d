//! `lyrox init --from`: a project that has migrations of another tool gets a `lyrox.toml` that runs them as they are.

use std::path::Path;

use super::init::{Args, Place};
use crate::app::App;
use crate::config::file::Format;
use crate::config::{Choice as ConfigChoice, Config, FILE_NAME, Targets, from_text};
use crate::engine::histories::{self, Owner, Seen};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::formats::choose::{Choice, choose};
use crate::project::formats::{self, Detected, detect};
use crate::project::text::write_new;
use crate::report::{Change, Item, Report};

/// Whose migrations they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// To be found out.
    Auto,
    /// A person knows.
    Format(Format),
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let known = || Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
        let found = Format::ALL.into_iter().find(|format| format.name() == text);
        found.map(Self::Format).ok_or_else(|| format!("one of auto, {}", known()))
    }
}

/// Writes the configuration of a project that is there.
///
/// # Errors
/// No migrations of a known tool, several that fit, or a file that cannot be written.
pub async fn run(app: &App, args: &Args, place: &Place, from: From) -> Result<Report> {
    let root = place.root.as_path();
    let mut candidates = detect::detect(root);
    if let From::Format(format) = from {
        candidates.retain(|candidate| candidate.format == format);
        if candidates.is_empty() {
            return Err(nothing(format!("there are no migrations of {} here", format.name())));
        }
    } else if candidates.is_empty() {
        refuse_other(root)?;
        return Err(nothing("there are no migrations of a tool that lyrox knows here".into()));
    }
    // The database says whose files they are where the files alone do not, and warns where they say otherwise.
    let first = &candidates[0];
    let seen = look(app, root, &configuration(&place.name, &args.store, first, root)).await;
    let owners: Vec<Owner> = seen.iter().filter_map(Seen::owner).collect();
    let recorded: Vec<Format> = owners
        .iter()
        .filter_map(|owner| match owner {
            Owner::Known(format) => Some(*format),
            Owner::Other(_) => None,
        })
        .collect();
    let chosen = match choose(&candidates, &recorded) {
        Choice::One(one) => one,
        Choice::None => return Err(nothing("there are no migrations of a tool that lyrox knows here".into())),
        Choice::Several(several) => return Err(undecided(&several)),
    };
    if let (From::Auto, [Owner::Other(name)]) = (from, owners.as_slice()) {
        return Err(Error::new(Code::Usage, format!("the database has been migrated by {name}"))
            .why(format!("it holds {}, and the files here would fit {}", seen[0].label(), chosen.format.name()))
            .data("nothing was changed")
            .hint(format!("if they are: lyrox init --from {}", chosen.format.name())));
    }

    app.item(Item::pass("init.format", chosen.format.name()).detail(chosen.why.clone()));
    for seen in &seen {
        let Some(owner) = seen.owner() else { continue };
        let id = format!("init.history.{}.{}", seen.schema, seen.table);
        let is_its = owner == Owner::Known(chosen.format);
        let item = if is_its { Item::pass(id, "history") } else { Item::warn(id, "history") };
        app.item(item.detail(format!("{} of {}", seen.label(), owner.name())));
    }
    let text = configuration(&place.name, &args.store, &chosen, root);
    write_new(&root.join(FILE_NAME), &text)
        .map_err(|error| Error::new(Code::WriteFailed, format!("cannot write `{FILE_NAME}`")).why(error.to_string()))?;
    app.item(Item::pass(format!("init.{FILE_NAME}"), FILE_NAME).change(Change::Created));
    let count = read(root, &text).and_then(|config| formats::read_all(root, &config.settings).map(|files| files.len()));
    app.item(match count {
        Ok(1) => Item::pass("init.migrations", "migrations").detail("1 version"),
        Ok(count) => Item::pass("init.migrations", "migrations").detail(format!("{count} versions")),
        // The file stands: what is wrong with a migration is mended there.
        Err(error) => Item::fail("init.migrations", "migrations", &error),
    });
    let mut report = app.finish();
    report.summary = Some(format!("now run: lyrox{} db status", place.directory));
    Ok(report)
}

fn nothing(what: String) -> Error {
    let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
    Error::new(Code::FileMissing, what)
        .why(format!("looked for {}", names.join(", ")))
        .data("nothing was changed")
        .hint("lyrox init begins a project of its own; for files that lie elsewhere write lyrox.toml, with `format` and `dir` under [migrations]")
}

fn undecided(several: &[Detected]) -> Error {
    let lines: Vec<String> = several.iter().map(|one| format!("{:<14} {}", one.format.name(), one.why)).collect();
    Error::new(Code::Usage, "the migrations here fit several tools")
        .why(lines.join("\n"))
        .data("nothing was changed")
        .hint(format!("say whose they are: lyrox init --from {}", several[0].format.name()))
}

/// Tools whose migrations are no SQL: named, with the way on.
fn refuse_other(root: &Path) -> Result<()> {
    let has = |dir: &str, ending: &str| detect::names(&root.join(dir)).iter().any(|name| name.ends_with(ending));
    let (tool, what) = if has("db/migrate", ".rb") {
        ("Rails", "they are Ruby")
    } else if root.join("alembic.ini").exists() {
        ("Alembic", "they are Python")
    } else if root.join("manage.py").exists() {
        ("Django", "they are Python")
    } else if has("migrations", ".js") || has("migrations", ".ts") {
        ("a tool of Node.js", "they are programs")
    } else {
        return Ok(());
    };
    Err(Error::new(Code::Usage, format!("the migrations here are those of {tool}"))
        .why(format!("{what}, and lyrox runs SQL"))
        .data("nothing was changed")
        .hint("let that tool go on with PostgreSQL; or dump its schema as the first migration of lyrox, then: lyrox db baseline"))
}

/// Looks into the database, where a URL is set and answers.
async fn look(app: &App, root: &Path, text: &str) -> Vec<Seen> {
    let found = async {
        let config = read(root, text)?;
        let targets = Targets::resolve(&config, &[StoreKind::Postgres], &crate::servers::running(root)?)?;
        histories::look(&config, &targets).await
    };
    match found.await {
        Ok(seen) => seen,
        Err(error) => {
            use crate::engine::event::Events as _;
            app.note(format!("the database was not looked at: {}", error.what()));
            Vec::new()
        }
    }
}

fn read(root: &Path, text: &str) -> Result<Config> {
    let choice = ConfigChoice::default();
    from_text(root.join(FILE_NAME), text, &choice)
}

/// The text of `lyrox.toml`.
fn configuration(name: &str, stores: &[StoreKind], found: &Detected, root: &Path) -> String {
    let of = |section: &str| {
        let keys = found.settings.iter().filter_map(move |(key, value)| match key.rsplit_once('.') {
            Some((table, key)) => (table == section).then(|| (key.to_owned(), value.clone())),
            None => (section == "migrations").then(|| (key.clone(), value.clone())),
        });
        keys.map(|(key, value)| format!("{key} = {value}\n")).collect::<String>()
    };
    let mut text = format!("[project]\nname = \"{name}\"\n\n[postgres]\n");
    if let Some(variable) = url_variable(found, root) {
        text.push_str(&format!("url = \"${{{variable}}}\"\n"));
    }
    text.push_str(&of("postgres"));
    let wants_mongodb = stores.contains(&StoreKind::Mongodb) || !of("mongodb").is_empty();
    if wants_mongodb {
        text.push_str(&format!("\n[mongodb]                          # MONGODB_URI\n{}", of("mongodb")));
    }
    if stores.contains(&StoreKind::Redis) {
        text.push_str("\n[redis]                            # REDIS_URL\n");
    }
    let format = found.format.name();
    text.push_str(&format!("\n[migrations]\ndir = \"{}\"\nformat = \"{format}\"\n{}", found.dir, of("migrations")));
    if found.format != Format::Lyrox {
        text.push_str(
            "# parts_dir = \"migrations/lyrox\"     # lyrox's files for MongoDB and Redis, merged by their digits\n",
        );
    }
    text.push_str("\n# [env.production]\n# protected = true                   # nothing destructive goes through\n");
    text
}

/// The variable of the URL, where it is not `DATABASE_URL`: as the tool's files say, else the one of `.env` that
/// holds a URL of PostgreSQL.
fn url_variable(found: &Detected, root: &Path) -> Option<String> {
    let text = detect::text(&root.join(".env"));
    let set = || {
        text.lines().filter_map(|line| {
            let (name, value) = line.trim().trim_start_matches("export ").split_once('=')?;
            value.trim().trim_matches(['"', '\'']).starts_with("postgres").then(|| name.trim().to_owned())
        })
    };
    let is_name = |name: &String| name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    let said = found.url_variable.clone().or_else(|| match set().any(|name| name == "DATABASE_URL") {
        true => None,
        false => set().next(),
    });
    said.filter(|name| name != "DATABASE_URL").filter(is_name)
}
