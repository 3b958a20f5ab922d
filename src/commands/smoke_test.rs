//! `lyrox db smoke-test`

use serde_json::json;

use crate::app::App;
use crate::commands::migrate::tell_trips;
use crate::config::Targets;
use crate::engine::smoke::{self, Listed, Options};
use crate::error::{Code, Error, Result};
use crate::project::smoke::{Test, read_all};
use crate::report::{Item, Layout, Report};
use crate::stores::{AnyStore, Store as _};

/// Flags of `db smoke-test`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db smoke-test                    everything; what is written is rolled back or removed\n  lyrox db smoke-test --tag tenant,sale  only tests with one of these tags\n  lyrox db smoke-test --skip-tag redis       all but tests with one of these tags\n  lyrox db smoke-test --list             the tests and their tags; nothing is tried\n\nBuilt-in tests have the tags built-in, their store, and their kind (row, foreign_key, unique, check,\ntouch, index, tenant, validator, keyspace, ...); declared ones those of smoke/*.toml."
)]
pub struct Args {
    /// Only tests with one of these tags, separated by commas
    #[arg(long, value_name = "TAG,...", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// No tests with one of these tags, separated by commas
    #[arg(long, value_name = "TAG,...", value_delimiter = ',')]
    pub skip_tag: Vec<String>,
    /// Let tests write although the environment is protected; they still undo what they wrote
    #[arg(long)]
    pub write: bool,
    /// List the tests instead of trying them
    #[arg(long)]
    pub list: bool,
}

/// Runs the command.
///
/// # Errors
/// A smoke file that cannot be read, a store that cannot be reached, a lock that is held.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db smoke-test", if args.list { Layout::Lines } else { Layout::Tests });
    let options = Options { tags: args.tag.clone(), skip_tags: args.skip_tag.clone(), write: args.write };
    let declared = declared(app)?;
    let targets = app.targets()?;
    if args.list {
        return list(app, &targets, &declared, &options).await;
    }
    test(app, &targets, &declared, &options).await?;
    let mut report = app.finish();
    if report.items.is_empty() {
        return Err(Error::new(Code::Usage, "the tags leave no test").hint("lyrox db smoke-test --list shows them"));
    }
    report.summary = Some(summary(&report));
    tell_trips(app, &mut report);
    Ok(report)
}

/// Runs every test as part of a larger command; items go to the report.
///
/// # Errors
/// What kept the tests from starting.
pub async fn prove(app: &App, targets: &Targets) -> Result<()> {
    test(app, targets, &declared(app)?, &Options::default()).await
}

fn declared(app: &App) -> Result<Vec<Test>> {
    let config = app.config()?;
    read_all(&config.root, &config.settings.smoke.dir, &config.stores())
}

async fn open(app: &App, targets: &Targets) -> Result<Vec<AnyStore>> {
    let config = app.config()?;
    let mut stores = Vec::new();
    for target in &targets.stores {
        stores.push(AnyStore::open(config, target).await?);
    }
    Ok(stores)
}

async fn test(app: &App, targets: &Targets, declared: &[Test], options: &Options) -> Result<()> {
    for (store, reason) in &targets.absent {
        app.item(
            Item::skip(format!("{store}.absent"), format!("{} is optional", store.title()))
                .store(*store)
                .detail(reason),
        );
    }
    let mut stores = open(app, targets).await?;
    let outcome = smoke::run(app.config()?, targets, &mut stores, declared, options, app).await;
    for store in stores {
        store.close().await;
    }
    outcome
}

async fn list(app: &App, targets: &Targets, declared: &[Test], options: &Options) -> Result<Report> {
    let mut stores = open(app, targets).await?;
    let listed = smoke::list(app.config()?, targets, &mut stores, declared, options).await;
    for store in stores {
        store.close().await;
    }
    let listed = listed?;
    let mut report = app.finish();
    report.text = Some(table(&listed));
    report.data = Some(
        listed
            .iter()
            .map(|test| json!({ "id": test.id, "title": test.title, "tags": test.tags, "writes": test.writes }))
            .collect(),
    );
    Ok(report)
}

fn table(listed: &[Listed]) -> String {
    listed.iter().map(|test| format!("{:<46}  {}\n", test.title, test.tags.join(", "))).collect()
}

fn summary(report: &Report) -> String {
    let totals = report.totals;
    let mut summary = format!("PASSED: {}   FAILED: {}", totals.pass, totals.fail);
    if totals.skip > 0 {
        summary.push_str(&format!("   SKIPPED: {}", totals.skip));
    }
    if totals.warn > 0 {
        summary.push_str(&format!("   WARNED: {}", totals.warn));
    }
    summary
}
