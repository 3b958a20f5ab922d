//! `lyrox setup`: the other commands in a row, as one report.

use clap::ValueEnum;

use crate::app::App;
use crate::config::{LOCAL, Targets};
use crate::engine::event::{Event, Events as _};
use crate::engine::guard;
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item, Layout, Report, plural};
use crate::ui;

/// Flags of `setup`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox setup                          from nothing to verified\n  lyrox setup --skip seed,smoke-test   only servers, check and migrations\n\nRunning it again changes nothing. It starts local servers only for stores whose URL is not set."
)]
pub struct Args {
    /// Leave these steps out
    #[arg(long, value_name = "STEP,...", value_delimiter = ',')]
    pub skip: Vec<Step>,
    /// How long to wait for servers that are still starting
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub wait: crate::config::Period,
}

/// A step of `setup`, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// Read configuration, migrations, seeds and smoke tests
    Prerequisites,
    /// Find the programs of the local servers, fetching what is missing
    Programs,
    /// Write .env where there is none, from .env.example where there is one
    Dotenv,
    /// Start local servers where no URL is set
    Servers,
    /// Verify every store
    Check,
    /// Apply migrations
    Migrate,
    /// Apply the seed set
    Seed,
    /// Say what `[[check.expect]]` finds
    Expect,
    /// Run the smoke tests
    SmokeTest,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Prerequisites,
        Self::Programs,
        Self::Dotenv,
        Self::Servers,
        Self::Check,
        Self::Migrate,
        Self::Seed,
        Self::Expect,
        Self::SmokeTest,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Prerequisites => "prerequisites",
            Self::Programs => "programs",
            Self::Dotenv => ".env",
            Self::Servers => "local servers",
            Self::Check => "check",
            Self::Migrate => "migrate",
            Self::Seed => "seed",
            Self::Expect => "expectations",
            Self::SmokeTest => "smoke test",
        }
    }

    const fn layout(self) -> Layout {
        match self {
            Self::Check | Self::Expect => Layout::Stages,
            Self::SmokeTest => Layout::Tests,
            _ => Layout::Lines,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A step that could not be done; the steps before it are in the report.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("setup", Layout::Lines);
    refuse_where_seeds_are_refused(app)?;
    let mut passed = Vec::new();
    for (index, step) in Step::ALL.into_iter().enumerate() {
        if app.is_cancelled() {
            break;
        }
        app.ui.layout(step.layout());
        if args.skip.contains(&step) {
            app.ui.layout(Layout::Lines);
            app.item(Item::skip(format!("setup.{}", step.title()), step.title()).detail("--skip"));
            continue;
        }
        app.event(Event::Heading(format!("\n{}/{} {}", index + 1, Step::ALL.len(), step.title())));
        let before = app.ui.totals();
        perform(app, args, step).await?;
        let after = app.ui.totals();
        passed.push((step, after.pass - before.pass));
        if after.fail > before.fail {
            break;
        }
    }
    let mut report = app.finish();
    if report.ok {
        let name = app.config()?.settings.project.name.as_str();
        let versions = super::migrate::files(app)?.len();
        report.summary = Some(summary(name, versions, &passed, report.elapsed_ms));
    }
    Ok(report)
}

async fn perform(app: &App, args: &Args, step: Step) -> Result<()> {
    match step {
        Step::Prerequisites => prerequisites(app),
        Step::Programs => programs(app).await,
        Step::Dotenv => dotenv(app),
        Step::Servers => servers(app).await,
        Step::Check => super::check::verify(app, &app.targets()?, Some(args.wait.duration())).await,
        Step::Migrate => {
            let files = super::migrate::files(app)?;
            let targets = app.targets()?;
            refuse_marked(app, &targets).await?;
            migrate::migrate(work(app, &targets)?, &files, &Goal::Latest).await.map(|_| ())
        }
        Step::Seed => super::seed::apply(app, &app.targets()?, None).await,
        Step::Expect => super::check::expect(app, &app.targets()?).await,
        Step::SmokeTest => super::smoke_test::prove(app, &app.targets()?).await,
    }
}

fn work<'a>(app: &'a App, targets: &'a Targets) -> Result<Work<'a>> {
    Ok(Work { config: app.config()?, targets, events: app, wait: crate::engine::lock::WAIT })
}

/// Before anything is contacted: a protected environment, or a host that is not this machine.
fn refuse_where_seeds_are_refused(app: &App) -> Result<()> {
    let config = app.config()?;
    let set = &config.settings.seeds.set;
    match app.targets() {
        Ok(targets) => guard::permit_seeds(config, &targets, &[], set),
        // Stores without a URL yet are the local servers that a later step starts.
        Err(error) if error.code() == Code::UrlUnset && config.environment == LOCAL => {
            guard::permit_seeds(config, &Targets::default(), &[], set)
        }
        Err(error) => Err(error),
    }
    .map_err(|error| error.data("nothing was sent"))
}

/// Before anything is changed: a store that remembers to be protected, or to be of another environment.
async fn refuse_marked(app: &App, targets: &Targets) -> Result<()> {
    let mut stores = work(app, targets)?.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    migrate::close(stores).await;
    let config = app.config()?;
    guard::permit_seeds(config, targets, &migrate::marks(&ledgers), &config.settings.seeds.set)
}

fn prerequisites(app: &App) -> Result<()> {
    let config = app.config()?;
    let stores = config.stores();
    config.names_a_store()?;
    let names: Vec<&str> = stores.iter().map(|store| store.title()).collect();
    app.item(Item::pass("setup.configuration", "configuration").detail(names.join(", ")));
    let files = super::migrate::files(app)?;
    app.item(Item::pass("setup.migrations", "migrations").detail(plural(files.len(), "version")));
    app.item(Item::pass("setup.seeds", "seeds").detail(crate::project::seed::count(config)?));
    app.item(Item::pass("setup.smoke", "smoke tests").detail(crate::project::smoke::count(config)?));
    Ok(())
}

/// The programs of the servers that the next steps start: installed, fetched before, or fetched now.
async fn programs(app: &App) -> Result<()> {
    let (wanted, _) = local(app)?;
    if wanted.is_empty() {
        app.item(Item::skip("setup.programs", "programs").detail("every store has a URL"));
        return Ok(());
    }
    super::up::find(app, &wanted).await
}

fn dotenv(app: &App) -> Result<()> {
    let config = app.config()?;
    let path = config.root.join(".env");
    let item = Item::pass("setup.dotenv", ".env");
    if path.exists() {
        app.item(item.change(Change::Unchanged).detail("is there already"));
        return Ok(());
    }
    let example = config.root.join(".env.example");
    let (text, detail) = if example.is_file() {
        let text = crate::project::text::read(&example, ".env.example")?;
        (from_example(&text), "from .env.example; its store URLs are commented out")
    } else {
        (template(&config.stores()), "a template; every URL in it is commented out")
    };
    let written = crate::project::text::write_private(&path, &text);
    written.map_err(|error| Error::new(Code::WriteFailed, "cannot write `.env`").why(error.to_string()))?;
    app.item(item.change(Change::Created).detail(detail));
    Ok(())
}

/// The example with the URLs of stores commented out: they are somebody's, and the local servers have their own.
fn from_example(text: &str) -> String {
    let is_url = |line: &str| {
        let value = line.split_once('=').map_or("", |(_, value)| value.trim().trim_start_matches(['"', '\'']));
        let scheme = value.split_once("://").map_or("", |(scheme, _)| scheme);
        !line.trim_start().starts_with('#')
            && matches!(scheme, "postgres" | "postgresql" | "mongodb" | "mongodb+srv" | "redis" | "rediss")
    };
    text.lines().map(|line| if is_url(line) { format!("# {line}\n") } else { format!("{line}\n") }).collect()
}

fn template(stores: &[StoreKind]) -> String {
    let mut text = String::from(
        "# Connection URLs of this machine. Never commit this file.\n\
         # A store whose URL is not set here or in the environment uses the local server of `lyrox up`.\n\
         # A password is percent-encoded first: lyrox url encode\n",
    );
    for store in stores {
        text.push_str(match store {
            StoreKind::Postgres => {
                "# What the application uses; may be a pooler. Then the owner's, not pooled: migrations.\n\
                 # DATABASE_URL=postgres://USER:PASSWORD@HOST:6543/DATABASE\n\
                 # DIRECT_URL=postgres://OWNER:PASSWORD@HOST:5432/DATABASE\n"
            }
            StoreKind::Mongodb => "# MONGODB_URI=mongodb+srv://USER:PASSWORD@HOST/DATABASE\n",
            StoreKind::Redis => "# REDIS_URL=rediss://default:PASSWORD@HOST:6379\n",
        });
    }
    text
}

/// The stores that local servers serve in this run, and those that are left out because they are optional.
fn local(app: &App) -> Result<(Vec<StoreKind>, Vec<StoreKind>)> {
    let config = app.config()?;
    if config.environment != LOCAL {
        return Ok((Vec::new(), Vec::new()));
    }
    // An optional store whose server is up already is used; none is started for it.
    let running = crate::servers::running(&config.root)?;
    let is_up = |kind| match kind {
        StoreKind::Postgres => running.postgres.is_some(),
        StoreKind::Mongodb => running.mongodb.is_some(),
        StoreKind::Redis => running.redis.is_some(),
    };
    Ok(super::up::stores_without_url(app)?
        .into_iter()
        .partition(|kind| !crate::config::target::is_optional(config, *kind) || is_up(*kind)))
}

async fn servers(app: &App) -> Result<()> {
    let (wanted, optional) = local(app)?;
    if wanted.is_empty() && optional.is_empty() {
        app.item(Item::skip("setup.servers", "local servers").detail("every store has a URL"));
        return Ok(());
    }
    for kind in optional {
        app.item(
            Item::skip(format!("{kind}.up"), kind.title())
                .store(kind)
                .detail(format!("optional; lyrox up {kind} starts it")),
        );
    }
    if wanted.is_empty() {
        return Ok(());
    }
    super::up::start(app, &wanted).await
}

fn summary(name: &str, versions: usize, passed: &[(Step, usize)], millis: u64) -> String {
    let count = |step| passed.iter().find(|(done, _)| *done == step).map_or(0, |(_, count)| *count);
    format!(
        "{name} is verified: {}, {}, {}, {} in {}",
        plural(count(Step::Check), "check"),
        plural(versions, "migration"),
        plural(count(Step::Seed), "seed target"),
        plural(count(Step::SmokeTest), "test"),
        ui::seconds(millis)
    )
}

#[cfg(test)]
mod tests {
    use super::from_example;

    #[test]
    fn urls_of_stores_are_commented_out_and_nothing_else() {
        let text = "# DATABASE_URL=postgres://a\nDATABASE_URL=\"postgresql://a:b@h/d\"\nexport CACHE = 'rediss://h'\n\
                    SESSION_SECRET=change-me\nSITE=https://example.com\nEMPTY=\n";
        let expected = "# DATABASE_URL=postgres://a\n# DATABASE_URL=\"postgresql://a:b@h/d\"\n# export CACHE = 'rediss://h'\n\
                        SESSION_SECRET=change-me\nSITE=https://example.com\nEMPTY=\n";
        assert_eq!(from_example(text), expected);
    }
}
