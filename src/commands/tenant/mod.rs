//! `lyrox tenant`: one file per subcommand.

pub mod adopt;
pub mod create;
pub mod credentials;
pub mod delete;
pub mod export;
mod file;
pub mod import;
mod keep;
pub mod list;
pub mod policies;
pub mod show;
pub mod verify;

use crate::app::App;
use crate::config::Targets;
use crate::engine::migrate::Work;
use crate::engine::tenant::Placement;
use crate::engine::tenant::create::Created;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::project;
use crate::project::seed::Set;
use crate::report::{Report, plural};

/// The commands below `tenant`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a tenant, or many, in every store
    Create(create::Args),
    /// Take in a tenant that the application made itself
    Adopt(adopt::Args),
    /// List the tenants, with their state and version
    List(list::Args),
    /// Show one tenant and what each store has of it
    Show(show::Args),
    /// Prove by trying that no tenant reaches another's data
    Verify(verify::Args),
    /// Write all that a tenant has in every store to one file
    Export(export::Args),
    /// Take a tenant in from such a file
    Import(import::Args),
    /// Remove a tenant from every store, and prove that nothing is left
    Delete(delete::Args),
    /// Give a tenant's users new passwords
    Credentials(credentials::Args),
    /// Look whether row-level security keeps tenants apart; write the migration that does
    Policies(policies::Args),
}

/// Runs the command.
///
/// # Errors
/// What kept it from starting; what concerns one tenant is an item.
pub async fn run(app: &App, command: &Command) -> Result<Report> {
    let takes_shard = matches!(command, Command::Create(_) | Command::Adopt(_) | Command::List(_) | Command::Import(_));
    if app.global.shard.is_some() && !takes_shard {
        return Err(Error::new(Code::Usage, "the registry knows on which shard a tenant is")
            .why("--shard says where new tenants are placed, and which of them `tenant list` shows")
            .data("nothing was changed")
            .hint("leave --shard out"));
    }
    match command {
        Command::Create(args) => create::run(app, args).await,
        Command::Adopt(args) => adopt::run(app, args).await,
        Command::List(args) => list::run(app, args).await,
        Command::Show(args) => show::run(app, args).await,
        Command::Verify(args) => verify::run(app, args).await,
        Command::Export(args) => export::run(app, args).await,
        Command::Import(args) => import::run(app, args).await,
        Command::Delete(args) => delete::run(app, args).await,
        Command::Credentials(args) => credentials::run(app, args).await,
        Command::Policies(args) => policies::run(app, args).await,
    }
}

/// The place that `--shard` names.
fn placement(app: &App) -> Result<Option<Placement>> {
    let named = app.global.shard.as_deref();
    named.map(|name| Placement::named(&app.config()?.settings, name)).transpose()
}

/// What the engine works with.
fn work<'a>(app: &'a App, targets: &'a Targets, wait: std::time::Duration) -> Result<Work<'a>> {
    Ok(Work { config: app.config()?, targets, events: app, wait })
}

/// The seeds of a new tenant: the set `tenant`, where the project has one.
fn seeds(app: &App) -> Result<Option<Set>> {
    let config = app.config()?;
    let name = "tenant";
    if project::seed::sets(config)?.iter().any(|set| set == name) {
        return project::seed::read_set(config, name).map(Some);
    }
    Ok(None)
}

/// The closing line and the exit code of what made tenants.
fn finish(app: &App, created: Created, is_many: bool, verb: &str) -> Report {
    let mut report = app.finish();
    let counts = [
        (created.made, verb),
        (created.planned, "planned"),
        (created.unchanged, "unchanged"),
        (created.failed, "failed"),
    ];
    let words: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    report.data = Some(serde_json::json!({
        "made": created.made, "unchanged": created.unchanged, "failed": created.failed, "planned": created.planned,
    }));
    if is_many {
        let all = created.made + created.planned + created.unchanged + created.failed;
        let seconds = crate::ui::seconds(report.elapsed_ms);
        let code = if created.failed > 0 { format!(" ({})", Code::TenantsFailed) } else { String::new() };
        report.summary = Some(format!("{}: {} in {seconds}{code}", plural(all, "tenant"), words.join(", ")));
        if created.failed > 0 {
            report.decide(Exit::Tenants);
        }
    } else if report.ok && created.planned > 0 {
        report.summary = Some("a dry run: nothing was changed".into());
    }
    report
}
