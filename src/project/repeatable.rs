//! Repeatable migrations on disk: `repeatable/NAME.sql`, `.json` or `.redis` below the migrations folder. One name may
//! have a part per store. They have no version and no way back: they run again when their text changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::migration::{self, Migration, Part, Version};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// The folder below the migrations folder.
pub const FOLDER: &str = "repeatable";

/// Reads the folder, by name; a project need not have it.
///
/// # Errors
/// A file that fits no form, is empty or not UTF-8, or asks for one to run before it that does not exist.
pub fn read(root: &Path, dir: &str) -> Result<Vec<Migration>> {
    let mut found: BTreeMap<String, Migration> = BTreeMap::new();
    for (file, path) in files(root, dir, FOLDER)? {
        let shown = format!("{dir}/{FOLDER}/{file}");
        let Some((name, store)) = parse_name(&file) else {
            if migration::has_free_ending(&file) {
                continue;
            }
            return Err(Error::new(Code::FileName, format!("`{shown}` fits no form of a repeatable migration"))
                .why("it is named NAME.sql, NAME.json or NAME.redis, without a version and without .up or .down")
                .data("nothing was changed")
                .hint(format!("rename it, or move it out of `{dir}/{FOLDER}`")));
        };
        let script = Arc::new(migration::read_script(root, dir, &shown, &path, store)?);
        let migration = found.entry(name.to_owned()).or_insert_with(|| Migration {
            version: Version::repeatable(name),
            name: String::new(),
            parts: BTreeMap::new(),
        });
        migration.parts.insert(store, Part { up: script, down: None });
    }
    for script in found.values().flat_map(|migration| migration.parts.values()).map(|part| &part.up) {
        if let Some(name) = script.header.after.iter().find(|name| !found.contains_key(*name)) {
            let nearest = found.keys().min_by_key(|other| strsim::damerau_levenshtein(other, name));
            let error = Error::new(
                Code::FileSyntax,
                format!("`{}` is to run after `{name}`, which does not exist", script.path),
            )
            .data("nothing was changed");
            return Err(match nearest {
                Some(nearest) => error.hint(format!("the nearest name is `{nearest}`")),
                None => error,
            });
        }
    }
    Ok(found.into_values().collect())
}

fn parse_name(file: &str) -> Option<(&str, StoreKind)> {
    let (name, extension) = file.rsplit_once('.')?;
    let store = StoreKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    let is_name = !name.is_empty()
        && name.len() <= 200
        && !name.contains('.')
        && !name.chars().any(|c| c.is_control() || c.is_whitespace() || c == ',');
    is_name.then_some((name, store))
}

/// The files of a folder below the migrations folder, by name; none where there is no such folder.
///
/// # Errors
/// The folder cannot be read, or holds a name that is not UTF-8.
pub(super) fn files(root: &Path, dir: &str, folder: &str) -> Result<Vec<(String, std::path::PathBuf)>> {
    let path = root.join(dir).join(folder);
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| {
        Error::new(Code::FileKind, format!("cannot read `{dir}/{folder}`"))
            .why(error.to_string())
            .data("nothing was changed")
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|_| {
            Error::new(Code::FileName, format!("a file in `{dir}/{folder}` has a name that is not UTF-8"))
                .data("nothing was changed")
        })?;
        if !name.starts_with('.') && !entry.path().is_dir() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_version_and_no_way() {
        assert_eq!(parse_name("active_users.sql"), Some(("active_users", StoreKind::Postgres)));
        assert_eq!(parse_name("active-users.json"), Some(("active-users", StoreKind::Mongodb)));
        for name in ["a.up.sql", "a.down.sql", ".sql", "a b.sql", "a,b.sql", "a.yaml"] {
            assert!(parse_name(name).is_none(), "{name}");
        }
    }
}
