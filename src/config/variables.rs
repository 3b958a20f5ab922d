//! Where values come from: the process environment, `.env.<env>`, `.env`; and `${VAR}` in strings.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

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
    /// A file that holds nothing else: `url_file`.
    Secret(String),
    /// What a command printed: `url_command`.
    Command(String),
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
            Self::Secret(file) => write!(out, "the file {file}"),
            Self::Command(program) => write!(out, "the command `{program}`"),
        }
    }
}

/// Which files of variables are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFiles {
    /// `--env-file`: read besides, wins over everything; `-` is standard input.
    pub given: Option<PathBuf>,
    /// The project's own `.env` files are left alone.
    pub skip: Option<Skip>,
}

/// Why the project's own `.env` files are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// `--no-env-file`.
    Flag,
    /// `CI` is set: what a checkout holds must not decide which servers a pipeline works on.
    Ci,
}

impl Skip {
    /// Why, in words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Flag => "--no-env-file",
            Self::Ci => "CI is set; --env-file FILE reads one all the same",
        }
    }
}

/// The variables in force. What `--env-file` names wins over the process, whose variables win over `.env.<env>`,
/// which wins over `.env`.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    given: Option<(String, BTreeMap<String, String>)>,
    files: Vec<(String, BTreeMap<String, String>)>,
    skipped: Option<Skip>,
}

impl Variables {
    /// Reads the `.env` files of the project's root: there only, never above. Missing files are fine.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, a link that leaves the folder.
    pub fn read(root: &Path, environment: &str) -> Result<Self> {
        Self::read_with(root, environment, &EnvFiles::default())
    }

    /// The same with other files, or none.
    ///
    /// # Errors
    /// As [`Variables::read`], and a named file that is not there.
    pub fn read_with(root: &Path, environment: &str, which: &EnvFiles) -> Result<Self> {
        let mut variables = Self { given: None, files: Vec::new(), skipped: None };
        if let Some(file) = &which.given {
            variables.given = Some(given(file)?);
        }
        for name in [format!(".env.{environment}"), ".env".to_owned()] {
            let path = root.join(&name);
            if which.skip.is_some() {
                if path.exists() {
                    variables.skipped = which.skip;
                }
                continue;
            }
            if leaves(root, &path) {
                return Err(Error::new(Code::FileKind, format!("`{name}` is a link that leaves the project's folder"))
                    .why("only what lies beside lyrox.toml is read unasked")
                    .data("nothing was contacted")
                    .hint(format!("lyrox --no-env-file --env-file {}", link_target(&path))));
            }
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Error::new(Code::FileKind, format!("cannot read `{name}`")).why(error.to_string()));
                }
            };
            let values = parse(&bytes, &name)?;
            variables.files.push((name, values));
        }
        Ok(variables)
    }

    /// The value of a variable that is set and not empty, and where it came from.
    pub fn get(&self, name: &str) -> Option<(String, Origin)> {
        if let Some((file, values)) = &self.given
            && let Some(value) = values.get(name).filter(|value| !value.is_empty())
        {
            return Some((value.clone(), Origin::DotEnv(name.to_owned(), file.clone())));
        }
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
        let files = self.given.iter().chain(&self.files);
        files.flat_map(|(_, values)| values.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    /// The files that were read, with the names that each sets.
    pub fn files(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        let files = self.given.iter().chain(&self.files);
        files.map(|(name, values)| (name.as_str(), values.keys().map(String::as_str).collect()))
    }

    /// Why the project's `.env` files were left alone although there are some.
    pub const fn skipped(&self) -> Option<Skip> {
        self.skipped
    }
}

/// What `--env-file` names.
fn given(file: &Path) -> Result<(String, BTreeMap<String, String>)> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin()
            .read_to_end(&mut bytes)
            .map_err(|error| Error::new(Code::Usage, "standard input cannot be read").why(error.to_string()))?;
        return Ok(("standard input".to_owned(), parse(&bytes, "standard input")?));
    }
    let name = file.display().to_string();
    let bytes = std::fs::read(file).map_err(|error| {
        Error::new(Code::FileMissing, format!("cannot read `{name}`"))
            .why(format!("--env-file names it: {error}"))
            .data("nothing was contacted")
    })?;
    let values = parse(&bytes, &name)?;
    Ok((name, values))
}

fn parse(bytes: &[u8], name: &str) -> Result<BTreeMap<String, String>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::new(Code::FileEncoding, format!("`{name}` is not valid UTF-8")))?;
    let mut values = BTreeMap::new();
    let text = text.trim_start_matches('\u{feff}');
    for pair in dotenvy::from_read_iter(text.as_bytes()) {
        // The parser's own message quotes the line, which may hold a secret.
        let (key, value) = pair.map_err(|error| {
            Error::new(Code::FileSyntax, format!("`{name}` has a line that is no `KEY=value`"))
                .why("a value with spaces or quotes needs quotes around it")
                .at(Place { line: line_of(text, &error), ..Place::file(name) })
                .hint("lyrox url encode turns a password into characters that need no quotes")
        })?;
        values.insert(key, value);
    }
    Ok(values)
}

/// The line, from 1, that could not be read; 0 where it cannot be told.
fn line_of(text: &str, error: &dotenvy::Error) -> usize {
    let dotenvy::Error::LineParse(read, _) = error else { return 0 };
    // A line, or the end of one: its value.
    let first = read.lines().next().unwrap_or_default().trim_end();
    let is_it = |line: &str| !line.trim_start().starts_with('#') && line.trim_end().ends_with(first);
    text.lines().position(is_it).map_or(0, |at| at + 1)
}

/// Whether a file is a link to something outside of a folder.
fn leaves(root: &Path, file: &Path) -> bool {
    let is_link = std::fs::symlink_metadata(file).is_ok_and(|found| found.file_type().is_symlink());
    is_link
        && match (root.canonicalize(), file.canonicalize()) {
            (Ok(root), Ok(file)) => !file.starts_with(root),
            _ => false,
        }
}

fn link_target(file: &Path) -> String {
    std::fs::read_link(file).map_or_else(|_| "FILE".to_owned(), |target| target.display().to_string())
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
