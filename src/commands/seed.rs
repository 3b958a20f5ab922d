//! `lyrox db seed`.

use std::path::PathBuf;

use serde_json::json;

use super::fan::Fan;
use crate::app::App;
use crate::config::{Period, Targets};
use crate::engine::lock::WAIT;
use crate::engine::migrate::Work;
use crate::engine::seed::fill::Fill;
use crate::engine::seed::{self, Options, Seeded};
use crate::engine::tenant::unit::Task;
use crate::engine::tenant::{list, shard};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::kind::StoreKind;
use crate::project;
use crate::project::seed::{Bulk, Format, Packing, Set};
use crate::report::{Change, Item, Layout, Report};

/// Flags of `db seed`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db seed                  apply the set named in lyrox.toml\n  lyrox db seed --set dev        apply seeds/dev\n  lyrox -v db seed --plan        show which rows would be inserted and updated, write nothing\n  lyrox db seed --check          the same, and exit 8 where something would change: for CI\n  lyrox db seed --fill 10k       make rows for every table without a file\n  lyrox db seed --fill 20k --seed 7   the same rows for the same seed number\n  gzip -dc users.csv.gz | lyrox db seed --from - --into postgres.User --format csv\n                                 load rows of a file or of standard input, without a set\n  lyrox db seed --from users.csv --into postgres.User --jobs 2\n  lyrox db seed --tenants all   the set `tenant` for every tenant\n\nRunning it again changes nothing: rows are found by key and compared before anything is written.\n`lyrox db seed --tenant KEY` applies the set `tenant` to one tenant.\n\nExit codes: 0 done, or planned; 1 a row was refused or set aside; 2 a file cannot be used, nothing was contacted or\nchanged; 3 this environment takes no such set; 5 another run holds the lock; 7 some tenants failed;\n8 --check found a difference"
)]
pub struct Args {
    /// The set to apply; default: `[seeds] set`, with --tenant `[seeds] tenant_set`
    #[arg(long, value_name = "NAME")]
    pub set: Option<String>,
    /// Show what would be inserted, updated and deleted, each row with -v or in JSON; write nothing
    #[arg(long, visible_alias = "dry-run")]
    pub plan: bool,
    /// As --plan; exit 8 where something would change
    #[arg(long)]
    pub check: bool,
    /// Load this file, or standard input (`-`), and no set
    #[arg(long, value_name = "FILE", requires = "into", conflicts_with_all = ["set", "fill"])]
    pub from: Option<String>,
    /// Where the rows of `--from` go: a table, collection or key space
    #[arg(long, value_name = "STORE.TARGET", requires = "from")]
    pub into: Option<String>,
    /// How the rows of `--from` are written: csv, ndjson or json, with .gz or .zst where packed; default: the file's ending
    #[arg(long, value_name = "FORMAT", requires = "from")]
    pub format: Option<String>,
    /// Load large files of PostgreSQL with several connections: faster, not atomic, goes on where it was cut short; with
    /// --tenants, work on so many tenants at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64), conflicts_with = "reject")]
    pub jobs: u8,
    /// Set rows that a store refuses aside in this file, with the reason, and load the others; then the exit code is 1
    #[arg(long, value_name = "FILE")]
    pub reject: Option<String>,
    /// Leave the indexes in place while a large file fills an empty table
    #[arg(long)]
    pub keep_indexes: bool,
    /// Make rows until all tables, collections and key spaces hold N together (10000, 10k, 1M), without a set
    ///
    /// Children get more rows than parents, lookups few. What is there counts: a second run adds nothing. What
    /// cannot be filled is named with the reason, and the rest is filled. Only on servers of this machine, and
    /// never where an environment is protected.
    #[arg(long, value_name = "N", value_parser = count, conflicts_with_all = ["set", "check"])]
    pub fill: Option<u64>,
    /// The number that generated rows follow from: the same rows for the same number
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "fill")]
    pub seed: u64,
    /// Apply the set to this tenant, by the value in the tenant column; --fill takes several
    #[arg(long, value_name = "KEY")]
    pub tenant: Vec<String>,
    /// The tenant's short name, where the one that follows from its key is not meant
    #[arg(long, value_name = "NAME", requires = "tenant", conflicts_with = "fill")]
    pub slug: Option<String>,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
    /// Which tenants.
    #[command(flatten)]
    pub fan: Fan,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            set: None,
            plan: false,
            check: false,
            from: None,
            into: None,
            format: None,
            jobs: 1,
            reject: None,
            keep_indexes: false,
            fill: None,
            seed: 1,
            tenant: Vec::new(),
            slug: None,
            lock_wait: Period::seconds(WAIT.as_secs()),
            fan: Fan::default(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// What kept it from starting; a row that is refused is an item of the report.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db seed", Layout::Lines);
    if args.fan.selection(&[])?.is_some() {
        return tenants(app, args).await;
    }
    if let Some(rows) = args.fill {
        return fill(app, args, rows).await;
    }
    if args.tenant.len() > 1 {
        return Err(Error::new(Code::Usage, "a set is applied to one tenant at a time")
            .data("nothing was contacted")
            .hint(format!("lyrox db seed --tenant {}", args.tenant[0])));
    }
    let (config, mut targets) = (app.config()?, app.targets()?);
    let mut tenant = None;
    if let Some(key) = args.tenant.first() {
        let home = app.home()?;
        let work = Work { config, targets: &home, events: app, wait: args.lock_wait.duration() };
        let (named, placement) = list::settle(work, key, args.slug.as_deref()).await?;
        targets = shard::targets(config, &home, &placement)?;
        tenant = Some(named);
    }
    let is_dry = args.plan || args.check;
    let options = Options {
        is_dry,
        tenant,
        jobs: usize::from(args.jobs),
        reject: args.reject.clone().filter(|_| !is_dry).map(|name| (PathBuf::from(&name), name)),
        keeps_indexes: args.keep_indexes,
        ..Options::default()
    };
    let work = Work { config, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let seeded = match (&args.from, &args.into) {
        (Some(from), Some(into)) => {
            apply_set(work, &single(app, from, into, args.format.as_deref())?, &options).await?
        }
        _ => perform(app, &targets, args.set.as_deref(), &options, args.lock_wait).await?,
    };
    let mut report = app.finish();
    report.data = Some(json!({ "plan": is_dry, "targets": seeded.row_sets }));
    if report.ok && args.check && seeded.has_changes {
        report.decide(Exit::Pending);
        if let Some(item) = report.items.iter_mut().find(|item| item.change == Some(Change::Planned)) {
            item.code = Some(Code::Pending.text().to_owned());
            item.hint = Some("lyrox db seed".into());
        }
        report.summary = Some("the seeds are not applied as they are written: lyrox db seed".into());
    } else if report.ok && is_dry {
        report.summary = Some(if seeded.has_changes {
            "a plan: nothing was changed".into()
        } else {
            "a plan: everything is as the set wants it".into()
        });
    } else if report.ok && seeded.done == 0 {
        report.summary = Some("the set holds nothing to apply".into());
    }
    Ok(report)
}

/// A set for many tenants.
async fn tenants(app: &App, args: &Args) -> Result<Report> {
    let is_other =
        args.from.is_some() || args.fill.is_some() || args.check || args.reject.is_some() || args.slug.is_some();
    if is_other {
        return Err(Error::new(Code::Usage, "--from, --fill, --check, --reject and --slug are not for --tenants")
            .data("nothing was contacted")
            .hint("lyrox db seed --tenant KEY, for one tenant"));
    }
    let Some(selection) = args.fan.selection(&args.tenant)? else {
        return Err(Error::bug("tenants without a selection"));
    };
    let config = app.config()?;
    let name = args.set.as_deref().unwrap_or(&config.settings.seeds.tenant_set);
    if args.set.is_none() && !project::seed::sets(config)?.iter().any(|set| set == name) {
        app.item(Item::skip("seeds", "seeds").detail(format!("`{}` holds no set `{name}`", config.settings.seeds.dir)));
        return Ok(app.finish());
    }
    let set = project::seed::read_set(config, name)?;
    let targets = app.targets()?;
    let how = (&args.fan, usize::from(args.jobs), args.plan);
    super::fan::run(app, &targets, args.lock_wait, Task::Seed(&set), selection, how).await
}

async fn fill(app: &App, args: &Args, rows: u64) -> Result<Report> {
    let wanted = Fill { rows, seed: args.seed, tenants: args.tenant.clone(), is_dry: args.plan };
    let targets = app.targets()?;
    let work = Work { config: app.config()?, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let total = seed::fill::fill(work, &wanted).await?;
    let mut report = app.finish();
    let left = match total.empty {
        0 => String::new(),
        1 => "; one target could not be filled".into(),
        several => format!("; {several} targets could not be filled"),
    };
    report.summary = Some(match (args.plan, total.added) {
        (true, added) => format!("a dry run: {added} rows would be created{left}"),
        (false, 0) => format!("{} rows are there: nothing was added{left}", total.before),
        (false, added) => format!("{added} rows created, {} were there{left}", total.before),
    });
    Ok(report)
}

/// `10000`, `10k`, `1M`: thousands and millions.
fn count(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.trim().char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text.trim()[..at], 1_000),
        Some((at, 'm' | 'M')) => (&text.trim()[..at], 1_000_000),
        _ => (text.trim(), 1),
    };
    let number: Option<u64> = digits.replace('_', "").parse().ok();
    match number.and_then(|number| number.checked_mul(factor)) {
        Some(count @ 1..=1_000_000_000) => Ok(count),
        _ => Err("a number of rows such as 10000, 10k or 1M".into()),
    }
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
    let seeds = &config.settings.seeds;
    // A project may have seeds for its tenants alone.
    if set.is_none() && options.is_resetting && !project::seed::sets(config)?.contains(&seeds.set) {
        let why = format!("`{}` holds no set `{}`", seeds.dir, seeds.set);
        app.item(Item::skip("seeds", "seeds").detail(why));
        return Ok(Seeded::default());
    }
    let default = if options.tenant.is_some() { &seeds.tenant_set } else { &seeds.set };
    let set = project::seed::read_set(config, set.unwrap_or(default))?;
    let work = Work { config, targets, events: app, wait: wait.duration() };
    apply_set(work, &set, options).await
}

async fn apply_set(work: Work<'_>, set: &Set, options: &Options) -> Result<Seeded> {
    match &options.tenant {
        None => seed::seed(work, set, options).await,
        Some(tenant) => {
            let (config, targets) = tenant.within(work.config, work.targets);
            seed::seed(Work { config: &config, targets: &targets, ..work }, set, options).await
        }
    }
}
