//! `lyrox env` and `lyrox env mark`

use std::fmt::Write as _;

use clap::ValueEnum;

use crate::app::App;
use crate::config::{Config, LOCAL, Targets, variable};
use crate::engine::guard::{self, Consent};
use crate::engine::ledger::Mark;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item, Layout, Report};
use crate::stores::{AnyStore, LockAnswer, Store as _};
use crate::ui::prompt;
use crate::url::quote::{dotenv, shell};

/// Flags of `env`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  eval \"$(lyrox env)\"                            give this shell the URLs in force\n  lyrox env --format dotenv > .env.development   the same as a file\n  lyrox env mark local --confirm local           change what the stores remember they are\n\nIt prints passwords: that is what it is for."
)]
pub struct Args {
    /// How the URLs are written
    #[arg(long, value_enum, default_value_t = Format::Shell)]
    pub format: Format,
    /// What else there is to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands below `env`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Change the environment that the stores remember; needs its name twice
    Mark(MarkArgs),
}

/// Flags of `env mark`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox env mark local --confirm local                      the stores are for development\n  lyrox -e staging env mark staging --confirm staging       a copy of production becomes staging\n\nEach store remembers its environment, so that a wrong URL cannot be migrated, seeded or reset by\nmistake. The first migrate writes it; nothing but this command changes it."
)]
pub struct MarkArgs {
    /// The environment: `local`, or a section [env.NAME] of lyrox.toml
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The same name again
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
}

/// How the URLs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// export NAME='URL', for eval
    #[default]
    Shell,
    /// NAME='URL', for a .env file
    Dotenv,
    /// One JSON object
    Json,
}

/// Runs the command.
///
/// # Errors
/// A store without a URL; for `mark` what [`mark`] says.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    match &args.command {
        Some(Command::Mark(args)) => mark(app, args).await,
        None => print(app, args.format),
    }
}

fn print(app: &App, format: Format) -> Result<Report> {
    app.begin("env", Layout::Lines);
    let urls = urls(app.config()?, &app.targets()?);
    let object: serde_json::Map<String, serde_json::Value> =
        urls.iter().map(|(name, url)| (name.clone(), url.clone().into())).collect();
    let mut text = String::new();
    match format {
        Format::Shell => urls.iter().for_each(|(name, url)| {
            let _ = writeln!(text, "export {name}={}", shell(url));
        }),
        Format::Dotenv => urls.iter().for_each(|(name, url)| {
            let _ = writeln!(text, "{name}={}", dotenv(url));
        }),
        Format::Json => {
            text = serde_json::to_string_pretty(&object).map_err(|error| Error::bug(error.to_string()))?;
        }
    }
    let mut report = app.finish();
    report.data = Some(object.into());
    report.text = Some(text);
    report.reveals = true;
    report.revealed = urls.into_iter().map(|(_, url)| url).filter(|url| url.contains('@')).collect();
    Ok(report)
}

/// The variables and what they should hold: under the names that `lyrox.toml` uses, else the usual ones.
fn urls(config: &Config, targets: &Targets) -> Vec<(String, String)> {
    let mut urls: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, usual: &str, url: String| {
        let name = variable(config, key).unwrap_or_else(|| usual.to_owned());
        if urls.iter().all(|(known, _)| *known != name) {
            urls.push((name, url));
        }
    };
    for target in &targets.stores {
        match target.kind {
            StoreKind::Postgres => {
                add("postgres.url", "DATABASE_URL", target.app.url.expose());
                add("postgres.direct_url", "DIRECT_URL", target.direct.url.expose());
            }
            StoreKind::Mongodb => add("mongodb.url", "MONGODB_URI", target.app.url.expose()),
            StoreKind::Redis => add("redis.url", "REDIS_URL", target.app.url.expose()),
        }
    }
    urls
}

/// Gives every store of the run another mark.
///
/// # Errors
/// `LYX-CONFIG-ENVIRONMENT`, `LYX-CONSENT` before anything is contacted; what a store cannot do is its item.
async fn mark(app: &App, args: &MarkArgs) -> Result<Report> {
    app.begin("env mark", Layout::Lines);
    let config = app.config()?;
    let named = config.settings.env.get(&args.name);
    if args.name != LOCAL && named.is_none() {
        return Err(Error::new(Code::ConfigEnvironment, format!("lyrox.toml has no section `[env.{}]`", args.name))
            .data("nothing was changed")
            .hint(format!("add `[env.{}]` to lyrox.toml, or name another environment", args.name)));
    }
    let mut consent = Consent { confirm: args.confirm.clone() };
    if consent.confirm.is_none() && prompt::can_ask(app.global.no_input) {
        let question = format!("The stores will remember that they are `{0}`. Type `{0}` to go on:", args.name);
        consent.confirm = Some(prompt::line(&question)?);
    }
    guard::agree_to_mark(&args.name, &consent)?;
    let targets = app.targets()?;
    let permit = guard::permit_mark(config, &targets, &args.name, &consent)?;
    let mark = Mark { environment: args.name.clone(), is_protected: named.is_some_and(|named| named.protected) };
    for target in &targets.stores {
        let id = format!("{}.mark", target.kind);
        let title = target.direct.url.label();
        app.item(
            match mark_one(config, target, &mark, &permit).await {
                Ok(None) => Item::pass(id, title).change(Change::Created).detail(args.name.clone()),
                Ok(Some(old)) if old == mark => {
                    Item::pass(id, title).change(Change::Unchanged).detail(args.name.clone())
                }
                Ok(Some(old)) => Item::pass(id, title)
                    .change(Change::Updated)
                    .detail(format!("{} -> {}", old.environment, args.name)),
                Err(error) => Item::fail(id, title, &error),
            }
            .store(target.kind),
        );
    }
    Ok(app.finish())
}

/// Marks one store under its lock, and answers the mark it had.
async fn mark_one(
    config: &Config,
    target: &crate::config::Target,
    mark: &Mark,
    permit: &guard::Permit,
) -> Result<Option<Mark>> {
    let mut store = AnyStore::open(config, target).await?;
    if let LockAnswer::Held(who) = store.try_lock().await? {
        store.close().await;
        return Err(Error::new(Code::LockHeld, format!("another run holds the lock of {}", target.kind))
            .why(who)
            .data("its mark is unchanged")
            .hint("wait for it, then run the command again"));
    }
    let done = async {
        let old = store.ledger().await?.mark;
        match &old {
            Some(old) if old == mark => {}
            None => store.prepare(mark).await?,
            Some(old) => {
                let marks = [(target.kind, Some(old.clone()))];
                guard::refuse_agent(config, &Targets::default(), &marks, "changing the mark")?;
                store.set_mark(mark, permit).await?;
            }
        }
        Ok(old)
    }
    .await;
    let unlocked = store.unlock().await;
    store.close().await;
    let old = done?;
    unlocked.map(|()| old)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 6] =
        ["plain", "it's", "a \"b\" $HOME `id` \\ end", "$(id)", "'; rm -rf x; '", "both ' and \" and $X and \\"];

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in HOSTILE {
            let script = format!("printf %s {}", shell(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }

    #[test]
    fn a_dotenv_reader_reads_back_what_was_quoted() {
        for text in HOSTILE.into_iter().chain(["two\nlines' "]) {
            let line = format!("X={}\n", dotenv(text));
            let mut pairs = dotenvy::from_read_iter(line.as_bytes());
            let (_, value) = pairs.next().expect("a pair").expect("it can be read");
            assert_eq!(value, text, "{line}");
        }
    }
}
