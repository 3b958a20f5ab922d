//! Numbered SQL files of no tool: `001-name.sql`, `2_name.up.sql` with `2_name.down.sql`. What is applied is in lyrox's
//! ledger alone.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Detected, Folder, detect as found, duplicate, files, migration, raw, script, shown};
use crate::config::file::Format;
use crate::error::Result;
use crate::project::migration::{Header, Migration, Version};

/// Number, separator, name, whether it undoes.
fn parse(file: &str) -> Option<(&str, char, &str, bool)> {
    let stem = file.strip_suffix(".sql")?;
    let end = stem.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (number, rest) = stem.split_at(end);
    let separator = rest.chars().next().filter(|c| matches!(c, '-' | '_' | '.' | ' '))?;
    let rest = &rest[1..];
    let (name, is_down) = match rest.strip_suffix(".down") {
        Some(name) => (name, true),
        None => (rest.strip_suffix(".up").unwrap_or(rest), false),
    };
    let is_good = !number.is_empty() && number.len() <= 32 && !name.is_empty() && name.len() <= 200;
    (is_good && !name.chars().any(char::is_control)).then_some((number, separator, name, is_down))
}

/// Reads the folder: every SQL file must be numbered, each number once; other files are left alone.
///
/// # Errors
/// An SQL file without a number, or a number that is taken.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let mut ups: BTreeMap<Version, (String, String)> = BTreeMap::new();
    let mut downs: BTreeMap<Version, String> = BTreeMap::new();
    for file in files(folder)?.into_iter().filter(|file| file.ends_with(".sql")) {
        let Some((number, _, name, is_down)) = parse(&file) else {
            return Err(super::refused(&shown(folder, &file), Format::Plain, "its name begins with no number")
                .hint("name it as the others are: 001-name.sql"));
        };
        let version = Version::new(number).as_number();
        let taken = if is_down {
            downs.insert(version, file.clone())
        } else {
            ups.insert(version, (file.clone(), name.to_owned())).map(|(other, _)| other)
        };
        if let Some(other) = taken {
            return Err(duplicate(&shown(folder, &file), number, &other));
        }
    }
    let mut migrations = Vec::with_capacity(ups.len());
    for (version, (file, name)) in &ups {
        let one = |file: &String| script(&shown(folder, file), &raw(folder, file)?, Header::default(), None);
        let down = downs.get(version).map(one).transpose()?;
        let number = parse(file).map_or("", |(number, ..)| number);
        migrations.push(migration(number, name, one(file)?, down));
    }
    Ok(migrations)
}

/// The next number, written as the newest file is.
///
/// # Errors
/// As [`read`].
pub fn new_files(folder: Folder<'_>, name: &str) -> Result<Vec<(String, String)>> {
    let mut newest = ("000".to_owned(), '-', false);
    let is_there = folder.root.join(folder.dir).exists();
    let taken = if is_there { files(folder)? } else { Vec::new() };
    let has_down = taken.iter().any(|file| file.ends_with(".down.sql"));
    for (number, separator, _, _) in taken.iter().filter_map(|file| parse(file)) {
        if Version::new(number) >= Version::new(newest.0.as_str()) {
            newest = (number.to_owned(), separator, has_down);
        }
    }
    let (number, separator, has_down) = newest;
    let next = number.parse::<u128>().map_or(1, |number| number + 1);
    let stem = format!("{next:0width$}{separator}{name}", width = number.len());
    let words: &[(&str, &str)] = if has_down { &[(".up", "-- "), (".down", "-- undo: ")] } else { &[("", "-- ")] };
    let path = |ending: &str| shown(folder, &format!("{stem}{ending}.sql"));
    Ok(words.iter().map(|(ending, comment)| (path(ending), format!("{comment}{name}\n"))).collect())
}

/// Folders where numbered files are looked for.
const FOLDERS: [&str; 6] = ["migrations", "db/migrations", "database/migrations", "sql/migrations", "sql", "db"];

/// Numbered files whose form is no tool's: `001-name.sql`.
pub fn detect(root: &Path) -> Option<Detected> {
    let counted = |dir: &&str| {
        let names = found::names(&root.join(dir));
        let sql: Vec<&String> = names.iter().filter(|name| name.ends_with(".sql")).collect();
        let is_plain = !sql.is_empty() && sql.iter().all(|name| parse(name).is_some());
        is_plain.then(|| (dir.to_string(), sql.len(), sql[0].clone()))
    };
    let (dir, count, example) = FOLDERS.iter().find_map(counted)?;
    // An underscore is what lyrox and half of the tools write.
    let is_own_form = parse(&example).is_some_and(|(_, separator, ..)| separator != '_');
    Some(Detected {
        format: Format::Plain,
        why: format!("{count} {} like `{dir}/{example}`", if count == 1 { "file" } else { "files" }),
        dir,
        certainty: if is_own_form { 2 } else { 0 },
        settings: Vec::new(),
        url_variable: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_a_number() {
        assert_eq!(parse("001-name.sql"), Some(("001", '-', "name", false)));
        assert_eq!(parse("2_a_b.down.sql"), Some(("2", '_', "a_b", true)));
        assert_eq!(parse("2 a.up.sql"), Some(("2", ' ', "a", false)));
        for name in ["a.sql", "1.sql", "001-.sql", "1a.sql", "1-a.txt"] {
            assert!(parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn numbers_order_and_go_on() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(root.path().join("migrations")).expect("a folder");
        for name in ["010-c.sql", "002-b.sql", "001-a.sql", "notes.md"] {
            std::fs::write(root.path().join("migrations").join(name), "SELECT 1;").expect("a file");
        }
        let settings = crate::config::file::Migrations::default();
        let folder = Folder { root: root.path(), dir: "migrations", settings: &settings };
        let labels: Vec<String> = read(folder).expect("migrations").iter().map(Migration::label).collect();
        assert_eq!(labels, ["001_a", "002_b", "010_c"]);
        let new = new_files(folder, "next").expect("a name");
        assert_eq!(new, [("migrations/011-next.sql".to_owned(), "-- next\n".to_owned())]);
        std::fs::write(root.path().join("migrations/1-x.sql"), "SELECT 1;").expect("a file");
        assert!(read(folder).is_err(), "001 and 1 are one number");
    }
}
