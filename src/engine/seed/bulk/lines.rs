//! One JSON object a line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::feed::{Feed, Stop};
use crate::stores::source::{REASON, Row};

/// A file's lines.
pub struct Lines {
    feed: Feed,
    next: u64,
    last: (u64, usize),
}

impl Lines {
    /// Reads from the beginning; a byte-order mark is no part of the first line.
    ///
    /// # Errors
    /// The first piece cannot be read.
    pub fn new(mut feed: Feed) -> Result<Self, Stop> {
        while feed.text().len() < 3 && !feed.is_end() {
            feed.more()?;
        }
        if feed.text().starts_with('\u{feff}') {
            feed.consume('\u{feff}'.len_utf8());
        }
        Ok(Self { feed, next: 1, last: (1, 0) })
    }

    /// Goes to the next line that is not empty; false at the end.
    ///
    /// # Errors
    /// No more text comes.
    pub fn advance(&mut self) -> Result<bool, Stop> {
        loop {
            self.last = (self.next, 0);
            let text = self.feed.text();
            let length = match memchr::memchr(b'\n', text.as_bytes()) {
                Some(end) => end + 1,
                None if self.feed.is_end() && text.is_empty() => return Ok(false),
                None if self.feed.is_end() => text.len(),
                None => {
                    self.feed.more()?;
                    continue;
                }
            };
            let is_empty = text[..length].trim().is_empty();
            self.feed.consume(length);
            self.last = (self.next, length);
            self.next += 1;
            if !is_empty {
                return Ok(true);
            }
        }
    }

    /// The text of the line, trimmed.
    pub fn text(&self) -> &str {
        self.feed.last(self.last.1).trim()
    }

    /// The number of the line.
    pub const fn line(&self) -> u64 {
        self.last.0
    }

    /// What the feed tells of its progress.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.feed.progress()
    }
}

/// Gives each top-level field of an object to a function: its name and its JSON.
///
/// # Errors
/// The text is no JSON object.
pub fn fields<'a>(text: &'a str, each: impl FnMut(Cow<'a, str>, &'a RawValue)) -> serde_json::Result<()> {
    struct Fields<F>(F);
    impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for Fields<F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                (self.0)(name, value);
            }
            Ok(())
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(Fields(each))?;
    reader.end()
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads an object into the cells of these columns; what other fields it has is told.
///
/// # Errors
/// The text is no JSON object.
pub fn cells(
    text: &str,
    index: &HashMap<String, usize>,
    found: &mut Vec<Option<(usize, usize)>>,
    row: &mut Row,
) -> serde_json::Result<Option<String>> {
    found.clear();
    found.resize(index.len(), None);
    let mut unknown = None;
    let base = text.as_ptr() as usize;
    fields(text, |name, value| match index.get(name.as_ref()) {
        Some(&at) => {
            let begin = value.get().as_ptr() as usize - base;
            found[at] = Some((begin, begin + value.get().len()));
        }
        None if unknown.is_none() || name != REASON => unknown = Some(name.into_owned()),
        None => {}
    })?;
    row.clear();
    for range in found.iter() {
        let Some((begin, end)) = *range else {
            row.push_null();
            continue;
        };
        match &text[begin..end] {
            "null" => row.push_null(),
            value if value.starts_with('"') => {
                let text: Name<'_> = serde_json::from_str(value)?;
                row.push_text(&text.0);
            }
            value => row.push_json(value),
        }
    }
    Ok(unknown)
}
