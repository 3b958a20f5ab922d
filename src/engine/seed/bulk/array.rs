//! One JSON array of objects, read an object at a time.

use super::feed::{Feed, Stop};

/// An array's objects.
pub struct Array {
    feed: Feed,
    line: u64,
    last: (u64, usize),
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Before,
    First,
    After,
    End,
}

/// What is wrong with an array.
#[derive(Debug)]
pub enum Wrong {
    /// No more text comes.
    Stop(Stop),
    /// Something else stands where the words say what should.
    Expected(&'static str),
}

impl Array {
    /// Reads from the beginning.
    pub const fn new(feed: Feed) -> Self {
        Self { feed, line: 1, last: (1, 0), state: State::Before }
    }

    /// Goes to the next item; false at the end.
    ///
    /// # Errors
    /// See [`Wrong`]; [`Self::line`] tells where.
    pub fn advance(&mut self) -> Result<bool, Wrong> {
        if self.state == State::Before {
            if self.peek()? == Some('\u{feff}') {
                self.feed.consume('\u{feff}'.len_utf8());
            }
            self.take('[', "[ at the beginning of the file: an array of objects")?;
            self.state = State::First;
        }
        loop {
            let next = self.peek()?;
            self.last = (self.line, 0);
            match (self.state, next) {
                (State::End, None) => return Ok(false),
                (State::End, Some(_)) => return Err(Wrong::Expected("the end of the file")),
                (State::First | State::After, Some(']')) => {
                    self.feed.consume(1);
                    self.state = State::End;
                }
                (State::After, _) => {
                    self.take(',', "a comma or ] after an object")?;
                    self.state = State::Before;
                    self.peek()?;
                    self.last = (self.line, 0);
                    return self.item();
                }
                _ => return self.item(),
            }
        }
    }

    fn item(&mut self) -> Result<bool, Wrong> {
        if self.peek()? != Some('{') {
            return Err(Wrong::Expected("an object: { ... }"));
        }
        let length = loop {
            match end(self.feed.text().as_bytes()) {
                Some(length) => break length,
                None if self.feed.is_end() => return Err(Wrong::Expected("the end of the object")),
                None => self.feed.more().map_err(Wrong::Stop)?,
            }
        };
        let lines = memchr::memchr_iter(b'\n', &self.feed.text().as_bytes()[..length]).count() as u64;
        self.feed.consume(length);
        self.last = (self.line, length);
        self.line += lines;
        self.state = State::After;
        Ok(true)
    }

    /// The next character that is no space.
    fn peek(&mut self) -> Result<Option<char>, Wrong> {
        loop {
            let text = self.feed.text();
            let rest = text.trim_start_matches([' ', '\t', '\r', '\n']);
            let skipped = text.len() - rest.len();
            let lines = memchr::memchr_iter(b'\n', &text.as_bytes()[..skipped]).count() as u64;
            let next = rest.chars().next();
            self.line += lines;
            self.feed.consume(skipped);
            if next.is_some() || self.feed.is_end() {
                return Ok(next);
            }
            self.feed.more().map_err(Wrong::Stop)?;
        }
    }

    fn take(&mut self, wanted: char, words: &'static str) -> Result<(), Wrong> {
        if self.peek()? != Some(wanted) {
            self.last = (self.line, 0);
            return Err(Wrong::Expected(words));
        }
        self.feed.consume(wanted.len_utf8());
        Ok(())
    }

    /// The text of the item.
    pub fn text(&self) -> &str {
        self.feed.last(self.last.1)
    }

    /// The line that the item begins on.
    pub const fn line(&self) -> u64 {
        self.last.0
    }

    /// What the feed tells of its progress.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.feed.progress()
    }
}

/// The length of the object that a text begins with.
fn end(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text[at] {
            b'"' => {
                at += 1;
                loop {
                    at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
                    if text[at] == b'"' {
                        break;
                    }
                    at += 2;
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::feed::Taken;
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let feed = Feed::new(Box::new(std::io::Cursor::new(text.as_bytes().to_vec())), Taken::default(), None);
        let (mut array, mut all) = (Array::new(feed), Vec::new());
        loop {
            match array.advance() {
                Ok(false) => return Ok(all),
                Ok(true) => all.push(format!("{} {}", array.line(), array.text())),
                Err(wrong) => return Err(format!("{}: {wrong:?}", array.line())),
            }
        }
    }

    #[test]
    fn objects_come_one_by_one() {
        let table: [(&str, &[&str]); 5] = [
            ("[]", &[]),
            ("\u{feff} [\n]\n", &[]),
            (
                "[{\"a\": \"]},{\\\"\"},\n {\"b\": [{\"c\": {}}]} ]",
                &["1 {\"a\": \"]},{\\\"\"}", "2 {\"b\": [{\"c\": {}}]}"],
            ),
            ("[\n{\n\"a\": 1\n}\n,{\"b\":\n2}]", &["2 {\n\"a\": 1\n}", "5 {\"b\":\n2}"]),
            ("[{},{}]\n\n", &["1 {}", "1 {}"]),
        ];
        for (text, wanted) in table {
            assert_eq!(read(text).expect(text), wanted, "{text}");
        }
        for (text, line) in
            [("{}", 1), ("[{} {}]", 1), ("[{},\n1]", 2), ("[{},\n]", 2), ("[\n{\"a\": ", 2), ("[]\nx", 2), ("", 1)]
        {
            assert!(read(text).expect_err(text).starts_with(&format!("{line}: ")), "{text}: {:?}", read(text));
        }
    }
}
