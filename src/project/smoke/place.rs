//! Where a value of a smoke file stands, and what is wrong with one.

use toml::Spanned;

use crate::error::{Code, Error, Place};

/// A file: its name as shown, and its text.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Relative to the project's root.
    pub shown: &'a str,
    /// Its text.
    pub text: &'a str,
}

impl Source<'_> {
    /// Where a value stands.
    pub fn place<T>(&self, value: &Spanned<T>) -> Place {
        let span = value.span();
        let width = self.text.get(span.clone()).map_or(1, |part| part.lines().next().unwrap_or("").chars().count());
        Place::at_offset(self.shown, self.text, span.start, width.clamp(1, 60))
    }
}

/// A file that cannot be used.
pub fn refuse(what: impl Into<String>, place: Place) -> Error {
    Error::new(Code::SmokeFile, what.into()).at(place).data("nothing was contacted")
}
