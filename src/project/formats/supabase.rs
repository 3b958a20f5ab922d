//! The Supabase CLI: `supabase/migrations/<digits>_<name>.sql`, sorted by name; its history may hold the statements that
//! were run. Rules: pkg/migration/{file,list,history}.go. Seeds are its own affair.

use std::path::Path;

use super::{Detected, Folder, detect as found, duplicate, files, migration, raw, script, shown};
use crate::config::file::Format;
use crate::error::Result;
use crate::project::formats::labels::{digits, later};
use crate::project::migration::{Foreign, Header, Migration};
use crate::project::text;

/// Reads the folder; as to the CLI, files of another form are none.
///
/// # Errors
/// Two files with one version.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let mut migrations: Vec<Migration> = Vec::new();
    for (at, file) in files(folder)?.into_iter().enumerate() {
        let Some((version, name)) = parse(&file) else { continue };
        if at == 0 && is_old_init(version, name) {
            continue;
        }
        if let Some(other) = migrations.iter().find(|other| other.version.as_str() == version) {
            return Err(duplicate(&shown(folder, &file), version, &other.label()));
        }
        let text = raw(folder, &file)?;
        let foreign =
            Foreign { key: version.to_owned(), name: name.to_owned(), checksum: digest(&text), ..Foreign::default() };
        let up = script(&shown(folder, &file), &text, Header::default(), Some(foreign))?;
        migrations.push(migration(version, name, up, None));
    }
    Ok(migrations)
}

fn parse(file: &str) -> Option<(&str, &str)> {
    let stem = file.strip_suffix(".sql")?;
    let version = digits(stem);
    let name = stem[version.len()..].strip_prefix('_')?;
    (!version.is_empty()).then_some((version, name))
}

/// What early versions of the CLI wrote as the schema of the platform itself: never run.
fn is_old_init(version: &str, name: &str) -> bool {
    name == "init" && version.len() == 14 && version < "20211209000000"
}

/// A digest of SQL that is the same for a file and for the statements that the CLI cut it into: without blanks and `;`,
/// which is all that the cutting takes away.
pub fn digest(sql: &str) -> String {
    let kept: String = sql.chars().filter(|c| !c.is_whitespace() && !matches!(c, ';' | '\u{feff}')).collect();
    text::sha256(kept.as_bytes())
}

/// The file of a new migration.
///
/// # Errors
/// As [`read`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let newest = if folder.root.join(folder.dir).exists() { read(folder)?.pop() } else { None };
    let clock = now.strftime("%Y%m%d%H%M%S").to_string();
    let version = later(&clock, newest.as_ref().map(|newest| newest.version.as_str()));
    Ok(vec![(shown(folder, &format!("{version}_{name}.sql")), format!("-- {name}\n"))])
}

/// Supabase is at home where its folder lies.
pub fn detect(root: &Path) -> Option<Detected> {
    let dir = "supabase/migrations";
    let names = found::names(&root.join(dir));
    let count = names.iter().filter(|name| parse(name).is_some()).count();
    let has_config = root.join("supabase/config.toml").exists();
    if !root.join(dir).is_dir() || (count == 0 && !has_config) {
        return None;
    }
    let mark = if has_config { "`supabase/config.toml` and " } else { "" };
    Some(Detected {
        format: Format::Supabase,
        dir: dir.to_owned(),
        why: format!("{mark}{count} {} in `{dir}`", if count == 1 { "file" } else { "files" }),
        certainty: 3,
        settings: Vec::new(),
        url_variable: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Migrations;

    fn read_it(files: &[(&str, &str)]) -> Result<Vec<Migration>> {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join("supabase/migrations").join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        read(Folder { root: root.path(), dir: "supabase/migrations", settings: &Migrations::default() })
    }

    #[test]
    fn names_are_digits_and_anything() {
        assert_eq!(parse("20240101000000_init.sql"), Some(("20240101000000", "init")));
        assert_eq!(parse("1_.sql"), Some(("1", "")));
        for name in ["init.sql", "1.sql", "_a.sql", "1_a.txt"] {
            assert!(parse(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_old_init_file_is_no_migration() {
        let labels = |files: &[(&str, &str)]| {
            let read = read_it(files).expect("migrations");
            read.iter().map(Migration::label).collect::<Vec<_>>()
        };
        let old = ("20211208000000_init.sql", "SELECT 1;");
        assert_eq!(labels(&[old, ("20220101000000_a.sql", "SELECT 1;"), ("notes.sql", "")]), ["20220101000000_a"]);
        assert_eq!(labels(&[("20211209000000_init.sql", "SELECT 1;")]), ["20211209000000_init"]);
        assert_eq!(labels(&[("20200101000000_a.sql", "SELECT 1;"), old]).len(), 2, "it is the first file or none");
        assert!(read_it(&[("1_a.sql", "SELECT 1;"), ("1_b.sql", "SELECT 1;")]).is_err());
    }

    #[test]
    fn a_file_and_its_statements_have_one_digest() {
        let file = "\u{feff}-- make t\r\nCREATE TABLE t (id int); -- behind\r\n\r\n;;SELECT 1 ;\r\n-- end\r\n";
        let statements = ["-- make t\r\nCREATE TABLE t (id int)", "-- behind", "SELECT 1", "-- end"];
        assert_eq!(digest(file), digest(&statements.join("\n")));
        assert_ne!(digest(file), digest(&file.replace("int", "bigint")));
    }
}
