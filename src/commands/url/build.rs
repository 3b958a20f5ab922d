//! `lyrox url build`

use crate::app::App;
use crate::engine::event::Events as _;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Layout, Report};
use crate::ui::prompt;
use crate::url::{self, Parts};

/// What the help shows below the flags.
pub const EXAMPLES: &str = "The password is asked for without echo or read from standard input; no flag takes it.\n\n\
    Examples:\n  printf 'p??ss' | lyrox url build --store redis --host localhost --password-stdin\n  printf 'p@ss' | lyrox url build --store postgres --user me --host h.example --tls --password-stdin\n  printf 'p/ss' | lyrox url build --store mongodb --user me --host c.mongodb.net --srv --password-stdin\n  lyrox url build --store postgres --user me --host /var/run/postgresql --database app --no-password\n  lyrox url build --store redis --host localhost --no-password --format dotenv    prints REDIS_URL='...'";

/// Flags of `url build`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The store: postgres, mongodb or redis
    #[arg(long, value_name = "STORE")]
    store: StoreKind,
    /// The user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The host, with its port if it has one; several for a replica set; a path for a socket
    #[arg(long, value_name = "HOST[:PORT]", required = true)]
    host: Vec<String>,
    /// The port of hosts given without one
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The database; for Redis its number
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// A parameter after the `?`; may be given several times
    #[arg(long = "option", value_name = "KEY=VALUE")]
    options: Vec<String>,
    /// Use TLS and verify the server
    #[arg(long)]
    tls: bool,
    /// MongoDB: let DNS name the hosts (mongodb+srv)
    #[arg(long)]
    srv: bool,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "no_password")]
    password_stdin: bool,
    /// The URL has no password
    #[arg(long)]
    no_password: bool,
    /// How the URL is written
    #[arg(long, value_enum, default_value_t = Format::Url)]
    format: Format,
    /// The variable that dotenv and shell set; the store's usual one where it is left out
    #[arg(long, value_name = "VAR", value_parser = name)]
    name: Option<String>,
}

/// How the URL is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The URL alone
    #[default]
    Url,
    /// NAME='URL', for a .env file
    Dotenv,
    /// export NAME='URL', for eval
    Shell,
}

fn name(text: &str) -> Result<String, String> {
    let is_name = text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if is_name { Ok(text.to_owned()) } else { Err("a variable has letters, digits and `_`".to_owned()) }
}

/// Runs the command.
pub fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("url build", Layout::Lines);
    let options = args.options.iter().map(|pair| {
        pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| {
            Error::new(Code::Usage, "--option takes KEY=VALUE")
                .why("one of them has no `=`")
                .hint("--option sslmode=require")
        })
    });
    let options = options.collect::<Result<Vec<_>>>()?;
    if options.iter().any(|(key, _)| url::is_secret_option(key)) {
        return Err(Error::new(Code::Usage, "--option takes no secret")
            .why("arguments are visible in the process list")
            .hint("--password-stdin, or leave it out to be asked"));
    }
    let url = url::build(Parts {
        kind: args.store,
        user: args.user.clone(),
        password: password(app, args)?,
        hosts: args.host.clone(),
        port: args.port,
        database: args.database.clone(),
        options,
        is_tls: args.tls,
        is_srv: args.srv,
    })?;
    for problem in url.problems() {
        app.note(problem.remark().what);
    }
    let name = args.name.as_deref().unwrap_or_else(|| url::usual_variable(args.store));
    Ok(super::revealed(
        app,
        match args.format {
            Format::Url => url.expose(),
            Format::Dotenv => format!("{name}={}", url::quote::dotenv(&url.expose())),
            Format::Shell => format!("export {name}={}", url::quote::shell(&url.expose())),
        },
    ))
}

fn password(app: &App, args: &Args) -> Result<Option<String>> {
    let password = if args.no_password {
        return Ok(None);
    } else if args.password_stdin {
        super::read_line()?
    } else if prompt::can_ask(app.global.no_input) {
        prompt::secret("Password:")?
    } else {
        return Err(Error::new(Code::Usage, "the password is missing")
            .why("there is no terminal to ask on")
            .hint("--password-stdin reads it from standard input; --no-password leaves it out"));
    };
    if password.is_empty() {
        return Err(Error::new(Code::Usage, "the password is empty").hint("--no-password leaves it out"));
    }
    Ok(Some(password))
}
