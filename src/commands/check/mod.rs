//! `lyrox check`

mod tenants;

use std::time::{Duration, Instant};

use crate::app::App;
use crate::config::dotenv::Remark;
use crate::config::{Period, Targets};
use crate::engine::check::{Options, Outcomes, Parts, check};
use crate::engine::event::{Event, Events as _};
use crate::error::{Code, Result};
use crate::report::{Item, Layout, Report};

/// Flags of `check`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each store is looked at stage by stage: url, name, tcp, tls, hello, auth, database, ping, server,\n\
    privileges; each stage has its own time limit. Nothing is changed. A store without a remark takes one\n\
    line; -v shows every stage. --deep also writes a little and takes it back: PostgreSQL and MongoDB in a\n\
    transaction that is rolled back, Redis under a key that expires; and it logs in to every host of a URL.\n\n\
    --tenants also reaches tenants, as their own users with --credentials, else in their roles or by lyrox' own\n\
    connection: is the place of each there, may it be used, do its ledgers say what the registry says, how many\n\
    milliseconds does it take. What one question tells of all of them is asked once. Exit 7: some of them failed.\n\n\
    Examples:\n  lyrox check\n  lyrox check --only postgres -v       every stage of one store\n  lyrox check --wait 60s               servers that are starting are tried again for a minute\n  lyrox check --deep                   try writes as well, and every host\n  lyrox check --tenants all            also reach every tenant; the slowest are named\n  lyrox check --tenants all --jobs 8 --output json\n  lyrox check --timeout 5s --output json\n  lyrox -e staging check"
)]
pub struct Args {
    /// Try servers that take no connections yet again for so long
    #[arg(long, value_name = "TIME")]
    pub wait: Option<Period>,
    /// Leave [[check.expect]] out: before the first migration there is nothing to expect
    #[arg(long)]
    pub connections: bool,
    /// Also try writes, which are taken back, and every host of each URL
    #[arg(long)]
    pub deep: bool,
    /// Tenants.
    #[command(flatten)]
    pub tenants: tenants::Given,
}

/// Runs the command.
///
/// # Errors
/// A configuration or URL that cannot be read; what a server does wrong is an item.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("check", Layout::Stages);
    let until = until(app);
    let wanted = args.tenants.read(app, until)?;
    let remarks = app.env_remarks()?;
    let targets = app.targets()?;
    let parts = if args.connections { Parts::Stages } else { Parts::All };
    let how = How { wait: args.wait.map(Period::duration), is_deep: args.deep };
    let mut outcomes = perform(app, &targets, how, parts).await?;
    outcomes.warnings += remarks.len();
    exposed(app, remarks);
    let looked = match &wanted {
        Some(wanted) if outcomes.failed == 0 => Some(tenants::run(app, &targets, wanted).await?),
        Some(_) => {
            app.item(Item::skip("tenants", "tenants").detail("a store failed: no tenant was looked at"));
            None
        }
        None => None,
    };
    let mut report = app.finish();
    let words = looked.as_ref().map_or_else(String::new, |looked| format!("; {}", tenants::words(looked)));
    report.summary = Some(summary(outcomes, &words, report.elapsed_ms));
    report.data = looked.as_ref().map(tenants::data);
    if looked.is_some() {
        super::migrate::tell_trips(app, &mut report);
    }
    Ok(report)
}

/// Tells of `.env` files that others can read.
fn exposed(app: &App, remarks: Vec<Remark>) {
    if !remarks.is_empty() {
        app.event(Event::Heading("project   .env files".into()));
    }
    let mut seen: Vec<&str> = Vec::new();
    for remark in remarks {
        let same = seen.iter().filter(|id| **id == remark.id).count();
        let number = if same == 0 { String::new() } else { format!(".{}", same + 1) };
        seen.push(remark.id);
        let item = Item::warn(format!("project.env.{}{number}", remark.id), remark.id).code(Code::EnvExposed);
        app.item(item.detail(remark.what).hint(remark.hint));
    }
}

/// Verifies every store as part of a larger command, which has not made yet what `[[check.expect]]` asks for;
/// items go to the report.
///
/// # Errors
/// None that an item can hold.
pub async fn verify(app: &App, targets: &Targets, wait: Option<Duration>) -> Result<()> {
    perform(app, targets, How { wait, is_deep: false }, Parts::Stages).await.map(|_| ())
}

/// Tells what `[[check.expect]]` finds, as part of a larger command that has migrated and seeded.
///
/// # Errors
/// None that an item can hold.
pub async fn expect(app: &App, targets: &Targets) -> Result<()> {
    perform(app, targets, How { wait: None, is_deep: false }, Parts::Expectations).await.map(|_| ())
}

/// What the flags ask for.
#[derive(Clone, Copy)]
struct How {
    wait: Option<Duration>,
    is_deep: bool,
}

async fn perform(app: &App, targets: &Targets, how: How, parts: Parts) -> Result<Outcomes> {
    let until = until(app);
    Ok(check(app.config()?, targets, Options { parts, wait: how.wait, is_deep: how.is_deep, until }, app).await)
}

/// A little before the command is cut short, so that the stage that hangs can say so.
fn until(app: &App) -> Option<Instant> {
    app.global.limit().map(|limit| {
        let spent = app.elapsed();
        Instant::now() + limit.saturating_sub(spent).mul_f32(0.9)
    })
}

/// `3 stores: 2 ok, 1 failed, 1 warning in 0.13 s`.
fn summary(outcomes: Outcomes, more: &str, elapsed_ms: u64) -> String {
    let Outcomes { good, failed, absent, warnings } = outcomes;
    let count = good + failed + absent;
    let mut parts = vec![format!("{good} ok")];
    parts.extend((failed > 0).then(|| format!("{failed} failed")));
    parts.extend((absent > 0).then(|| format!("{absent} absent")));
    parts.extend((warnings > 0).then(|| format!("{warnings} warning{}", if warnings == 1 { "" } else { "s" })));
    #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
    let seconds = elapsed_ms as f64 / 1000.0;
    format!("{count} store{}: {}{more} in {seconds:.2} s", if count == 1 { "" } else { "s" }, parts.join(", "))
}
