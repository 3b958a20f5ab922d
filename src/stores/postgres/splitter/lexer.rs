//! PostgreSQL's lexical rules, as far as they decide where a statement ends: quotes, dollar quotes,
//! comments, words. The rules are those of the server's `scan.l`; it knows no grammar.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A keyword or an unquoted name.
    Word,
    /// A name in double quotes.
    Name,
    /// A string, in any of its forms.
    Text,
    /// A number or a parameter such as `$1`.
    Number,
    /// A single character of punctuation or of an operator.
    Symbol(u8),
}

/// Something that was opened and never closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// What it is: `string`, `comment`.
    pub what: &'static str,
    /// The byte offset at which it was opened.
    pub at: usize,
}

/// Reads tokens; white space and comments are passed over.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    /// `standard_conforming_strings = off`: a backslash escapes in plain strings too.
    pub has_escapes: bool,
}

/// Letters, the underscore, and every byte of a character beyond ASCII.
const fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

const fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// [`continues_word`] for each byte: large files are mostly words and strings.
const CONTINUES_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "it is below 256")]
        let is_part = continues_word(byte as u8);
        table[byte] = is_part;
        byte += 1;
    }
    table
};

impl<'a> Lexer<'a> {
    /// Begins at a byte offset of the text.
    pub fn new(text: &'a str, at: usize) -> Self {
        Self { bytes: text.as_bytes(), at, has_escapes: false }
    }

    /// The offset behind the last token.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes on at another offset.
    pub fn jump(&mut self, at: usize) {
        self.at = at;
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next token; none at the end of the text.
    ///
    /// # Errors
    /// A quote or comment that is not closed.
    pub fn token(&mut self) -> Result<Option<(Token, Range<usize>)>, Open> {
        self.skip_space()?;
        let start = self.at;
        let Some(&byte) = self.bytes.get(start) else { return Ok(None) };
        let token = match byte {
            b'\'' => {
                self.string(start, start, self.has_escapes)?;
                Token::Text
            }
            b'"' => {
                self.quoted(start, start, b'"', "quoted name")?;
                Token::Name
            }
            b'$' => self.dollar(start)?,
            b'0'..=b'9' => {
                self.number();
                Token::Number
            }
            b'.' if self.peek(1).is_ascii_digit() => {
                self.number();
                Token::Number
            }
            byte if starts_word(byte) => self.word(start)?,
            byte => {
                self.at += 1;
                Token::Symbol(byte)
            }
        };
        Ok(Some((token, start..self.at)))
    }

    fn skip_space(&mut self) -> Result<(), Open> {
        loop {
            match self.peek(0) {
                byte if is_space(byte) => self.at += 1,
                b'-' if self.peek(1) == b'-' => self.line_comment(),
                b'/' if self.peek(1) == b'*' => self.block_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn line_comment(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
    }

    fn block_comment(&mut self) -> Result<(), Open> {
        let start = self.at;
        let mut depth = 0usize;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => self.at += 1,
            }
        }
        Err(Open { what: "comment", at: start })
    }

    /// Up to the closing quote; a doubled quote stands for itself.
    fn quoted(&mut self, start: usize, quote_at: usize, quote: u8, what: &'static str) -> Result<(), Open> {
        self.at = quote_at + 1;
        while let Some(found) = self.bytes[self.at.min(self.bytes.len())..].iter().position(|byte| *byte == quote) {
            self.at += found + 1;
            if self.peek(0) != quote {
                return Ok(());
            }
            self.at += 1;
        }
        self.at = self.bytes.len();
        Err(Open { what, at: start })
    }

    fn string(&mut self, start: usize, quote_at: usize, has_escapes: bool) -> Result<(), Open> {
        if !has_escapes {
            return self.quoted(start, quote_at, b'\'', "string");
        }
        self.at = quote_at + 1;
        loop {
            let Some(&byte) = self.bytes.get(self.at) else { return Err(Open { what: "string", at: start }) };
            self.at += 1;
            match byte {
                b'\\' => self.at = (self.at + 1).min(self.bytes.len()),
                b'\'' if self.peek(0) == b'\'' => self.at += 1,
                // After a line break the string may go on in a further pair of quotes, escapes included.
                b'\'' => match self.continuation() {
                    Some(next) => self.at = next + 1,
                    None => return Ok(()),
                },
                _ => {}
            }
        }
    }

    /// The quote that continues a string on a later line.
    fn continuation(&self) -> Option<usize> {
        let mut ahead = self.clone();
        let mut has_line_break = false;
        loop {
            match ahead.peek(0) {
                byte if is_space(byte) => {
                    has_line_break |= matches!(byte, b'\n' | b'\r');
                    ahead.at += 1;
                }
                b'-' if ahead.peek(1) == b'-' => ahead.line_comment(),
                b'\'' if has_line_break => return Some(ahead.at),
                _ => return None,
            }
        }
    }

    fn dollar(&mut self, start: usize) -> Result<Token, Open> {
        if self.peek(1).is_ascii_digit() {
            self.at += 1;
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            return Ok(Token::Number);
        }
        let mut end = start + 1;
        if self.bytes.get(end).copied().is_some_and(starts_word) {
            while self.bytes.get(end).is_some_and(|byte| continues_word(*byte) && *byte != b'$') {
                end += 1;
            }
        }
        if self.bytes.get(end) != Some(&b'$') {
            self.at += 1;
            return Ok(Token::Symbol(b'$'));
        }
        let tag = &self.bytes[start..=end];
        let body = end + 1;
        let mut from = body;
        // Looking for the tag's first byte first is what makes long bodies fast.
        while let Some(found) = self.bytes[from..].iter().position(|byte| *byte == b'$') {
            if self.bytes[from + found..].starts_with(tag) {
                self.at = from + found + tag.len();
                return Ok(Token::Text);
            }
            from += found + 1;
        }
        Err(Open { what: "dollar-quoted text", at: start })
    }

    fn number(&mut self) {
        loop {
            let byte = self.peek(0);
            let is_range = byte == b'.' && self.peek(1) == b'.';
            if (byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.') && !is_range {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn word(&mut self, start: usize) -> Result<Token, Open> {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().position(|byte| !CONTINUES_WORD[usize::from(*byte)]).unwrap_or(rest.len());
        if self.at - start > 1 {
            return Ok(Token::Word);
        }
        let prefix = &self.bytes[start..self.at];
        match (prefix, self.peek(0), self.peek(1)) {
            (b"e" | b"E", b'\'', _) => {
                self.string(start, self.at, true)?;
                Ok(Token::Text)
            }
            (b"b" | b"B" | b"x" | b"X", b'\'', _) => {
                self.string(start, self.at, false)?;
                Ok(Token::Text)
            }
            (b"n" | b"N", b'\'', _) => {
                self.string(start, self.at, self.has_escapes)?;
                Ok(Token::Text)
            }
            (b"u" | b"U", b'&', b'\'') => {
                self.string(start, self.at + 1, false)?;
                Ok(Token::Text)
            }
            (b"u" | b"U", b'&', b'"') => {
                self.quoted(start, self.at + 1, b'"', "quoted name")?;
                Ok(Token::Name)
            }
            _ => Ok(Token::Word),
        }
    }
}
