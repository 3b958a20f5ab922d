//! `${VAR}` in the scripts that ask for it (`lyrox: vars`). Knows no store.

use crate::config::Variables;
use crate::config::variables::{Filled, fill};

/// Fills the variables of a text in. Values of variables that are named like secrets are masked in all
/// output from then on.
///
/// # Errors
/// A variable that is unset, or a `${` that is none; the message is the reason.
pub fn expand(text: &str, variables: &Variables) -> Result<String, String> {
    match fill(text, variables)? {
        Filled::Text(filled, _) => {
            if filled != text {
                mask(text, variables);
            }
            Ok(filled)
        }
        Filled::Unset(name) => Err(format!("variable `{name}` is not set")),
    }
}

fn mask(text: &str, variables: &Variables) {
    for piece in text.split("${").skip(1) {
        let Some((name, _)) = piece.split_once('}') else { continue };
        let upper = name.to_ascii_uppercase();
        let is_secret = ["PASS", "PWD", "SECRET", "TOKEN", "KEY", "URL", "URI", "DSN", "CREDENTIAL"]
            .iter()
            .any(|word| upper.contains(word));
        if let Some((value, _)) = variables.get(name).filter(|_| is_secret) {
            crate::secret::register(&value);
        }
    }
}
