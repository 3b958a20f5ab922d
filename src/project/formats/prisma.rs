//! Prisma Migrate 2 to 7: `prisma/migrations/<folder>/migration.sql`, applied in the order of the folders' names;
//! `migration_lock.toml` says for which database. Rules: `schema-engine`'s checksum.rs and `listMigrations`.
//!
//! Prisma has no way back of its own; a `down.sql` in the folder, where its manual puts one, is taken for it.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::labels::Labels;
use super::{Detected, Folder, detect as found, folders, migration, raw, script, shown};
use crate::config::file::Format;
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::{Foreign, Header, Migration};
use crate::project::text;

const SCRIPT: &str = "migration.sql";
const LOCK: &str = "migration_lock.toml";

/// Reads the folder.
///
/// # Errors
/// A lock file of another database, a folder without its script, or the layout of Prisma 8.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    refuse_other_provider(folder)?;
    let mut labels = Labels::default();
    let mut migrations = Vec::new();
    for name in folders(folder)? {
        refuse_prisma_8(folder, &name)?;
        let path = folder.root.join(folder.dir).join(&name);
        if !path.join(SCRIPT).exists() {
            return Err(Error::new(Code::FileMissing, format!("`{}` has no {SCRIPT}", shown(folder, &name)))
                .why("Prisma stops here as well (P3015)")
                .data("nothing was changed")
                .hint(format!("rm -r '{}'", shown(folder, &name))));
        }
        let file = format!("{name}/{SCRIPT}");
        let text = raw(folder, &file)?;
        let (checksum, accepted) = checksums(&text);
        let foreign = Foreign { key: name.clone(), checksum, accepted, ..Foreign::default() };
        let up = script(&shown(folder, &file), &text, header(), Some(foreign))?;
        let down = format!("{name}/down.sql");
        let down = if path.join("down.sql").exists() {
            Some(script(&shown(folder, &down), &raw(folder, &down)?, header(), None)?)
        } else {
            None
        };
        let (version, rest) = labels.take(&name);
        migrations.push(migration(&version, &rest, up, down));
    }
    Ok(migrations)
}

/// `migrate deploy` applies whatever is not applied, wherever it stands.
fn header() -> Header {
    Header { allow_out_of_order: true, ..Header::default() }
}

/// The SHA-256 of the text as it is, and what Prisma takes for the same: other line ends, and the digits without their
/// leading zeros that versions before 2.20 wrote.
fn checksums(text: &str) -> (String, Vec<String>) {
    let lf = text.replace("\r\n", "\n");
    let digests = [text, &lf, &text.replace('\n', "\r\n"), &lf.replace('\n', "\r\n")].map(Sha256::digest);
    let padded = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let unpadded = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:x}")).collect::<String>();
    let checksum = padded(&digests[0]);
    let mut accepted: Vec<String> =
        digests.iter().map(|digest| padded(digest)).chain(digests.iter().map(|digest| unpadded(digest))).collect();
    accepted.sort();
    accepted.dedup();
    accepted.retain(|other| *other != checksum);
    (checksum, accepted)
}

/// The database that `migration_lock.toml` names must be this one.
fn refuse_other_provider(folder: Folder<'_>) -> Result<()> {
    let shown = shown(folder, LOCK);
    let path = folder.root.join(&shown);
    if !path.exists() {
        return Ok(());
    }
    let text = text::read(&path, &shown)?;
    let lock: toml::Table = toml::from_str(&text).map_err(|error| {
        Error::new(Code::FileSyntax, format!("`{shown}` cannot be read"))
            .why(error.message().to_owned())
            .data("nothing was changed")
            .hint(format!("settle the conflict of the merge: it holds the line provider = \"postgresql\" ({shown})"))
    })?;
    match lock.get("provider").and_then(toml::Value::as_str) {
        Some("postgresql" | "postgres") => Ok(()),
        other => {
            let line = text.lines().position(|line| line.trim_start().starts_with("provider")).map_or(1, |at| at + 1);
            let what = other.unwrap_or("no database").to_owned();
            Err(Error::new(
                Code::FileSyntax,
                format!("the migrations of `{}` are for {what}, not postgresql", folder.dir),
            )
            .why("Prisma stops here as well (P3019)")
            .at(Place::at_line(&shown, &text, line))
            .data("nothing was changed")
            .hint("set `dir` under [migrations] in lyrox.toml to the PostgreSQL migrations"))
        }
    }
}

/// Prisma 8 keeps `<space>/<name>/{migration.json,ops.json}` and another history; nothing may come between.
fn refuse_prisma_8(folder: Folder<'_>, name: &str) -> Result<()> {
    let path = folder.root.join(folder.dir).join(name);
    if !is_prisma_8(&path) {
        return Ok(());
    }
    Err(Error::new(Code::FileKind, format!("`{}` holds migrations of Prisma 8", shown(folder, name)))
        .why("its migrations are a chain of contracts with a ledger in schema `prisma_contract`; SQL put between breaks the chain")
        .data("nothing was changed")
        .hint("let Prisma 8 migrate PostgreSQL; keep lyrox for the other stores: --only mongodb,redis"))
}

/// A folder of migrations, or a migration, of Prisma 8.
fn is_prisma_8(path: &Path) -> bool {
    let is_one = |path: &Path| path.join("migration.json").exists() && path.join("ops.json").exists();
    is_one(path) || found::names(path).iter().any(|name| is_one(&path.join(name)))
}

/// The folder of a new migration; the lock file where there is none.
///
/// # Errors
/// As [`read`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let path = folder.root.join(folder.dir);
    let newest = if path.exists() { read(folder)?.pop() } else { None };
    let clock = now.strftime("%Y%m%d%H%M%S").to_string();
    let version = super::labels::later(&clock, newest.as_ref().map(|newest| newest.version.as_str()));
    let mut files = vec![(shown(folder, &format!("{version}_{name}/{SCRIPT}")), format!("-- {name}\n"))];
    if !path.join(LOCK).exists() {
        files.push((shown(folder, LOCK), "provider = \"postgresql\"\n".to_owned()));
    }
    Ok(files)
}

/// Prisma is at home where a `schema.prisma` or its lock file lies.
pub fn detect(root: &Path) -> Option<Detected> {
    let dirs =
        ["prisma/migrations", "prisma/schema/migrations", "src/prisma/migrations", "db/migrations", "migrations"];
    let has_script = |dir: &str| {
        let path = root.join(dir);
        let count = found::names(&path).iter().filter(|name| path.join(name).join(SCRIPT).exists()).count();
        (count > 0 && (path.join(LOCK).exists() || dir.contains("prisma"))).then_some(count)
    };
    let (dir, count) = dirs.iter().find_map(|dir| has_script(dir).map(|count| (*dir, count)))?;
    let lock = found::text(&root.join(dir).join(LOCK));
    if !lock.is_empty() && !lock.contains("postgres") {
        return None;
    }
    let parent = Path::new(dir).parent().unwrap_or(Path::new(""));
    let schema = found::text(&root.join(parent).join("schema.prisma"));
    let config = found::text(&root.join("prisma.config.ts"));
    let mark = if schema.is_empty() { LOCK } else { "schema.prisma" };
    Some(Detected {
        format: Format::Prisma,
        dir: dir.to_owned(),
        why: format!("`{mark}` and {count} {} in `{dir}`", if count == 1 { "folder" } else { "folders" }),
        certainty: 3,
        settings: Vec::new(),
        url_variable: super::labels::variable(&schema, "env(\"").or_else(|| super::labels::variable(&config, "env(\"")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Migrations;

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join("prisma/migrations").join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    fn read_it(root: &tempfile::TempDir) -> Result<Vec<Migration>> {
        read(Folder { root: root.path(), dir: "prisma/migrations", settings: &Migrations::default() })
    }

    #[test]
    fn checksums_match_the_vectors() {
        let lf = "12c83f983b0c94b9c7010dcc92149589d5fb01a3d32af8f6d699545d95db9040";
        let crlf = "30cea62cdaee464f711b5a9f1f7b7a63a5d676cb81e1ffb9c1be5f0ba944da6d";
        let (checksum, accepted) = checksums("CREATE TABLE t (id int);\n");
        assert_eq!(checksum, lf);
        assert!(accepted.iter().any(|other| other == crlf), "a checkout with other line ends");
        let (checksum, accepted) = checksums("CREATE TABLE t (id int);\r\n");
        assert_eq!(checksum, crlf);
        assert!(accepted.iter().any(|other| other == lf));
        // A byte below 16 loses its zero: 3b 0c becomes 3bc.
        let legacy = "12c83f983bc94b9c71dcc92149589d5fb1a3d32af8f6d699545d95db9040";
        assert!(accepted.iter().any(|other| other == legacy), "{accepted:?}");
        // A byte-order mark is part of the text.
        assert_ne!(checksums("\u{feff}CREATE TABLE t (id int);\n").0, lf);
    }

    #[test]
    fn folders_are_read_by_name() {
        let root = folder_with(&[
            (LOCK, "# made by prisma\nprovider = \"postgresql\"\n"),
            ("20240102000000_b_c/migration.sql", "SELECT 2;\r\n"),
            ("20240102000000_b_c/down.sql", "SELECT 3;"),
            ("0_init/migration.sql", "SELECT 1;"),
            ("notes.md", "no migration"),
        ]);
        let files = read_it(&root).expect("migrations");
        assert_eq!(files.iter().map(Migration::label).collect::<Vec<_>>(), ["0_init", "20240102000000_b_c"]);
        let part = files[1].parts.values().next().expect("a part");
        assert_eq!(part.up.text, "SELECT 2;\n");
        assert_eq!(part.up.foreign.as_ref().expect("its history").key, "20240102000000_b_c");
        assert!(part.down.is_some());
    }

    #[test]
    fn what_prisma_would_refuse_is_refused() {
        let refused = |files: &[(&str, &str)]| read_it(&folder_with(files)).expect_err("refused").to_string();
        assert!(refused(&[(LOCK, "provider = \"mysql\"")]).contains("mysql"));
        assert!(refused(&[(LOCK, "<<<<<<< HEAD")]).contains(LOCK));
        assert!(refused(&[("1_a/readme.md", "")]).contains("1_a"));
        let eight = [("app/20260101T0101_x/migration.json", "{}"), ("app/20260101T0101_x/ops.json", "[]")];
        assert!(refused(&eight).contains("Prisma 8"));
    }
}
