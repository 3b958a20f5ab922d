//! golang-migrate: `<number>_<name>.up.<ending>` and `.down.<ending>`, for PostgreSQL and MongoDB. Its history is one
//! number, a high-water mark. The rules are those of `source/parse.go`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Detected, Folder, detect as found, duplicate, files, free_version, migration, raw, script, shown};
use crate::config::file::Format;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Foreign, Header, Migration, Part, Script, Version, read_script};

/// The files of one version.
#[derive(Clone, Debug, Default)]
struct Pair {
    /// The digits as they are in the name.
    digits: String,
    name: String,
    up: Option<String>,
    down: Option<String>,
}

struct Name<'a> {
    number: u64,
    digits: &'a str,
    name: &'a str,
    is_up: bool,
    ending: &'a str,
}

/// `0001_name.up.sql`; the name may hold anything, the last `.up.` or `.down.` counts.
fn parse_name(file: &str) -> Option<Name<'_>> {
    let (digits, rest) = file.split_once('_')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (up, down) = (rest.rfind(".up."), rest.rfind(".down."));
    let is_up = up > down;
    let at = up.max(down)?;
    let ending = &rest[at + if is_up { ".up." } else { ".down." }.len()..];
    Some(Name { number: digits.parse().ok()?, digits, name: &rest[..at], is_up, ending })
}

/// The files of a folder by version; those for another store's ending are left alone.
fn pairs(folder: Folder<'_>, is_other: impl Fn(&str) -> bool) -> Result<BTreeMap<u64, Pair>> {
    let mut pairs: BTreeMap<u64, Pair> = BTreeMap::new();
    for file in files(folder)? {
        let Some(parsed) = parse_name(&file).filter(|parsed| !is_other(parsed.ending)) else { continue };
        let pair = pairs.entry(parsed.number).or_default();
        let slot = if parsed.is_up { &mut pair.up } else { &mut pair.down };
        if let Some(other) = slot.replace(file.clone()) {
            return Err(duplicate(&shown(folder, &file), parsed.digits, &other));
        }
        // The file that is run is the one that names the migration.
        if parsed.is_up || pair.digits.is_empty() {
            (pair.digits, pair.name) = (parsed.digits.to_owned(), parsed.name.to_owned());
        }
    }
    Ok(pairs)
}

/// What the history says of each version: its number, and that of the version before it.
fn history(pairs: &BTreeMap<u64, Pair>) -> Vec<Foreign> {
    let mut previous = None;
    let numbers = pairs.keys().map(|number| {
        let key = number.to_string();
        Foreign { key: key.clone(), previous: previous.replace(key), is_high_water: true, ..Foreign::default() }
    });
    numbers.collect()
}

/// Reads the PostgreSQL files of a folder.
///
/// # Errors
/// Two files with one number and direction.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let pairs = pairs(folder, |ending| ending == "json")?;
    let history = history(&pairs);
    let mut migrations = Vec::with_capacity(pairs.len());
    for (pair, foreign) in pairs.values().zip(history) {
        let read = |file: &str, foreign: Option<Foreign>| {
            script(&shown(folder, file), &raw(folder, file)?, Header::default(), foreign)
        };
        // A version may consist of a way back alone: going forward it does nothing.
        let up = match (&pair.up, &pair.down) {
            (Some(up), _) => read(up, Some(foreign))?,
            (None, down) => {
                let path = shown(folder, down.as_deref().unwrap_or_default());
                script(&path, "", Header::default(), Some(foreign))?
            }
        };
        let down = pair.down.as_deref().map(|file| read(file, None)).transpose()?;
        migrations.push(migration(&pair.digits, &pair.name, up, down));
    }
    Ok(migrations)
}

/// Reads the MongoDB files of a folder: JSON arrays of commands.
///
/// # Errors
/// Two files with one number and direction; a way back without a way forth; what is no text.
pub fn read_mongodb(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let pairs = pairs(folder, |ending| ending != "json")?;
    let history = history(&pairs);
    let mut migrations = Vec::with_capacity(pairs.len());
    for (pair, foreign) in pairs.values().zip(history) {
        let read = |file: &str, foreign: Option<Foreign>| {
            let path = shown(folder, file);
            let full = folder.root.join(&path);
            let read = read_script(folder.root, folder.dir, &path, &full, StoreKind::Mongodb)?;
            Ok::<Arc<Script>, Error>(Arc::new(Script { foreign, ..read }))
        };
        let Some(up) = &pair.up else {
            let path = shown(folder, pair.down.as_deref().unwrap_or_default());
            return Err(Error::new(Code::FileName, format!("`{path}` undoes a migration that does not exist"))
                .data("nothing was changed")
                .hint("bring back its .up file, or delete it"));
        };
        let up = read(up, Some(foreign))?;
        let down = pair.down.as_deref().map(|file| read(file, None)).transpose()?;
        migrations.push(Migration {
            version: Version::new(&pair.digits),
            name: pair.name.clone(),
            parts: [(StoreKind::Mongodb, Part { up, down })].into(),
        });
    }
    Ok(migrations)
}

/// The files of a new migration: counted on with the width of the others, or the time where those have it.
///
/// # Errors
/// As [`files`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    new_pair(folder, name, now, "sql", |what| format!("-- {what}\n"))
}

/// The MongoDB files of a new migration.
///
/// # Errors
/// As [`files`].
pub fn new_mongodb_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    // The tool reads strict JSON: a comment would be an error to it.
    new_pair(folder, name, now, "json", |_| "[\n]\n".to_owned())
}

fn new_pair(
    folder: Folder<'_>,
    name: &str,
    now: jiff::Timestamp,
    ending: &str,
    text: impl Fn(&str) -> String,
) -> Result<Vec<(String, String)>> {
    let taken = if folder.root.join(folder.dir).exists() { files(folder)? } else { Vec::new() };
    let version = free_version(now, taken.iter().filter_map(|file| parse_name(file).map(|name| name.digits)), 6);
    let file = |way: &str, what: &str| (shown(folder, &format!("{version}_{name}.{way}.{ending}")), text(what));
    Ok(vec![file("up", name), file("down", &format!("undo: {name}"))])
}

/// golang-migrate leaves no file of its own: pairs of its form, and its name in `go.mod` or where a project keeps commands.
pub fn detect(root: &Path) -> Option<Detected> {
    let dirs =
        ["migrations", "db/migrations", "db/migration", "database/migrations", "internal/migrations", "sql/migrations"];
    for dir in dirs {
        let names = found::names(&root.join(dir));
        let is_pair = |name: &&String| {
            parse_name(name).is_some_and(|name| name.is_up && name.ending == "sql")
                && names.contains(&name.replace(".up.", ".down."))
        };
        let pairs: Vec<&String> = names.iter().filter(is_pair).collect();
        let Some(first) = pairs.first() else { continue };
        let marks =
            ["go.mod", "Makefile", "justfile", "Taskfile.yml", "Dockerfile", "docker-compose.yml", "compose.yaml"];
        let is_marked = |text: &str| text.contains("golang-migrate") || text.contains("migrate/migrate");
        let mark = marks.into_iter().find(|mark| is_marked(&found::text(&root.join(mark))));
        let pair = if pairs.len() == 1 { "pair" } else { "pairs" };
        let form = format!("{} {pair} like `{dir}/{first}`", pairs.len());
        return Some(Detected {
            format: Format::GolangMigrate,
            why: mark.map_or(form.clone(), |mark| format!("golang-migrate in `{mark}` and {form}")),
            dir: dir.to_owned(),
            certainty: if mark.is_some() { 3 } else { 1 },
            settings: Vec::new(),
            url_variable: None,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Migrations;

    #[test]
    fn names_are_read_as_golang_migrate_reads_them() {
        let of = |file| parse_name(file).map(|name| (name.number, name.name, name.is_up, name.ending));
        assert_eq!(of("0001_init.up.sql"), Some((1, "init", true, "sql")));
        assert_eq!(of("1_.down.pgsql"), Some((1, "", false, "pgsql")));
        assert_eq!(of("7_a.up.b.down.sql"), Some((7, "a.up.b", false, "sql")));
        assert_eq!(of("18446744073709551615_a.up.sql"), Some((u64::MAX, "a", true, "sql")));
        for file in ["18446744073709551616_a.up.sql", "a_b.up.sql", "1-a.up.sql", "1_a.sql", "_a.up.sql"] {
            assert_eq!(of(file), None, "{file}");
        }
    }

    #[test]
    fn a_folder_is_one_line_with_a_mark() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("migrations")).expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(root.path().join("migrations").join(name), text).expect("a file");
        };
        write("000010_c.up.sql", "SELECT 1;");
        write("2_b.up.sql", "\u{feff}SELECT 1;\r\n");
        write("2_b.down.sql", "");
        write("3_only_back.down.sql", "SELECT 3;");
        write("5_m.up.json", "[]");
        write("readme.md", "");
        let settings = Migrations::default();
        let folder = Folder { root: root.path(), dir: "migrations", settings: &settings };
        let files = read(folder).expect("migrations");
        assert_eq!(files.iter().map(Migration::label).collect::<Vec<_>>(), ["2_b", "3_only_back", "000010_c"]);
        let history: Vec<_> = files
            .iter()
            .filter_map(|file| file.parts[&StoreKind::Postgres].up.foreign.as_ref())
            .map(|foreign| (foreign.key.as_str(), foreign.previous.as_deref()))
            .collect();
        assert_eq!(history, [("2", None), ("3", Some("2")), ("10", Some("3"))]);
        assert_eq!(files[0].parts[&StoreKind::Postgres].up.text, "SELECT 1;\n");
        assert!(files[0].parts[&StoreKind::Postgres].down.is_some());
        assert_eq!(files[1].parts[&StoreKind::Postgres].up.text, "");
        let now: jiff::Timestamp = "2024-01-01T00:00:00Z".parse().expect("a time");
        let new = new_files(folder, "more", now).expect("files");
        assert_eq!(
            new.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
            ["migrations/000011_more.up.sql", "migrations/000011_more.down.sql"]
        );
        assert_eq!(detect(root.path()).expect("pairs").certainty, 1);
        std::fs::write(root.path().join("go.mod"), "require github.com/golang-migrate/migrate/v4 v4.18.1\n")
            .expect("a file");
        assert_eq!(detect(root.path()).expect("pairs").certainty, 3);
        write("02_b.up.sql", "SELECT 1;");
        assert_eq!(read(folder).expect_err("a duplicate").code(), Code::FileDuplicate);
    }
}
