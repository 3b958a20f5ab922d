//! `lyrox tenant credentials`

use super::keep::{self, Given};
use super::work;
use crate::app::App;
use crate::config::Period;
use crate::engine::tenant::renew;
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report};

/// Flags of `tenant credentials`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant list --state active\n\n`lyrox tenant credentials KEY --credentials FILE` gives the users of one of them new passwords in every store; the old ones\nend with it."
)]
pub struct Args {
    /// The tenant's key or slug
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Write the passwords to this new file, which only you can read; default: the terminal
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<std::path::PathBuf>,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// Runs the command.
///
/// # Errors
/// `LYX-TENANT-UNKNOWN`, `LYX-TENANT-STATE`; a store that refuses.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant credentials", Layout::Lines);
    if app.config()?.settings.tenancy.as_ref().is_some_and(|tenancy| !tenancy.users) {
        return Err(Error::new(Code::Tenancy, "tenants have no users of their own")
            .why("`users = false` under [tenancy] in lyrox.toml")
            .data("nothing was changed"));
    }
    let targets = app.home()?;
    let keeper = keep::keeper(app, &Given { credentials: args.credentials.clone(), no_credentials: false })?;
    renew::renew(work(app, &targets, args.lock_wait.duration())?, &args.key, keeper.as_ref()).await?;
    keeper.finish()?;
    Ok(app.finish())
}
