//! `lyrox url inspect`

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::app::App;
use crate::engine::event::Events as _;
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report};
use crate::secret::MASK;
use crate::url::provider::provider;
use crate::url::{self, SecretUrl, TlsMode};

/// What the help shows below the flags.
pub const EXAMPLES: &str = "A URL given as an argument is visible in the process list and in the shell's history;\n\
    --env, a prompt and standard input are not.\n\n\
    Examples:\n  lyrox url inspect --env DATABASE_URL         the variable, from the environment or from .env\n  echo 'redis://:p??ss@localhost:6379/0' | lyrox url inspect\n  lyrox url inspect 'redis://localhost:6379/0'\n  lyrox url inspect --env REDIS_URL --reveal   with the password, and the URL mended";

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
}

/// Runs the command.
pub fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("url inspect", Layout::Lines);
    let (text, origin) = match &args.variable {
        Some(name) => {
            let (text, origin) = super::variables(app)?.get(name).ok_or_else(|| {
                Error::new(Code::UrlUnset, format!("{name} is not set"))
                    .why("neither the environment nor a .env file of the project sets it")
                    .hint(format!("set {name}, or give the URL on standard input"))
            })?;
            (text, Some(origin.to_string()))
        }
        None => (super::given(app, args.url.as_deref(), "URL:")?, None),
    };
    let kind = url::kind_of(&text)?;
    let url = url::parse(kind, &text).map_err(|error| match &origin {
        Some(origin) => {
            let why = format!("{} ({origin})", error.why_text().unwrap_or("it is no URL"));
            error.why(why)
        }
        None => error,
    })?;
    if args.url.is_some() && url.password().is_some() {
        app.note("arguments are visible in the process list; --env VAR and standard input are not".to_owned());
    }
    let mut report = app.finish();
    report.text = Some(table(&url, origin.as_deref(), args.reveal));
    report.data = Some(data(&url, origin.as_deref(), args.reveal));
    report.reveals = args.reveal;
    Ok(report)
}

/// What the URL asks of TLS, in words.
fn tls_words(url: &SecretUrl) -> &'static str {
    match url.tls() {
        TlsMode::Off if url.is_local() => "off (this machine)",
        TlsMode::Off => "off",
        TlsMode::Unverified => "on, certificate not verified",
        TlsMode::VerifiedChain => "on, chain verified, name not",
        TlsMode::Verified => "on, verified",
    }
}

fn shown_option<'a>(key: &str, value: &'a str, reveal: bool) -> &'a str {
    if url::is_secret_option(key) && !reveal { MASK } else { value }
}

fn table(url: &SecretUrl, origin: Option<&str>, reveal: bool) -> String {
    let served = provider(url);
    let mut rows: Vec<(&str, String)> = vec![("store", url.kind().title().to_owned())];
    rows.extend(origin.map(|origin| ("from", origin.to_owned())));
    rows.extend((!served.name.is_empty()).then(|| ("provider", served.name.to_owned())));
    rows.extend((!served.pooling.word().is_empty()).then(|| ("reached", served.pooling.word().to_owned())));
    rows.push(("scheme", url.scheme().to_owned()));
    rows.push(("user", url.user().unwrap_or("(none)").to_owned()));
    rows.push((
        "password",
        match url.password() {
            None => "(none)".to_owned(),
            Some(password) if reveal => password.expose().to_owned(),
            Some(_) => MASK.to_owned(),
        },
    ));
    for host in url.hosts() {
        let place = match (host.is_socket(), url.is_srv()) {
            (true, _) => format!("{} (socket)", host.name),
            (false, true) => format!("{} (looked up in DNS)", host.name),
            (false, false) => format!("{}:{}", host.bracketed(), url.port_of(host)),
        };
        rows.push(("host", place));
    }
    rows.push(("database", url.database().unwrap_or("(none)").to_owned()));
    for (key, value) in url.options() {
        rows.push(("parameter", format!("{key} = {}", shown_option(key, value, reveal))));
    }
    rows.push(("tls", tls_words(url).to_owned()));
    if reveal {
        rows.push(("url", url.expose()));
    }
    let mut text = String::new();
    for (label, value) in rows {
        let _ = writeln!(text, "{label:<10} {}", printable(&value));
    }
    for remark in url::remarks(url) {
        let word = if remark.is_wrong { "wrong" } else { "note" };
        let _ =
            writeln!(text, "\n{word:<10} {}\n           hint: {}", printable(&remark.what), printable(&remark.mend));
    }
    text
}

/// Text of a URL must not drive the terminal.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

fn data(url: &SecretUrl, origin: Option<&str>, reveal: bool) -> Value {
    let served = provider(url);
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "store": url.kind(),
        "from": origin,
        "provider": some(served.name),
        "pooling": some(served.pooling.word()),
        "scheme": url.scheme(),
        "user": url.user(),
        "password": url.password().map(|password| if reveal { password.expose() } else { MASK }),
        "hosts": url.hosts().iter().map(|host| json!({
            "name": host.name,
            "port": if host.is_socket() || url.is_srv() { Value::Null } else { url.port_of(host).into() },
        })).collect::<Vec<_>>(),
        "database": url.database(),
        "parameters": url.options().iter().map(|(key, value)| {
            (key.clone(), Value::from(shown_option(key, value, reveal)))
        }).collect::<serde_json::Map<_, _>>(),
        "tls": match url.tls() {
            TlsMode::Off => "off",
            TlsMode::Unverified => "unverified",
            TlsMode::VerifiedChain => "verified-chain",
            TlsMode::Verified => "verified",
        },
        "is_local": url.is_local(),
        "url": if reveal { url.expose() } else { format!("{}://{}", url.scheme(), url.label()) },
        "remarks": url::remarks(url).iter().map(|remark| json!({
            "what": remark.what, "mend": remark.mend, "is_wrong": remark.is_wrong,
        })).collect::<Vec<_>>(),
    })
}
