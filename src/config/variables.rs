//! Where values come from: the process environment, `.env.<env>`, `.env`; and `${VAR}` in strings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::error::{Code, Error, Place, Result};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the process environment.
    Process(String),
    /// A variable of a `.env` file: the variable, the file.
    DotEnv(String, String),
    /// `lyrox.toml`.
    File,
    /// The default of the key.
    Default,
    /// The running local server.
    Local,
    /// Made from another value: a provider's direct address from its pooler's.
    Derived(Box<Origin>),
}

impl Origin {
    /// The variable that holds the value, where one does.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Process(name) | Self::DotEnv(name, _) => Some(name),
            Self::Derived(from) => from.variable(),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(out, "{flag}"),
            Self::Process(name) => write!(out, "{name}, from the environment"),
            Self::DotEnv(name, file) => write!(out, "{name}, from {file}"),
            Self::File => out.write_str("lyrox.toml"),
            Self::Default => out.write_str("default"),
            Self::Local => out.write_str("local server"),
            Self::Derived(from) => write!(out, "derived from {from}"),
        }
    }
}

/// The variables in force. Process variables win over `.env.<env>`, which wins over `.env`.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    files: Vec<(String, BTreeMap<String, String>)>,
}

impl Variables {
    /// Reads the `.env` files of the project's root: there only, never above. Missing files are fine.
    ///
    /// # Errors
    /// A file that cannot be read or parsed.
    pub fn read(root: &Path, environment: &str) -> Result<Self> {
        let mut files = Vec::new();
        for name in [format!(".env.{environment}"), ".env".to_owned()] {
            let path = root.join(&name);
            let text = match std::fs::read(&path) {
                Ok(bytes) => String::from_utf8(bytes)
                    .map_err(|_| Error::new(Code::FileEncoding, format!("`{name}` is not valid UTF-8")))?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Error::new(Code::FileKind, format!("cannot read `{name}`")).why(error.to_string()));
                }
            };
            let mut values = BTreeMap::new();
            for pair in dotenvy::from_read_iter(text.as_bytes()) {
                // The parser's own message quotes the line, which may hold a secret.
                let (key, value) = pair.map_err(|_| {
                    let good = values.len();
                    Error::new(Code::FileSyntax, format!("`{name}` has a line that is no `KEY=value`"))
                        .why(format!("after {good} good lines; a value with spaces or quotes needs quotes around it"))
                        .at(Place::file(&name))
                        .hint("lyrox url encode turns a password into characters that need no quotes")
                })?;
                values.insert(key, value);
            }
            files.push((name, values));
        }
        Ok(Self { files })
    }

    /// The value of a variable that is set and not empty, and where it came from.
    pub fn get(&self, name: &str) -> Option<(String, Origin)> {
        if let Ok(value) = std::env::var(name)
            && !value.is_empty()
        {
            return Some((value, Origin::Process(name.to_owned())));
        }
        self.files.iter().find_map(|(file, values)| {
            let value = values.get(name).filter(|value| !value.is_empty())?;
            Some((value.clone(), Origin::DotEnv(name.to_owned(), file.clone())))
        })
    }

    /// Every variable that the `.env` files set, whether or not the process environment overrides it.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(|(_, values)| values.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// The `.env` files that were read, with how many variables each sets.
    pub fn files(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files.iter().map(|(name, values)| (name.as_str(), values.len()))
    }
}

/// A string of the configuration with its variables filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The text, and the variable that decided it if there was one.
    Text(String, Option<Origin>),
    /// A variable is unset or empty: the key counts as not set. Holds the variable's name.
    Unset(String),
}

/// Replaces each `${VAR}` of `text`. `$${` is a literal `${`.
///
/// # Errors
/// A `${` without its `}` or with an impossible name; the message is the reason.
pub fn fill(text: &str, variables: &Variables) -> Result<Filled, String> {
    let mut result = String::new();
    let mut origin = None;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            result.push_str(&rest[..at - 1]);
            result.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        result.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after.find('}').ok_or("a `${` has no closing `}`")?;
        let name = &after[..end];
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
            && !name.as_bytes()[0].is_ascii_digit();
        if !is_name {
            return Err(format!("`${{{name}}}` is no variable; `$${{` is a literal `${{`"));
        }
        match variables.get(name) {
            Some((value, from)) => {
                result.push_str(&value);
                origin = Some(from);
            }
            None => return Ok(Filled::Unset(name.to_owned())),
        }
        rest = &after[end + 1..];
    }
    result.push_str(rest);
    Ok(Filled::Text(result, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_and_unset_ones_unset_the_key() {
        let mut variables = Variables::default();
        variables.files.push((".env".into(), BTreeMap::from([("A_LYROX_TEST".into(), "x}y".into())])));
        let text = |text: &str| fill(text, &variables);
        assert_eq!(
            text("a${A_LYROX_TEST}b"),
            Ok(Filled::Text("ax}yb".into(), Some(Origin::DotEnv("A_LYROX_TEST".into(), ".env".into()))))
        );
        assert_eq!(text("plain"), Ok(Filled::Text("plain".into(), None)));
        assert_eq!(text("$${A}"), Ok(Filled::Text("${A}".into(), None)));
        assert_eq!(text("${LYROX_NOT_SET_ANYWHERE}"), Ok(Filled::Unset("LYROX_NOT_SET_ANYWHERE".into())));
        assert!(text("${A").is_err());
        assert!(text("${A B}").is_err());
    }
}
