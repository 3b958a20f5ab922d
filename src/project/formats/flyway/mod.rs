//! Flyway: `V<version>__<description>.sql` in order, `U` undoes, `R` runs again whenever it changes, `B` stands for all
//! before it on an empty history. The rules are those of `ResourceNameParser`, `SqlMigrationResolver` and
//! `ChecksumCalculator`.

mod beside;
mod names;
pub mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use self::beside::beside;
pub use self::names::canonical;
use self::names::{Kind, Name, parse_name};
use self::settings::{FILES, Settings};
use super::fill::{Fill, Placeholders};
use super::{Detected, Folder, detect as found, duplicate, free_clock, migration, raw, refused, script, shown, walk};
use crate::config::file::Format;
use crate::error::{Code, Error, Result};
use crate::project::migration::{Foreign, Header, Migration, Script, Version};

/// A file to be read.
struct File<'a> {
    location: &'a str,
    /// Below its location, as the history has it.
    script: String,
    name: Name,
}

/// CRC32 of the text without its line ends and byte-order mark, as a signed number.
pub fn checksum(raw: &str) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    for line in raw.strip_prefix('\u{feff}').unwrap_or(raw).split(['\r', '\n']) {
        hasher.update(line.as_bytes());
    }
    hasher.finalize().cast_signed()
}

/// The folders that are read: Flyway's own locations where the project's folder is one of them or does not exist.
fn locations<'a>(folder: Folder<'a>, settings: &'a Settings) -> Vec<&'a str> {
    let dir = folder.dir.trim_end_matches('/');
    let own = &settings.locations;
    if !own.is_empty() && (own.iter().any(|location| location == dir) || !folder.root.join(dir).exists()) {
        return own.iter().map(String::as_str).filter(|location| folder.root.join(location).is_dir()).collect();
    }
    vec![folder.dir]
}

/// Reads the folder and the folders in it.
///
/// # Errors
/// As Flyway: a version that two files have, one that is no number, a callback, a setting of a script that is not known.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let settings = Settings::read(folder.root)?;
    let mut files: Vec<File<'_>> = Vec::new();
    for location in locations(folder, &settings) {
        let place = Folder { dir: location, ..folder };
        for path in walk(place)? {
            let file = path.rsplit('/').next().unwrap_or(&path);
            match parse_name(file, &settings) {
                Ok(Some(name)) => files.push(File { location, script: path, name }),
                Ok(None) => {}
                Err(why) => {
                    let error = refused(&shown(place, &path), Format::Flyway, why);
                    return Err(error.hint(format!("rename it, or move it out of `{location}`")));
                }
            }
        }
    }
    let mut values = settings.placeholders.clone();
    values.extend(folder.settings.placeholders.iter().map(|(name, value)| (name.to_lowercase(), value.clone())));
    let table = folder.settings.history.as_deref().or(settings.table.as_deref()).unwrap_or("flyway_schema_history");
    values.entry("flyway:table".into()).or_insert_with(|| table.rsplit('.').next().unwrap_or(table).to_owned());
    if let Some(schema) = &settings.schema {
        values.entry("flyway:defaultschema".into()).or_insert_with(|| schema.clone());
    }
    let reader = Reader { folder, settings: &settings, values: Arc::new(values) };

    let mut found: BTreeMap<(Kind, String), (Arc<Script>, Name)> = BTreeMap::new();
    for file in files {
        let read = reader.script(&file)?;
        let key = match file.name.kind {
            Kind::Repeatable => file.name.description.clone(),
            _ => canonical(&file.name.version),
        };
        let shown = read.path.clone();
        if let Some((other, name)) = found.insert((file.name.kind, key), (read, file.name)) {
            let version = if name.version.is_empty() { name.description } else { name.version };
            return Err(duplicate(&shown, &version, &other.path));
        }
    }
    assemble(found)
}

/// Puts the scripts together: baselines in front, where one that is not needed keeps nothing from its place, and
/// repeatables at the end.
fn assemble(found: BTreeMap<(Kind, String), (Arc<Script>, Name)>) -> Result<Vec<Migration>> {
    let (undo, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|((kind, _), _)| *kind == Kind::Undo);
    let mut undo: BTreeMap<String, _> = undo.into_iter().map(|((_, key), script)| (key, script)).collect();
    let mut migrations = Vec::with_capacity(found.len());
    for ((kind, key), (up, name)) in found {
        let down = if kind == Kind::Versioned { undo.remove(&key).map(|(script, _)| script) } else { None };
        migrations.push(match kind {
            Kind::Repeatable => migration(Version::repeatable(&name.description).as_str(), "", up, None),
            Kind::Baseline => migration(&format!("{}B", name.version), &name.description, up, None),
            _ => migration(&name.version, &name.description, up, down),
        });
    }
    if let Some((script, _)) = undo.into_values().next() {
        return Err(Error::new(Code::FileName, format!("`{}` undoes a migration that does not exist", script.path))
            .data("nothing was changed")
            .hint("bring back its V file, or delete it"));
    }
    migrations.sort_by(|a, b| {
        let group = |migration: &Migration| match &migration.version {
            version if version.is_repeatable() => 2,
            version if version.as_str().ends_with('B') => 0,
            _ => 1,
        };
        group(a).cmp(&group(b)).then_with(|| a.version.cmp(&b.version))
    });
    Ok(migrations)
}

struct Reader<'a> {
    folder: Folder<'a>,
    settings: &'a Settings,
    values: Arc<BTreeMap<String, String>>,
}

impl Reader<'_> {
    fn script(&self, file: &File<'_>) -> Result<Arc<Script>> {
        let folder = Folder { dir: file.location, ..self.folder };
        let path = shown(folder, &file.script);
        let text = raw(folder, &file.script)?;
        let placeholders = Placeholders {
            prefix: self.settings.prefix.clone(),
            suffix: self.settings.suffix.clone(),
            values: self.values.clone(),
            file: file.script.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        let beside = beside(folder, &file.script, &placeholders)?;
        let replaces = beside.replaces.unwrap_or(self.settings.replaces) && text.contains(&self.settings.prefix);
        let plain = checksum(&text).to_string();
        // Repeatables run again when a placeholder has another value.
        let filled = if file.name.kind == Kind::Repeatable && replaces { placeholders.apply(&text) } else { None };
        let name = file.name.description.replace('_', " ");
        let key = match file.name.kind {
            Kind::Repeatable => format!("R__{name}"),
            Kind::Baseline => format!("{}B", canonical(&file.name.version)),
            _ => canonical(&file.name.version),
        };
        let foreign = Foreign {
            key,
            name,
            script: file.script.clone(),
            checksum: filled.map_or_else(|| plain.clone(), |filled| checksum(&filled).to_string()),
            accepted: vec![plain],
            is_baseline: file.name.kind == Kind::Baseline,
            ..Foreign::default()
        };
        let header = Header {
            no_transaction: beside.executes_in_transaction == Some(false),
            // A baseline that is needed comes before all else, whatever it stands for.
            allow_out_of_order: self.settings.out_of_order || file.name.kind == Kind::Baseline,
            ..Header::default()
        };
        // What is not to be executed is recorded all the same.
        let runs = beside.executes != Some(false);
        let mut script = script(&path, if runs { &text } else { "" }, header, Some(foreign))?;
        if replaces && runs {
            Arc::make_mut(&mut script).header.fill = Fill::Placeholders(placeholders);
        }
        Ok(script)
    }
}

/// The file of a new migration: the next number where the others are plain numbers, else the time.
///
/// # Errors
/// As [`read`].
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    let settings = Settings::read(folder.root)?;
    let dir = locations(folder, &settings).first().map_or(folder.dir, |dir| *dir).to_owned();
    let place = Folder { dir: &dir, ..folder };
    let taken = if folder.root.join(&dir).exists() { walk(place)? } else { Vec::new() };
    let mut versions: Vec<String> =
        taken.iter().filter_map(|path| parse_name(path.rsplit('/').next()?, &settings).ok()??.into_version()).collect();
    versions.sort_by_key(|version| Version::new(version.as_str()));
    let version = match versions.last() {
        None => "1".to_owned(),
        Some(newest) if newest.len() >= 12 && newest.bytes().all(|byte| byte.is_ascii_digit()) => {
            free_clock(now, [newest.as_str()].into_iter())
        }
        // The first part is counted on: 2.4 is followed by 3.
        Some(newest) => {
            let first = newest.split('.').next().unwrap_or_default();
            let next = first.parse::<u64>().unwrap_or(0).saturating_add(1);
            format!("{next:0width$}", width = first.len())
        }
    };
    let [prefix, ..] = &settings.prefixes;
    let suffix = settings.suffixes.first().map_or(".sql", String::as_str);
    let file = format!("{prefix}{version}{}{name}{suffix}", settings.separator);
    Ok(vec![(shown(place, &file), format!("-- {name}\n"))])
}

/// Flyway is at home where its configuration lies, where a build file names it, or where files have its form.
pub fn detect(root: &Path) -> Option<Detected> {
    let settings = Settings::read(root).unwrap_or_default();
    let usual = ["src/main/resources/db/migration", "migrations", "sql", "db/migration", "db/migrations"];
    for dir in settings.locations.iter().map(String::as_str).chain(usual) {
        let names = found::names(&root.join(dir));
        let fits = |name: &&String| parse_name(name, &settings).is_ok_and(|name| name.is_some());
        let fitting: Vec<&String> = names.iter().filter(fits).collect();
        let Some(first) = fitting.first() else { continue };
        let builds = ["pom.xml", "build.gradle", "build.gradle.kts"];
        let (mark, certainty) = match (FILES.iter().find(|file| root.join(file).is_file()), builds) {
            (Some(file), _) => (format!("`{file}` and "), 3),
            (None, builds) => match builds.iter().find(|build| found::text(&root.join(build)).contains("flyway")) {
                Some(build) => (format!("flyway in `{build}` and "), 3),
                None => (String::new(), 1),
            },
        };
        let files = if fitting.len() == 1 { "file" } else { "files" };
        return Some(Detected {
            format: Format::Flyway,
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
mod tests;
