//! `lyrox tenant create`

use std::path::PathBuf;

use super::file::Tenants;
use super::keep::{self, Given};
use super::{finish, placement, seeds, work};
use crate::app::App;
use crate::config::Period;
use crate::engine::tenant::create::{Request, create};
use crate::engine::tenant::credentials::{Keeper, Nobody};
use crate::engine::tenant::plan::Wanted;
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report};

/// Flags of `tenant create`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant create 00000000-0000-4000-8000-000000000009 --dry-run\n\nThe key is the value in the tenant column. Names of schemas, databases, users and key prefixes are made of the slug: the\nkey itself where it can be one, else one that follows from it.\n\n`lyrox tenant create acme --set name='Acme & Sons' --credentials acme.ndjson` makes a row in the tenant table with that\nname, and writes the passwords of its users to a new file.\n`lyrox tenant create --from-file tenants.csv --credentials all.ndjson --jobs 4` makes many: a CSV file with a heading; `key`,\n`slug`, and columns of the tenant table. Running it again makes those that are missing.\n`--shard NAME` places them on a shard; without it `placement` under [tenancy] decides.\n\nExit codes: 0 done; 1 it was refused and taken back; 6 a name is taken; 7 some of many failed"
)]
pub struct Args {
    /// The tenant's key: the value in the tenant column
    #[arg(value_name = "KEY", required_unless_present = "from_file")]
    pub key: Option<String>,
    /// Its short name: small letters, digits and `_`; default: it follows from the key
    #[arg(long, value_name = "NAME", conflicts_with = "from_file")]
    pub slug: Option<String>,
    /// A column of its row in the tenant table
    #[arg(long = "set", value_name = "COLUMN=VALUE", conflicts_with = "from_file")]
    pub set: Vec<String>,
    /// Make all tenants of a CSV file
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub from_file: Option<PathBuf>,
    /// So many tenants side by side
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Where passwords go.
    #[command(flatten)]
    pub given: Given,
    /// Show what would be made; change nothing
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
    app.begin("tenant create", Layout::Lines);
    let targets = app.home()?;
    let seeds = seeds(app)?;
    let wanted: Box<dyn Iterator<Item = Result<Wanted>>> = match (&args.from_file, &args.key) {
        (Some(file), _) => Box::new(Tenants::open(file)?),
        (None, Some(key)) => {
            let fields = args.set.iter().map(|given| pair(given)).collect::<Result<_>>()?;
            let wanted = Wanted { key: key.clone(), slug: args.slug.clone(), fields, line: None };
            Box::new(std::iter::once(Ok(wanted)))
        }
        (None, None) => return Err(Error::new(Code::Usage, "no tenant was named").hint("lyrox tenant create KEY")),
    };
    // A dry run has no passwords.
    let keeper: Box<dyn Keeper> = if args.dry_run { Box::new(Nobody) } else { keep::keeper(app, &args.given)? };
    let is_many = args.from_file.is_some();
    let request = Request {
        wanted,
        total: None,
        jobs: usize::from(args.jobs),
        is_dry: args.dry_run,
        is_brief: is_many,
        takes_in: false,
        keeper: keeper.as_ref(),
        to: None,
        seeds: seeds.as_ref(),
        placement: placement(app)?,
    };
    let created = create(work(app, &targets, args.lock_wait.duration())?, request).await?;
    keeper.finish()?;
    Ok(finish(app, created, is_many, "created"))
}

/// `COLUMN=VALUE`.
pub(super) fn pair(given: &str) -> Result<(String, String)> {
    match given.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::new(Code::Usage, "--set wants COLUMN=VALUE").data("nothing was changed")),
    }
}
