//! Whose migrations a project holds, seen by its files alone.

use std::path::Path;

use super::DETECTORS;
use crate::config::file::Format;
use crate::kind::StoreKind;

/// A format that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The format.
    pub format: Format,
    /// The migrations folder, relative to the root, with `/`.
    pub dir: String,
    /// What it was recognised by: "`.sqlx/` and 3 files like `1_init.sql`".
    pub why: String,
    /// How sure it is: 3 a file that only this tool has, 2 a form of files that only this tool has, 1 files that fit.
    pub certainty: u8,
    /// Further lines for `[migrations]`: key and value as TOML (`"history"`, `"\"public.versions\""`).
    pub settings: Vec<(String, String)>,
    /// The variable that the tool takes the database's URL from, where its files say so; `DATABASE_URL` where none is said.
    pub url_variable: Option<String>,
}

/// Every format that the files of a project fit, the surest first. Where several fit equally well, a person has to say.
pub fn detect(root: &Path) -> Vec<Detected> {
    let mut found: Vec<Detected> = DETECTORS.iter().filter_map(|detector| detector(root)).collect();
    found.sort_by_key(|detected| std::cmp::Reverse(detected.certainty));
    found
}

/// lyrox's own files: sure where a part of another store lies among them.
pub fn own(root: &Path) -> Option<Detected> {
    let dir = "migrations";
    let files = crate::project::migration::read_all(root, dir).ok().filter(|files| !files.is_empty())?;
    let has_parts = files.iter().flat_map(|file| file.parts.keys()).any(|store| *store != StoreKind::Postgres);
    let example = files.iter().flat_map(|file| file.parts.values()).next()?.up.path.clone();
    let count = files.len();
    Some(Detected {
        format: Format::Lyrox,
        dir: dir.into(),
        why: format!("{count} {} like `{example}`", if count == 1 { "version" } else { "versions" }),
        certainty: if has_parts { 2 } else { 1 },
        settings: Vec::new(),
        url_variable: None,
    })
}

/// The names of the files of a folder, sorted; none where it is missing.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// The text of a small file; empty where it is missing or no text.
pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
