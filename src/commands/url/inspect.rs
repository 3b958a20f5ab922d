//! `lyrox url inspect`

use std::net::SocketAddr;

use crate::app::App;
use crate::config::{Origin, dotenv};
use crate::engine::event::Events as _;
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report};
use crate::stores::srv;
use crate::url;

use super::show::{Shown, data, table};

/// What the help shows below the flags.
pub const EXAMPLES: &str = "A URL given as an argument is visible in the process list and in the shell's history;\n\
    --env, a prompt and standard input are not.\n\n\
    Examples:\n  lyrox url inspect --env DATABASE_URL         the variable, from the environment or from .env\n  echo 'redis://:p??ss@localhost:6379/0' | lyrox url inspect\n  lyrox url inspect 'redis://localhost:6379/0'\n  lyrox url inspect --env REDIS_URL --reveal   with the password, and the URL mended\n\n\
    --srv asks DNS for the hosts behind a mongodb+srv URL and shows the mongodb:// URL that needs no such\n\
    question; --dns 1.1.1.1 asks that server where the own one does not answer.";

/// Flags of `url inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The URL; asked for or read from standard input where it is left out
    #[arg(conflicts_with = "variable")]
    url: Option<String>,
    /// Read this variable, from the environment or from the project's .env files
    #[arg(id = "variable", long = "env", value_name = "VAR")]
    variable: Option<String>,
    /// The environment whose .env file is read
    #[arg(id = "environment", short = 'e', long = "environment", value_name = "NAME", env = "LYROX_ENV")]
    // Takes the place of the global flag, whose long name means the variable here.
    _environment: Option<String>,
    /// Show the password and the URL mended
    #[arg(long)]
    reveal: bool,
    /// MongoDB: ask DNS for the hosts behind mongodb+srv, and show the URL that names them
    #[arg(long)]
    srv: bool,
    /// The DNS server to ask
    #[arg(long, value_name = "ADDRESS[:PORT]", requires = "srv", value_parser = server)]
    dns: Option<SocketAddr>,
}

/// An address with or without a port.
fn server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map(|address| SocketAddr::new(address, 53));
    address.or_else(|_| text.parse()).map_err(|_| "an address, such as 1.1.1.1 or 127.0.0.1:5353".to_owned())
}

/// Runs the command.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("url inspect", Layout::Lines);
    let (text, origin) = match &args.variable {
        Some(name) => {
            let (text, origin) = super::variables(app)?.get(name).ok_or_else(|| {
                Error::new(Code::UrlUnset, format!("{name} is not set"))
                    .why("neither the environment nor a .env file of the project sets it")
                    .hint(format!("set {name}, or give the URL on standard input"))
            })?;
            (text, Some(origin))
        }
        None => (super::given(app, args.url.as_deref(), "URL:")?, None),
    };
    let of_origin = |error: Error| match &origin {
        Some(origin) => {
            let why = format!("{} ({origin})", error.why_text().unwrap_or("it is no URL"));
            error.why(why)
        }
        None => error,
    };
    let kind = url::kind_of(&text).map_err(of_origin)?;
    let url = url::parse(kind, &text).map_err(of_origin)?;
    if args.url.is_some() && url.password().is_some() {
        app.note("arguments are visible in the process list; --env VAR and standard input are not".to_owned());
    }
    let expanded = if args.srv { Some(srv::expand(&url, args.dns).await?) } else { None };
    let trap = match &origin {
        Some(Origin::DotEnv(name, file)) => {
            let root = app.config().map_or_else(
                |_| app.global.directory.clone().unwrap_or_else(|| ".".into()),
                |config| config.root.clone(),
            );
            dotenv::trap(&root.join(file), name)
        }
        _ => None,
    };
    let origin_text = origin.as_ref().map(ToString::to_string);
    let shown = Shown {
        url: &url,
        text: &text,
        variable: args.variable.as_deref(),
        origin: origin_text.as_deref(),
        expanded: expanded.as_ref(),
        trap,
        reveal: args.reveal,
    };
    let mut report = app.finish();
    report.text = Some(table(&shown));
    report.data = Some(data(&shown));
    report.reveals = args.reveal;
    Ok(report)
}
