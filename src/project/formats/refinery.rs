//! refinery, SQL files: `V<number>__<name>.sql` in order, `U<number>__<name>.sql` whenever they come, in any depth of
//! folders. The rules are those of `refinery_core/src/{util,migration}.rs`.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;

use siphasher::sip::SipHasher13;

use super::{Detected, Folder, detect as found, duplicate, free_version, migration, raw, refused, script, shown, walk};
use crate::config::file::Format;
use crate::error::Result;
use crate::project::migration::{Foreign, Header, Migration};

/// [`Foreign::number`] of a timeline whose versions need 64 bits.
pub const WIDE: i64 = 64;

struct Name<'a> {
    is_versioned: bool,
    version: &'a str,
    name: &'a str,
    is_rust: bool,
}

/// `V1__name.sql`; the version may look like `1.2`, which refinery then refuses.
fn parse_name(file: &str) -> Option<Name<'_>> {
    let (stem, ending) = file.rsplit_once('.')?;
    let is_versioned = stem.starts_with('V');
    let (version, name) = stem.strip_prefix(['V', 'U', '|'])?.split_once("__")?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_version = match version.split_once('.') {
        Some((major, minor)) => is_number(major) && is_number(minor),
        None => is_number(version),
    };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_known = matches!(ending, "sql" | "rs");
    (is_version && is_name && is_known).then_some(Name { is_versioned, version, name, is_rust: ending == "rs" })
}

/// Reads the folder and the folders in it.
///
/// # Errors
/// A version that is no whole number or that two files have; a migration written in Rust.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let mut found: BTreeMap<i64, String> = BTreeMap::new();
    for file in walk(folder)? {
        let path = shown(folder, &file);
        // refinery leaves other names alone, with a warning.
        let Some(name) = parse_name(file.rsplit('/').next().unwrap_or(&file)) else { continue };
        if name.is_rust {
            return Err(refused(
                &path,
                Format::Refinery,
                "it is a migration written in Rust, which only refinery can run",
            )
            .hint("write it as SQL, or let refinery migrate this project"));
        }
        let number: i64 = name.version.parse().map_err(|_| {
            refused(&path, Format::Refinery, format!("`{}` is no whole number", name.version))
                .hint("refinery takes whole numbers only: V1__name.sql")
        })?;
        if let Some(other) = found.insert(number, file.clone()) {
            return Err(duplicate(&path, name.version, &other));
        }
    }
    let is_wide = found.keys().any(|number| i32::try_from(*number).is_err());
    let mut migrations = Vec::with_capacity(found.len());
    for (number, file) in found {
        let text = raw(folder, &file)?;
        let Some(parsed) = parse_name(file.rsplit('/').next().unwrap_or(&file)) else { continue };
        let wide = checksum(parsed.name, number, &text);
        let narrow = i32::try_from(number).ok().map(|number| checksum(parsed.name, number, &text));
        let foreign = Foreign {
            key: number.to_string(),
            name: parsed.name.to_owned(),
            checksum: narrow.filter(|_| !is_wide).unwrap_or_else(|| wide.clone()),
            // The first is what a table with 64-bit versions holds.
            accepted: vec![wide],
            number: is_wide.then_some(WIDE),
            ..Foreign::default()
        };
        let header = Header { allow_out_of_order: !parsed.is_versioned, ..Header::default() };
        let up = script(&shown(folder, &file), &text, header, Some(foreign))?;
        migrations.push(migration(parsed.version, parsed.name, up, None));
    }
    Ok(migrations)
}

/// SipHash-1-3 over name, version and text; the version with as many bits as its type has.
fn checksum(name: &str, version: impl std::hash::Hash, text: &str) -> String {
    let mut hasher = SipHasher13::new();
    name.hash(&mut hasher);
    version.hash(&mut hasher);
    text.hash(&mut hasher);
    hasher.finish().to_string()
}

/// The file of a new migration.
///
/// # Errors
/// As [`walk`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let taken = if folder.root.join(folder.dir).exists() { walk(folder)? } else { Vec::new() };
    let versions = taken.iter().filter_map(|file| Some(parse_name(file.rsplit('/').next()?)?.version));
    let version = free_version(now, versions, 1);
    Ok(vec![(shown(folder, &format!("V{version}__{name}.sql")), format!("-- {name}\n"))])
}

/// refinery is at home where `refinery.toml` lies, or where `Cargo.toml` names it beside files of its form.
pub fn detect(root: &Path) -> Option<Detected> {
    for dir in ["migrations", "src/migrations", "db/migrations", "sql_migrations"] {
        let names = found::names(&root.join(dir));
        let fitting: Vec<&String> = names.iter().filter(|name| parse_name(name).is_some()).collect();
        let Some(first) = fitting.first() else { continue };
        let cargo = found::text(&root.join("Cargo.toml"));
        let (mark, certainty) = if root.join("refinery.toml").exists() {
            ("`refinery.toml` and ", 3)
        } else if cargo.lines().any(|line| line.trim_start().starts_with("refinery")) {
            ("refinery in `Cargo.toml` and ", 3)
        } else {
            ("", 1)
        };
        let files = if fitting.len() == 1 { "file" } else { "files" };
        return Some(Detected {
            format: Format::Refinery,
            why: format!("{mark}{} {files} like `{dir}/{first}`", fitting.len()),
            dir: dir.to_owned(),
            certainty,
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
    use crate::kind::StoreKind;

    #[test]
    fn checksums_match_the_vectors() {
        let (lf, crlf) = ("CREATE TABLE t (id int);\n", "CREATE TABLE t (id int);\r\n");
        assert_eq!(checksum("init", 1_i32, lf), "6576007071847067829");
        assert_eq!(checksum("init", 1_i32, crlf), "16955263325309060721");
        assert_eq!(checksum("init", 1_i64, lf), "1695251398622326877");
        assert_eq!(checksum("init", 1_i64, crlf), "3440096413603980446");
        assert_ne!(checksum("init", 1_i32, &format!("\u{feff}{lf}")), checksum("init", 1_i32, lf));
    }

    #[test]
    fn names_are_read_as_refinery_reads_them() {
        let of = |file| parse_name(file).map(|name| (name.is_versioned, name.version, name.name, name.is_rust));
        assert_eq!(of("V1__init.sql"), Some((true, "1", "init", false)));
        assert_eq!(of("U01__späte_sache.rs"), Some((false, "01", "späte_sache", true)));
        assert_eq!(of("V1.2__init.sql"), Some((true, "1.2", "init", false)));
        for file in ["V1_init.sql", "V__init.sql", "V1__a-b.sql", "v1__a.sql", "V1__.sql", "mod.rs", "V1__a.sql.bak"] {
            assert_eq!(of(file), None, "{file}");
        }
    }

    #[test]
    fn a_folder_is_read_by_the_rules_of_refinery() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = root.path().join("migrations");
        std::fs::create_dir_all(dir.join("more/deep")).expect("folders");
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
        write("V10__c.sql", "SELECT 1;\n");
        write("more/deep/U2__b.sql", "\u{feff}SELECT 1;\r\n");
        write("more/V3__x.sql", "-- lyrox: no-transaction\nVACUUM;\n");
        write("mod.rs", "");
        let settings = Migrations::default();
        let folder = Folder { root: root.path(), dir: "migrations", settings: &settings };
        let files = read(folder).expect("migrations");
        assert_eq!(files.iter().map(Migration::label).collect::<Vec<_>>(), ["2_b", "3_x", "10_c"]);
        let up = |at: usize| files[at].parts[&StoreKind::Postgres].up.clone();
        assert!(up(0).header.allow_out_of_order && !up(2).header.allow_out_of_order);
        assert!(up(1).header.no_transaction);
        assert_eq!((up(0).path.as_str(), up(0).text.as_str()), ("migrations/more/deep/U2__b.sql", "SELECT 1;\n"));
        let foreign = up(0).foreign.clone().expect("its history");
        assert_eq!(foreign.checksum, checksum("b", 2_i32, "\u{feff}SELECT 1;\r\n"));
        assert_eq!(foreign.number, None);
        write("V20240101000000__wide.sql", "SELECT 1;\n");
        let files = read(folder).expect("migrations");
        let foreign = files[0].parts[&StoreKind::Postgres].up.foreign.clone().expect("its history");
        assert_eq!(foreign.checksum, checksum("b", 2_i64, "\u{feff}SELECT 1;\r\n"));
        assert_eq!(foreign.number, Some(WIDE));
        let now: jiff::Timestamp = "2024-06-01T00:00:00Z".parse().expect("a time");
        assert_eq!(new_files(folder, "x", now).expect("a file")[0].0, "migrations/V20240601000000__x.sql");
        for (file, words) in [("V1.1__a.sql", "no whole number"), ("V4__a.rs", "Rust"), ("U10__a.sql", "U10__a.sql")] {
            write(file, "SELECT 1;");
            let error = read(folder).expect_err("an error");
            assert!(format!("{error} {:?}", error.why_text()).contains(words), "{error}");
            std::fs::remove_file(dir.join(file)).expect("a file to remove");
        }
    }
}
