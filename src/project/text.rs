//! Reading text files with errors that say what is wrong with the file.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{Code, Error, Place, Result};

/// Reads a UTF-8 file; `shown` is its name in messages, relative to the project's root.
///
/// # Errors
/// `LYX-FILE-MISSING`, `LYX-FILE-KIND` (a folder, no permission) or `LYX-FILE-ENCODING` with the line.
pub fn read(path: &Path, shown: &str) -> Result<String> {
    stays(path, shown)?;
    let bytes = std::fs::read(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::IsADirectory || path.is_dir() {
            return Error::new(Code::FileKind, format!("`{shown}` is a folder, not a file"))
                .data("nothing was changed");
        }
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::FileMissing } else { Code::FileKind };
        Error::new(code, format!("cannot read `{shown}`")).why(error.to_string()).data("nothing was changed")
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        let bad = error.as_bytes()[good];
        Error::new(Code::FileEncoding, format!("`{shown}` is not valid UTF-8"))
            .why(format!("byte {} is 0x{bad:02x}", good + 1))
            .at(Place { file: shown.to_owned(), line, column: 0, text: None, width: 1 })
            .data("nothing was changed")
            .hint(format!("save `{shown}` as UTF-8"))
    })
}

/// Refuses a file that a symbolic link takes out of the project: what a repository holds must not bring the
/// machine's own files into a database. `path` ends with `shown`, the file's place below the project's root; a
/// place that says itself that it lies elsewhere is the project's own word.
///
/// # Errors
/// `LYX-FILE-KIND`.
pub fn stays(path: &Path, shown: &str) -> Result<()> {
    let place = Path::new(shown);
    let is_below = place.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !is_below || !path.ends_with(place) {
        return Ok(());
    }
    let count = place.components().count();
    let is_linked =
        path.ancestors().take(count).any(|part| part.symlink_metadata().is_ok_and(|found| found.is_symlink()));
    let Some(root) = path.ancestors().nth(count).filter(|_| is_linked) else { return Ok(()) };
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    match (root.canonicalize(), path.canonicalize()) {
        (Ok(root), Ok(real)) if !real.starts_with(&root) => {
            Err(Error::new(Code::FileKind, format!("`{shown}` is a link out of the project"))
                .why("what a repository holds must not bring the machine's own files into a database")
                .data("nothing was changed")
                .hint(format!("put the file itself at `{shown}`, or name its folder in lyrox.toml")))
        }
        _ => Ok(()),
    }
}

/// The text with its byte-order mark gone and every line end a single LF: what is hashed and run.
pub fn normalise(text: impl Into<String>) -> String {
    let text = text.into();
    // Most files need nothing; a large one is then not held twice.
    if !text.starts_with('\u{feff}') && !text.contains('\r') {
        return text;
    }
    text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n").replace('\r', "\n")
}

/// SHA-256 as lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = Sha256::digest(bytes);
    digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(DIGITS[usize::from(half)])).collect()
}

/// Writes a new file, whole or not at all; never over an existing one.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    write_with(path, text, 0o666)
}

/// The same for a file that only its owner may read.
///
/// # Errors
/// As [`write_new`].
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    write_with(path, text, 0o600)
}

fn write_with(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // Half a migration on a full disk would be taken for one.
    file.write_all(text.as_bytes()).inspect_err(|_| drop(std::fs::remove_file(path)))
}
