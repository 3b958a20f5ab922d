//! Migrations on disk: one flat folder, one timeline; a version holds a part per store.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::formats::fill::Fill;
use super::{text, words};
use crate::config::Period;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::distribute::{self, Distribution, Spread};

/// A version: digits, compared as a number and then as text, so that `2` comes before `10`. Other tools' versions may
/// have several parts, told apart by `.` or `_`, of which each is compared so. A repeatable migration has its name in its
/// place, behind [`REPEATABLE`]; it comes after every number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(String);

/// What stands before the name of a repeatable migration where others have their version.
pub const REPEATABLE: &str = "R__";

impl Version {
    /// Takes the text as it is in the file's name or the ledger.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What a repeatable migration has for a version.
    pub fn repeatable(name: &str) -> Self {
        Self(format!("{REPEATABLE}{name}"))
    }

    /// Whether it is a repeatable migration's.
    pub fn is_repeatable(&self) -> bool {
        self.0.starts_with(REPEATABLE)
    }

    /// The text as it is in the file's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts: the digits that each begins with, without leading zeros, and what follows them.
    fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(['.', '_']).map(|part| {
            let end = part.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(part.len());
            (part[..end].trim_start_matches('0'), &part[end..])
        })
    }

    /// The same number without leading zeros; `0` for none.
    pub fn as_number(&self) -> Self {
        let digits = self.0.trim_start_matches('0');
        Self(if digits.is_empty() && !self.0.is_empty() { "0".to_owned() } else { digits.to_owned() })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.is_repeatable() || other.is_repeatable() {
            return self.is_repeatable().cmp(&other.is_repeatable()).then_with(|| self.0.cmp(&other.0));
        }
        // Most are numbers of one length, which compare as they stand.
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if self.0.len() == other.0.len() && is_number(&self.0) && is_number(&other.0) {
            return self.0.cmp(&other.0);
        }
        let (mut a, mut b) = (self.parts(), other.parts());
        loop {
            let (left, right) = (a.next(), b.next());
            if left.is_none() && right.is_none() {
                return self.0.cmp(&other.0);
            }
            // A part that is not there counts as zero: `1` and `1.0` differ as texts only.
            let ((number, rest), (other_number, other_rest)) = (left.unwrap_or_default(), right.unwrap_or_default());
            let number = number.len().cmp(&other_number.len()).then_with(|| number.cmp(other_number));
            let order = number.then_with(|| rest.cmp(other_rest));
            if order != Ordering::Equal {
                return order;
            }
        }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// One version of the timeline.
#[derive(Clone, Debug)]
pub struct Migration {
    /// Its version.
    pub version: Version,
    /// Its name, the same in every part.
    pub name: String,
    /// Its parts, in store order.
    pub parts: BTreeMap<StoreKind, Part>,
}

impl Migration {
    /// `VERSION_name`, as people type it.
    pub fn label(&self) -> String {
        label(&self.version, &self.name)
    }
}

/// `VERSION_name`; the version alone where there is no name.
pub fn label(version: &Version, name: &str) -> String {
    if name.is_empty() { version.to_string() } else { format!("{version}_{name}") }
}

/// One store's part of a version.
#[derive(Clone, Debug)]
pub struct Part {
    /// What is run to apply it.
    pub up: Arc<Script>,
    /// What is run to undo it.
    pub down: Option<Arc<Script>>,
}

/// One file.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Its path relative to the project's root, with `/`.
    pub path: String,
    /// Its text, normalised: no byte-order mark, LF only. This is what runs.
    pub text: String,
    /// SHA-256 (hex) of the text, and of what it includes.
    pub checksum: String,
    /// What its header comments ask for.
    pub header: Header,
    /// Redis: the texts of the files that it includes with `@file`, by the name as written.
    pub includes: BTreeMap<String, String>,
    /// In another tool's folder: what that tool's history says of an up file.
    pub foreign: Option<Foreign>,
}

/// What another tool writes into its history for a migration: computed from the file by that tool's rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreign {
    /// What its history names the migration by: sqlx's version, Prisma's folder, drizzle's hash or name, ...
    pub key: String,
    /// Other keys by which older versions of the tool name it.
    pub aliases: Vec<String>,
    /// The key of the migration before it in the tool's order, for tools that keep a high-water mark; graphile-migrate's
    /// hash of it.
    pub previous: Option<String>,
    /// The description or script name as that tool writes it; empty where it writes none.
    pub name: String,
    /// The script's name as that tool writes it, where that is not the name; else empty.
    pub script: String,
    /// The checksum as that tool writes it; empty where it writes none.
    pub checksum: String,
    /// Other checksums that it accepts for the same text: other line ends, older algorithms.
    pub accepted: Vec<String>,
    /// A number that goes with it: drizzle's `when`, in milliseconds.
    pub number: Option<i64>,
    /// The tool remembers a high-water mark: a migration below it never runs there.
    pub is_high_water: bool,
    /// It stands for all before it where the tool's history is empty, and is left alone elsewhere: Flyway's B files.
    pub is_baseline: bool,
}

impl Script {
    /// The place at a byte offset of the text.
    pub fn place(&self, offset: usize, width: usize) -> Place {
        Place::at_offset(&self.path, &self.text, offset, width)
    }

    /// A script from its parts, with its checksum.
    pub fn of(path: String, text: String, header: Header, includes: BTreeMap<String, String>) -> Self {
        let checksum = checksum(&text, &includes);
        Self { path, text, checksum, header, includes, foreign: None }
    }

    /// The text with what it includes, as a ledger keeps a way back; none where it cannot be told apart again.
    pub fn kept(&self) -> Option<String> {
        let mut kept = self.text.clone();
        for (name, included) in &self.includes {
            if included.contains('\0') {
                return None;
            }
            kept.push_str(&format!("\0{name}\0{included}"));
        }
        Some(kept)
    }

    /// The script again that [`Self::kept`] put away; `path` is its name in messages.
    ///
    /// # Errors
    /// A header that this lyrox does not know.
    pub fn from_kept(path: String, kept: &str, store: StoreKind) -> Result<Self> {
        let mut pieces = kept.split('\0').map(str::to_owned);
        let text = pieces.next().unwrap_or_default();
        let mut includes = BTreeMap::new();
        while let (Some(name), Some(included)) = (pieces.next(), pieces.next()) {
            includes.insert(name, included);
        }
        let header = read_header(&path, &text, store)?;
        Ok(Self::of(path, text, header, includes))
    }
}

/// The directives of a file's header: leading comment lines of the form `lyrox: ...`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Run statement by statement, outside a transaction.
    pub no_transaction: bool,
    /// Overrides `[postgres] lock_timeout`.
    pub lock_timeout: Option<Period>,
    /// Overrides `[postgres] statement_timeout`.
    pub statement_timeout: Option<Period>,
    /// May be applied below the newest applied version.
    pub allow_out_of_order: bool,
    /// Lint rules that do not apply to this file.
    pub lint_ignore: Vec<String>,
    /// `${VAR}` is filled in before it runs.
    pub vars: bool,
    /// What another tool fills in before it runs.
    pub fill: Fill,
    /// Repeatable: the names of those that run before it.
    pub after: Vec<String>,
    /// How its tables or collections are spread, where the server is one that spreads them.
    pub distribute: Vec<Distribution>,
    /// Squashed: the versions that it stands for, with the checksum each was applied with.
    pub replaces: Vec<(Version, String)>,
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Reads the migrations folder. Versions come out in order.
///
/// # Errors
/// A folder that is missing, a file that fits no form, is empty, not UTF-8, or claims a taken version.
pub fn read_all(root: &Path, dir: &str) -> Result<Vec<Migration>> {
    read(root, dir, false)
}

/// As [`read_all`]; with `skips_sql` the SQL files of the folder are another tool's and left alone.
///
/// # Errors
/// As [`read_all`].
pub fn read_parts(root: &Path, dir: &str, skips_sql: bool) -> Result<Vec<Migration>> {
    read(root, dir, skips_sql)
}

fn read(root: &Path, dir: &str, skips_sql: bool) -> Result<Vec<Migration>> {
    let folder = root.join(dir);
    if !folder.is_dir() {
        let what = if folder.exists() { "is not a folder" } else { "does not exist" };
        return Err(Error::new(Code::FileMissing, format!("the migrations folder `{dir}` {what}"))
            .data("nothing was changed")
            .hint("lyrox db new NAME makes the folder and the first migration"));
    }
    let read_error =
        |error: std::io::Error| Error::new(Code::FileKind, format!("cannot read `{dir}`")).why(error.to_string());
    if folder.join(super::squash::JOURNAL).exists() {
        return Err(super::squash::cut_short(dir));
    }
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| {
            Error::new(Code::FileName, format!("a file in `{dir}` has a name that is not UTF-8"))
                .data("nothing was changed")
        })?;
        if !name.starts_with('.') {
            // What the folder says of a link is not what it leads to.
            let is_dir = entry.file_type().map_err(read_error)?;
            let is_dir = if is_dir.is_symlink() { entry.path().is_dir() } else { is_dir.is_dir() };
            names.push((name.to_owned(), entry.path(), is_dir));
        }
    }
    names.sort_unstable();

    let mut found: BTreeMap<Version, Migration> = BTreeMap::new();
    let mut downs = Vec::new();
    for (file, path, is_dir) in names {
        let shown = format!("{dir}/{file}");
        if skips_sql && !file.ends_with(".json") && !file.ends_with(".redis") {
            continue;
        }
        if is_dir {
            // Folders hold what scripts include; a folder named like a migration is a mistake.
            if parse_name(&file).is_some() {
                return Err(Error::new(Code::FileKind, format!("`{shown}` is a folder, not a file"))
                    .data("nothing was changed"));
            }
            continue;
        }
        let Some(parsed) = parse_name(&file) else {
            if has_free_ending(&file) {
                continue;
            }
            return Err(Error::new(Code::FileName, format!("`{shown}` fits no form of a migration"))
                .why("a migration is named VERSION_name.up.sql, .up.json or .up.redis, with .down for the way back")
                .data("nothing was changed")
                .hint(format!("rename it, or move it out of `{dir}`")));
        };
        let script = Arc::new(read_script(root, dir, &shown, &path, parsed.store)?);
        let migration = found.entry(parsed.version.clone()).or_insert_with(|| Migration {
            version: parsed.version.clone(),
            name: parsed.name.clone(),
            parts: BTreeMap::new(),
        });
        if migration.name != parsed.name {
            return Err(duplicate(&shown, &parsed.version, &migration.label()));
        }
        match parsed.way {
            Way::Up => {
                if migration.parts.insert(parsed.store, Part { up: script, down: None }).is_some() {
                    return Err(duplicate(&shown, &parsed.version, &migration.label()));
                }
            }
            Way::Down => downs.push((parsed, script)),
        }
    }
    for (parsed, script) in downs {
        let part = found.get_mut(&parsed.version).and_then(|migration| migration.parts.get_mut(&parsed.store));
        match part {
            Some(part) if part.down.is_none() => part.down = Some(script),
            Some(_) => return Err(duplicate(&script.path, &parsed.version, &parsed.name)),
            None => {
                return Err(Error::new(
                    Code::FileName,
                    format!("`{}` undoes a migration that does not exist", script.path),
                )
                .data("nothing was changed")
                .hint("bring back its .up file, or delete it"));
            }
        }
    }
    let mut all: Vec<Migration> = found.into_values().collect();
    all.extend(super::repeatable::read(root, dir)?);
    Ok(all)
}

fn duplicate(shown: &str, version: &Version, other: &str) -> Error {
    Error::new(Code::FileDuplicate, format!("`{shown}` claims version {version}, which `{other}` has"))
        .data("nothing was changed")
        .hint("give one of them a new version; lyrox db new NAME makes one")
}

struct FileName {
    version: Version,
    name: String,
    store: StoreKind,
    way: Way,
}

fn parse_name(file: &str) -> Option<FileName> {
    let (stem, extension) = file.rsplit_once('.')?;
    let store = StoreKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
    let (stem, way) = match stem.rsplit_once('.') {
        Some((stem, "up")) => (stem, Way::Up),
        Some((stem, "down")) => (stem, Way::Down),
        _ => (stem, Way::Up),
    };
    let (version, name) = stem.split_once('_')?;
    let is_version = !version.is_empty() && version.len() <= 32 && version.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = !name.is_empty() && name.len() <= 200 && !name.chars().any(char::is_control);
    (is_version && is_name).then(|| FileName { version: Version::new(version), name: name.to_owned(), store, way })
}

/// Notes and scripts to include may lie beside migrations.
pub(super) fn has_free_ending(file: &str) -> bool {
    ["md", "txt", "lua"].iter().any(|ending| file.ends_with(&format!(".{ending}")))
}

/// Reads one script of the folder `dir`; `shown` is its name in messages.
///
/// # Errors
/// A file that is empty, not UTF-8, holds a NUL, or a header that is not known.
pub(super) fn read_script(root: &Path, dir: &str, shown: &str, path: &Path, store: StoreKind) -> Result<Script> {
    let raw = text::read(path, shown)?;
    if raw.contains('\0') {
        return Err(
            Error::new(Code::FileSyntax, format!("`{shown}` holds a NUL character")).data("nothing was changed")
        );
    }
    let text = text::normalise(raw);
    if text.trim().is_empty() {
        return Err(Error::new(Code::FileEmpty, format!("`{shown}` is empty"))
            .data("nothing was changed")
            .hint(format!("write the migration, or delete `{shown}`")));
    }
    let header = read_header(shown, &text, store)?;
    let includes = if store == StoreKind::Redis { read_includes(root, dir, shown, &text)? } else { BTreeMap::new() };
    let checksum = checksum(&text, &includes);
    Ok(Script { path: shown.to_owned(), text, checksum, header, includes, foreign: None })
}

/// The checksum of a text and what it includes.
fn checksum(text: &str, includes: &BTreeMap<String, String>) -> String {
    if includes.is_empty() {
        return text::sha256(text.as_bytes());
    }
    let mut all = text.to_owned();
    for (name, included) in includes {
        all.push('\0');
        all.push_str(name);
        all.push('\0');
        all.push_str(included);
    }
    text::sha256(all.as_bytes())
}

/// Reads the `lyrox:` directives of a file's first comments.
///
/// # Errors
/// A directive that is none.
pub fn read_header(shown: &str, text: &str, store: StoreKind) -> Result<Header> {
    let comment = match store {
        StoreKind::Postgres => "--",
        StoreKind::Mongodb => "//",
        StoreKind::Redis => "#",
    };
    let mut header = Header::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let Some(rest) = line.strip_prefix(comment) else { break };
        // sqlx's own spelling of the same wish, valid as it is.
        if index == 0 && store == StoreKind::Postgres && rest.trim() == "no-transaction" {
            header.no_transaction = true;
        }
        let Some(directive) = rest.trim().strip_prefix("lyrox:") else { continue };
        let wrong = |why: String| {
            Error::new(Code::FileSyntax, format!("`{}` is no directive", directive.trim()))
                .why(why)
                .at(Place::at_line(shown, text, index + 1))
                .data("nothing was changed")
                .hint("no-transaction, lock-timeout 5s, statement-timeout 10m, allow out-of-order, lint ignore RULE, vars, after NAME, distribute TABLE by COLUMN, reference TABLE, shard COLLECTION by FIELD")
        };
        let words: Vec<&str> = directive.split_whitespace().collect();
        match words.as_slice() {
            ["no-transaction"] => header.no_transaction = true,
            ["lock-timeout", period] => header.lock_timeout = Some(period.parse().map_err(wrong)?),
            ["statement-timeout", period] => header.statement_timeout = Some(period.parse().map_err(wrong)?),
            ["allow", "out-of-order"] => header.allow_out_of_order = true,
            ["lint", "ignore", rules @ ..] if !rules.is_empty() => {
                header.lint_ignore.extend(rules.iter().map(|rule| rule.trim_matches(',').to_owned()));
            }
            ["vars"] => header.vars = true,
            ["after", names @ ..] if !names.is_empty() => {
                header.after.extend(names.iter().map(|name| name.trim_matches(',').to_owned()));
            }
            ["replaces", version, checksum] => {
                header.replaces.push((Version::new(*version), (*checksum).to_owned()));
            }
            words => {
                // The text is what the line is a part of.
                let offset = line.as_ptr().addr() - text.as_ptr().addr();
                match distribute::read(words, offset) {
                    Some(found) => {
                        let found = found.map_err(wrong)?;
                        let is_collection = matches!(found.what, Spread::Collection { .. });
                        if store == StoreKind::Redis || is_collection != (store == StoreKind::Mongodb) {
                            return Err(wrong(format!("it means nothing for {}", store.title())));
                        }
                        header.distribute.push(found);
                    }
                    None => return Err(wrong("it is not known".into())),
                }
            }
        }
    }
    Ok(header)
}

/// The files that `@name` words of a Redis script stand for; relative to the migrations folder.
fn read_includes(root: &Path, dir: &str, shown: &str, text: &str) -> Result<BTreeMap<String, String>> {
    let mut includes = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('#') {
            continue;
        }
        // A line that cannot be split is told, with its column, when the script is read.
        let bare = words::split(line).unwrap_or_default().into_iter().filter(|word| word.is_bare);
        let names = bare.filter_map(|word| String::from_utf8(word.bytes).ok());
        for word in names.filter(|word| word.starts_with('@') && !word.starts_with("@@") && word.len() > 1) {
            let name = &word[1..];
            let place = || Place::at_line(shown, text, index + 1);
            let climbs = Path::new(name).components().any(|part| !matches!(part, std::path::Component::Normal(_)));
            if climbs {
                return Err(Error::new(Code::FileName, format!("`{word}` leaves the migrations folder"))
                    .at(place())
                    .data("nothing was changed")
                    .hint(format!("put the file below `{dir}`; `@@` is a literal @")));
            }
            let path = root.join(dir).join(name);
            let inside = path.canonicalize().ok().zip(root.join(dir).canonicalize().ok());
            if inside.is_some_and(|(path, folder)| !path.starts_with(folder)) {
                return Err(Error::new(Code::FileName, format!("`{word}` leaves the migrations folder"))
                    .at(place())
                    .data("nothing was changed"));
            }
            let included = text::read(&path, &format!("{dir}/{name}")).map_err(|error| {
                error
                    .at(place())
                    .hint(format!("`{word}` is replaced by the text of `{dir}/{name}`; `@@` is a literal @"))
            })?;
            includes.insert(name.to_owned(), text::normalise(&included));
        }
    }
    Ok(includes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_as_numbers_then_as_text() {
        let mut versions: Vec<Version> = ["10", "2", "010", "20251101090000", "1"].map(Version::new).to_vec();
        versions.sort();
        assert_eq!(versions.iter().map(Version::as_str).collect::<Vec<_>>(), ["1", "2", "010", "10", "20251101090000"]);
        let mut versions: Vec<Version> =
            ["1.10", "2", "1", "1.9", "1_1", "5B", "5", "1.0", "10"].map(Version::new).to_vec();
        versions.sort();
        let sorted: Vec<&str> = versions.iter().map(Version::as_str).collect();
        assert_eq!(sorted, ["1", "1.0", "1_1", "1.9", "1.10", "2", "5", "5B", "10"]);
    }

    #[test]
    fn names_follow_the_documented_forms() {
        let read =
            |name: &str| parse_name(name).map(|name| (name.version.to_string(), name.name, name.store, name.way));
        assert_eq!(read("1_a.sql"), Some(("1".into(), "a".into(), StoreKind::Postgres, Way::Up)));
        assert_eq!(read("01_a_b.up.json"), Some(("01".into(), "a_b".into(), StoreKind::Mongodb, Way::Up)));
        assert_eq!(read("3_x.down.redis"), Some(("3".into(), "x".into(), StoreKind::Redis, Way::Down)));
        for name in ["a.sql", "1.sql", "1_.sql", "x1_a.sql", "1_a.yaml", "1_a"] {
            assert!(read(name).is_none(), "{name}");
        }
    }

    #[test]
    fn headers_are_read_and_unknown_directives_refused() {
        let text = "-- lyrox: no-transaction\n-- words\n-- lyrox: lock-timeout 5s\nSELECT 1;\n-- lyrox: vars\n";
        let header = read_header("f.sql", text, StoreKind::Postgres).expect("a header");
        assert!(header.no_transaction && !header.vars);
        assert_eq!(header.lock_timeout, Some(Period::seconds(5)));
        assert!(read_header("f.sql", "-- lyrox: no-transactions\n", StoreKind::Postgres).is_err());
    }
}
