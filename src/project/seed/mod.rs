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
    let mut chain = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        if chain.contains(&name) {
            return Err(Error::new(Code::SeedFile, format!("seed set `{name}` extends itself"))
                .why(chain.join(" extends "))
                .data("nothing was changed"));
        }
        next = read_extends(config, &name)?;
        chain.push(name);
    }
    let mut set = Set { name: name.to_owned(), ..Set::default() };
    for name in chain.iter().rev() {
        read_folder(config, name, &mut set)?;
    }
    Ok(set)
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

fn read_extends(config: &Config, name: &str) -> Result<Option<String>> {
    let shown = format!("{}/set.toml", folder(config, name)?);
    let path = config.root.join(&shown);
    if !path.exists() {
        return Ok(None);
    }
    let text = text::normalise(&text::read(&path, &shown)?);
    let table = rows::parse(&shown, &text)?;
    let mut extends = None;
    for (key, node) in table {
        match (key.name.as_str(), node.kind) {
            ("extends", NodeKind::Text(name)) => extends = Some(name),
            ("extends", _) => {
                return Err(Error::new(Code::SeedFile, "`extends` is not the name of a set")
                    .at(Place::at_offset(&shown, &text, node.offset, node.width))
                    .data("nothing was changed")
                    .hint("extends = \"base\""));
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
        let Some((target, ending)) = entry.rsplit_once('.').filter(|(target, _)| !target.is_empty()) else {
            return Err(unknown("its name has no ending"));
        };
        if path.is_dir() {
            return Err(unknown("it is a folder"));
        }
        let bulk = |format| Bulk { store, target: target.into(), shown: here.clone(), path: path.clone(), format };
        match ending {
            "toml" => {
                let source = Source { shown: here.clone(), text: text::normalise(&text::read(&path, &here)?) };
                let table = rows::read(store, target, Arc::new(source))?;
                match set.tables.iter_mut().find(|other| other.store == store && other.target == target) {
                    Some(base) => base.lay_over(table),
                    None => set.tables.push(table),
                }
            }
            "csv" => set.bulks.push(bulk(Format::Csv)),
            "ndjson" | "jsonl" => set.bulks.push(bulk(Format::Lines)),
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
        .min()
        .map(|(_, known)| known)
}
