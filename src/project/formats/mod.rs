//! Other tools' migration folders, read by those tools' own rules: which files count, how they are named, cut and
//! ordered, and what the tool's history says of each ([`Foreign`](super::migration::Foreign)). Pure reading.
//!
//! How to add a format: a variant of [`Format`], a file here with `read`, `new_files` and `detect`, its arms in
//! [`read_all`], [`new_files`] and [`DETECTORS`], and its history in `stores/postgres/foreign/`.

pub mod choose;
pub mod cut;
pub mod dbmate;
pub mod detect;
pub mod drizzle;
pub mod fill;
pub mod flyway;
pub mod golang_migrate;
pub mod goose;
pub mod graphile;
mod labels;
mod merge;
pub mod node_pg_migrate;
pub mod plain;
pub mod prisma;
pub mod refinery;
pub mod sqlx;
pub mod supabase;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use self::cut::{free_clock, free_version, keep_lines, walk};
pub use self::detect::Detected;
use super::migration::{self, Foreign, Header, Migration, Part, Script, Version};
use super::text;
use crate::config::file::{Format, Migrations, Settings};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// What a reader is given.
#[derive(Clone, Copy, Debug)]
pub struct Folder<'a> {
    /// The project's root.
    pub root: &'a Path,
    /// The folder, relative to the root, with `/`.
    pub dir: &'a str,
    /// `[migrations]` as it is in force.
    pub settings: &'a Migrations,
}

/// The detectors of all formats: each sees by the files of a project whether its tool is at home there.
pub const DETECTORS: &[fn(&Path) -> Option<Detected>] = &[
    sqlx::detect,
    prisma::detect,
    drizzle::detect,
    supabase::detect,
    node_pg_migrate::detect,
    graphile::detect,
    detect::own,
    dbmate::detect,
    flyway::detect,
    golang_migrate::detect,
    goose::detect,
    refinery::detect,
    plain::detect,
];

/// Reads the migrations of a project in the order in which they apply, the lyrox parts of other stores merged in.
///
/// # Errors
/// As [`migration::read_all`]; what the other tool itself would refuse.
pub fn read_all(root: &Path, settings: &Settings) -> Result<Vec<Migration>> {
    let migrations = &settings.migrations;
    let folder = Folder { root, dir: &migrations.dir, settings: migrations };
    let files = match migrations.format {
        // A project whose files are all golang-migrate's for MongoDB has no folder of its own.
        Format::Lyrox if !root.join(folder.dir).exists() && has_mongodb_folder(settings) => Vec::new(),
        Format::Lyrox => migration::read_all(root, &migrations.dir)?,
        Format::Plain => plain::read(folder)?,
        Format::Sqlx => sqlx::read(folder)?,
        Format::Prisma => prisma::read(folder)?,
        Format::Drizzle => drizzle::read(folder)?,
        Format::Supabase => supabase::read(folder)?,
        Format::NodePgMigrate => node_pg_migrate::read(folder)?,
        Format::Graphile => graphile::read(folder)?,
        Format::Dbmate => dbmate::read(folder)?,
        Format::Flyway => flyway::read(folder)?,
        Format::GolangMigrate => golang_migrate::read(folder)?,
        Format::Goose => goose::read(folder)?,
        Format::Refinery => refinery::read(folder)?,
    };
    let files = if migrations.format == Format::Lyrox { files } else { merge::parts(folder, files)? };
    merge::mongodb(root, settings, files)
}

fn has_mongodb_folder(settings: &Settings) -> bool {
    settings.mongodb.as_ref().is_some_and(|section| section.format != Format::Lyrox && section.migrations_dir.is_some())
}

/// What a person should know of a folder that was read: files of the tool that are no migrations yet.
pub fn notes(root: &Path, settings: &Settings) -> Vec<String> {
    let migrations = &settings.migrations;
    if migrations.format != Format::Graphile {
        return Vec::new();
    }
    let folder = Folder { root, dir: &migrations.dir, settings: migrations };
    let told = |file: String| {
        format!("`{file}` is not committed and left alone: npx graphile-migrate commit makes it a migration")
    };
    graphile::current(folder).map(told).into_iter().collect()
}

/// The files of a new migration as the tool itself names them: path relative to the project's root, text.
///
/// # Errors
/// A folder that cannot be read.
pub fn new_files(folder: Folder<'_>, name: &str, now: jiff::Timestamp) -> Result<Vec<(String, String)>> {
    match folder.settings.format {
        Format::Plain => plain::new_files(folder, name),
        Format::Sqlx => sqlx::new_files(folder, name, now),
        Format::Prisma => prisma::new_files(folder, name, now),
        Format::Drizzle => drizzle::new_files(folder, name, now),
        Format::Supabase => supabase::new_files(folder, name, now),
        Format::NodePgMigrate => node_pg_migrate::new_files(folder, name, now),
        Format::Graphile => graphile::new_files(folder),
        Format::Dbmate => dbmate::new_files(folder, name, now),
        Format::Flyway => flyway::new_files(folder, name, now),
        Format::GolangMigrate => golang_migrate::new_files(folder, name, now),
        Format::Goose => goose::new_files(folder, name, now),
        Format::Refinery => refinery::new_files(folder, name, now),
        Format::Lyrox => Err(Error::bug("lyrox's own files are named by the command")),
    }
}

/// The names of the files of the folder (not of folders in it), sorted; hidden ones left out.
///
/// # Errors
/// `LYX-FILE-MISSING`, `LYX-FILE-KIND`, `LYX-FILE-NAME`.
pub fn files(folder: Folder<'_>) -> Result<Vec<String>> {
    entries(folder, |kind| !kind.is_dir())
}

/// The names of the folders in the folder, sorted; hidden ones left out.
///
/// # Errors
/// As [`files`].
pub fn folders(folder: Folder<'_>) -> Result<Vec<String>> {
    entries(folder, std::path::Path::is_dir)
}

fn entries(folder: Folder<'_>, wants: impl Fn(&Path) -> bool) -> Result<Vec<String>> {
    let dir = folder.dir;
    let path = folder.root.join(dir);
    if !path.is_dir() {
        let what = if path.exists() { "is not a folder" } else { "does not exist" };
        return Err(Error::new(Code::FileMissing, format!("the migrations folder `{dir}` {what}"))
            .data("nothing was changed")
            .hint("set `dir` under [migrations] in lyrox.toml"));
    }
    let unreadable =
        |error: std::io::Error| Error::new(Code::FileKind, format!("cannot read `{dir}`")).why(error.to_string());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().into_string().map_err(|_| {
            Error::new(Code::FileName, format!("a file in `{dir}` has a name that is not UTF-8"))
                .data("nothing was changed")
        })?;
        if !name.starts_with('.') && wants(&entry.path()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// `dir/name`, as messages and scripts have it.
pub fn shown(folder: Folder<'_>, name: &str) -> String {
    format!("{}/{name}", folder.dir.trim_end_matches('/'))
}

/// The text of a file of the folder exactly as it is on disk: line ends and byte-order mark count in checksums.
///
/// # Errors
/// As [`text::read`].
pub fn raw(folder: Folder<'_>, name: &str) -> Result<String> {
    let shown = shown(folder, name);
    text::read(&folder.root.join(&shown), &shown)
}

/// A PostgreSQL script of another tool: `text` is what runs (normalised here), `header` what the tool's own directives
/// ask for; `lyrox:` directives of the file's first comments are added. It may be empty, and may begin and end transactions
/// by itself: tools allow that. Without a `foreign` (a way back, a plain file) it is foreign all the same.
///
/// # Errors
/// A NUL character, or a `lyrox:` directive that is none.
pub fn script(shown: &str, text: &str, header: Header, foreign: Option<Foreign>) -> Result<Arc<Script>> {
    if text.contains('\0') {
        return Err(
            Error::new(Code::FileSyntax, format!("`{shown}` holds a NUL character")).data("nothing was changed")
        );
    }
    let text = text::normalise(text);
    let own = migration::read_header(shown, &text, StoreKind::Postgres)?;
    let header = Header {
        no_transaction: header.no_transaction || own.no_transaction,
        allow_out_of_order: header.allow_out_of_order || own.allow_out_of_order,
        lock_timeout: own.lock_timeout.or(header.lock_timeout),
        statement_timeout: own.statement_timeout.or(header.statement_timeout),
        ..own
    };
    let checksum = text::sha256(text.as_bytes());
    let includes = std::collections::BTreeMap::new();
    let foreign = Some(foreign.unwrap_or_default());
    Ok(Arc::new(Script { path: shown.to_owned(), text, checksum, header, includes, foreign }))
}

/// A migration with a PostgreSQL part.
pub fn migration(version: &str, name: &str, up: Arc<Script>, down: Option<Arc<Script>>) -> Migration {
    Migration {
        version: Version::new(version),
        name: name.to_owned(),
        parts: [(StoreKind::Postgres, Part { up, down })].into(),
    }
}

/// A part of a file, preceded by as many line ends as stand before it: an error then names the file's own line.
/// `text` must be normalised.
pub fn section(text: &str, range: Range<usize>) -> String {
    let lines = text[..range.start].matches('\n').count();
    let column = text[..range.start].rsplit('\n').next().map_or(0, |line| line.chars().count());
    format!("{}{}{}", "\n".repeat(lines), " ".repeat(column), &text[range])
}

/// Two files claim the same version.
pub fn duplicate(shown: &str, version: &str, other: &str) -> Error {
    Error::new(Code::FileDuplicate, format!("`{shown}` claims version {version}, which `{other}` has"))
        .data("nothing was changed")
        .hint("give one of them a new version")
}

/// A file that the tool itself would refuse.
pub fn refused(shown: &str, tool: Format, why: impl Into<String>) -> Error {
    Error::new(Code::FileName, format!("`{shown}` is no migration of {}", tool.name()))
        .why(why)
        .data("nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::section;

    #[test]
    fn a_section_keeps_its_lines_and_columns() {
        let text = "-- up\nCREATE TABLE a ();\n-- down\nDROP TABLE a;\n";
        let at = text.find("DROP").expect("it is there");
        assert_eq!(section(text, at..text.len()), "\n\n\nDROP TABLE a;\n");
        assert_eq!(section("ab cd", 3..5), "   cd");
    }
}
