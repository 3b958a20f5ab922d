//! The lyrox parts of other stores beside another tool's PostgreSQL files: merged by leading digits.

use std::path::Path;

use super::{Folder, golang_migrate};
use crate::config::file::{Format, Settings};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{self, Migration, Version};

/// Merges the files of `[migrations] parts_dir` into a timeline: a part goes to the migration whose version begins with
/// the part's digits; one that has none there stands by itself, in front of the first greater one.
///
/// # Errors
/// As [`migration::read_all`]; a PostgreSQL part, unless the folder is the tool's own.
pub fn parts(folder: Folder<'_>, mut files: Vec<Migration>) -> Result<Vec<Migration>> {
    let Some(dir) = folder.settings.parts_dir.as_deref() else { return Ok(files) };
    let is_shared = dir.trim_end_matches('/') == folder.dir.trim_end_matches('/');
    for part in migration::read_parts(folder.root, dir, is_shared)? {
        // Repeatables are lyrox's own in every store, and come last.
        if part.version.is_repeatable() {
            files.push(part);
            continue;
        }
        if let Some(postgres) = part.parts.get(&StoreKind::Postgres) {
            return Err(Error::new(Code::FileName, format!("`{}` is a part for PostgreSQL", postgres.up.path))
                .why(format!("PostgreSQL's files are {}'s, in `{}`", folder.settings.format.name(), folder.dir))
                .data("nothing was changed")
                .hint(format!("move it to `{}`", folder.dir)));
        }
        insert(&mut files, part);
    }
    Ok(files)
}

/// Merges golang-migrate's MongoDB files into a timeline, where the project has such; lyrox's own parts for MongoDB are
/// then none.
///
/// # Errors
/// As [`golang_migrate::read_mongodb`]; a format that no tool has for MongoDB; a part for MongoDB in another folder.
pub fn mongodb(root: &Path, settings: &Settings, mut files: Vec<Migration>) -> Result<Vec<Migration>> {
    let Some(section) = settings.mongodb.as_ref().filter(|section| section.format != Format::Lyrox) else {
        return Ok(files);
    };
    if section.format != Format::GolangMigrate {
        return Err(Error::new(Code::ConfigValue, format!("{} has no migrations for MongoDB", section.format.name()))
            .data("nothing was changed")
            .hint("`format` under [mongodb] is `lyrox` or `golang-migrate`"));
    }
    let migrations = &settings.migrations;
    let dir = section.migrations_dir.as_deref().unwrap_or(&migrations.dir).trim_end_matches('/');
    // Repeatables stay lyrox's own.
    for file in files.iter_mut().filter(|file| !file.version.is_repeatable()) {
        // In a shared folder they were read as lyrox's.
        let Some(part) = file.parts.remove(&StoreKind::Mongodb) else { continue };
        if part.up.path.rsplit_once('/').is_none_or(|(folder, _)| folder != dir) {
            return Err(Error::new(Code::FileName, format!("`{}` is a part for MongoDB", part.up.path))
                .why(format!("MongoDB's files are golang-migrate's, in `{dir}`"))
                .data("nothing was changed")
                .hint(format!("move it to `{dir}`")));
        }
    }
    files.retain(|file| !file.parts.is_empty());
    for part in golang_migrate::read_mongodb(Folder { root, dir, settings: migrations })? {
        insert(&mut files, part);
    }
    Ok(files)
}

/// A file that stands for others is no place for a part: it may come and go.
fn is_baseline(file: &Migration) -> bool {
    file.parts.values().any(|part| part.up.foreign.as_ref().is_some_and(|foreign| foreign.is_baseline))
}

/// Puts a part to the migration with its number, else in front of the first greater one.
fn insert(files: &mut Vec<Migration>, mut part: Migration) {
    let number = part.version.as_number();
    let is_place = |file: &Migration| digits(&file.version) == number && !is_baseline(file);
    match files.iter_mut().find(|file| is_place(file)) {
        Some(file) => file.parts.append(&mut part.parts),
        None => {
            let at = files
                .iter()
                .position(|file| file.version.is_repeatable() || (digits(&file.version) > number && !is_baseline(file)))
                .unwrap_or(files.len());
            files.insert(at, part);
        }
    }
}

/// The digits that a version begins with.
fn digits(version: &Version) -> Version {
    let text = version.as_str();
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    Version::new(&text[..end]).as_number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_leading_digits() {
        let part = |text: &str| Version::new(text).as_number();
        assert_eq!(digits(&Version::new("0003_init")), part("3"));
        assert_eq!(digits(&Version::new("20240101000000_init")), part("20240101000000"));
        assert!(digits(&Version::new("10")) > part("9"));
        assert_ne!(digits(&Version::new("init")), part("1"));
    }
}
