//! drizzle-kit. 0.x: `meta/_journal.json` lists `<tag>.sql` in order, each with the moment it was made; history keeps a
//! high-water mark of those moments. 1.0: `<14 digits>_<name>/migration.sql`, no journal, history goes by name. Rules:
//! drizzle-orm's migrator.ts and `up-migrations/`.

mod made;

use serde::Deserialize;

pub use self::made::{detect, new_files};
use super::labels::{Labels, digits};
use super::{Folder, folders, migration, raw, script, shown};
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::{Foreign, Header, Migration};
use crate::project::text;

/// Lists the migrations of a folder of 0.x; one of 1.0 has none.
pub const JOURNAL: &str = "meta/_journal.json";

const SCRIPT: &str = "migration.sql";
const BREAKPOINT: &str = "--> statement-breakpoint";

/// `meta/_journal.json`
#[derive(Debug, Deserialize)]
struct Journal {
    dialect: String,
    entries: Vec<Entry>,
}

/// One migration of the journal.
#[derive(Debug, Deserialize)]
struct Entry {
    idx: u64,
    /// Milliseconds since 1970; history remembers a migration by it.
    when: i64,
    tag: String,
}

/// Reads the folder; a journal makes it one of 0.x.
///
/// # Errors
/// A journal that cannot be read or is of another database, or a file that it lists and that is missing.
pub fn read(folder: Folder<'_>) -> Result<Vec<Migration>> {
    if folder.root.join(folder.dir).join(JOURNAL).exists() { read_journal(folder) } else { read_folders(folder) }
}

fn read_journal(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let journal = journal(folder)?;
    let mut labels = Labels::default();
    let mut migrations: Vec<Migration> = Vec::with_capacity(journal.entries.len());
    let mut moments = std::collections::BTreeMap::new();
    for entry in journal.entries {
        if let Some(other) = moments.insert(entry.when, entry.tag.clone()) {
            return Err(unreadable(folder, format!("`{other}` and `{}` have the same `when`", entry.tag))
                .hint("npx drizzle-kit drop removes one of them from the journal"));
        }
        let file = format!("{}.sql", entry.tag);
        let text = raw(folder, &file)?;
        let foreign =
            Foreign { key: entry.when.to_string(), number: Some(entry.when), is_high_water: true, ..foreign(&text) };
        let up = script(&shown(folder, &file), &broken(&text), Header::default(), Some(foreign))?;
        // Tags without a number are numbered by the journal.
        let (version, name) = if digits(&entry.tag).is_empty() {
            labels.take(&format!("{:04}_{}", entry.idx, entry.tag))
        } else {
            labels.take(&entry.tag)
        };
        migrations.push(migration(&version, &name, up, None));
    }
    Ok(migrations)
}

fn journal(folder: Folder<'_>) -> Result<Journal> {
    let journal: Journal = serde_json::from_str(&raw(folder, JOURNAL)?).map_err(|error| {
        let place = Place::at_line(shown(folder, JOURNAL), &raw(folder, JOURNAL).unwrap_or_default(), error.line());
        unreadable(folder, error.to_string())
            .at(place)
            .hint("settle the conflict of the merge, then: npx drizzle-kit check")
    })?;
    if !matches!(journal.dialect.as_str(), "postgresql" | "postgres" | "pg") {
        return Err(unreadable(folder, format!("its migrations are for {}", journal.dialect))
            .hint("set `dir` under [migrations] in lyrox.toml to the PostgreSQL migrations"));
    }
    Ok(journal)
}

fn unreadable(folder: Folder<'_>, why: String) -> Error {
    Error::new(Code::FileSyntax, format!("`{}` cannot be used", shown(folder, JOURNAL)))
        .why(why)
        .data("nothing was changed")
}

fn read_folders(folder: Folder<'_>) -> Result<Vec<Migration>> {
    let mut labels = Labels::default();
    let mut migrations = Vec::new();
    let names: Vec<String> = folders(folder)?
        .into_iter()
        .filter(|name| folder.root.join(folder.dir).join(name).join(SCRIPT).exists())
        .collect();
    let seconds = |name: &str| moment(name).map(|millis| millis.to_string());
    for name in &names {
        let Some(millis) = moment(name) else {
            return Err(super::refused(
                &shown(folder, name),
                folder.settings.format,
                "its name begins with no date of 14 digits",
            )
            .hint("npx drizzle-kit generate --custom --name NAME makes a new one"));
        };
        let file = format!("{name}/{SCRIPT}");
        let text = raw(folder, &file)?;
        let is_alone = names.iter().filter(|other| seconds(other) == seconds(name)).count() == 1;
        let foreign = foreign(&text);
        let foreign = Foreign {
            key: name.clone(),
            aliases: without_name(millis, is_alone, &foreign),
            number: Some(millis),
            name: name.clone(),
            ..foreign
        };
        let header = Header { allow_out_of_order: true, ..Header::default() };
        let up = script(&shown(folder, &file), &broken(&text), header, Some(foreign))?;
        let (version, rest) = labels.take(name);
        migrations.push(migration(&version, &rest, up, None));
    }
    Ok(migrations)
}

/// How a row of 0.x, which has no name, tells of a folder: by the moment, cut to seconds; of folders of one second by the hash
/// as well; and where there is none of that second, by the hash alone. So drizzle-orm's `up-migrations/` turns rows over.
fn without_name(millis: i64, is_alone: bool, foreign: &Foreign) -> Vec<String> {
    let hashes = || foreign.accepted.iter().chain([&foreign.checksum]);
    let moment = if is_alone { vec![millis.to_string()] } else { Vec::new() };
    moment.into_iter().chain(hashes().map(|hash| format!("{millis} {hash}"))).chain(hashes().cloned()).collect()
}

/// The hash of the text as it is; a checkout with other line ends is the same to lyrox.
fn foreign(text: &str) -> Foreign {
    let lf = text.replace("\r\n", "\n");
    let checksum = text::sha256(text.as_bytes());
    let mut accepted = vec![text::sha256(lf.as_bytes()), text::sha256(lf.replace('\n', "\r\n").as_bytes())];
    accepted.retain(|other| *other != checksum);
    Foreign { checksum, accepted, ..Foreign::default() }
}

/// The 14 digits of a folder's name as UTC, in milliseconds since 1970.
fn moment(name: &str) -> Option<i64> {
    let digits = digits(name).get(..14)?;
    let moment = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", digits).ok()?;
    Some(moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// drizzle cuts a file at its breakpoints, whatever stands there. A breakpoint is a comment to SQL, which does as long as a
/// `;` stands before it; where none does, one takes the comment's first place.
fn broken(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(BREAKPOINT) {
        let (before, found) = rest.split_at(at);
        result.push_str(before);
        let is_ended = result.trim_end().ends_with(';') || result.trim().is_empty();
        result.push_str(if is_ended { BREAKPOINT } else { "; --statement-breakpoint" });
        rest = &found[BREAKPOINT.len()..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::{Format, Migrations};

    fn read_it(files: &[(&str, &str)]) -> Result<Vec<Migration>> {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join("drizzle").join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        let settings = Migrations { format: Format::Drizzle, ..Migrations::default() };
        read(Folder { root: root.path(), dir: "drizzle", settings: &settings })
    }

    fn foreign_of(migration: &Migration) -> Foreign {
        migration.parts.values().next().and_then(|part| part.up.foreign.clone()).expect("its history")
    }

    const JOURNAL_TEXT: &str = r#"{"version":"7","dialect":"postgresql","entries":[
        {"idx":0,"version":"7","when":1704067200123,"tag":"0000_first","breakpoints":true},
        {"idx":1,"version":"7","when":1704067300456,"tag":"curious_wolf","breakpoints":true}]}"#;

    #[test]
    fn hashes_match_the_vectors() {
        let lf = "12c83f983b0c94b9c7010dcc92149589d5fb01a3d32af8f6d699545d95db9040";
        let crlf = "30cea62cdaee464f711b5a9f1f7b7a63a5d676cb81e1ffb9c1be5f0ba944da6d";
        let one = foreign("CREATE TABLE t (id int);\n");
        assert_eq!((one.checksum.as_str(), one.accepted.contains(&crlf.to_owned())), (lf, true));
        let other = foreign("CREATE TABLE t (id int);\r\n");
        assert_eq!((other.checksum.as_str(), other.accepted.contains(&lf.to_owned())), (crlf, true));
        assert_ne!(foreign("\u{feff}CREATE TABLE t (id int);\n").checksum, lf);
    }

    #[test]
    fn a_journal_lists_the_files_of_0_x() {
        let files = [(JOURNAL, JOURNAL_TEXT), ("0000_first.sql", "SELECT 1;"), ("curious_wolf.sql", "SELECT 2;")];
        let read = read_it(&files).expect("migrations");
        assert_eq!(read.iter().map(Migration::label).collect::<Vec<_>>(), ["0000_first", "0001_curious_wolf"]);
        let foreign = foreign_of(&read[0]);
        assert_eq!(
            (foreign.key.as_str(), foreign.number, foreign.is_high_water),
            ("1704067200123", Some(1_704_067_200_123), true)
        );
        assert!(read_it(&files[..2]).expect_err("a file is missing").to_string().contains("curious_wolf.sql"));
        let other = JOURNAL_TEXT.replace("postgresql", "sqlite");
        assert!(read_it(&[(JOURNAL, &other)]).is_err());
        let twice = JOURNAL_TEXT.replace("1704067300456", "1704067200123");
        assert!(read_it(&[(JOURNAL, &twice), files[1], files[2]]).is_err());
    }

    #[test]
    fn folders_are_those_of_1_0() {
        let files = [("20240102000000_b/migration.sql", "SELECT 2;"), ("20240101000000_a/migration.sql", "SELECT 1;")];
        let read = read_it(&files).expect("migrations");
        assert_eq!(read.iter().map(Migration::label).collect::<Vec<_>>(), ["20240101000000_a", "20240102000000_b"]);
        let foreign = foreign_of(&read[0]);
        assert_eq!((foreign.key.as_str(), foreign.number), ("20240101000000_a", Some(1_704_067_200_000)));
        assert_eq!(foreign.aliases.first().map(String::as_str), Some("1704067200000"));
        assert!(read_it(&[("init/migration.sql", "SELECT 1;")]).is_err());
        let twins = read_it(&[files[1], ("20240101000000_c/migration.sql", "SELECT 1;")]).expect("migrations");
        assert_eq!(twins.iter().map(Migration::label).collect::<Vec<_>>(), ["20240101000000_a", "20240101000000_c"]);
        let foreign = foreign_of(&twins[0]);
        assert!(!foreign.aliases.contains(&"1704067200000".to_owned()), "two folders are of that second");
        assert!(foreign.aliases.contains(&format!("1704067200000 {}", foreign.checksum)));
    }

    #[test]
    fn breakpoints_end_statements() {
        let ended = "CREATE TABLE a ();\n--> statement-breakpoint\nCREATE TABLE b ();";
        assert_eq!(broken(ended), ended);
        let open = "CREATE TABLE a ()\n--> statement-breakpoint\nCREATE TABLE b ()--> statement-breakpoint\nSELECT 1";
        assert_eq!(
            broken(open),
            "CREATE TABLE a ()\n; --statement-breakpoint\nCREATE TABLE b (); --statement-breakpoint\nSELECT 1"
        );
    }
}
