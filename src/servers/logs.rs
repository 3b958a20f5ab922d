//! Reads the logs of servers: the last lines, what came since, and what a failed start says of itself.
//! It knows no server but MongoDB's form of a line.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Code, Error, Result};

/// What is read from the end of a log at most.
const WINDOW: u64 = 4 << 20;
/// How many lines an error quotes, and how long each may be.
const QUOTED: usize = 5;
const LONGEST: usize = 300;

/// The last lines of a log.
///
/// # Errors
/// It cannot be read.
pub fn tail(path: &Path, lines: usize) -> Result<Vec<String>> {
    let mut file = open(path)?;
    let length = file.metadata().map_or(0, |data| data.len());
    let text = read_from(&mut file, length.saturating_sub(WINDOW));
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect())
}

/// Reads what is added to a log, through its rotation.
pub struct Follow {
    path: PathBuf,
    file: File,
    rest: String,
}

impl Follow {
    /// Begins at the end of the log as it is now.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn begin(path: &Path) -> Result<Self> {
        let mut file = open(path)?;
        let _ = file.seek(SeekFrom::End(0));
        Ok(Self { path: path.to_path_buf(), file, rest: String::new() })
    }

    /// The whole lines that came since the last call.
    pub fn lines(&mut self) -> Vec<String> {
        let position = self.file.stream_position().unwrap_or(0);
        let mut bytes = Vec::new();
        let _ = self.file.read_to_end(&mut bytes);
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let same = |data: &std::fs::Metadata| self.file.metadata().is_ok_and(|open| open.ino() == data.ino());
        if let Ok(data) = std::fs::metadata(&self.path)
            && (!same(&data) || data.len() < position)
            && let Ok(file) = File::open(&self.path)
        {
            self.file = file;
        }
        let Some(end) = self.rest.rfind('\n') else { return Vec::new() };
        let whole: String = self.rest.drain(..=end).collect();
        whole.lines().map(str::to_owned).collect()
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        let what = format!("cannot read `{}`", super::files::shown(path));
        let error = match error.kind() {
            std::io::ErrorKind::NotFound => Error::new(Code::FileMissing, what).why("the server was never started"),
            _ => Error::new(Code::FileKind, what).why(error.to_string()),
        };
        error.hint("lyrox up")
    })
}

fn read_from(file: &mut File, offset: u64) -> String {
    let mut bytes = Vec::new();
    let _ = file.seek(SeekFrom::Start(offset)).and_then(|_| file.take(WINDOW).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a server wrote after this offset: for an error, its last lines; and all of it, to look for causes.
pub fn since(path: &Path, offset: u64) -> (String, String) {
    let Ok(mut file) = File::open(path) else { return (String::new(), String::new()) };
    let length = file.metadata().map_or(0, |data| data.len());
    // A log that was set aside since begins at zero again.
    let offset = if offset > length { 0 } else { offset.max(length.saturating_sub(WINDOW)) };
    let all = read_from(&mut file, offset);
    let lines: Vec<String> = all.lines().filter(|line| !line.trim().is_empty()).filter_map(short).collect();
    (lines[lines.len().saturating_sub(QUOTED)..].join("\n"), all)
}

/// One line for people. MongoDB writes JSON: of that, severity, message and error; only what matters.
fn short(line: &str) -> Option<String> {
    let text = match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(entry)) if entry.contains_key("s") => {
            if matches!(entry["s"].as_str(), Some("I" | "D" | "D1" | "D2")) {
                return None;
            }
            let message = entry.get("msg").and_then(Value::as_str).unwrap_or_default();
            let attributes = entry.get("attr").and_then(Value::as_object);
            let cause = attributes.and_then(|attributes| {
                ["error", "message", "msg", "reason"].iter().find_map(|name| attributes.get(*name))
            });
            let cause = cause.map(|cause| match cause {
                Value::String(text) => text.clone(),
                other => other.get("errmsg").and_then(Value::as_str).map_or_else(|| other.to_string(), str::to_owned),
            });
            cause.map_or_else(|| message.to_owned(), |cause| format!("{message}: {cause}"))
        }
        // Cut short, on a full disk.
        _ if line.starts_with("{\"t\":") => return None,
        _ => line.to_owned(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(text.chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_of_json_lines_only_what_went_wrong_is_quoted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(
            &path,
            "{\"s\":\"I\",\"msg\":\"fine\"}\n{\"s\":\"E\",\"msg\":\"Failed\",\"attr\":{\"error\":{\"errmsg\":\"in\\n use\"}}}\n{\"t\":{\"cu\nplain words\n",
        )
        .expect("a log");
        assert_eq!(since(&path, 0).0, "Failed: in use\nplain words");
        assert_eq!(tail(&path, 1).ok(), Some(vec!["plain words".to_owned()]));
    }

    #[test]
    fn following_survives_rotation() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "old\n").expect("a log");
        let mut follow = Follow::begin(&path).expect("a log");
        let append = |text: &str| {
            use std::io::Write as _;
            let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
        };
        append("one\ntw");
        assert_eq!(follow.lines(), ["one"]);
        append("o\n");
        std::fs::rename(&path, folder.path().join("log.1")).expect("set aside");
        append("three\n");
        assert_eq!(follow.lines(), ["two"]);
        assert_eq!(follow.lines(), ["three"]);
    }
}
