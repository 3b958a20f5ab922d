//! sqlx-cli: `migrations/<VERSION>_<description>.sql`, or `.up.sql` with `.down.sql`; `sqlx.toml` may rename the table
//! and leave characters out of checksums. The rules are those of `sqlx-core/src/migrate/source.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha384};

use super::{Detected, Folder, detect as found, duplicate, files, migration, raw, script, shown};
use crate::config::file::Format;
use crate::error::{Code, Error, Result};
use crate::project::migration::{Foreign, Header, Migration};

/// What lyrox heeds of `sqlx.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Toml {
    /// `[common]`
    pub common: Common,
    /// `[migrate]`
    pub migrate: Migrate,
}

/// `[common]` of `sqlx.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Common {
    /// The variable that holds the URL.
    pub database_url_var: Option<String>,
}

/// `[migrate]` of `sqlx.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Migrate {
    /// The history table; may be qualified with a schema.
    pub table_name: Option<String>,
    /// The folder.
    pub migrations_dir: Option<String>,
    /// Characters that do not count in checksums.
    pub ignored_chars: Vec<char>,
    /// Schemas to make before migrations run.
    pub create_schemas: Vec<String>,
}

impl Toml {
    /// Reads `sqlx.toml` beside the project; all defaults where there is none.
    ///
    /// # Errors
    /// `LYX-FILE-SYNTAX` where it is no TOML.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join("sqlx.toml");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = crate::project::text::read(&path, "sqlx.toml")?;
        toml::from_str(&text).map_err(|error| {
            Error::new(Code::FileSyntax, "`sqlx.toml` cannot be read")
                .why(error.message().to_owned())
                .data("nothing was changed")
        })
    }
}

/// Reads the folder.
///
/// # Errors
/// As sqlx: a version that is no 64-bit number; two files with one version.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let ignored = Toml::read(folder.root)?.migrate.ignored_chars;
    let mut ups: BTreeMap<i64, (String, String)> = BTreeMap::new();
    let mut downs: BTreeMap<i64, String> = BTreeMap::new();
    for file in files(folder)? {
        // Names that are not of this form are no migrations to sqlx either.
        let Some((head, tail)) = file.split_once('_').filter(|(_, tail)| tail.ends_with(".sql")) else { continue };
        let version: i64 = head.parse().map_err(|_| {
            super::refused(&shown(folder, &file), Format::Sqlx, format!("`{head}` is no 64-bit number"))
        })?;
        let taken = if tail.ends_with(".down.sql") {
            downs.insert(version, file.clone())
        } else {
            ups.insert(version, (file.clone(), tail.to_owned())).map(|(other, _)| other)
        };
        if let Some(other) = taken {
            return Err(duplicate(&shown(folder, &file), head, &other));
        }
    }
    let mut migrations = Vec::with_capacity(ups.len());
    for (version, (file, tail)) in ups {
        let text = raw(folder, &file)?;
        let name = tail.strip_suffix(".up.sql").or_else(|| tail.strip_suffix(".sql")).unwrap_or(&tail);
        let foreign = Foreign {
            key: version.to_string(),
            name: name.replace('_', " "),
            checksum: checksum(&text, &ignored),
            ..Foreign::default()
        };
        let up = script(&shown(folder, &file), &text, header(&text), Some(foreign))?;
        let down = match downs.get(&version) {
            Some(file) => {
                let text = raw(folder, file)?;
                Some(script(&shown(folder, file), &text, header(&text), None)?)
            }
            None => None,
        };
        let digits = file.split('_').next().unwrap_or_default();
        migrations.push(migration(digits, name, up, down));
    }
    Ok(migrations)
}

/// sqlx applies whatever is not applied yet, in any order; a file that begins with `-- no-transaction` runs bare.
fn header(text: &str) -> Header {
    let no_transaction = text.starts_with("-- no-transaction");
    Header { no_transaction, allow_out_of_order: true, ..Header::default() }
}

/// SHA-384 in hexadecimal of the text as it is, without the characters that `sqlx.toml` leaves out.
fn checksum(text: &str, ignored: &[char]) -> String {
    let digest = if ignored.is_empty() {
        Sha384::digest(text.as_bytes())
    } else {
        Sha384::digest(text.replace(|c| ignored.contains(&c), "").as_bytes())
    };
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a new migration: reversible where the newest one is, numbered as the others are.
///
/// # Errors
/// As [`read`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let files = if folder.root.join(folder.dir).exists() { read(folder)? } else { Vec::new() };
    let versions: Vec<i64> = files.iter().filter_map(|file| file.version.as_str().parse().ok()).collect();
    let clock = now.strftime("%Y%m%d%H%M%S").to_string();
    let newest = versions.last().copied().unwrap_or(0);
    // As sqlx-cli guesses: numbers that follow each other are continued, else it is the time.
    let is_sequential = match versions.as_slice() {
        [] => false,
        [one] => *one <= 1,
        [.., before, last] => last - before == 1,
    };
    let version = if is_sequential {
        let width = files.last().map_or(0, |file| file.version.as_str().len());
        format!("{:0width$}", newest + 1)
    } else if clock.parse::<i64>().is_ok_and(|clock| clock > newest) {
        clock
    } else {
        (newest + 1).to_string()
    };
    let is_reversible =
        files.last().is_none_or(|file| file.parts.values().any(|part| part.up.path.ends_with(".up.sql")));
    let endings: &[(&str, &str)] =
        if is_reversible { &[(".up", "-- "), (".down", "-- undo: ")] } else { &[("", "-- ")] };
    let path = |ending: &str| shown(folder, &format!("{version}_{name}{ending}.sql"));
    Ok(endings.iter().map(|(ending, comment)| (path(ending), format!("{comment}{name}\n"))).collect())
}

/// sqlx is at home where `sqlx.toml` or `.sqlx/` lie, or where `Cargo.toml` names it beside SQL files of its form.
pub fn detect(root: &Path) -> Option<Detected> {
    let settings = Toml::read(root).unwrap_or_default();
    let dir = settings.migrate.migrations_dir.clone().unwrap_or_else(|| "migrations".into());
    let names = found::names(&root.join(&dir));
    let is_form = |name: &&String| {
        name.split_once('_').is_some_and(|(head, tail)| head.parse::<i64>().is_ok() && tail.ends_with(".sql"))
    };
    let count = names.iter().filter(is_form).count();
    if count == 0 {
        return None;
    }
    let example = names.iter().find(is_form).cloned().unwrap_or_default();
    let cargo = found::text(&root.join("Cargo.toml"));
    let (mark, certainty) = if root.join("sqlx.toml").exists() {
        ("`sqlx.toml` and ", 3)
    } else if root.join(".sqlx").is_dir() {
        ("`.sqlx/` and ", 3)
    } else if cargo.lines().any(|line| line.trim_start().starts_with("sqlx")) {
        ("sqlx in `Cargo.toml` and ", 3)
    } else {
        ("", 1)
    };
    Some(Detected {
        format: Format::Sqlx,
        why: format!("{mark}{count} {} like `{dir}/{example}`", if count == 1 { "file" } else { "files" }),
        dir,
        certainty,
        settings: Vec::new(),
        url_variable: settings.common.database_url_var,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "CREATE TABLE t (id int);";

    #[test]
    fn checksums_match_the_vectors() {
        let lf = "e1cc0b49a7d453bb345d9fc52670c0bfd4a694b2befb7061a9bad55916701e1ef4ddd22ee7cb1c80b4317a1b5780422c";
        let crlf = "13ec31b9fdb54e368195d7bc842339dbb8844066c2781756dc6003d955e6a4199f83dbb6148cf8b6addef8ce34a3e985";
        assert_eq!(checksum(&format!("{SAMPLE}\n"), &[]), lf);
        assert_eq!(checksum(&format!("{SAMPLE}\r\n"), &[]), crlf);
        assert_eq!(checksum(&format!("\u{feff}{SAMPLE}\r\n"), &['\r', '\u{feff}']), lf);
        assert_ne!(checksum(&format!("\u{feff}{SAMPLE}\n"), &[]), lf);
    }

    #[test]
    fn a_folder_is_read_by_the_rules_of_sqlx() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(root.path().join("migrations")).expect("a folder");
            std::fs::write(root.path().join(name), text).expect("a file");
        };
        write("migrations/10_b_c.up.sql", "-- no-transaction\nVACUUM;\n");
        write("migrations/10_b_c.down.sql", "SELECT 1;\n");
        write("migrations/2_a.sql", "\u{feff}SELECT 1;\r\n");
        write("migrations/readme.sql", "not one");
        write("migrations/3_a.txt", "not one");
        let settings = crate::config::file::Migrations::default();
        let folder = Folder { root: root.path(), dir: "migrations", settings: &settings };
        let files = read(folder).expect("migrations");
        assert_eq!(files.iter().map(Migration::label).collect::<Vec<_>>(), ["2_a", "10_b_c"]);
        let part = |at: usize| files[at].parts.values().next().expect("a part").clone();
        assert_eq!(part(0).up.text, "SELECT 1;\n");
        assert_eq!(part(0).up.foreign.as_ref().expect("its history").checksum, checksum("\u{feff}SELECT 1;\r\n", &[]));
        assert!(part(1).up.header.no_transaction && part(1).down.is_some());
        assert_eq!(part(1).up.foreign.as_ref().expect("its history").name, "b c");
        write("migrations/1x_a.sql", "SELECT 1;");
        assert!(read(folder).expect_err("a version that is none").to_string().contains("1x_a.sql"));
    }
}
