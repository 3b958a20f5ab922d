//! The names of Flyway's files: what each is, its version and description. The rules are those of `ResourceNameParser`.

use super::settings::Settings;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Runs once, in order.
    Versioned,
    /// Stands for all before it.
    Baseline,
    /// The way back of a versioned one.
    Undo,
    /// Runs again whenever it changes.
    Repeatable,
}

/// A name that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// What it is.
    pub kind: Kind,
    /// With `.` between its parts, as Flyway shows it; empty for repeatables.
    pub version: String,
    /// What follows the separator, as it is in the name.
    pub description: String,
}

impl Name {
    /// The version; none for repeatables.
    pub fn into_version(self) -> Option<String> {
        (self.kind != Kind::Repeatable).then_some(self.version)
    }
}

/// A version in its shortest form: `01.2.0` and `1_2` are the same.
pub fn canonical(version: &str) -> String {
    let parts = version.split(['.', '_']).map(|part| part.trim_start_matches('0'));
    let mut parts: Vec<&str> = parts.map(|part| if part.is_empty() { "0" } else { part }).collect();
    while parts.len() > 1 && parts.last() == Some(&"0") {
        parts.pop();
    }
    parts.join(".")
}

/// The callbacks that Flyway runs from files of these names.
const CALLBACKS: [&str; 4] = ["before", "after", "createSchema", "beforeConnect"];

/// Reads a name; none for one that is no migration.
///
/// # Errors
/// Why Flyway, or lyrox in its place, does not take it.
pub fn parse_name(file: &str, settings: &Settings) -> Result<Option<Name>, &'static str> {
    let Some(stem) = settings.suffixes.iter().find_map(|suffix| file.strip_suffix(suffix.as_str())) else {
        return Ok(None);
    };
    let kinds = [Kind::Versioned, Kind::Undo, Kind::Baseline, Kind::Repeatable];
    let mut prefixes: Vec<(&String, Kind)> = settings.prefixes.iter().zip(kinds).collect();
    prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    let Some((rest, kind)) = prefixes.into_iter().find_map(|(prefix, kind)| {
        let rest = stem.strip_prefix(prefix.as_str()).filter(|_| !prefix.is_empty())?;
        // What merely begins with the letter is no migration: `Views.sql`, `backup.sql`.
        let is_repeatable = kind == Kind::Repeatable && rest.starts_with(settings.separator.as_str());
        (is_repeatable || (kind != Kind::Repeatable && rest.starts_with(|c: char| c.is_ascii_digit())))
            .then_some((rest, kind))
    }) else {
        let is_callback = CALLBACKS.iter().any(|callback| {
            stem.strip_prefix(callback)
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()) || rest.is_empty())
        });
        return if is_callback { Err("it is a callback, which only Flyway runs") } else { Ok(None) };
    };
    let (version, description) = rest.split_once(settings.separator.as_str()).unwrap_or((rest, ""));
    let version = version.replace('_', ".");
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if kind != Kind::Repeatable && !version.split('.').all(is_number) {
        return Err("its version is not made of numbers");
    }
    if kind == Kind::Repeatable && description.is_empty() {
        return Err("a repeatable migration wants a description");
    }
    Ok(Some(Name { kind, version, description: description.to_owned() }))
}
