//! graphile-migrate: `migrations/committed/<digits>-<slug>.sql`, a chain of hashes from file to file. `current.sql` is work
//! in progress and its alone. Rules: its migration.ts, header.ts and hash.ts.

use std::path::Path;

use sha1::{Digest as _, Sha1};

use super::labels::{Labels, digits};
use super::{Detected, Folder, detect as found, files, migration, raw, script, shown};
use crate::config::file::Format;
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::{Foreign, Header, Migration};
use crate::project::text;

/// What a committed file says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Committed {
    previous: Option<String>,
    hash: String,
    allows_any_hash: bool,
    /// Where its body begins.
    body: usize,
}

/// Reads the committed migrations.
///
/// # Errors
/// A header that is none, a hash that does not fit its body, a broken chain, a placeholder without a value.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let dir = committed(folder);
    let folder = Folder { dir: &dir, ..folder };
    let mut names: Vec<String> = files(folder)?.into_iter().filter(|name| is_committed(name)).collect();
    // As texts, by what history calls them: the digits.
    names.sort_by(|a, b| digits(a).cmp(digits(b)));
    let mut labels = Labels::default();
    let mut migrations = Vec::with_capacity(names.len());
    let mut previous: Option<String> = None;
    for name in names {
        let shown = shown(folder, &name);
        let text = raw(folder, &name)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let committed = header(&shown, text)?;
        check_chain(&shown, text, &committed, previous.as_deref())?;
        check_hash(&shown, text, &committed)?;
        let body = text[committed.body..].trim_start();
        let no_transaction = body.strip_prefix("--!").is_some_and(|rest| {
            let rest = rest.trim_start_matches([' ', '\t']);
            rest.strip_prefix("no-transaction")
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        });
        let filled = fill(folder, &shown, text)?;
        let foreign = Foreign {
            key: format!("{}.sql", digits(&name)),
            previous: committed.previous.clone(),
            checksum: committed.hash.clone(),
            is_high_water: true,
            ..Foreign::default()
        };
        let up = script(&shown, &filled, Header { no_transaction, ..Header::default() }, Some(foreign))?;
        let (version, rest) = labels.take(name.trim_end_matches(".sql"));
        migrations.push(migration(&version, &rest, up, None));
        previous = Some(committed.hash);
    }
    Ok(migrations)
}

/// The folder of the committed files: the one that `dir` names, or `committed` in it.
fn committed(folder: Folder<'_>) -> String {
    let dir = folder.dir.trim_end_matches('/');
    let inner = format!("{dir}/committed");
    if folder.root.join(&inner).is_dir() { inner } else { dir.to_owned() }
}

/// Digits, then nothing or `-` and a slug, then `.sql`.
fn is_committed(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".sql") else { return false };
    let slug = &stem[digits(stem).len()..];
    let is_slug =
        slug.starts_with('-') && slug.bytes().all(|byte| matches!(byte, b'-' | b'_') || byte.is_ascii_alphanumeric());
    slug.len() < stem.len() && (slug.is_empty() || is_slug)
}

/// Reads `--! Previous: ...`, `--! Hash: ...` and what else stands above the first empty line.
fn header(shown: &str, text: &str) -> Result<Committed> {
    let wrong = |line: usize, why: &str| {
        Error::new(Code::FileSyntax, format!("`{shown}` is no committed migration"))
            .why(why.to_owned())
            .at(Place::at_line(shown, text, line + 1))
            .data("nothing was changed")
            .hint("npx graphile-migrate commit makes one from current.sql")
    };
    let mut committed = Committed::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut has_previous = false;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.trim_end_matches(['\n', '\r']);
        let Some(rest) = bare.strip_prefix("--! ").filter(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
        else {
            if !bare.is_empty() {
                return Err(wrong(at, "an empty line must follow its header"));
            }
            break;
        };
        committed.body += line.len();
        let (key, value) = rest.split_once(':').unwrap_or((rest, ""));
        if seen.contains(&key) {
            return Err(wrong(at, "a line of its header stands there twice"));
        }
        seen.push(key);
        match key {
            "Previous" => {
                has_previous = true;
                committed.previous = Some(value.trim().to_owned()).filter(|value| value != "-");
            }
            "Hash" => value.trim().clone_into(&mut committed.hash),
            "AllowInvalidHash" => committed.allows_any_hash = true,
            _ => {}
        }
    }
    if !has_previous || committed.hash.is_empty() {
        return Err(wrong(0, "its header has no `--! Previous:` or no `--! Hash:`"));
    }
    Ok(committed)
}

fn check_chain(shown: &str, text: &str, committed: &Committed, previous: Option<&str>) -> Result<()> {
    if committed.previous.as_deref() == previous {
        return Ok(());
    }
    let line = text.lines().position(|line| line.starts_with("--! Previous")).unwrap_or(0);
    Err(Error::new(Code::DriftEdited, format!("`{shown}` does not follow the file before it"))
        .why(format!(
            "it was committed behind {}, and the file before it is {}",
            committed.previous.as_deref().unwrap_or("nothing"),
            previous.unwrap_or("none")
        ))
        .at(Place::at_line(shown, text, line + 1))
        .data("nothing was changed")
        .hint("bring the missing file back (git checkout), or npx graphile-migrate uncommit and commit it anew"))
}

fn check_hash(shown: &str, text: &str, committed: &Committed) -> Result<()> {
    let body = &text[committed.body..];
    // A checkout with other line ends is the same.
    let hashes = [body.to_owned(), text::normalise(body)].map(|body| hash(&body, committed.previous.as_deref()));
    let line = text.lines().position(|line| line.starts_with("--! Hash")).unwrap_or(0);
    let wrong = |what: String, why: String, hint: &str| {
        Err(Error::new(Code::DriftEdited, what)
            .why(why)
            .at(Place::at_line(shown, text, line + 1))
            .data("nothing was changed")
            .hint(hint))
    };
    match (hashes.contains(&committed.hash), committed.allows_any_hash) {
        (true, false) | (false, true) => Ok(()),
        (true, true) => wrong(
            format!("`{shown}` allows an invalid hash and has a valid one"),
            "graphile-migrate stops here as well".into(),
            "take the line `--! AllowInvalidHash` out",
        ),
        (false, false) => wrong(
            format!("`{shown}` was edited after it was committed"),
            format!("its body hashes to {}", hashes[0]),
            "undo the edit (git checkout), or npx graphile-migrate uncommit, edit current.sql and commit it anew",
        ),
    }
}

/// SHA-1 of the previous hash and the body, each on its own line, blanks at the ends left out.
fn hash(body: &str, previous: Option<&str>) -> String {
    // JavaScript's trim takes a byte-order mark for a blank.
    let is_blank = |c: char| c.is_whitespace() || c == '\u{feff}';
    let text = format!("{}\n{}", previous.unwrap_or_default(), body.trim_matches(is_blank));
    let digest = Sha1::digest(format!("{}\n", text.trim_matches(is_blank)).as_bytes());
    format!("sha1:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Fills in `:NAME` from `[migrations] placeholders`.
fn fill(folder: Folder<'_>, shown: &str, text: &str) -> Result<String> {
    let given = &folder.settings.placeholders;
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let mut filled = text.to_owned();
    for (name, value) in given.iter().filter(|(name, _)| name.starts_with(':')) {
        let mut result = String::with_capacity(filled.len());
        let mut rest = filled.as_str();
        while let Some(at) = rest.find(name.as_str()) {
            let (before, behind) = (&rest[..at], &rest[at + name.len()..]);
            result.push_str(before);
            result.push_str(if behind.starts_with(is_word) { name } else { value });
            rest = behind;
        }
        result.push_str(rest);
        filled = result;
    }
    for name in [":DATABASE_NAME", ":DATABASE_OWNER"] {
        let Some(at) = filled.find(name).filter(|_| !given.contains_key(name)) else { continue };
        let line = filled[..at].matches('\n').count();
        return Err(Error::new(Code::ConfigValue, format!("`{name}` has no value"))
            .why("graphile-migrate fills it in from its settings")
            .at(Place::at_line(shown, text, line + 1))
            .data("nothing was changed")
            .hint(format!("add {name:?} = \"...\" under [migrations.placeholders] in lyrox.toml")));
    }
    Ok(filled)
}

/// Work in progress that lyrox leaves alone: `current.sql`, or the files of `current/`, where there is something in it.
pub fn current(folder: Folder<'_>) -> Option<String> {
    let dir = committed(folder);
    let parent = dir.strip_suffix("/committed").unwrap_or(&dir);
    let is_work = |path: &Path| {
        let text = found::text(path);
        text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    };
    let single = format!("{parent}/current.sql");
    if is_work(&folder.root.join(&single)) {
        return Some(single);
    }
    let several = format!("{parent}/current");
    let path = folder.root.join(&several);
    found::names(&path).iter().any(|name| name.ends_with(".sql") && is_work(&path.join(name))).then_some(several)
}

/// graphile-migrate makes a file when its text is done: the hash is part of it.
///
/// # Errors
/// Always: what to do instead.
pub fn new_files(folder: Folder<'_>) -> Result<Vec<(String, String)>> {
    let dir = committed(folder);
    let parent = dir.strip_suffix("/committed").unwrap_or(&dir);
    Err(Error::new(Code::Usage, "graphile-migrate makes a migration when its text is done")
        .why("the hash of the text stands in the file")
        .data("nothing was changed")
        .hint(format!("write `{parent}/current.sql`, then: npx graphile-migrate commit")))
}

/// graphile-migrate is at home where `.gmrc` lies, or committed files with its header.
pub fn detect(root: &Path) -> Option<Detected> {
    let dir = "migrations/committed";
    let names = found::names(&root.join(dir));
    let mut committed = names.iter().filter(|name| is_committed(name));
    let first = committed.next();
    let has_header = first.is_some_and(|name| found::text(&root.join(dir).join(name)).starts_with("--! "));
    let settings = [".gmrc", ".gmrc.js", ".gmrc.cjs"].into_iter().find(|file| root.join(file).exists());
    if !has_header && (settings.is_none() || !root.join(dir).is_dir()) {
        return None;
    }
    let count = committed.count() + usize::from(first.is_some());
    let mark = settings.map_or_else(String::new, |file| format!("`{file}` and "));
    Some(Detected {
        format: Format::Graphile,
        dir: dir.to_owned(),
        why: format!("{mark}{count} committed {} in `{dir}`", if count == 1 { "file" } else { "files" }),
        certainty: 3,
        settings: Vec::new(),
        url_variable: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Migrations;

    const BODY: &str = "CREATE TABLE t (id int);\n";
    const HASH: &str = "sha1:9d425143f6c0084d58f4289ec9a78d367155bf76";

    fn file(previous: &str, body: &str, more: &str) -> String {
        let before = Some(previous).filter(|previous| *previous != "-");
        format!("--! Previous: {previous}\n--! Hash: {}\n{more}\n{body}", hash(body, before))
    }

    fn read_with(files: &[(&str, &str)], settings: &Migrations) -> Result<Vec<Migration>> {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join("migrations/committed").join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        read(Folder { root: root.path(), dir: "migrations", settings })
    }

    fn read_it(files: &[(&str, &str)]) -> Result<Vec<Migration>> {
        read_with(files, &Migrations::default())
    }

    #[test]
    fn hashes_match_the_vectors() {
        assert_eq!(hash(BODY, None), HASH);
        assert_eq!(hash("CREATE TABLE t (id int);\r\n", None), HASH);
        assert_eq!(hash("\u{feff}\nCREATE TABLE t (id int);", None), HASH);
        assert_ne!(hash(BODY, Some(HASH)), HASH);
        assert_ne!(hash("a\r\nb", None), hash("a\nb", None));
    }

    #[test]
    fn the_chain_is_followed() {
        let first = file("-", BODY, "--! Message: the first\n");
        let second = file(HASH, "--! no-transaction\nVACUUM;\n", "");
        let files = [("000001-first.sql", first.as_str()), ("000002.sql", &second), ("README.md", "no migration")];
        let read = read_it(&files).expect("migrations");
        assert_eq!(read.iter().map(Migration::label).collect::<Vec<_>>(), ["000001_first", "000002"]);
        let part = read[1].parts.values().next().expect("a part");
        let foreign = part.up.foreign.as_ref().expect("its history");
        assert_eq!((foreign.key.as_str(), foreign.previous.as_deref()), ("000002.sql", Some(HASH)));
        assert!(part.up.header.no_transaction);
        assert!(read_it(&files[1..]).expect_err("the first is gone").to_string().contains("000002.sql"));
    }

    #[test]
    fn a_checkout_with_other_line_ends_is_the_same() {
        let text = file("-", "SELECT 1;\nSELECT 2;\n", "").replace('\n', "\r\n");
        assert!(read_it(&[("000001.sql", &text)]).is_ok());
        assert!(read_it(&[("000001.sql", &format!("\u{feff}{text}"))]).is_ok());
    }

    #[test]
    fn edits_and_bad_headers_are_refused() {
        let good = file("-", BODY, "");
        let refused = |text: &str| read_it(&[("000001.sql", text)]).expect_err("refused").to_string();
        assert!(refused(&good.replace("int", "bigint")).contains("edited"));
        assert!(refused(&file("-", BODY, "--! AllowInvalidHash\n")).contains("allows an invalid hash"));
        assert!(
            read_it(&[("000001.sql", &file("-", BODY, "--! AllowInvalidHash\n").replace("int", "bigint"))]).is_ok()
        );
        for text in [BODY, "--! Hash: x\n\nSELECT 1;", "--! Previous: -\n\nSELECT 1;"] {
            refused(text);
        }
        assert!(refused(&good.replace("\n\n", "\n")).contains("no committed migration"));
        assert!(refused(&good.replace("--! Hash", "--! Previous: -\n--! Hash")).contains("no committed migration"));
    }

    #[test]
    fn placeholders_need_their_values() {
        let text = file("-", "GRANT ALL ON SCHEMA public TO :OWNER; -- :OWNERSHIP stays\n", "");
        let settings =
            Migrations { placeholders: [(":OWNER".to_owned(), "someone".to_owned())].into(), ..Migrations::default() };
        let read = read_with(&[("000001.sql", &text)], &settings).expect("migrations");
        assert!(read[0].parts.values().all(|part| part.up.text.contains("TO someone; -- :OWNERSHIP")));
        let text = file("-", "ALTER DATABASE :DATABASE_NAME SET x.y = 1;\n", "");
        assert!(read_it(&[("000001.sql", &text)]).expect_err("no value").to_string().contains(":DATABASE_NAME"));
    }
}
