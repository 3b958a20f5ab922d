//! Text that is read a piece at a time: what is consumed is forgotten, so a file of any size takes the
//! same memory. Knows no format.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much is read at once.
const PIECE: usize = 1 << 16;
/// The longest row there can be: a quote that is never closed must not draw in the whole file.
const LONGEST: usize = 256 << 20;

/// The bytes taken from a file, counted below whatever unpacks them.
pub type Taken = Arc<AtomicU64>;

/// Why no more text comes.
#[derive(Debug)]
pub enum Stop {
    /// It cannot be read.
    Unreadable(std::io::Error),
    /// What follows is not UTF-8.
    Encoding,
    /// One row is longer than any row may be.
    TooLong,
}

/// Text being read.
pub struct Feed {
    from: Box<dyn Read + Send>,
    text: String,
    start: usize,
    /// Bytes that do not make a whole character yet.
    rest: Vec<u8>,
    is_end: bool,
    is_foreign: bool,
    taken: Taken,
    size: Option<u64>,
}

impl Feed {
    /// Reads from here; `taken` counts on below it, of `size` bytes where that is known.
    pub fn new(from: Box<dyn Read + Send>, taken: Taken, size: Option<u64>) -> Self {
        let (text, rest) = (String::new(), Vec::new());
        Self { from, text, start: 0, rest, is_end: false, is_foreign: false, taken, size }
    }

    /// What is read and not consumed.
    pub fn text(&self) -> &str {
        &self.text[self.start..]
    }

    /// What was consumed last, of this length.
    pub fn last(&self, length: usize) -> &str {
        &self.text[self.start.saturating_sub(length)..self.start]
    }

    /// Whether nothing follows what [`Self::text`] has.
    pub const fn is_end(&self) -> bool {
        self.is_end
    }

    /// Consumes bytes of [`Self::text`].
    pub const fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Bytes taken from the file, and the file's size.
    pub fn progress(&self) -> Option<(u64, u64)> {
        Some((self.taken.load(Ordering::Relaxed), self.size?.max(1)))
    }

    /// Reads on. Nothing new came where it is the end.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn more(&mut self) -> Result<(), Stop> {
        if self.is_foreign {
            return Err(Stop::Encoding);
        }
        if self.is_end {
            return Ok(());
        }
        if self.text.len() - self.start > LONGEST {
            return Err(Stop::TooLong);
        }
        self.text.drain(..self.start);
        self.start = 0;
        // A long row is read in growing pieces, so that looking for its end again stays cheap.
        let want = PIECE.max(self.text.len());
        let kept = self.rest.len();
        self.rest.resize(kept + want, 0);
        let count = loop {
            match self.from.read(&mut self.rest[kept..]) {
                Ok(count) => break count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::Unreadable(error)),
            }
        };
        self.rest.truncate(kept + count);
        match std::str::from_utf8(&self.rest) {
            Ok(text) => {
                self.text.push_str(text);
                self.rest.clear();
            }
            Err(error) => {
                let whole = error.valid_up_to();
                self.text.push_str(&String::from_utf8_lossy(&self.rest[..whole]));
                self.rest.drain(..whole);
                // A character that is cut at the end of the piece goes on in the next one.
                self.is_foreign = error.error_len().is_some() || count == 0;
            }
        }
        self.is_end = count == 0 && !self.is_foreign;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Slow(Vec<u8>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = usize::from(!self.0.is_empty());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    fn all(bytes: &[u8]) -> (String, bool) {
        let mut feed = Feed::new(Box::new(Slow(bytes.to_vec())), Taken::default(), None);
        loop {
            match feed.more() {
                Ok(()) if feed.is_end() => return (feed.text().to_owned(), true),
                Ok(()) => {}
                Err(_) => return (feed.text().to_owned(), false),
            }
        }
    }

    #[test]
    fn characters_may_be_cut() {
        assert_eq!(all("é → 𝄞".as_bytes()), ("é → 𝄞".to_owned(), true));
        assert_eq!(all(b"ab\xffcd"), ("ab".to_owned(), false));
        assert_eq!(all(b"ab\xc3"), ("ab".to_owned(), false));
    }
}
