//! What several readers need to cut files and to number new ones.

use std::path::{Path, PathBuf};

use super::Folder;
use crate::error::{Code, Error, Result};

/// A text with only some of its lines, each where it stands in the file: an error then names the file's own line.
/// `keeps` is asked by the line's index; `text` must be normalised.
pub fn keep_lines(text: &str, keeps: impl Fn(usize) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if keeps(at) {
            kept.push_str(line);
            end = kept.len();
        } else {
            kept.push('\n');
        }
    }
    // What follows the last kept line is no part of it, not even as empty lines.
    kept.truncate(end);
    kept
}

/// The time as a version of 14 digits; the next number where versions run ahead of the clock.
pub fn free_clock<'a>(now: jiff::Timestamp, taken: impl Iterator<Item = &'a str>) -> String {
    let clock = now.strftime("%Y%m%d%H%M%S").to_string();
    let newest = taken.filter_map(|version| version.parse::<u64>().ok()).max().unwrap_or(0);
    match clock.parse::<u64>() {
        Ok(number) if number > newest => clock,
        _ => format!("{:014}", newest.saturating_add(1)),
    }
}

/// The next version: counted on where versions are counted, else the time. `width` is that of the first of a count.
pub fn free_version<'a>(now: jiff::Timestamp, taken: impl Iterator<Item = &'a str>, width: usize) -> String {
    let taken: Vec<&str> = taken.collect();
    let newest = taken.iter().filter_map(|version| Some((version.parse::<u64>().ok()?, version.len()))).max();
    match newest {
        Some((number, width)) if width < 14 => format!("{:0width$}", number.saturating_add(1)),
        None if width > 0 => format!("{:0width$}", 1),
        _ => free_clock(now, taken.into_iter()),
    }
}

/// The files of a folder and of all folders in it, as paths below it with `/`, sorted; hidden ones left out.
///
/// # Errors
/// `LYX-FILE-MISSING`, `LYX-FILE-KIND`, `LYX-FILE-NAME`.
pub fn walk(folder: Folder<'_>) -> Result<Vec<String>> {
    // Refuses a folder that is missing.
    super::files(folder)?;
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        let path = folder.root.join(folder.dir).join(&below);
        let unreadable = |error: std::io::Error| {
            Error::new(Code::FileKind, format!("cannot read `{}`", path.display())).why(error.to_string())
        };
        for entry in std::fs::read_dir(&path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().into_string().map_err(|_| {
                Error::new(Code::FileName, format!("a file in `{}` has a name that is not UTF-8", folder.dir))
                    .data("nothing was changed")
            })?;
            if name.starts_with('.') {
                continue;
            }
            let kind = entry.file_type().map_err(unreadable)?;
            // A link to a folder could lead in circles.
            if kind.is_dir() {
                waiting.push(below.join(&name));
            } else if !entry.path().is_dir() {
                found.push(slashed(&below.join(&name)));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn slashed(path: &Path) -> String {
    path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_where_they_are() {
        assert_eq!(keep_lines("a\nb\nc\nd\n", |at| at % 2 == 1), "\nb\n\nd\n");
        assert_eq!(keep_lines("a\nb\nc", |at| at == 0), "a\n");
        assert_eq!(keep_lines("a\nb", |_| false), "");
    }

    #[test]
    fn versions_are_counted_on_or_the_time() {
        let now: jiff::Timestamp = "2024-05-06T07:08:09Z".parse().expect("a time");
        let free = |taken: &[&str]| free_version(now, taken.iter().copied(), 6);
        assert_eq!(free(&[]), "000001");
        assert_eq!(free(&["00009"]), "00010");
        assert_eq!(free(&["20240101000000"]), "20240506070809");
        assert_eq!(free(&["20990101000000"]), "20990101000001");
        assert_eq!(free_version(now, std::iter::empty(), 0), "20240506070809");
    }
}
