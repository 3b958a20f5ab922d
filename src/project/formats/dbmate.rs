//! dbmate: `db/migrations/<digits>_<name>.sql`, each file an up and a down block behind `-- migrate:up` and
//! `-- migrate:down`. The rules are those of `pkg/dbmate/migration.go`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Detected, Folder, detect as found, duplicate, files, keep_lines, migration, raw, script, shown};
use crate::config::file::Format;
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::{Foreign, Header, Migration};
use crate::project::text::normalise;

/// One side of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Block {
    /// The text on the lines that it has in the file.
    text: String,
    /// One of its markers says `transaction:false`.
    no_transaction: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Up,
    Down,
}

/// Reads the folder: files that begin with digits, in the order of their names; dbmate leaves the others alone, too.
///
/// # Errors
/// A file without one of the blocks, with statements in front of them, or with a version that another file has.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut migrations = Vec::new();
    for file in files(folder)? {
        let Some((version, name)) = parse_name(&file) else { continue };
        let shown = shown(folder, &file);
        if let Some(other) = taken.insert(version.to_owned(), file.clone()) {
            return Err(duplicate(&shown, version, &other));
        }
        let text = normalise(raw(folder, &file)?);
        let (up, down) = blocks(&shown, &text)?;
        // dbmate applies whatever is not applied yet, however old it is.
        let header = |block: &Block| Header {
            no_transaction: block.no_transaction,
            allow_out_of_order: true,
            ..Header::default()
        };
        let foreign = Foreign { key: version.to_owned(), ..Foreign::default() };
        let down = script(&shown, &down.text, header(&down), None)?;
        migrations.push(migration(version, name, script(&shown, &up.text, header(&up), Some(foreign))?, Some(down)));
    }
    Ok(migrations)
}

/// `20240101000000_name.sql` is version and name; whatever follows the digits is the name.
fn parse_name(file: &str) -> Option<(&str, &str)> {
    let stem = file.strip_suffix(".sql")?;
    let end = stem.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(stem.len());
    (end > 0).then(|| (&stem[..end], stem[end..].trim_start_matches('_')))
}

/// What a marker line says, and its options.
fn marker(line: &str) -> Option<(Side, &str)> {
    let rest = line.strip_prefix("--")?.trim_start();
    let (side, rest) = match (rest.strip_prefix("migrate:up"), rest.strip_prefix("migrate:down")) {
        (Some(rest), _) => (Side::Up, rest),
        (_, Some(rest)) => (Side::Down, rest),
        _ => return None,
    };
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then_some((side, rest))
}

/// The up and the down side of a file. Several pairs run one behind the other, as they stand.
fn blocks(shown: &str, text: &str) -> Result<(Block, Block)> {
    let refused = |line: usize, what: &str, hint: &str| {
        Error::new(Code::FileSyntax, what)
            .at(Place::at_line(shown, text, line + 1))
            .data("nothing was changed")
            .hint(hint.to_owned())
    };
    let mut sides: Vec<Option<Side>> = Vec::new();
    let (mut up, mut down) = (Block::default(), Block::default());
    let mut side = None;
    for (at, line) in text.lines().enumerate() {
        if let Some((found, options)) = marker(line) {
            if found == Side::Down && side != Some(Side::Up) {
                let what = "`-- migrate:down` has no `-- migrate:up` before it";
                return Err(refused(at, what, "a block `-- migrate:up` comes first, then its `-- migrate:down`"));
            }
            if found == Side::Up && side == Some(Side::Up) {
                let what = "the `-- migrate:up` before this one has no `-- migrate:down`";
                return Err(refused(at, what, "write `-- migrate:down` behind each block; it may be empty"));
            }
            let block = if found == Side::Up { &mut up } else { &mut down };
            block.no_transaction |= options.split_whitespace().any(|option| option == "transaction:false");
            side = Some(found);
        } else if side.is_none() && !line.trim().is_empty() && !line.trim_start().starts_with("--") {
            let what = "statements stand before `-- migrate:up`";
            return Err(refused(at, what, "only comments may stand there; move them below the marker"));
        }
        sides.push(side);
    }
    match side {
        Some(Side::Down) => {}
        Some(Side::Up) => {
            let last = text.lines().count().saturating_sub(1);
            let what = "`-- migrate:down` is missing";
            return Err(refused(last, what, "write `-- migrate:down` at the end; the block may be empty"));
        }
        None => {
            let what = "`-- migrate:up` is missing";
            return Err(refused(0, what, "dbmate runs what stands between `-- migrate:up` and `-- migrate:down`"));
        }
    }
    up.text = keep_lines(text, |at| sides.get(at) == Some(&Some(Side::Up)));
    down.text = keep_lines(text, |at| sides.get(at) == Some(&Some(Side::Down)));
    Ok((up, down))
}

/// The file of a new migration.
///
/// # Errors
/// As [`files`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let taken = if folder.root.join(folder.dir).exists() { files(folder)? } else { Vec::new() };
    let version = super::free_clock(now, taken.iter().filter_map(|file| parse_name(file).map(|(version, _)| version)));
    let text = "-- migrate:up\n\n\n-- migrate:down\n\n".to_owned();
    Ok(vec![(shown(folder, &format!("{version}_{name}.sql")), text)])
}

/// dbmate is at home where SQL files have its markers.
pub fn detect(root: &Path) -> Option<Detected> {
    let environment = found::text(&root.join(".env"));
    let set = |name: &str| {
        let line = environment.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    let given = set("DBMATE_MIGRATIONS_DIR");
    let dirs = given.iter().map(String::as_str).chain(["db/migrations", "migrations"]);
    for dir in dirs.map(|dir| dir.trim_start_matches("./").trim_end_matches('/')) {
        let names = found::names(&root.join(dir));
        let is_marked = |name: &&String| {
            parse_name(name).is_some()
                && found::text(&root.join(dir).join(name)).lines().any(|line| marker(line).is_some())
        };
        let marked: Vec<&String> = names.iter().filter(is_marked).collect();
        let Some(first) = marked.first() else { continue };
        let files = if marked.len() == 1 { "file" } else { "files" };
        return Some(Detected {
            format: Format::Dbmate,
            why: format!("{} {files} with `-- migrate:up` like `{dir}/{first}`", marked.len()),
            dir: dir.to_owned(),
            certainty: 3,
            settings: set("DBMATE_MIGRATIONS_TABLE")
                .map(|table| ("history".to_owned(), format!("{table:?}")))
                .into_iter()
                .collect(),
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
    fn blocks_keep_their_lines_and_options() {
        let text = "-- why\n\n-- migrate:up transaction:false\nCREATE TABLE a ();\n--migrate:down\nDROP TABLE a;\n-- migrate:up\nCREATE TABLE b ();\n-- migrate:down transaction:false foo:bar\nDROP TABLE b;\n";
        let (up, down) = blocks("f.sql", text).expect("blocks");
        assert!(up.no_transaction && down.no_transaction);
        assert_eq!(up.text.lines().nth(3), Some("CREATE TABLE a ();"));
        assert_eq!(up.text.lines().nth(7), Some("CREATE TABLE b ();"));
        assert!(!up.text.contains("DROP"));
        assert_eq!(down.text.lines().nth(5), Some("DROP TABLE a;"));
        assert_eq!(down.text.lines().nth(9), Some("DROP TABLE b;"));
        assert!(!down.text.contains("CREATE"));
    }

    #[test]
    fn what_dbmate_refuses_is_refused() {
        let line = |text: &str| blocks("f.sql", text).expect_err("an error").place().map(|place| place.line);
        assert_eq!(line("CREATE TABLE a ();\n"), Some(1));
        assert_eq!(line("-- x\nSELECT 1;\n-- migrate:up\n-- migrate:down\n"), Some(2));
        assert_eq!(line("-- migrate:up\nSELECT 1;\n"), Some(2));
        assert_eq!(line("-- migrate:down\n-- migrate:up\n"), Some(1));
        assert_eq!(line("-- migrate:up\n-- migrate:up\n-- migrate:down\n"), Some(2));
        // No marker: a word goes on, or the line does not begin with the comment.
        assert!(blocks("f.sql", "-- migrate:upward\n -- migrate:up\n").is_err());
    }

    #[test]
    fn a_folder_is_read_by_the_rules_of_dbmate() {
        let root = tempfile::tempdir().expect("a folder");
        let dir = root.path().join("db/migrations");
        std::fs::create_dir_all(&dir).expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
        write("001_init.sql", "\u{feff}-- migrate:up\r\nSELECT 1;\r\n-- migrate:down\r\n");
        write("20240101000000.sql", "-- migrate:up\n-- migrate:down\n");
        write("20240102000000create.sql", "-- migrate:up\n-- migrate:down\n");
        write("notes.sql", "not one");
        write("3_a.txt", "not one");
        let settings = Migrations::default();
        let folder = Folder { root: root.path(), dir: "db/migrations", settings: &settings };
        let files = read(folder).expect("migrations");
        let labels: Vec<String> = files.iter().map(Migration::label).collect();
        assert_eq!(labels, ["001_init", "20240101000000", "20240102000000_create"]);
        let part = &files[0].parts[&StoreKind::Postgres];
        assert_eq!(part.up.text, "-- migrate:up\nSELECT 1;\n");
        assert_eq!(part.up.foreign.as_ref().map(|foreign| foreign.key.as_str()), Some("001"));
        let detected = detect(root.path()).expect("dbmate");
        assert_eq!((detected.dir.as_str(), detected.certainty), ("db/migrations", 3));
        let now: jiff::Timestamp = "2023-01-01T00:00:00Z".parse().expect("a time");
        let new = new_files(folder, "more", now).expect("a file");
        assert_eq!(new[0].0, "db/migrations/20240102000001_more.sql");
        write("001_other.sql", "-- migrate:up\n-- migrate:down\n");
        assert_eq!(read(folder).expect_err("a duplicate").code(), Code::FileDuplicate);
    }
}
