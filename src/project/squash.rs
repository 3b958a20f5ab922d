//! The files of a squash: the old ones are moved away, the new ones take their place. A journal in the folder is written
//! first and removed last, so that a squash cut short is finished by the next one and nothing is read in between.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// The folder below the migrations folder that the old files go to; the reader looks into no folder.
pub const FOLDER: &str = "squashed";

/// The journal's name in the migrations folder.
pub(super) const JOURNAL: &str = ".squash.json";

/// What is to be done with the files; every path is relative to the project's root.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moves {
    /// From, to.
    pub moved: Vec<(String, String)>,
    /// Path, text.
    pub written: Vec<(String, String)>,
}

/// Does what the journal is to say, from the beginning.
///
/// # Errors
/// A file that cannot be written or moved: the next squash goes on.
pub fn carry_out(root: &Path, dir: &str, moves: &Moves) -> Result<()> {
    let json = serde_json::to_string(moves).map_err(|error| Error::bug(format!("a journal: {error}")))?;
    let journal = root.join(dir).join(JOURNAL);
    let whole = root.join(dir).join(format!("{JOURNAL}.new"));
    // What is there is whole: a half-written journal is never read.
    std::fs::write(&whole, json).and_then(|()| std::fs::rename(&whole, &journal)).map_err(|error| {
        Error::new(Code::WriteFailed, format!("cannot write `{dir}/{JOURNAL}`"))
            .why(error.to_string())
            .data("nothing was changed")
    })?;
    finish(root, dir).map(drop)
}

/// Does what a journal says is left to do; none where there is no journal.
///
/// # Errors
/// As [`carry_out`].
pub fn finish(root: &Path, dir: &str) -> Result<Option<Moves>> {
    let journal = root.join(dir).join(JOURNAL);
    let Ok(text) = std::fs::read_to_string(&journal) else { return Ok(None) };
    let failed = |what: &str, why: String| {
        Error::new(Code::WriteFailed, format!("cannot write `{what}`"))
            .why(why)
            .data("some files of the squash are in place and some are not; no store was touched")
            .hint("lyrox db squash --finish")
    };
    let moves: Moves =
        serde_json::from_str(&text).map_err(|error| failed(&format!("{dir}/{JOURNAL}"), error.to_string()))?;
    for (from, to) in &moves.moved {
        if let Some(parent) = root.join(to).parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(to, error.to_string()))?;
        }
        // One that is gone was moved before.
        match std::fs::rename(root.join(from), root.join(to)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(to, error.to_string())),
            _ => {}
        }
    }
    for (path, text) in &moves.written {
        std::fs::write(root.join(path), text).map_err(|error| failed(path, error.to_string()))?;
    }
    std::fs::remove_file(&journal).map_err(|error| failed(&format!("{dir}/{JOURNAL}"), error.to_string()))?;
    Ok(Some(moves))
}

/// The error of a folder in which a squash was cut short.
pub(super) fn cut_short(dir: &str) -> Error {
    Error::new(Code::FileKind, format!("a squash of `{dir}` was cut short"))
        .why("some of its files are in place and some are not")
        .data("nothing was changed")
        .hint("lyrox db squash --finish")
}
