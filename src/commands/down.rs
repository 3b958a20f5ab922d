//! `lyrox down`

use std::path::PathBuf;

use crate::app::App;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Layout, Report};
use crate::servers::{self, DownRequest};
use crate::typed::again;
use crate::ui::prompt;

/// Flags of `down`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox down                                 stop the servers; their data stays\n  lyrox down redis                           stop this one\n  lyrox down --purge --confirm PROJECT       stop them and remove their data and passwords"
)]
pub struct Args {
    /// The stores to stop: postgres, mongodb, redis; all if none is named
    #[arg(value_name = "STORE")]
    pub stores: Vec<StoreKind>,
    /// Remove their data as well; asks for the project's name
    #[arg(long)]
    pub purge: bool,
    /// The project's name, which lets --purge through without a question
    #[arg(long, value_name = "PROJECT", requires = "purge")]
    pub confirm: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// `LYX-CONSENT`, or as [`servers::down`].
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("down", Layout::Lines);
    let (root, project) = place(app)?;
    if args.purge {
        consent(app, args, &project)?;
    }
    let mut stores = args.stores.clone();
    stores.extend(&app.global.only);
    let done = servers::down(&DownRequest { root, stores, purges: args.purge }, app).await?;
    let mut report = app.finish();
    if done.is_empty() {
        report.summary = Some("no local server was ever started here".into());
    }
    Ok(report)
}

/// The project's root and name. A configuration that is broken must not keep servers running.
fn place(app: &App) -> Result<(PathBuf, String)> {
    match app.config() {
        Ok(config) => Ok((config.root.clone(), config.settings.project.name.clone())),
        Err(error) => {
            let folder = app.global.directory.clone().unwrap_or_else(|| PathBuf::from("."));
            if !folder.join(".lyrox").is_dir() {
                return Err(error);
            }
            let name =
                folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            Ok((folder, name.unwrap_or_else(|| "app".into())))
        }
    }
}

fn consent(app: &App, args: &Args, project: &str) -> Result<()> {
    let refuse = |what: &str| {
        Error::new(Code::Consent, what)
            .why("it destroys the data of the local servers; `--yes` is not consent")
            .data("nothing was changed")
            .hint(again("--confirm", Some(project)))
    };
    match &args.confirm {
        Some(name) if name == project => Ok(()),
        Some(_) => Err(refuse("--purge needs the project's exact name, and another was given")),
        None if prompt::can_ask(app.global.no_input) => {
            let typed =
                prompt::line(&format!("This removes the data of the local servers. Type `{project}` to go on:"))?;
            if typed == project { Ok(()) } else { Err(refuse("the name that was typed is another")) }
        }
        None => Err(refuse("--purge needs consent")),
    }
}
