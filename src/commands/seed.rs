//! `lyrox db seed`

use std::path::PathBuf;

use crate::app::App;
use crate::config::{Period, Targets};
use crate::engine::lock::WAIT;
use crate::engine::migrate::Work;
use crate::engine::seed::{self, Options, Seeded};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project;
use crate::project::seed::{Bulk, Format, Packing, Set};
use crate::report::{Item, Layout, Report};

/// Flags of `db seed`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db seed                  apply the set named in lyrox.toml\n  lyrox db seed --set dev        apply seeds/dev\n  lyrox db seed --dry-run        count what would be inserted and updated, write nothing\n  gzip -dc items.csv.gz | lyrox db seed --from - --into postgres.item --format csv\n                                 load rows of a file or of standard input, without a set\n  lyrox db seed --from items.csv --into postgres.item --jobs 2 --reject bad.csv\n\nRunning it again changes nothing: rows are found by key and compared before anything is written."
)]
pub struct Args {
    /// The set to apply; default: `[seeds] set`
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Count what would change; write nothing
    #[arg(long, visible_alias = "plan")]
    pub dry_run: bool,
    /// Load this file, or standard input (`-`), and no set
    #[arg(long, value_name = "FILE", requires = "into", conflicts_with = "set")]
    pub from: Option<String>,
    /// Where the rows of `--from` go: a table, collection or key space
    #[arg(long, value_name = "STORE.TARGET", requires = "from")]
    pub into: Option<String>,
    /// How the rows of `--from` are written: csv, ndjson or json, with .gz or .zst where packed; default: the file's ending
    #[arg(long, value_name = "FORMAT", requires = "from")]
    pub format: Option<String>,
    /// Load large files of PostgreSQL with several connections: faster, not atomic, goes on where it was cut short
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64), conflicts_with = "reject")]
    pub jobs: u8,
    /// Set rows that a store refuses aside in this file, with the reason, and load the others; then the exit code is 1
    #[arg(long, value_name = "FILE")]
    pub reject: Option<String>,
    /// Leave the indexes in place while a large file fills an empty table
    #[arg(long)]
    pub keep_indexes: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            set: None,
            dry_run: false,
            from: None,
            into: None,
            format: None,
            jobs: 1,
            reject: None,
            keep_indexes: false,
            lock_wait: Period::seconds(WAIT.as_secs()),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What kept it from starting; a row that is refused is an item of the report.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db seed", Layout::Lines);
    let options = Options {
        is_dry: args.dry_run,
        jobs: usize::from(args.jobs),
        reject: args.reject.clone().filter(|_| !args.dry_run).map(|name| (PathBuf::from(&name), name)),
        keeps_indexes: args.keep_indexes,
        ..Options::default()
    };
    let seeded = match (&args.from, &args.into) {
        (Some(from), Some(into)) => {
            let set = single(app, from, into, args.format.as_deref())?;
            let (config, targets) = (app.config()?, app.targets()?);
            let work = Work { config, targets: &targets, events: app, wait: args.lock_wait.duration() };
            seed::seed(work, &set, &options).await?
        }
        _ => perform(app, &app.targets()?, args.set.as_deref(), &options, args.lock_wait).await?,
    };
    let mut report = app.finish();
    if report.ok && args.dry_run {
        report.summary = Some("a dry run: nothing was changed".into());
    } else if report.ok && seeded.done == 0 {
        report.summary = Some("the set holds nothing to apply".into());
    }
    Ok(report)
}

/// Applies a seed set (none: the configured one) as part of a larger command; items go to the report.
///
/// # Errors
/// As [`run`].
pub async fn apply(app: &App, targets: &Targets, set: Option<&str>) -> Result<()> {
    // Whoever calls this has finished a reset that was cut short, or is in the middle of one.
    let options = Options { is_resetting: true, ..Options::default() };
    perform(app, targets, set, &options, Args::default().lock_wait).await.map(|_| ())
}

/// The set of one file.
fn single(app: &App, from: &str, into: &str, format: Option<&str>) -> Result<Set> {
    let usage = |what: String| Error::new(Code::Usage, what).data("nothing was changed");
    let target = into.split_once('.').and_then(|(store, target)| Some((store.parse::<StoreKind>().ok()?, target)));
    let Some((store, target)) = target.filter(|(_, target)| !target.is_empty()) else {
        return Err(usage(format!("`{into}` names no target of a store"))
            .hint("--into postgres.TABLE, mongodb.COLLECTION or redis.KEYSPACE"));
    };
    if !app.config()?.stores().contains(&store) {
        return Err(
            usage(format!("the project has no {store}")).hint(format!("add the section [{store}] to lyrox.toml"))
        );
    }
    let is_stdin = from == "-";
    let Some((format, packing)) = Format::of_name(format.unwrap_or(from)) else {
        let what = format
            .map_or_else(|| format!("the format of `{from}` is not known"), |name| format!("`{name}` is no format"));
        return Err(usage(what).hint("--format csv, ndjson or json, with .gz or .zst where packed: csv.gz"));
    };
    let packing = if is_stdin && packing == Packing::None { Packing::Unknown } else { packing };
    let shown = if is_stdin { "stdin".to_owned() } else { from.to_owned() };
    let bulk =
        Bulk { store, target: target.into(), shown: shown.clone(), path: from.into(), format, packing, is_stdin };
    Ok(Set { name: shown, bulks: vec![bulk], ..Set::default() })
}

async fn perform(app: &App, targets: &Targets, set: Option<&str>, options: &Options, wait: Period) -> Result<Seeded> {
    let config = app.config()?;
    if set.is_none() && project::seed::sets(config)?.is_empty() {
        let why = format!("`{}` holds no sets", config.settings.seeds.dir);
        app.item(Item::skip("seeds", "seeds").detail(why));
        return Ok(Seeded::default());
    }
    let set = project::seed::read_set(config, set.unwrap_or(&config.settings.seeds.set))?;
    let work = Work { config, targets, events: app, wait: wait.duration() };
    seed::seed(work, &set, options).await
}
