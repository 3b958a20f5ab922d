//! `lyrox url`: encode, decode, build, inspect and redact connection URLs.

mod build;
mod inspect;
mod show;

use std::io::{IsTerminal as _, Read as _};

use percent_encoding::utf8_percent_encode;

use crate::app::App;
use crate::cli::Output;
use crate::config::Variables;
use crate::engine::event::Events as _;
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report};
use crate::secret::{self, STRICT};
use crate::ui::prompt;
use crate::url;

/// The commands below `url`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Percent-encode a password or any other part of a URL
    #[command(
        after_help = "The text is taken from the argument, from a prompt without echo, or from standard input:\n\
        an argument is visible in the process list and in the shell's history.\n\n\
        Examples:\n  lyrox url encode 'p??ss'             prints p%3F%3Fss\n  lyrox url encode                     asks for the text\n  printf 'p??ss' | lyrox url encode\n  lyrox url encode -- '-starts-with-a-dash'\n\n\
        A text that looks encoded already is refused: encoded twice it is another password. Where it is raw\n\
        all the same: --raw."
    )]
    Encode(EncodeArgs),
    /// Undo percent-encoding
    #[command(
        after_help = "Examples:\n  lyrox url decode p%3F%3Fss           prints p??ss\n  echo p%3F%3Fss | lyrox url decode"
    )]
    Decode(TextArgs),
    /// Put a URL together from its parts; asks for the password
    #[command(after_help = build::EXAMPLES)]
    Build(build::Args),
    /// Take a URL apart and say what is wrong with it
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::Args),
    /// Mask the passwords in what is read from standard input
    #[command(
        after_help = "Masks passwords in URLs, values of password= and every secret of the project's .env files.\n\n\
        Examples:\n  echo 'postgres://u:secret@h/db' | lyrox url redact\n  lyrox check 2>&1 | lyrox url redact"
    )]
    Redact,
}

/// One text.
#[derive(Debug, clap::Args)]
pub struct TextArgs {
    /// The text; asked for or read from standard input where it is left out
    pub text: Option<String>,
}

/// Flags of `url encode`.
#[derive(Debug, clap::Args)]
pub struct EncodeArgs {
    /// The text; asked for or read from standard input where it is left out
    pub text: Option<String>,
    /// The text is raw although it looks encoded: its `%` is encoded as well
    #[arg(long)]
    pub raw: bool,
}

/// Runs the command.
///
/// # Errors
/// Wrong usage, a text that is no encoding, a URL that cannot be read.
pub async fn run(app: &App, command: &Command) -> Result<Report> {
    match command {
        Command::Encode(args) => encode(app, args),
        Command::Decode(args) => decode(app, args),
        Command::Build(args) => build::run(app, args),
        Command::Inspect(args) => inspect::run(app, args).await,
        Command::Redact => redact(app).await,
    }
}

fn encode(app: &App, args: &EncodeArgs) -> Result<Report> {
    app.begin("url encode", Layout::Lines);
    let text = given(app, args.text.as_deref(), "Text to encode:")?;
    if looks_encoded(&text) && !args.raw {
        return Err(Error::new(Code::Usage, "the text looks encoded already")
            .why("encoded twice it is another password")
            .hint("use it as it is, or give --raw where its `%` is meant to be a `%`"));
    }
    if url::kind_of(&text).is_ok() {
        app.note(
            "the text is a whole URL; only its password needs encoding: lyrox url inspect --reveal prints it mended"
                .to_owned(),
        );
    }
    let mut report = revealed(app, utf8_percent_encode(&text, STRICT).to_string());
    report.revealed.push(text);
    Ok(report)
}

fn decode(app: &App, args: &TextArgs) -> Result<Report> {
    app.begin("url decode", Layout::Lines);
    let text = given(app, args.text.as_deref(), "Text to decode:")?;
    let decoded = url::decode(&text).ok_or_else(|| {
        Error::new(Code::Usage, "the text is not percent-encoded")
            .why("a `%` is not followed by two hex digits, or the bytes are no UTF-8")
            .hint("a literal `%` is written `%25`")
    })?;
    Ok(revealed(app, decoded))
}

/// A report whose value is a text that may be a secret, asked for as such.
fn revealed(app: &App, text: String) -> Report {
    let mut report = app.finish();
    report.data = Some(text.clone().into());
    report.revealed.push(text.clone());
    report.text = Some(text);
    report.reveals = true;
    report
}

/// Only unreserved characters and escapes, and at least one escape.
fn looks_encoded(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
    text.contains('%') && text.chars().all(is_plain) && url::decode(text).is_some()
}

/// The text of an argument, of a prompt without echo, or of standard input without its final line end.
fn given(app: &App, argument: Option<&str>, question: &str) -> Result<String> {
    if let Some(text) = argument {
        return Ok(text.to_owned());
    }
    if prompt::can_ask(app.global.no_input) {
        return prompt::secret(question);
    }
    if std::io::stdin().is_terminal() {
        return Err(Error::new(Code::Usage, "nothing to work on was given")
            .why("questions are off, and standard input is a terminal")
            .hint("give the text as an argument or on standard input"));
    }
    read_line()
}

fn read_line() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Error::new(Code::Usage, "standard input cannot be read as text").why(error.to_string()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

async fn redact(app: &App) -> Result<Report> {
    app.begin("url redact", Layout::Lines);
    if app.global.output != Output::Human {
        return Err(Error::new(Code::Usage, "`url redact` prints text only").hint("leave --output out"));
    }
    register_project(app);
    let (sender, mut pieces) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
    // A thread of its own, which the end of the process need not wait for.
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count) = input.read(&mut buffer) {
            if count == 0 || sender.blocking_send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut masker = url::text::Masker::default();
    while let Some(piece) = pieces.recv().await {
        if app.ui.stream(&masker.push(&piece)).is_err() {
            return Ok(app.finish());
        }
    }
    // The reader may be gone; that is its choice.
    let _ = app.ui.stream(&masker.finish());
    Ok(app.finish())
}

/// Makes the secrets of the project known, where there is a project: its URLs, and what its `.env` files call secret.
fn register_project(app: &App) {
    // Each is registered as it is read; a project that cannot be read has none to offer.
    let _ = app.targets();
    let Ok(config) = app.config() else { return };
    for (name, value) in config.variables.pairs() {
        let name = name.to_ascii_uppercase();
        if ["PASSWORD", "SECRET", "TOKEN", "_KEY"].iter().any(|part| name.contains(part)) && value.len() >= 8 {
            secret::register(value);
        }
        if let Ok(kind) = url::kind_of(value) {
            let _ = url::parse(kind, value);
        }
    }
}

/// The variables in force: the project's, or those of the working folder where there is no project.
fn variables(app: &App) -> Result<Variables> {
    match app.config() {
        Ok(config) => Ok(config.variables.clone()),
        Err(error) if error.code() == Code::ConfigMissing => {
            let folder = app.global.directory.clone().unwrap_or_else(|| ".".into());
            Variables::read_with(
                &folder,
                app.global.env.as_deref().unwrap_or(crate::config::LOCAL),
                &app.global.env_files(),
            )
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::looks_encoded;

    #[test]
    fn an_encoded_text_is_told_from_a_raw_one() {
        assert!(looks_encoded("p%3F%3Fss"));
        assert!(looks_encoded("%25"));
        for raw in ["p??ss", "plain", "100%", "a%zz", "a%41/b", "%ff"] {
            assert!(!looks_encoded(raw), "{raw}");
        }
    }
}
