//! Text that must not be printed, and the last guard that removes it from whatever is.
//!
//! The type is the first guard: it cannot be displayed, serialised or dereferenced. The registry is
//! the second: every secret that lyrox reads is known to [`redact`], through which all output goes.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::RwLock;

use base64::Engine as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What replaces a secret in output.
pub const MASK: &str = "***";

/// RFC 3986's unreserved characters stay; everything else is percent-encoded.
pub const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Longest first, so that a secret that contains another is removed as a whole.
static KNOWN: RwLock<BTreeSet<(Reverse<usize>, String)>> = RwLock::new(BTreeSet::new());

/// A secret text: a password, a token, a whole connection string.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in and makes all its forms known to [`redact`].
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        register(&text);
        Self(text)
    }

    /// Takes a text in that is also an ordinary word, so that it cannot be searched for in output.
    pub fn unregistered(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The one door to the text: for drivers and child processes' standard input.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(MASK)
    }
}

/// Makes a secret known: raw, percent-encoded in the usual ways, JSON-escaped and in base64.
/// Texts under four characters are not searched for: they would blank out ordinary words.
pub fn register(text: &str) {
    let forms = forms(text);
    let Ok(mut known) = KNOWN.write() else { return };
    known.extend(forms.into_iter().map(|form| (Reverse(form.len()), form)));
}

/// The forms in which lyrox prints a text or others do: raw, percent-encoded, JSON-escaped, quoted for SQL, in base64. None of
/// a text under four characters.
pub fn forms(text: &str) -> Vec<String> {
    if text.chars().count() < 4 {
        return Vec::new();
    }
    let strict = utf8_percent_encode(text, STRICT).to_string();
    let json = serde_json::to_string(text).unwrap_or_default();
    let mut forms = vec![
        text.to_owned(),
        strict.to_lowercase(),
        strict,
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        json.trim_matches('"').to_owned(),
        text.replace('\'', "''"),
        base64::engine::general_purpose::STANDARD.encode(text),
        base64::engine::general_purpose::URL_SAFE.encode(text),
        base64::engine::general_purpose::STANDARD_NO_PAD.encode(text),
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text),
    ];
    forms.retain(|form| form.len() >= 4);
    forms
}

/// Every form of every secret that is known, the longest first.
pub fn known() -> Vec<String> {
    KNOWN.read().map(|known| known.iter().map(|(_, form)| form.clone()).collect()).unwrap_or_default()
}

/// Removes every known secret, in each of its forms.
pub fn redact(text: &str) -> Cow<'_, str> {
    let Ok(known) = KNOWN.read() else { return Cow::Borrowed(MASK) };
    let mut result = Cow::Borrowed(text);
    for (_, form) in known.iter() {
        if result.contains(form.as_str()) {
            result = Cow::Owned(result.replace(form.as_str(), MASK));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_removed() {
        let raw = "p@:/?#%&+ \"'x";
        let secret = Secret::new(raw);
        let encoded = utf8_percent_encode(raw, STRICT).to_string();
        let base64 = base64::engine::general_purpose::STANDARD.encode(raw);
        let quoted = serde_json::to_string(raw).expect("a string");
        for form in [raw, &encoded, &base64, &quoted] {
            let shown = redact(&format!("before {form} after")).into_owned();
            assert!(shown.starts_with("before ") && shown.contains(MASK) && shown.ends_with(" after"), "{shown}");
            assert!(!shown.contains("p@") && !shown.contains("p%40"), "{shown}");
        }
        assert_eq!(format!("{secret:?}"), MASK);
    }
}
