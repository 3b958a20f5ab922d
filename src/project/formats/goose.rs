//! goose, SQL files: `<number>_<name>.sql`, both ways in one file, told apart by annotations in comments. The rules are
//! those of `internal/sqlparser/parser.go` and `migrate.go`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::fill::Fill;
use super::{Detected, Folder, detect as found, duplicate, files, free_version, keep_lines, migration, raw, refused};
use super::{script, shown};
use crate::config::file::Format;
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::{Foreign, Header, Migration, Script};
use crate::project::text::normalise;

/// A file as its annotations cut it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cut {
    up: String,
    down: String,
    has_down: bool,
    no_transaction: bool,
    /// The lines into which the environment is filled, counted from 0.
    filled: Vec<Range<usize>>,
}

/// Where the reading of a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    Up,
    Down,
}

/// Reads the folder.
///
/// # Errors
/// A SQL file without a number, annotations in an order that goose does not take, a migration written in Go.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let mut found: BTreeMap<i64, String> = BTreeMap::new();
    for file in files(folder)? {
        let is_go = file.ends_with(".go");
        if !(is_go || file.ends_with(".sql")) || file.ends_with("_test.go") {
            continue;
        }
        let path = shown(folder, &file);
        let Some(number) = number(&file) else {
            // Go files without a number are helpers; SQL files without one are an error to goose as well.
            if is_go {
                continue;
            }
            return Err(refused(&path, Format::Goose, "its name does not begin with a number greater than 0 and `_`")
                .hint(format!("name it `00001_{file}`, or move it out of `{}`", folder.dir)));
        };
        if is_go {
            return Err(refused(&path, Format::Goose, "it is a migration written in Go, which only goose can run")
                .hint("write it as SQL, or let goose migrate this project"));
        }
        if let Some(other) = found.insert(number, file.clone()) {
            return Err(duplicate(&path, &number.to_string(), &other));
        }
    }
    let mut migrations = Vec::with_capacity(found.len());
    for (number, file) in found {
        let path = shown(folder, &file);
        let text = normalise(raw(folder, &file)?);
        let cut = cut(&path, &text)?;
        let fill = if cut.filled.is_empty() { Fill::Nothing } else { Fill::Environment(cut.filled.clone()) };
        let side = |text: &str, foreign: Option<Foreign>| -> Result<Arc<Script>> {
            let header = Header { no_transaction: cut.no_transaction, ..Header::default() };
            let mut side = script(&path, text, header, foreign)?;
            Arc::make_mut(&mut side).header.fill = fill.clone();
            Ok(side)
        };
        let foreign = Foreign { key: number.to_string(), ..Foreign::default() };
        let up = side(&cut.up, Some(foreign))?;
        let down = if cut.has_down { Some(side(&cut.down, None)?) } else { None };
        let (digits, name) = file.trim_end_matches(".sql").split_once('_').unwrap_or((&file, ""));
        migrations.push(migration(digits, name, up, down));
    }
    Ok(migrations)
}

/// The number that a file's name begins with, up to the first `_`.
fn number(file: &str) -> Option<i64> {
    let (digits, _) = file.split_once('_')?;
    digits.parse().ok().filter(|number| *number >= 1)
}

/// The annotation of a line, in lower case with single spaces; none where it is an ordinary line.
fn annotation(line: &str) -> Option<Result<String, String>> {
    if !line.trim_start().starts_with("--") || !line.contains("+goose") {
        return None;
    }
    if !line.starts_with("--") {
        return Some(Err("an annotation must not be indented".into()));
    }
    let words = line.replace("--", "").replacen("+goose", "", 1);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let known = ["up", "down", "statementbegin", "statementend", "no transaction", "envsub on", "envsub off"];
    Some(if known.contains(&words.as_str()) {
        Ok(words)
    } else {
        Err("goose knows Up, Down, StatementBegin, StatementEnd, NO TRANSACTION, ENVSUB ON and ENVSUB OFF".into())
    })
}

/// Cuts a file as goose does. Statements are found by lyrox's own splitter: what goose needs `StatementBegin` for, it
/// sees by itself.
fn cut(shown: &str, text: &str) -> Result<Cut> {
    let wrong = |line: usize, what: String, why: String| {
        Error::new(Code::FileSyntax, what)
            .why(why)
            .at(Place::at_line(shown, text, line + 1))
            .data("nothing was changed")
            .hint("a file begins with `-- +goose Up`; what undoes it stands below `-- +goose Down`")
    };
    let mut cut = Cut::default();
    let mut sides = Vec::new();
    let (mut at, mut is_statement, mut fill_from) = (At::Start, false, None);
    let mut last = 0;
    for (number, line) in text.lines().enumerate() {
        last = number;
        match annotation(line) {
            Some(Err(why)) => return Err(wrong(number, format!("`{}` is no annotation of goose", line.trim()), why)),
            Some(Ok(words)) => {
                let order = |why: &str| wrong(number, format!("`{}` cannot stand here", line.trim()), why.to_owned());
                match words.as_str() {
                    "up" if at == At::Start && !is_statement => at = At::Up,
                    "up" => return Err(order("a file has one `-- +goose Up`, at its beginning")),
                    "down" if at == At::Up && !is_statement => (at, cut.has_down) = (At::Down, true),
                    "down" => return Err(order("it comes once, after `-- +goose Up` and behind every StatementEnd")),
                    "statementbegin" if at != At::Start && !is_statement => is_statement = true,
                    "statementbegin" => return Err(order("it comes after Up or Down, and behind every StatementEnd")),
                    "statementend" if is_statement => is_statement = false,
                    "statementend" => return Err(order("there is no `-- +goose StatementBegin` before it")),
                    "no transaction" => cut.no_transaction = true,
                    "envsub on" => fill_from = fill_from.or(Some(number + 1)),
                    _ => cut.filled.extend(fill_from.take().map(|from| from..number)),
                }
            }
            None if at == At::Start && !line.trim().is_empty() && !line.trim_start().starts_with("--") => {
                let what = "statements stand before `-- +goose Up`".to_owned();
                return Err(wrong(number, what, "only comments may stand there".into()));
            }
            None => {}
        }
        sides.push(at);
    }
    cut.filled.extend(fill_from.map(|from| from..usize::MAX));
    if at == At::Start {
        return Err(wrong(0, "`-- +goose Up` is missing".into(), "goose does not run a file without it".into()));
    }
    if is_statement {
        let what = "`-- +goose StatementEnd` is missing".to_owned();
        return Err(wrong(last, what, "a statement was begun with `-- +goose StatementBegin`".into()));
    }
    cut.up = keep_lines(text, |line| sides.get(line) == Some(&At::Up));
    cut.down = keep_lines(text, |line| sides.get(line) == Some(&At::Down));
    Ok(cut)
}

/// The file of a new migration: counted on where the others are, else the time.
///
/// # Errors
/// As [`files`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let taken = if folder.root.join(folder.dir).exists() { files(folder)? } else { Vec::new() };
    let digits = taken.iter().filter(|file| number(file).is_some()).filter_map(|file| file.split('_').next());
    let version = free_version(now, digits, 0);
    let text = format!("-- +goose Up\n-- {name}\n\n-- +goose Down\n");
    Ok(vec![(shown(folder, &format!("{version}_{name}.sql")), text)])
}

/// goose is at home where SQL files have its annotations.
pub fn detect(root: &Path) -> Option<Detected> {
    let environment = found::text(&root.join(".env"));
    let set = |name: &str| {
        let line = environment.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    let given = set("GOOSE_MIGRATION_DIR");
    let usual = ["migrations", "db/migrations", "sql/migrations", "internal/migrations", "sql/schema", "db/migration"];
    let dirs = given.iter().map(String::as_str).chain(usual);
    for dir in dirs.map(|dir| dir.trim_start_matches("./").trim_end_matches('/')) {
        let names = found::names(&root.join(dir));
        let is_up = |line: &str| annotation(line) == Some(Ok("up".into()));
        let is_marked = |name: &&String| {
            number(name).is_some()
                && name.ends_with(".sql")
                && found::text(&root.join(dir).join(name)).lines().any(is_up)
        };
        let marked: Vec<&String> = names.iter().filter(is_marked).collect();
        let Some(first) = marked.first() else { continue };
        let files = if marked.len() == 1 { "file" } else { "files" };
        return Some(Detected {
            format: Format::Goose,
            why: format!("{} {files} with `-- +goose Up` like `{dir}/{first}`", marked.len()),
            dir: dir.to_owned(),
            certainty: 3,
            settings: set("GOOSE_TABLE")
                .map(|table| ("history".to_owned(), format!("{table:?}")))
                .into_iter()
                .collect(),
            url_variable: set("GOOSE_DBSTRING").map(|_| "GOOSE_DBSTRING".to_owned()),
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
    fn annotations_cut_a_file() {
        let text = "-- why\n-- +goose no transaction\n--  +goose  up\nSELECT 1;\n-- +goose StatementBegin\nCREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$;\n-- +goose statementend\n-- +goose envsub ON\nSELECT '$A';\n-- +goose ENVSUB off\n-- +goose Down\nDROP FUNCTION f();\n-- +goose ENVSUB ON\nSELECT '${A}';";
        let cut = cut("f.sql", text).expect("a file");
        assert!(cut.no_transaction && cut.has_down);
        assert_eq!(cut.filled, [8..9, 13..usize::MAX]);
        assert_eq!(cut.up.lines().nth(3), Some("SELECT 1;"));
        assert_eq!(cut.up.lines().nth(8), Some("SELECT '$A';"));
        assert!(!cut.up.contains("DROP") && !cut.down.contains("SELECT 1"));
        assert_eq!(cut.down.lines().nth(11), Some("DROP FUNCTION f();"));
    }

    #[test]
    fn what_goose_refuses_is_refused() {
        let line = |text: &str| cut("f.sql", text).expect_err("an error").place().map(|place| place.line);
        assert_eq!(line("SELECT 1;\n-- +goose Up\n"), Some(1));
        assert_eq!(line("-- x\n"), Some(1));
        assert_eq!(line("-- +goose Up\n  -- +goose Down\n"), Some(2));
        assert_eq!(line("-- +goose Up\n-- +goose Sideways\n"), Some(2));
        assert_eq!(line("-- +goose Up\n-- +goose Up\n"), Some(2));
        assert_eq!(line("-- +goose Down\n"), Some(1));
        assert_eq!(line("-- +goose Up\n-- +goose StatementEnd\n"), Some(2));
        assert_eq!(line("-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n"), Some(3));
        assert_eq!(line("-- +goose Up\n-- +goose StatementBegin\n-- +goose Down\n"), Some(3));
    }

    #[test]
    fn a_folder_is_read_by_the_rules_of_goose() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("migrations")).expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(root.path().join("migrations").join(name), text).expect("a file");
        };
        write("00010_c.sql", "-- +goose Up\n");
        write("00002_b_b.sql", "\u{feff}-- +goose Up\r\nSELECT 1;\r\n-- +goose Down\r\n");
        write("embed.go", "package migrations");
        write("00003_x_test.go", "package migrations");
        let settings = Migrations::default();
        let folder = Folder { root: root.path(), dir: "migrations", settings: &settings };
        let files = read(folder).expect("migrations");
        assert_eq!(files.iter().map(Migration::label).collect::<Vec<_>>(), ["00002_b_b", "00010_c"]);
        let part = &files[0].parts[&StoreKind::Postgres];
        assert_eq!(part.up.text, "-- +goose Up\nSELECT 1;\n");
        assert_eq!(part.up.foreign.as_ref().map(|foreign| foreign.key.as_str()), Some("2"));
        assert!(part.down.is_some() && files[1].parts[&StoreKind::Postgres].down.is_none());
        let now: jiff::Timestamp = "2024-01-01T00:00:00Z".parse().expect("a time");
        assert_eq!(new_files(folder, "more", now).expect("a file")[0].0, "migrations/00011_more.sql");
        assert_eq!(detect(root.path()).expect("goose").certainty, 3);
        write("00011_in_go.go", "package migrations");
        let error = read(folder).expect_err("a Go file");
        assert!(error.to_string().contains("00011_in_go.go") && error.hint_text().is_some(), "{error}");
        std::fs::remove_file(root.path().join("migrations/00011_in_go.go")).expect("a file to remove");
        write("seed.sql", "SELECT 1;");
        assert!(read(folder).expect_err("no number").to_string().contains("seed.sql"));
    }
}
