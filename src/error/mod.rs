//! The one error type: a stable code, what was being done, why it failed, where, what happened to
//! the data, and one hint that is an exact command. It knows no driver and no terminal.

mod codes;
mod foreign;

pub use codes::Code;
pub use foreign::{FOREIGN, Family, Foreign};

use std::fmt;
use std::path::Path;

use crate::exit::Exit;
use crate::typed::there;

/// `std::result::Result` with lyrox's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure a person can act on. Built from parts; never from a connection string.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    code: Code,
    what: String,
    why: Option<String>,
    place: Option<Place>,
    data: Option<String>,
    hint: Option<String>,
}

/// Where in a file an error lies, with the text a person needs to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user would name it: relative to the project's root.
    pub file: String,
    /// 1-based; 0 when only the file is known.
    pub line: usize,
    /// 1-based, in characters; 0 when only the line is known.
    pub column: usize,
    /// The line's text, where it is known.
    pub text: Option<String>,
    /// How many characters the caret underlines; at least 1.
    pub width: usize,
}

impl Place {
    /// A file as a whole.
    pub fn file(file: impl AsRef<Path>) -> Self {
        Self { file: file.as_ref().display().to_string(), line: 0, column: 0, text: None, width: 1 }
    }

    /// The place at a byte offset of `text`.
    pub fn at_offset(file: impl AsRef<Path>, text: &str, offset: usize, width: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_text = text[start..].lines().next().unwrap_or("").to_owned();
        Self {
            file: file.as_ref().display().to_string(),
            line: before.matches('\n').count() + 1,
            column: text[start..offset].chars().count() + 1,
            text: Some(line_text),
            width: width.max(1),
        }
    }

    /// The place at a 1-based line of `text`.
    pub fn at_line(file: impl AsRef<Path>, text: &str, line: usize) -> Self {
        Self {
            file: file.as_ref().display().to_string(),
            line,
            column: 0,
            text: text.lines().nth(line.saturating_sub(1)).map(str::to_owned),
            width: 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if self.line > 0 {
            write!(out, ":{}", self.line)?;
            if self.column > 0 {
                write!(out, ":{}", self.column)?;
            }
        }
        Ok(())
    }
}

impl Error {
    /// An error with its code and one line that says what failed (lower case, no full stop).
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self(Box::new(Parts { code, what: what.into(), why: None, place: None, data: None, hint: None }))
    }

    /// A bug in lyrox: something that cannot happen did.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(Code::Bug, what)
    }

    /// Adds why it failed: the cause in the server's or the system's words.
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.0.why = Some(why.into());
        self
    }

    /// Adds where in a file it lies.
    pub fn at(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    /// Adds what happened to the data: "nothing was changed", "rolled back", "stopped after step 2 of 5".
    pub fn data(mut self, data: impl Into<String>) -> Self {
        self.0.data = Some(data.into());
        self
    }

    /// Adds the one hint: an imperative with the exact command.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(there(&hint.into()).into_owned());
        self
    }

    /// Adds the hint only where none is set yet.
    pub fn hint_if_none(self, hint: impl Into<String>) -> Self {
        if self.0.hint.is_some() { self } else { self.hint(hint) }
    }

    /// Adds what happened to the data only where it is not said yet.
    pub fn data_if_none(self, data: impl Into<String>) -> Self {
        if self.0.data.is_some() { self } else { self.data(data) }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The exit code this error asks for.
    pub fn exit(&self) -> Exit {
        self.0.code.exit()
    }

    /// What failed.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Why it failed, where known.
    pub fn why_text(&self) -> Option<&str> {
        self.0.why.as_deref()
    }

    /// Where it lies, where known.
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }

    /// What happened to the data, where said.
    pub fn data_text(&self) -> Option<&str> {
        self.0.data.as_deref()
    }

    /// The hint, where there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.what)?;
        if let Some(why) = &self.0.why {
            write!(out, ": {why}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {self}", self.0.code)
    }
}

impl std::error::Error for Error {}

/// `.hint()` on any `Result` of lyrox.
pub trait ResultExt<T> {
    /// Adds a hint to the error where it has none.
    fn hint(self, hint: impl Into<String>) -> Result<T>;
    /// Adds what happened to the data where it is not said yet.
    fn data(self, data: impl Into<String>) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn hint(self, hint: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.hint_if_none(hint))
    }

    fn data(self, data: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.data_if_none(data))
    }
}
