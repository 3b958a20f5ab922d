//! The lyrox parts of other stores beside another tool's PostgreSQL files: merged by leading digits.

use super::Folder;
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
    for mut part in migration::read_parts(folder.root, dir, is_shared)? {
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
        match files.iter_mut().find(|file| digits(&file.version) == part.version.as_number()) {
            Some(file) => file.parts.append(&mut part.parts),
            None => {
                let number = part.version.as_number();
                let is_greater = |file: &Migration| digits(&file.version) > number;
                let is_later = |file: &Migration| file.version.is_repeatable() || is_greater(file);
                let at = files.iter().position(is_later).unwrap_or(files.len());
                files.insert(at, part);
            }
        }
    }
    Ok(files)
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
