//! Seeds on disk: `seeds/<set>/<store>/<target>.<ext>`, read and checked as far as text alone allows.
//! Knows no server and resolves nothing.

pub mod generate;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::text;
use crate::config::Config;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;

pub use rows::{Field, Mode, Node, NodeKind, Row, Source, Table};

/// One set with what it extends: everything that one `db seed` applies.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Rows with names, one entry per store and target.
    pub tables: Vec<Table>,
    /// Files with many rows.
    pub bulks: Vec<Bulk>,
    /// Scripts, run once per content.
    pub scripts: Vec<Script>,
}

impl Set {
    /// The stores that the set writes to, in order.
    pub fn stores(&self) -> Vec<StoreKind> {
        let has = |kind: &StoreKind| {
            self.tables.iter().any(|table| table.store == *kind)
                || self.bulks.iter().any(|bulk| bulk.store == *kind)
                || self.scripts.iter().any(|script| script.store == *kind)
        };
        StoreKind::ALL.into_iter().filter(has).collect()
    }

    /// How many targets the set has.
    pub fn targets(&self) -> usize {
        self.tables.len() + self.bulks.len() + self.scripts.len()
    }
}

/// How the rows of a bulk file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Lines,
    /// One JSON array of objects.
    Array,
}

impl Format {
    /// The format of an ending, and whether it is packed: `csv.gz`.
    pub fn of_name(name: &str) -> Option<(Self, Packing)> {
        let (name, packing) = match name.rsplit_once('.') {
            Some((name, "gz")) => (name, Packing::Gzip),
            Some((name, "zst")) => (name, Packing::Zstd),
            _ => (name, Packing::None),
        };
        let format = match name.rsplit_once('.').map_or(name, |(_, ending)| ending) {
            "csv" => Self::Csv,
            "ndjson" | "jsonl" => Self::Lines,
            "json" => Self::Array,
            _ => return None,
        };
        Some((format, packing))
    }
}

/// How a bulk file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    None,
    /// As gzip does.
    Gzip,
    /// As zstd does.
    Zstd,
    /// Its first bytes tell.
    Unknown,
}

/// A file with many rows; streamed, never held.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// The store.
    pub store: StoreKind,
    /// The table, collection or key space.
    pub target: String,
    /// Relative to the project's root.
    pub shown: String,
    /// Where it lies.
    pub path: PathBuf,
    /// How its rows are written.
    pub format: Format,
    /// How it is packed.
    pub packing: Packing,
    /// It is standard input; it lies nowhere.
    pub is_stdin: bool,
}

/// A script: SQL, MongoDB commands or Redis commands.
#[derive(Clone, Debug)]
pub struct Script {
    /// The store.
    pub store: StoreKind,
    /// The file's name without its ending.
    pub target: String,
    /// Relative to the project's root.
    pub shown: String,
    /// Its text: no byte-order mark, LF only.
    pub text: String,
    /// SHA-256 (hex) of the text.
    pub checksum: String,
}

/// The sets of a project, by name; none where there is no folder.
///
/// # Errors
/// The folder cannot be read.
pub fn sets(config: &Config) -> Result<Vec<String>> {
    let dir = &config.settings.seeds.dir;
    if !config.root.join(dir).is_dir() {
        return Ok(Vec::new());
    }
    Ok(list(&config.root, dir)?.into_iter().filter(|(_, path)| path.is_dir()).map(|(name, _)| name).collect())
}

/// Reads every set and says how much there is: `2 sets, 12 targets`.
///
/// # Errors
/// As [`read_set`].
pub fn count(config: &Config) -> Result<String> {
    let names = sets(config)?;
    let mut targets = 0;
    for name in &names {
        targets += read_set(config, name)?.targets();
    }
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    Ok(format!("{}, {}", plural(names.len(), "set"), plural(targets, "target")))
}

/// Reads a set and what it extends: base first, rows of the same name laid over each other.
///
/// # Errors
/// `LYX-FILE-MISSING` where there is no such set, and everything a file can have wrong, with its place.
pub fn read_set(config: &Config, name: &str) -> Result<Set> {
    let mut order = Vec::new();
    let mut above = Vec::new();
    sort(config, name, &mut above, &mut order)?;
    let mut set = Set { name: name.to_owned(), ..Set::default() };
    for name in &order {
        read_folder(config, name, &mut set)?;
    }
    Ok(set)
}

/// Puts a set behind those it extends, each once; `above` are the sets on the way to it.
fn sort(config: &Config, name: &str, above: &mut Vec<String>, order: &mut Vec<String>) -> Result<()> {
    if let Some(at) = above.iter().position(|other| other == name) {
        let circle = [&above[at..], &[name.to_owned()]].concat();
        return Err(Error::new(Code::SeedFile, format!("seed set `{name}` extends itself"))
            .why(circle.join(" extends "))
            .at(Place::file(format!("{}/{}/set.toml", config.settings.seeds.dir, above[above.len() - 1])))
            .data("nothing was changed")
            .hint("take one `extends` out of the circle"));
    }
    if order.iter().any(|other| other == name) {
        return Ok(());
    }
    above.push(name.to_owned());
    for base in read_extends(config, name)? {
        sort(config, &base, above, order)?;
    }
    above.pop();
    order.push(name.to_owned());
    Ok(())
}

/// The folder of a set, checked to be there, and its path as it is shown.
fn folder(config: &Config, name: &str) -> Result<String> {
    let dir = &config.settings.seeds.dir;
    let is_plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    let shown = format!("{dir}/{name}");
    if is_plain && config.root.join(&shown).is_dir() {
        return Ok(shown);
    }
    let known = sets(config)?;
    let error = Error::new(Code::FileMissing, format!("there is no seed set `{name}`"))
        .data("nothing was changed")
        .why(if known.is_empty() {
            format!("`{dir}` holds no sets")
        } else {
            format!("`{dir}` holds {}", known.join(", "))
        });
    Err(match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("mkdir -p {shown}/postgres, or --set NAME")),
    })
}

fn read_extends(config: &Config, name: &str) -> Result<Vec<String>> {
    let shown = format!("{}/set.toml", folder(config, name)?);
    let path = config.root.join(&shown);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = text::normalise(&text::read(&path, &shown)?);
    let table = rows::parse(&shown, &text)?;
    let mut extends = Vec::new();
    for (key, node) in table {
        match (key.name.as_str(), node.kind) {
            ("extends", NodeKind::Text(name)) => extends.push(name),
            ("extends", NodeKind::List(names)) if names.iter().all(|name| matches!(name.kind, NodeKind::Text(_))) => {
                extends.extend(names.into_iter().filter_map(|name| match name.kind {
                    NodeKind::Text(name) => Some(name),
                    _ => None,
                }));
            }
            ("extends", _) => {
                return Err(Error::new(Code::SeedFile, "`extends` names no sets")
                    .at(Place::at_offset(&shown, &text, node.offset, node.width))
                    .data("nothing was changed")
                    .hint("extends = \"base\", or extends = [\"base\", \"demo\"]"));
            }
            (other, _) => {
                return Err(Error::new(Code::SeedFile, format!("`{shown}` has an unknown key `{other}`"))
                    .at(Place::at_offset(&shown, &text, key.offset, other.chars().count()))
                    .data("nothing was changed")
                    .hint("the one key of set.toml is `extends`"));
            }
        }
    }
    Ok(extends)
}

fn read_folder(config: &Config, name: &str, set: &mut Set) -> Result<()> {
    let shown = folder(config, name)?;
    let stores = config.stores();
    for (entry, path) in list(&config.root, &shown)? {
        let here = format!("{shown}/{entry}");
        if entry == "set.toml" || (path.is_file() && is_free(&entry)) {
            continue;
        }
        match entry.parse::<StoreKind>() {
            Ok(kind) if path.is_dir() && stores.contains(&kind) => read_store(config, kind, &here, set)?,
            Ok(kind) if path.is_dir() => {
                return Err(Error::new(
                    Code::SeedFile,
                    format!("`{here}` is for a store that the project does not have"),
                )
                .at(Place::file(&here))
                .data("nothing was changed")
                .hint(format!("add the section [{kind}] to lyrox.toml, or remove the folder")));
            }
            _ => {
                return Err(Error::new(Code::FileName, format!("`{here}` fits no form of a seed"))
                    .why("a set holds the folders postgres, mongodb and redis, and set.toml")
                    .at(Place::file(&here))
                    .data("nothing was changed")
                    .hint(format!("move it into {shown}/postgres, {shown}/mongodb or {shown}/redis")));
            }
        }
    }
    Ok(())
}

fn read_store(config: &Config, store: StoreKind, shown: &str, set: &mut Set) -> Result<()> {
    for (entry, path) in list(&config.root, shown)? {
        let here = format!("{shown}/{entry}");
        if is_free(&entry) && path.is_file() {
            continue;
        }
        let unknown = |why: &str| {
            Error::new(Code::FileName, format!("`{here}` fits no form of a seed"))
                .why(why.to_owned())
                .at(Place::file(&here))
                .data("nothing was changed")
                .hint(format!("TARGET.toml, TARGET.csv, TARGET.ndjson or NAME.{}", store.extension()))
        };
        // MongoDB's `.json` is a script of commands.
        let is_bulk = |(format, packing): &(Format, Packing)| {
            store != StoreKind::Mongodb || *format != Format::Array || *packing != Packing::None
        };
        if let Some((format, packing)) = Format::of_name(&entry).filter(is_bulk)
            && let Some(target) = stem(&entry, packing)
            && path.is_file()
        {
            let (target, is_stdin) = (target.to_owned(), false);
            set.bulks.push(Bulk { store, target, shown: here, path, format, packing, is_stdin });
            continue;
        }
        let Some((target, ending)) = entry.rsplit_once('.').filter(|(target, _)| !target.is_empty()) else {
            return Err(unknown("its name has no ending"));
        };
        if path.is_dir() {
            return Err(unknown("it is a folder"));
        }
        match ending {
            "toml" => {
                let source = Source { shown: here.clone(), text: text::normalise(&text::read(&path, &here)?) };
                let table = rows::read(store, target, Arc::new(source))?;
                match set.tables.iter_mut().find(|other| other.store == store && other.target == target) {
                    Some(base) => base.lay_over(table),
                    None => set.tables.push(table),
                }
            }
            _ if ending == store.extension() => {
                let text = text::normalise(&text::read(&path, &here)?);
                if text.trim().is_empty() {
                    return Err(Error::new(Code::FileEmpty, format!("`{here}` is empty"))
                        .at(Place::file(&here))
                        .data("nothing was changed"));
                }
                let checksum = text::sha256(text.as_bytes());
                set.scripts.push(Script { store, target: target.into(), shown: here, text, checksum });
            }
            "sql" | "json" | "redis" => return Err(unknown(&format!("`.{ending}` is not for {store}"))),
            _ => return Err(unknown(&format!("`.{ending}` is not known"))),
        }
    }
    Ok(())
}

/// The target in the name of a bulk file.
fn stem(name: &str, packing: Packing) -> Option<&str> {
    let name = if packing == Packing::None { name } else { name.rsplit_once('.')?.0 };
    name.rsplit_once('.').map(|(target, _)| target).filter(|target| !target.is_empty())
}

/// What is in a folder, by name; hidden files left out.
fn list(root: &Path, shown: &str) -> Result<Vec<(String, PathBuf)>> {
    let failed = |error: std::io::Error| {
        Error::new(Code::FileKind, format!("cannot read `{shown}`")).why(error.to_string()).data("nothing was changed")
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join(shown)).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().map_err(|_| {
            Error::new(Code::FileName, format!("a file in `{shown}` has a name that is not UTF-8"))
                .data("nothing was changed")
        })?;
        if !name.starts_with('.') {
            text::stays(&entry.path(), &format!("{shown}/{name}"))?;
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Notes beside the seeds.
fn is_free(name: &str) -> bool {
    name.ends_with(".md") || name.ends_with(".txt")
}

/// The known name that was probably meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &lower), known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()).div_ceil(3))
        // Of two as near, the one that begins alike: `row` means `rows`, not `now`.
        .min_by_key(|(distance, known)| (*distance, std::cmp::Reverse(shared_start(known, name)), *known))
        .map(|(_, known)| known)
}

fn shared_start(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
}
