//! Comma-separated values as RFC 4180 has them: fields in quotes hold commas, quotes (doubled) and line
//! breaks. An empty field is NULL unless it is quoted. Lines end with LF or CRLF; empty lines are skipped.

use super::feed::{Feed, Stop};
use crate::stores::source::Row;

/// What is wrong with a record.
#[derive(Debug)]
pub enum Wrong {
    /// No more text comes.
    Stop(Stop),
    /// After a closing quote comes something else than a comma or the end of the line.
    AfterQuote,
    /// The file ends within quotes.
    Open,
}

/// A file's records.
pub struct Records {
    feed: Feed,
    /// The line that the next record begins on.
    line: u64,
    /// The line that the last record began on, and its length in bytes.
    last: (u64, usize),
}

enum Parsed {
    Record { length: usize, lines: u64 },
    Incomplete,
    Open,
    AfterQuote { at: usize },
}

impl Records {
    /// Reads from the beginning; a byte-order mark is no part of the first field.
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
        Ok(Self { feed, line: 1, last: (1, 0) })
    }

    /// The next record; false at the end.
    ///
    /// # Errors
    /// See [`Wrong`]; [`Self::line`] tells where.
    pub fn read(&mut self, row: &mut Row) -> Result<bool, Wrong> {
        loop {
            self.last = (self.line, 0);
            let text = self.feed.text();
            let empty = if text.starts_with('\n') {
                1
            } else if text.starts_with("\r\n") {
                2
            } else {
                0
            };
            if empty > 0 {
                self.feed.consume(empty);
                self.line += 1;
                continue;
            }
            if text.is_empty() && self.feed.is_end() {
                row.clear();
                return Ok(false);
            }
            row.clear();
            match parse(text, self.feed.is_end(), row) {
                Parsed::Record { length, lines } => {
                    self.feed.consume(length);
                    self.last = (self.line, length);
                    self.line += lines;
                    return Ok(true);
                }
                Parsed::Incomplete => self.feed.more().map_err(Wrong::Stop)?,
                Parsed::Open => return Err(Wrong::Open),
                Parsed::AfterQuote { at } => match memchr::memchr(b'\n', &text.as_bytes()[at..]) {
                    None if !self.feed.is_end() => self.feed.more().map_err(Wrong::Stop)?,
                    end => {
                        // The line is given up; reading may go on behind it.
                        let length = end.map_or(text.len(), |end| at + end + 1);
                        let lines = memchr::memchr_iter(b'\n', &text.as_bytes()[..length]).count() as u64;
                        self.feed.consume(length);
                        self.last = (self.line, length);
                        self.line += lines;
                        return Err(Wrong::AfterQuote);
                    }
                },
            }
        }
    }

    /// The line that the last record began on.
    pub const fn line(&self) -> u64 {
        self.last.0
    }

    /// The text of the last record, as it is written.
    pub fn text(&self) -> &str {
        self.feed.last(self.last.1).trim_end_matches(['\r', '\n'])
    }

    /// What the feed tells of its progress.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.feed.progress()
    }
}

fn parse(text: &str, is_end: bool, row: &mut Row) -> Parsed {
    let bytes = text.as_bytes();
    let (mut at, mut lines) = (0, 1);
    loop {
        // At the beginning of a field.
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            loop {
                let Some(found) = memchr::memchr(b'"', &bytes[at..]) else {
                    return if is_end { Parsed::Open } else { Parsed::Incomplete };
                };
                let part = &text[at..at + found];
                lines += memchr::memchr_iter(b'\n', part.as_bytes()).count() as u64;
                row.open_text().push_str(part);
                at += found + 1;
                if bytes.get(at) != Some(&b'"') {
                    break;
                }
                row.open_text().push('"');
                at += 1;
            }
            row.close_text();
            match (bytes.get(at), bytes.get(at + 1)) {
                (Some(b','), _) => at += 1,
                (Some(b'\n'), _) => return Parsed::Record { length: at + 1, lines },
                (Some(b'\r'), Some(b'\n')) => return Parsed::Record { length: at + 2, lines },
                (None, _) | (Some(b'\r'), None) if !is_end => return Parsed::Incomplete,
                (None, _) => return Parsed::Record { length: at, lines },
                (Some(b'\r'), None) => return Parsed::Record { length: at + 1, lines },
                _ => return Parsed::AfterQuote { at },
            }
            continue;
        }
        let (end, is_last, length) = match memchr::memchr2(b',', b'\n', &bytes[at..]) {
            Some(found) if bytes[at + found] == b',' => (at + found, false, at + found + 1),
            Some(found) => (at + found, true, at + found + 1),
            None if is_end => (bytes.len(), true, bytes.len()),
            None => return Parsed::Incomplete,
        };
        let mut field = &text[at..end];
        if is_last {
            field = field.strip_suffix('\r').unwrap_or(field);
        }
        if field.is_empty() {
            row.push_null()
        } else {
            row.push_text(field)
        }
        if is_last {
            return Parsed::Record { length, lines };
        }
        at = length;
    }
}

#[cfg(test)]
mod tests {
    use super::super::feed::Taken;
    use super::*;
    use crate::stores::source::Cell;

    /// Every record as its line and its fields, NULL as `~`.
    fn read(text: &str) -> Result<Vec<String>, String> {
        let feed = Feed::new(Box::new(std::io::Cursor::new(text.as_bytes().to_vec())), Taken::default(), None);
        let mut records = Records::new(feed).map_err(|_| "stop".to_owned())?;
        let (mut row, mut all) = (Row::default(), Vec::new());
        loop {
            match records.read(&mut row) {
                Ok(false) => return Ok(all),
                Ok(true) => {
                    let cell = |cell| if let Cell::Text(text) = cell { format!("[{text}]") } else { "~".to_owned() };
                    all.push(format!("{}{}", records.line(), row.cells().map(cell).collect::<String>()));
                }
                Err(wrong) => return Err(format!("{}: {wrong:?}", records.line())),
            }
        }
    }

    #[test]
    fn the_traps_of_csv() {
        let table: [(&str, &[&str]); 13] = [
            ("a,b\n1,2\n", &["1[a][b]", "2[1][2]"]),
            ("\u{feff}a,b\r\n1,2\r\n", &["1[a][b]", "2[1][2]"]),
            ("\u{feff}\"a\",b", &["1[a][b]"]),
            ("a,b,c\n,\"\",\n", &["1[a][b][c]", "2~[]~"]),
            ("a\n\"x,y\"\n\"q \"\"q\"\" q\"\n", &["1[a]", "2[x,y]", "3[q \"q\" q]"]),
            ("a,b\n\"one\ntwo\r\nthree\",2\n3,4", &["1[a][b]", "2[one\ntwo\r\nthree][2]", "5[3][4]"]),
            ("a\n\n\r\n1\n\n", &["1[a]", "4[1]"]),
            ("a,b\n5\" nail,x\"y\n", &["1[a][b]", "2[5\" nail][x\"y]"]),
            ("a,b\n1\r2,3\n", &["1[a][b]", "2[1\r2][3]"]),
            ("a,b\n1,\n,\n", &["1[a][b]", "2[1]~", "3~~"]),
            ("a\n\\N\n\\.\nNULL\n", &["1[a]", "2[\\N]", "3[\\.]", "4[NULL]"]),
            ("a,b\n \"x\",y \n", &["1[a][b]", "2[ \"x\"][y ]"]),
            ("", &[]),
        ];
        for (text, wanted) in table {
            assert_eq!(read(text).expect(text), wanted, "{text:?}");
        }
        assert_eq!(read("a\n1\n\"open\nand\n").expect_err("open"), "3: Open");
        assert_eq!(read("a,b\n\"x\"y,1\n").expect_err("junk"), "2: AfterQuote");
    }

    #[test]
    fn a_record_may_be_longer_than_a_piece() {
        let long = "x".repeat(1 << 20);
        let all = read(&format!("a,b\n\"{long}\n\",1\n2,3\n")).expect("records");
        assert_eq!(all.len(), 3);
        assert_eq!(all[1].len(), "2[".len() + long.len() + "\n][1]".len());
        assert_eq!(all[2], "4[2][3]");
    }
}
