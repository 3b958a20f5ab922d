//! Questions to a person: only on a terminal, never in CI, never with `--no-input`.

use std::io::IsTerminal as _;

use console::Term;

use super::human::clean;
use crate::error::{Code, Error, Result};
use crate::secret::redact;

/// Whether a person is there to answer: an agent at a terminal is none.
pub fn can_ask(no_input: bool) -> bool {
    !no_input
        && !is_ci()
        && crate::config::agent::agent().is_none()
        && std::io::stdin().is_terminal()
        && std::io::stderr().is_terminal()
}

/// Whether a pipeline runs this: `CI` is set to something other than `false`.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Asks for a line of text on standard error.
///
/// # Errors
/// The terminal went away.
pub fn line(question: &str) -> Result<String> {
    let term = Term::stderr();
    let asked = term.write_str(&format!("{} ", clean(&redact(question)))).and_then(|()| term.read_line());
    asked.map(|answer| answer.trim().to_owned()).map_err(gone)
}

/// Asks for a secret without echo.
///
/// # Errors
/// The terminal went away.
pub fn secret(question: &str) -> Result<String> {
    let term = Term::stderr();
    term.write_str(&format!("{} ", clean(question))).and_then(|()| term.read_secure_line()).map_err(gone)
}

/// Shows a secret on the terminal, once: the only line that is not redacted.
///
/// # Errors
/// The terminal went away.
pub fn reveal(text: &str) -> Result<()> {
    Term::stderr().write_line(&clean(text)).map_err(gone)
}

/// Asks a yes-or-no question; Enter gives the default.
///
/// # Errors
/// The terminal went away.
pub fn yes(question: &str, default: bool) -> Result<bool> {
    let answer = line(&format!("{question} [{}]", if default { "Y/n" } else { "y/N" }))?;
    Ok(match answer.to_ascii_lowercase().as_str() {
        "" => default,
        "y" | "yes" => true,
        _ => false,
    })
}

fn gone(error: std::io::Error) -> Error {
    Error::new(Code::Consent, "the question was not answered").why(error.to_string()).data("nothing was changed")
}
