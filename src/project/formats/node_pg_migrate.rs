//! node-pg-migrate, SQL files: `migrations/<number>_<name>.sql` with `-- Up Migration` and `-- Down Migration`, or
//! `.up.sql` with `.down.sql`; in the order of the numbers, where 17 digits are a date. Rules: its
//! utils/fileNameUtils.ts, sqlMigration.ts and migrationLoader.ts.

use std::collections::BTreeMap;
use std::path::Path;

use super::labels::{Labels, digits, later, variable};
use super::{Detected, Folder, detect as found, duplicate, files, migration, raw, script, section, shown};
use crate::config::file::Format;
use crate::error::{Code, Error, Result};
use crate::project::migration::{Foreign, Header, Migration};
use crate::project::text;

/// What node-pg-migrate runs as a program.
const PROGRAMS: [&str; 6] = ["js", "ts", "cjs", "mjs", "cts", "mts"];

/// One migration's files.
#[derive(Debug, Default)]
struct Group {
    /// Both ways in one file.
    both: Option<String>,
    up: Option<String>,
    down: Option<String>,
}

/// Reads the folder.
///
/// # Errors
/// Migrations that are programs, SQL files without a number, and pairs that are none.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let names = files(folder)?;
    refuse_programs(folder, &names)?;
    let mut groups: BTreeMap<(i64, String), Group> = BTreeMap::new();
    for file in names {
        let Some(stem) = file.strip_suffix(".sql") else { continue };
        let (stem, slot): (&str, fn(&mut Group) -> &mut Option<String>) =
            match (stem.strip_suffix(".up"), stem.strip_suffix(".down")) {
                (Some(stem), _) => (stem, |group| &mut group.up),
                (_, Some(stem)) => (stem, |group| &mut group.down),
                _ => (stem, |group| &mut group.both),
            };
        let Some(number) = number(stem) else {
            return Err(super::refused(&shown(folder, &file), Format::NodePgMigrate, "its name begins with no number")
                .hint("name it as the others are: 1704067200000_name.sql"));
        };
        *slot(groups.entry((number, stem.to_owned())).or_default()) = Some(file.clone());
    }
    let mut labels = Labels::default();
    let has_pairs = groups.values().any(|group| group.down.is_some());
    groups.into_iter().map(|((_, stem), group)| one(folder, &stem, &group, has_pairs, &mut labels)).collect()
}

fn one(folder: Folder<'_>, stem: &str, group: &Group, has_pairs: bool, labels: &mut Labels) -> Result<Migration> {
    // The loader of pairs takes `.up` for no part of the name. Its command line, which knows none, takes it for one: there a
    // `.down.sql` would be run as a further migration, so where none lies the files are its.
    let (bare, with_way) = (stem.to_owned(), format!("{stem}.up"));
    let (key, alias) = if group.up.is_some() && !has_pairs { (with_way, bare) } else { (bare, with_way) };
    let foreign = Foreign { key, aliases: vec![alias], ..Foreign::default() };
    let (version, name) = labels.take(stem);
    let read = |file: &str| Ok::<_, Error>((shown(folder, file), text::normalise(raw(folder, file)?)));
    match (&group.both, &group.up, &group.down) {
        (Some(both), None, None) => {
            let (shown, text) = read(both)?;
            let (up, down) = cut(&text);
            let up = script(&shown, &section(&text, up), header(), Some(foreign))?;
            let down = down.map(|down| script(&shown, &section(&text, down), header(), None)).transpose()?;
            Ok(migration(&version, &name, up, down))
        }
        (None, Some(up), down) => {
            let (shown, text) = read(up)?;
            let up = script(&shown, &text, header(), Some(foreign))?;
            let down = match down {
                Some(down) => {
                    let (shown, text) = read(down)?;
                    Some(script(&shown, &text, header(), None)?)
                }
                None => None,
            };
            Ok(migration(&version, &name, up, down))
        }
        (None, None, Some(down)) => {
            Err(Error::new(Code::FileName, format!("`{}` undoes a migration that does not exist", shown(folder, down)))
                .data("nothing was changed")
                .hint(format!("bring back `{}`, or delete it", shown(folder, &format!("{stem}.up.sql")))))
        }
        (Some(both), up, down) => {
            let other = up.as_ref().or(down.as_ref()).unwrap_or(both);
            Err(duplicate(&shown(folder, both), &version, other))
        }
        (None, None, None) => Err(Error::bug("a migration without files")),
    }
}

fn header() -> Header {
    Header::default()
}

/// What such a file holds is known only by running it.
fn refuse_programs(folder: Folder<'_>, names: &[String]) -> Result<()> {
    let is_program = |name: &&String| name.rsplit_once('.').is_some_and(|(_, ending)| PROGRAMS.contains(&ending));
    let programs: Vec<&String> = names.iter().filter(is_program).collect();
    let Some(first) = programs.first() else { return Ok(()) };
    const SHOWN: usize = 5;
    let mut list = programs.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if programs.len() > SHOWN {
        list.push_str(&format!(" and {} more", programs.len() - SHOWN));
    }
    Err(Error::new(Code::FileKind, format!("`{}` is a program, not SQL", shown(folder, first)))
        .why(format!("lyrox runs SQL; what these do is known to node-pg-migrate alone: {list}"))
        .data("nothing was changed")
        .hint("keep node-pg-migrate for this folder, or write each of them as SQL under the same name: npx node-pg-migrate create NAME -j sql"))
}

/// The number that orders a migration: 17 digits are a date, in milliseconds since 1970 as the epoch numbers are.
fn number(stem: &str) -> Option<i64> {
    let digits = digits(stem);
    if digits.len() == 17 {
        let (seconds, millis) = digits.split_at(14);
        let moment = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", seconds).ok()?;
        let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        return Some(moment.as_millisecond() + millis.parse::<i64>().ok()?);
    }
    digits.parse().ok()
}

/// The up and the down part of a file. Without a marker for up, all of it is up: as the tool has it.
fn cut(text: &str) -> (std::ops::Range<usize>, Option<std::ops::Range<usize>>) {
    let (up, down) = (marker(text, "up"), marker(text, "down"));
    let end = |start: usize, other: Option<usize>| other.filter(|other| *other > start).unwrap_or(text.len());
    let first = up.map_or(0..text.len(), |up| up..end(up, down));
    (first, down.map(|down| down..end(down, up)))
}

/// Where `-- Up Migration` begins: dashes and spaces, the word, `migration`, whatever the case.
fn marker(text: &str, word: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let rest = line.trim_start();
        let is_marker = rest.strip_prefix("--").is_some_and(|rest| {
            let rest = rest.trim_start_matches(|c: char| c == '-' || c.is_whitespace()).to_ascii_lowercase();
            rest.strip_prefix(word)
                .is_some_and(|rest| rest.starts_with(char::is_whitespace) && rest.trim_start().starts_with("migration"))
        });
        if is_marker {
            return Some(at + (line.len() - rest.len()));
        }
        at += line.len();
    }
    None
}

/// The file of a new migration, numbered as the newest is: an index, a date of 17 digits, else milliseconds since 1970.
///
/// # Errors
/// As [`read`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let is_there = folder.root.join(folder.dir).exists();
    let names = if is_there { files(folder)? } else { Vec::new() };
    let taken = if is_there { read(folder)? } else { Vec::new() };
    let newest = taken.last().map(|newest| digits(newest.version.as_str()).to_owned());
    let prefix = match newest.as_deref() {
        Some(newest) if newest.len() < 10 => {
            let next = newest.parse::<u64>().map_or(1, |number| number + 1);
            format!("{next:0width$}", width = newest.len())
        }
        Some(newest) if newest.len() == 17 => {
            later(&format!("{}{:03}", now.strftime("%Y%m%d%H%M%S"), now.as_millisecond() % 1000), Some(newest))
        }
        newest => later(&now.as_millisecond().to_string(), newest),
    };
    if names.iter().any(|file| file.ends_with(".up.sql")) {
        let path = |way: &str| shown(folder, &format!("{prefix}_{name}.{way}.sql"));
        return Ok(vec![(path("up"), format!("-- {name}\n")), (path("down"), format!("-- undo: {name}\n"))]);
    }
    let text = "-- Up Migration\n\n-- Down Migration\n";
    Ok(vec![(shown(folder, &format!("{prefix}_{name}.sql")), text.to_owned())])
}

/// node-pg-migrate is at home where `package.json` names it, or where files have its markers.
pub fn detect(root: &Path) -> Option<Detected> {
    let package = found::text(&root.join("package.json"));
    let is_named = package.contains("\"node-pg-migrate\"");
    let dir = "migrations";
    let names = found::names(&root.join(dir));
    let sql: Vec<&String> = names.iter().filter(|name| name.ends_with(".sql") && number(name).is_some()).collect();
    let marked = sql.iter().find(|name| {
        let text = found::text(&root.join(dir).join(name));
        marker(&text, "up").is_some()
    });
    let count = names.iter().filter(|name| number(name).is_some()).count();
    let example = marked.copied().or(sql.first().copied()).or(names.first())?;
    if count == 0 || !(is_named || marked.is_some()) {
        return None;
    }
    let mark = if is_named { "`node-pg-migrate` in package.json and " } else { "" };
    Some(Detected {
        format: Format::NodePgMigrate,
        dir: dir.to_owned(),
        why: format!("{mark}{count} {} like `{dir}/{example}`", if count == 1 { "file" } else { "files" }),
        certainty: if is_named { 3 } else { 2 },
        settings: Vec::new(),
        url_variable: variable(&package, "process.env."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Migrations;

    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join("migrations").join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    fn read_it(files: &[(&str, &str)]) -> Result<Vec<Migration>> {
        let root = root_with(files);
        read(Folder { root: root.path(), dir: "migrations", settings: &Migrations::default() })
    }

    #[test]
    fn numbers_order_dates_among_epochs() {
        let files = [
            ("1704067200000_epoch.sql", "SELECT 1;"),
            ("20231231235959999_date.sql", "SELECT 1;"),
            ("20240101000000001_later.sql", "SELECT 1;"),
            ("2_index.sql", "SELECT 1;"),
            ("10_index.sql", "SELECT 1;"),
            ("10_again.sql", "SELECT 1;"),
        ];
        let labels: Vec<String> = read_it(&files).expect("migrations").iter().map(Migration::label).collect();
        let expected = [
            "2_index",
            "10_again",
            "10_index",
            "20231231235959999_date",
            "1704067200000_epoch",
            "20240101000000001_later",
        ];
        assert_eq!(labels, expected);
    }

    #[test]
    fn markers_cut_a_file() {
        let text = "-- head\n  ---- UP   Migration of things\nSELECT 1;\n-- down migration\nSELECT 2;\n";
        let (up, down) = cut(text);
        assert_eq!(&text[up], "---- UP   Migration of things\nSELECT 1;\n");
        assert_eq!(&text[down.expect("a way back")], "-- down migration\nSELECT 2;\n");
        let turned = "-- Down Migration\nSELECT 2;\n-- Up Migration\nSELECT 1;\n";
        let (up, down) = cut(turned);
        assert_eq!(
            (&turned[up], &turned[down.expect("a way back")]),
            ("-- Up Migration\nSELECT 1;\n", "-- Down Migration\nSELECT 2;\n")
        );
        assert_eq!(cut("SELECT 1;"), (0..9, None));
        assert_eq!(marker("-- upmigration\n-- up the migration\n", "up"), None);
    }

    #[test]
    fn pairs_are_one_migration_under_the_name_without_the_way() {
        let read = read_it(&[("1_a.up.sql", "SELECT 1;"), ("1_a.down.sql", "SELECT 2;")]).expect("migrations");
        let part = read[0].parts.values().next().expect("a part");
        assert_eq!(part.up.foreign.as_ref().expect("its history").key, "1_a");
        assert!(part.down.is_some());
        let alone = read_it(&[("1_a.up.sql", "SELECT 1;")]).expect("migrations");
        let part = alone[0].parts.values().next().expect("a part");
        assert_eq!(part.up.foreign.as_ref().expect("its history").key, "1_a.up");
        assert!(read_it(&[("1_a.down.sql", "SELECT 2;")]).is_err());
        assert!(read_it(&[("1_a.down.sql", "SELECT 2;"), ("1_a.sql", "SELECT 2;")]).is_err());
        assert!(read_it(&[("a.sql", "SELECT 2;")]).is_err());
    }

    #[test]
    fn programs_are_refused_by_name() {
        let error =
            read_it(&[("1_a.sql", "SELECT 1;"), ("2_b.js", ""), ("3_c.ts", "")]).expect_err("programs").to_string();
        assert!(error.contains("2_b.js"), "{error}");
    }

    #[test]
    fn a_new_file_is_numbered_as_the_newest() {
        let now = jiff::Timestamp::from_millisecond(1_704_067_200_005).expect("a moment");
        let new = |files: &[(&str, &str)]| {
            let root = root_with(files);
            let folder = Folder { root: root.path(), dir: "migrations", settings: &Migrations::default() };
            new_files(folder, "x", now).expect("files").remove(0).0
        };
        assert_eq!(new(&[]), "migrations/1704067200005_x.sql");
        assert_eq!(new(&[("0009_a.sql", "SELECT 1;")]), "migrations/0010_x.sql");
        assert_eq!(new(&[("20230101000000000_a.sql", "SELECT 1;")]), "migrations/20240101000000005_x.sql");
        assert_eq!(new(&[("1800000000000_a.up.sql", "SELECT 1;")]), "migrations/1800000000001_x.up.sql");
    }
}
