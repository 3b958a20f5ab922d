//! Rows that a store refused, set aside: a file in the form of the source, each row with the reason.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Map, Value as Json};

use super::source::{Cell, REASON, Row, RowSource, Written};
use crate::error::{Code, Error, Result};

/// Where rows are set aside; the file is made with the first one.
pub struct Rejects {
    path: PathBuf,
    shown: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<BufWriter<File>>,
    rows: u64,
    is_array: bool,
}

impl Rejects {
    /// Nothing is set aside yet. A file that is there is never written over.
    ///
    /// # Errors
    /// `LYX-SEED-FILE`: there is such a file, and it holds something.
    pub fn new(path: PathBuf, shown: String) -> Result<Self> {
        if std::fs::metadata(&path).is_ok_and(|data| data.len() > 0 || !data.is_file()) {
            return Err(Error::new(Code::SeedFile, format!("`{shown}` is there already"))
                .why("rows that are set aside go into a new file")
                .data("nothing was changed")
                .hint(format!("rm {shown}, or name another file with --reject")));
        }
        Ok(Self { path, shown, state: Mutex::default() })
    }

    /// The file as the user named it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// How many rows are set aside.
    pub fn rows(&self) -> u64 {
        self.state.lock().map_or(0, |state| state.rows)
    }

    /// Sets a row aside. `raw` is its text, for a row that could not be read.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&self, source: &dyn RowSource, row: Option<&Row>, raw: &str, reason: &str) -> Result<()> {
        let mut state = self.state.lock().map_err(|_| Error::bug("the file of refused rows was given up"))?;
        let state = &mut *state;
        let failed = |error: std::io::Error| {
            Error::new(Code::FileKind, format!("cannot write `{}`", self.shown)).why(error.to_string())
        };
        let is_first = state.file.is_none();
        if is_first {
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path).map_err(failed)?;
            state.file = Some(BufWriter::new(file));
        }
        let Some(file) = &mut state.file else { return Ok(()) };
        let mut text = String::new();
        match source.written() {
            Written::Csv => {
                if is_first {
                    for name in source.columns() {
                        text.push_str(&quoted(name));
                        text.push(',');
                    }
                    text.push_str(REASON);
                    text.push('\n');
                }
                match row {
                    Some(row) => {
                        for at in 0..row.len().max(source.columns().len()) {
                            match row.cell(at) {
                                Cell::Null => {}
                                Cell::Text(cell) | Cell::Json(cell) => text.push_str(&quoted(cell)),
                            }
                            text.push(',');
                        }
                    }
                    None => {
                        text.push_str(&quoted(raw));
                        text.push_str(&",".repeat(source.columns().len().max(1)));
                    }
                }
                text.push_str(&quoted(reason));
                text.push('\n');
            }
            form => {
                if form == Written::Array {
                    state.is_array = true;
                    text.push_str(if is_first { "[\n" } else { ",\n" });
                }
                text.push_str(&object(source, row, raw, reason));
                if form == Written::Lines {
                    text.push('\n');
                }
            }
        }
        file.write_all(text.as_bytes()).map_err(failed)?;
        state.rows += 1;
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(&self) -> Result<()> {
        let mut state = self.state.lock().map_err(|_| Error::bug("the file of refused rows was given up"))?;
        let is_array = state.is_array;
        let Some(mut file) = state.file.take() else { return Ok(()) };
        let end: &[u8] = if is_array { b"\n]\n" } else { b"" };
        let done = file.write_all(end).and_then(|()| file.flush());
        done.map_err(|error| {
            Error::new(Code::FileKind, format!("cannot write `{}`", self.shown)).why(error.to_string())
        })
    }
}

/// An error as the reason of a row: its line, what is wrong, and why.
pub fn reason(error: &Error) -> String {
    let line = error.place().filter(|place| place.line > 0).map(|place| format!("line {}: ", place.line));
    let why = error.why_text().map(|why| format!(": {}", why.lines().next().unwrap_or_default()));
    format!("{}{}{}", line.unwrap_or_default(), error.what(), why.unwrap_or_default())
}

fn object(source: &dyn RowSource, row: Option<&Row>, raw: &str, reason: &str) -> String {
    let fields = row.and_then(|row| row.fields(source.columns()).ok());
    let mut object = fields.unwrap_or_else(|| Map::from_iter([("lyrox_row".to_owned(), Json::from(raw))]));
    object.insert(REASON.into(), Json::from(reason));
    Json::Object(object).to_string()
}

fn quoted(text: &str) -> String {
    // An empty text in quotes is not NULL.
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
