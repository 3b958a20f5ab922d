//! One line of a Redis script or query as words, quoted the way redis-cli quotes. Pure.

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its bytes, escapes resolved.
    pub bytes: Vec<u8>,
    /// Where it begins: a byte offset into the line.
    pub start: usize,
    /// It is written without any quote: `@file` counts only then.
    pub is_bare: bool,
}

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordError {
    /// 1-based, in characters.
    pub column: usize,
    /// A byte offset into the line.
    pub offset: usize,
    /// One line.
    pub why: &'static str,
}

impl std::fmt::Display for WordError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} (column {})", self.why, self.column)
    }
}

/// Splits a line into the bytes of its words.
///
/// # Errors
/// A quote that is not closed or is followed by text, with its column.
pub fn words(line: &str) -> Result<Vec<Vec<u8>>, WordError> {
    Ok(split(line)?.into_iter().map(|word| word.bytes).collect())
}

/// Splits a line into words with their places. The rules are those of redis-cli: double quotes know
/// `\n \r \t \a \b \xHH` and `\c` for any other character, single quotes know `\'` only.
///
/// # Errors
/// As [`words`].
pub fn split(line: &str) -> Result<Vec<Word>, WordError> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        if at >= bytes.len() {
            return Ok(found);
        }
        let mut word = Word { bytes: Vec::new(), start: at, is_bare: true };
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'"' | b'\'' => {
                    word.is_bare = false;
                    at = quoted(line, at, byte, &mut word.bytes)?;
                }
                _ if byte.is_ascii_whitespace() => break,
                _ => {
                    word.bytes.push(byte);
                    at += 1;
                }
            }
        }
        found.push(word);
    }
}

/// Reads from an opening quote and answers where the text goes on.
fn quoted(line: &str, open: usize, quote: u8, word: &mut Vec<u8>) -> Result<usize, WordError> {
    let bytes = line.as_bytes();
    let mut at = open + 1;
    loop {
        match (bytes.get(at), quote) {
            (None, _) => return Err(wrong(line, open, "this quote is not closed")),
            (Some(b'\\'), b'"') => match bytes.get(at + 1) {
                None => return Err(wrong(line, open, "this quote is not closed")),
                Some(b'x') if hex(bytes, at + 2).is_some() => {
                    word.extend(hex(bytes, at + 2));
                    at += 4;
                }
                Some(escaped) => {
                    word.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 0x08,
                        b'a' => 0x07,
                        other => *other,
                    });
                    at += 2;
                }
            },
            (Some(b'\\'), b'\'') if bytes.get(at + 1) == Some(&b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            (Some(&byte), _) if byte == quote => {
                at += 1;
                return match bytes.get(at) {
                    Some(next) if !next.is_ascii_whitespace() => {
                        Err(wrong(line, at, "a space is needed after a closing quote"))
                    }
                    _ => Ok(at),
                };
            }
            (Some(&byte), _) => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

fn hex(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok()
}

fn wrong(line: &str, offset: usize, why: &'static str) -> WordError {
    WordError { column: line[..offset].chars().count() + 1, offset, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        words(line).expect("words").iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }

    #[test]
    fn quoting_is_that_of_redis_cli() {
        assert_eq!(texts("  SET a  b "), ["SET", "a", "b"]);
        assert_eq!(texts(r#"SET "a b" 'c "d"' "#), ["SET", "a b", "c \"d\""]);
        assert_eq!(texts(r#"SET k "a\n\t\"\\\q" 'it\'s \n'"#), ["SET", "k", "a\n\t\"\\q", "it's \\n"]);
        assert_eq!(words(r#"SET k "\x00\xfF\xg""#).expect("words")[2], [0, 255, b'x', b'g']);
        assert_eq!(texts("SET k \"\" ''"), ["SET", "k", "", ""]);
        assert_eq!(texts("GET pre\"fix x\""), ["GET", "prefix x"]);
        assert!(texts(" \t ").is_empty());
        assert_eq!(texts("SET é 'ü ö'"), ["SET", "é", "ü ö"]);
    }

    #[test]
    fn errors_name_the_column_in_characters() {
        assert_eq!(words("SET é \"abc").expect_err("open").column, 7);
        assert_eq!(words("SET a 'b'c").expect_err("text after a quote").column, 10);
        assert_eq!(words("SET a \"b\\").expect_err("open").column, 7);
    }

    #[test]
    fn bare_words_are_told_from_quoted_ones() {
        let found = split("FUNCTION LOAD @lib.lua \"@x\"").expect("words");
        assert_eq!(found.iter().map(|word| word.is_bare).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(found[2].start, 14);
    }
}
