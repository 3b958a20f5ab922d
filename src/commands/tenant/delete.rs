//! `lyrox tenant delete`

use serde_json::json;

use super::work;
use crate::app::App;
use crate::config::Period;
use crate::engine::guard::{self, Consent};
use crate::engine::tenant::delete::{delete, preview};
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report};
use crate::ui::prompt;

/// Flags of `tenant delete`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant delete acme --dry-run        what would go, counted\n  lyrox tenant delete acme --confirm acme   remove the tenant acme from every store\n\nIts rows, documents and keys, its schema or databases and its users go; then every store is asked again, and nothing must\nbe left. What may be its own and nobody says so stops the command before anything is changed. A removal that was cut short\ngoes on with the same command. `--yes` is not consent. The registry's event log keeps that there was such a tenant.\n\nExit codes: 0 done; 2 there is no such tenant; 3 consent missing; 6 something is in the way, or left"
)]
pub struct Args {
    /// The tenant's key or slug
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The tenant's slug; SLUG@HOST where a server is not this machine
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Count what would go; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// Runs the command.
///
/// # Errors
/// No consent, or what keeps the tenant from being removed whole.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant delete", Layout::Lines);
    let targets = app.home()?;
    let work = work(app, &targets, args.lock_wait.duration())?;
    let can_ask = prompt::can_ask(app.global.no_input) && args.confirm.is_none();
    let preview = preview(work, &args.key, args.dry_run || can_ask).await?;
    let tenant = &preview.tenant;
    if args.dry_run {
        let mut report = app.finish();
        report.data =
            Some(json!({ "key": tenant.key(), "slug": tenant.slug(), "rows": preview.rows, "deleted": false }));
        report.summary = Some(format!("{} rows, documents and keys; a dry run: nothing was changed", preview.rows));
        return Ok(report);
    }
    let mut consent = Consent { confirm: args.confirm.clone() };
    if can_ask && !preview.is_resumed {
        let name = guard::name_to_delete(&targets, tenant.slug());
        let answer = prompt::line(&format!("This cannot be undone. Type {name} to remove the tenant:"))?;
        if answer != name {
            return Err(Error::new(Code::Consent, "the removal was declined").data("nothing was changed"));
        }
        consent.confirm = Some(answer);
    }
    let permit =
        guard::permit_delete(app.config()?, &targets, &preview.marks, &consent, tenant.slug(), preview.is_resumed)?;
    let rows = delete(work, tenant, &permit).await?;
    let mut report = app.finish();
    report.data = Some(json!({ "key": tenant.key(), "slug": tenant.slug(), "rows": rows, "deleted": true }));
    let seconds = crate::ui::seconds(report.elapsed_ms);
    report.summary = Some(format!("{} is gone: {rows} rows, documents and keys in {seconds}", tenant.shown()));
    Ok(report)
}
