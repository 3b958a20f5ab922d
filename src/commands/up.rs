//! `lyrox up`

use crate::app::App;
use crate::config::Targets;
use crate::config::target::LocalUrls;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Item, Layout, Report};
use crate::servers::{self, UpRequest};

/// Flags of `up`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox up                    start every server of the project, or find it running\n  lyrox up postgres redis     start these two\n  lyrox --offline up          fetch nothing: use what is installed or was fetched before\n\nThe servers listen on 127.0.0.1 only, with random passwords; `lyrox env` prints their URLs.\nThey are for development: a machine that loses power may lose their data."
)]
pub struct Args {
    /// The stores to start: postgres, mongodb, redis; all of the project's if none is named
    #[arg(value_name = "STORE")]
    pub stores: Vec<StoreKind>,
}

/// Runs the command.
///
/// # Errors
/// As [`servers::up`]; a server that does not start is a failed item.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("up", Layout::Lines);
    let stores = chosen(app, &args.stores)?;
    start(app, &stores).await?;
    Ok(app.finish())
}

/// The stores that are named, or all of the project's; `--only` applied.
fn chosen(app: &App, named: &[StoreKind]) -> Result<Vec<StoreKind>> {
    let all = app.config()?.stores();
    if let Some(missing) = named.iter().chain(&app.global.only).find(|kind| !all.contains(kind)) {
        return Err(Error::new(Code::Usage, format!("the project has no {missing}"))
            .why(format!("lyrox.toml has no section `[{missing}]`"))
            .hint(format!("leave `{missing}` out, or add the section")));
    }
    let stores: Vec<StoreKind> =
        app.kinds()?.into_iter().filter(|kind| named.is_empty() || named.contains(kind)).collect();
    if stores.is_empty() {
        return Err(Error::new(Code::Usage, "no store is left to start")
            .hint("add [postgres], [mongodb] or [redis] to lyrox.toml, or name other stores"));
    }
    Ok(stores)
}

/// Starts the local servers of these stores as part of a larger command; items go to the report, and a
/// server that does not start is a failed one.
///
/// # Errors
/// As [`servers::up`].
pub async fn start(app: &App, stores: &[StoreKind]) -> Result<()> {
    servers::up(&UpRequest::new(app.config()?, stores, app.global.offline), app).await.map(|_| ())
}

/// Finds the programs of these stores' local servers, fetching what is missing, as part of a larger command; nothing
/// is started. One item a store.
///
/// # Errors
/// As [`servers::programs`]; a program that cannot be had is a failed item.
pub async fn find(app: &App, stores: &[StoreKind]) -> Result<()> {
    for (kind, found) in servers::programs(&UpRequest::new(app.config()?, stores, app.global.offline), app).await? {
        let id = format!("{kind}.program");
        app.item(match found {
            Ok(found) => {
                let whence = if found.is_fetched { "fetched" } else { "installed" };
                Item::pass(id, found.product).store(kind).detail(whence)
            }
            Err(error) => Item::fail(id, kind.title(), &error).store(kind),
        });
    }
    Ok(())
}

/// The stores of the run whose URL is not set, and which the local servers serve.
///
/// # Errors
/// A configuration that cannot be read.
pub fn stores_without_url(app: &App) -> Result<Vec<StoreKind>> {
    let config = app.config()?;
    let mut kinds = app.kinds()?;
    kinds.retain(|kind| match Targets::resolve(config, &[*kind], &LocalUrls::default()) {
        // An optional store without a URL is not an error.
        Ok(targets) => targets.stores.is_empty(),
        Err(error) => error.code() == Code::UrlUnset,
    });
    Ok(kinds)
}
