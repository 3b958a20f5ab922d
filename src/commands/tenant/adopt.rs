//! `lyrox tenant adopt`

use super::keep::{self, Given};
use super::{finish, placement, work};
use crate::app::App;
use crate::config::Period;
use crate::engine::tenant::create::{Request, create};
use crate::engine::tenant::credentials::{Keeper, Nobody};
use crate::engine::tenant::list;
use crate::engine::tenant::plan::Wanted;
use crate::error::{Code, Error, Result};
use crate::project::migration::Version;
use crate::report::{Layout, Report};

/// Flags of `tenant adopt`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant adopt --all --dry-run          which tenants would be taken in\n  lyrox tenant adopt --all --no-credentials   take in all that `lyrox tenant list` shows as unmanaged\n\nWhat the application made stays as it is: the tenant gets a record and, where the others have them, users of its own. In the\nmodels `schema` and `database` its migrations are recorded as applied, and not run, where something of it is there; `--to`\nsays up to which, and `lyrox tenant list` shows it as behind then.\nWhat is on a shard is taken in with `--shard NAME`."
)]
pub struct Args {
    /// The tenant's key: the value in the tenant column, or the slug of its schema or database
    #[arg(value_name = "KEY", required_unless_present = "all")]
    pub key: Option<String>,
    /// Its short name: small letters, digits and `_`; default: it follows from the key
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub slug: Option<String>,
    /// Its own migrations are there up to this version; default: all of them
    #[arg(long, value_name = "VERSION")]
    pub to: Option<String>,
    /// Every tenant that is unmanaged
    #[arg(long, conflicts_with = "key")]
    pub all: bool,
    /// Where passwords go.
    #[command(flatten)]
    pub given: Given,
    /// Show what would be taken in; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// Runs the command.
///
/// # Errors
/// What kept it from starting; what concerns one tenant is an item.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant adopt", Layout::Lines);
    let targets = app.home()?;
    let work = work(app, &targets, args.lock_wait.duration())?;
    let keeper: Box<dyn Keeper> = if args.dry_run { Box::new(Nobody) } else { keep::keeper(app, &args.given)? };
    let keys = match &args.key {
        Some(key) => vec![key.clone()],
        None => {
            let listed = list::list(work).await?;
            if listed.unmanaged.len() == list::UNMANAGED {
                app.item(
                    crate::report::Item::warn("unmanaged", "unmanaged tenants")
                        .code(Code::TenantState)
                        .detail(format!("the first {} are taken in; run it again for the rest", list::UNMANAGED)),
                );
            }
            match app.global.shard.as_deref() {
                Some(shard) if shard != crate::config::shards::HOME => {
                    listed.elsewhere.get(shard).cloned().unwrap_or_default()
                }
                _ => listed.unmanaged,
            }
        }
    };
    let is_many = args.all;
    let wanted =
        keys.into_iter().map(|key| Ok(Wanted { key, slug: args.slug.clone(), fields: Vec::new(), line: None }));
    let request = Request {
        wanted: Box::new(wanted),
        total: None,
        jobs: 1,
        is_dry: args.dry_run,
        is_brief: is_many && !args.dry_run,
        takes_in: true,
        keeper: keeper.as_ref(),
        to: args.to.as_deref().map(Version::new),
        seeds: None,
        placement: placement(app)?,
    };
    let created = create(work, request).await?;
    keeper.finish()?;
    if !is_many && created.made + created.unchanged + created.failed + created.planned == 0 {
        return Err(Error::bug("a tenant was asked for and nothing became of it"));
    }
    Ok(finish(app, created, is_many, "taken in"))
}
