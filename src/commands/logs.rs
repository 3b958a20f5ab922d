//! `lyrox logs`

use std::time::Duration;

use crate::app::App;
use crate::cli::Output;
use crate::engine::event::Events as _;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Layout, Report};
use crate::servers::{self, Follow};

const POLL: Duration = Duration::from_millis(200);

/// Flags of `logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox logs                      the last lines of every server's log\n  lyrox logs postgres -n 200      more of one\n  lyrox logs mongodb --follow     and what comes, until Ctrl-C"
)]
pub struct Args {
    /// Whose log: postgres, mongodb, redis; every server's if none is named
    #[arg(value_name = "STORE")]
    pub store: Option<StoreKind>,
    /// How many lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub lines: usize,
    /// Go on with what comes, until interrupted
    #[arg(short, long)]
    pub follow: bool,
}

/// Runs the command.
///
/// # Errors
/// The server was never started, or its log cannot be read.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("logs", Layout::Lines);
    let root = &app.config()?.root;
    if args.follow && app.global.output != Output::Human {
        return Err(Error::new(Code::Usage, "--follow prints lines as they come, not a report")
            .hint("leave --output out, or --follow"));
    }
    // Makes the servers' passwords known to the redactor.
    let _ = servers::running(root);
    let is_wanted = |kind: &StoreKind| match args.store {
        Some(store) => store == *kind,
        None => (app.global.only.is_empty() || app.global.only.contains(kind)) && servers::log(root, *kind).is_file(),
    };
    let kinds: Vec<StoreKind> = StoreKind::ALL.into_iter().filter(is_wanted).collect();
    if kinds.is_empty() {
        return Err(Error::new(Code::FileMissing, "there is no log")
            .why("no server was started here")
            .hint("lyrox up"));
    }
    let prefix = |kind: StoreKind| if kinds.len() > 1 { format!("{kind:<8} | ") } else { String::new() };
    let mut data = serde_json::Map::new();
    let mut follows = Vec::new();
    for kind in &kinds {
        let path = servers::log(root, *kind);
        if args.follow {
            follows.push((prefix(*kind), Follow::begin(&path)?));
        }
        let lines = servers::tail(&path, args.lines)?;
        if app.ui.is_human() {
            for line in &lines {
                app.ui.line(&format!("{}{line}", prefix(*kind)));
            }
        }
        data.insert(kind.name().to_owned(), lines.into());
    }
    while !follows.is_empty() && !app.is_cancelled() {
        tokio::time::sleep(POLL).await;
        for (prefix, follow) in &mut follows {
            for line in follow.lines() {
                app.ui.line(&format!("{prefix}{line}"));
            }
        }
    }
    let mut report = app.finish();
    report.data = Some(data.into());
    Ok(report)
}
