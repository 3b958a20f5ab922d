//! Dumps: the schema of a store as one file that reviews well and loads again. What the file holds is the
//! store's; where it goes and whether it is what is there already is decided here.

use std::path::Path;

use futures_util::future::try_join_all;
use similar::TextDiff;

use super::guard;
use super::migrate::{self, Work, marks};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::Store as _;

/// The schema of one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The script: the same text for the same schema, whenever and wherever it is written.
    pub text: String,
    /// Further files that the script names: name and text.
    pub beside: Vec<(String, String)>,
    /// How many statements or commands it has.
    pub statements: usize,
    /// What is in the store and not in the script, in words.
    pub left_out: Vec<String>,
}

/// The name of a store's file: it ends as the store's migrations do.
pub const fn file_name(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Postgres => "postgres.sql",
        StoreKind::Mongodb => "mongodb.json",
        StoreKind::Redis => "redis.redis",
    }
}

/// What a dump is to the file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// There was none.
    Created,
    /// It was another.
    Updated,
    /// It is the same.
    Unchanged,
}

/// Dumps every store of the work, side by side. Changes nothing.
///
/// # Errors
/// A store that cannot be read, or is marked as another environment.
pub async fn dump(work: Work<'_>) -> Result<Vec<(StoreKind, Dump)>> {
    let mut stores = work.open().await?;
    let ledgers = migrate::states(&mut stores).await?;
    guard::refuse_other_mark(work.config, &marks(&ledgers))?;
    let dumps =
        try_join_all(stores.iter_mut().map(async |store| Ok::<_, Error>((store.kind(), store.dump().await?)))).await;
    migrate::close(stores).await;
    dumps
}

/// Writes a file whole or not at all, where it is not the same already.
///
/// # Errors
/// `LYX-WRITE-FAILED`.
pub fn write(path: &Path, shown: &str, text: &str) -> Result<Written> {
    let failed = |error: std::io::Error| {
        Error::new(Code::WriteFailed, format!("cannot write `{shown}`"))
            .why(error.to_string())
            .data("the file is as it was")
    };
    let written = compare(path, text).map_err(failed)?;
    if written == Written::Unchanged {
        return Ok(written);
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)?;
    {
        use std::os::unix::fs::PermissionsExt as _;
        // It is there to be read by everyone who may read the project.
        let mode = std::fs::metadata(path).map_or(0o644, |data| data.permissions().mode());
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(written)
}

/// What a text is to the file that is there.
///
/// # Errors
/// The system's, where the file is there and cannot be read.
pub fn compare(path: &Path, text: &str) -> std::io::Result<Written> {
    match std::fs::read(path) {
        Ok(found) if found == text.as_bytes() => Ok(Written::Unchanged),
        Ok(_) => Ok(Written::Updated),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Written::Created),
        Err(error) => Err(error),
    }
}

/// The lines in which a file differs from what would be written, at most so many.
pub fn difference(found: &str, text: &str, most: usize) -> String {
    let diff = TextDiff::from_lines(found, text);
    let whole = diff.unified_diff().context_radius(1).to_string();
    let lines: Vec<&str> = whole.lines().filter(|line| !line.starts_with("\\ ")).collect();
    let mut shown = lines[..lines.len().min(most)].join("\n");
    if lines.len() > most {
        shown.push_str(&format!("\nand {} more lines", lines.len() - most));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_only_where_it_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("schema/postgres.sql");
        assert_eq!(write(&path, "x", "one\n").expect("written"), Written::Created);
        let before = std::fs::metadata(&path).and_then(|data| data.modified()).expect("a time");
        assert_eq!(write(&path, "x", "one\n").expect("written"), Written::Unchanged);
        assert_eq!(std::fs::metadata(&path).and_then(|data| data.modified()).expect("a time"), before);
        assert_eq!(write(&path, "x", "two\n").expect("written"), Written::Updated);
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "two\n");
    }

    #[test]
    fn a_long_difference_is_cut() {
        let shown = difference("a\nb\nc\n", "a\nx\nc\n", 10);
        assert!(shown.contains("-b") && shown.contains("+x"));
        assert!(difference("", &"y\n".repeat(50), 5).ends_with("more lines"));
    }
}
