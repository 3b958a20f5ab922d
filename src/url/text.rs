//! Passwords inside other text: logs, listings, error messages of other tools. Masks too much rather
//! than too little. It must not know where the text comes from.

use crate::secret::{MASK, redact};

/// Masks passwords of URLs, values of `password=` and every registered secret in a piece of text.
pub fn mask(text: &str) -> String {
    redact(&mask_forms(text)).into_owned()
}

/// What can be told by its form alone.
fn mask_forms(text: &str) -> String {
    mask_assignments(&mask_urls(text))
}

/// Masks what stands between the first `:` and the last `@` of whatever follows `scheme://`.
fn mask_urls(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, after) = rest.split_at(at + 3);
        result.push_str(head);
        // A raw password may hold quotes and brackets, so that only white space ends a URL for certain.
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let end = next_url(&after[..end]).unwrap_or(end);
        result.push_str(&mask_login(&after[..end]));
        rest = &after[end..];
    }
    result.push_str(rest);
    result
}

/// Where the next URL of a list begins, so that a list is not taken as one. Only schemes that are known: a
/// password may hold `://` itself.
fn next_url(text: &str) -> Option<usize> {
    const SCHEMES: [&str; 10] =
        ["postgres", "postgresql", "mongodb", "mongodb+srv", "redis", "rediss", "valkey", "valkeys", "http", "https"];
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.match_indices("://").find_map(|(at, _)| {
        let start = text[..at].trim_end_matches(is_scheme).len();
        (start > 0 && SCHEMES.contains(&text[start..at].to_ascii_lowercase().as_str())).then_some(start)
    })
}

fn mask_login(text: &str) -> String {
    let Some(colon) = text.find(':') else {
        // `https://token@host`: a lone word before the `@` may be a token; a bare name stays.
        return match text.rfind('@') {
            Some(at) if !text[..at].contains(['/', '?']) && text[..at].len() > 20 => format!("{MASK}{}", &text[at..]),
            _ => text.to_owned(),
        };
    };
    match text.rfind('@').filter(|at| *at > colon) {
        Some(at) => format!("{}:{MASK}{}", &text[..colon], &text[at..]),
        None => {
            // Without an `@` a colon separates host and port; anything else may be half a password.
            let after = &text[colon + 1..];
            let port = after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
            let is_port = !port.is_empty()
                && after[port.len()..].chars().next().is_none_or(|c| !c.is_alphanumeric())
                && !text[..colon].is_empty();
            let is_place = is_port || text.starts_with('[') || text[..colon].contains(['/', '?', '"', '\'', ',', ')']);
            if is_place { text.to_owned() } else { format!("{}:{MASK}", &text[..colon]) }
        }
    }
}

/// Masks the value of `password=...` and its kin, quoted or not.
fn mask_assignments(text: &str) -> String {
    const NAMES: [&str; 5] = ["password=", "passwd=", "pwd=", "secret=", "token="];
    let lower = text.to_ascii_lowercase();
    let mut result = String::with_capacity(text.len());
    let mut position = 0;
    while let Some((start, name)) =
        NAMES.iter().filter_map(|name| Some((position + lower[position..].find(name)?, *name))).min()
    {
        let value = start + name.len();
        result.push_str(&text[position..value]);
        let rest = &text[value..];
        let length = match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
            _ => rest.find(|c: char| c.is_whitespace() || c == '&' || c == ';').unwrap_or(rest.len()),
        };
        if length > 0 {
            result.push_str(MASK);
        }
        position = value + length;
    }
    result.push_str(&text[position..]);
    result
}

/// Masks a stream piece by piece: whole lines, and of an endless line all but its last word.
#[derive(Debug, Default)]
pub struct Masker {
    held: Vec<u8>,
}

/// A line longer than this is masked in pieces that end at white space.
const LONGEST: usize = 1 << 20;

impl Masker {
    /// Takes the next bytes and gives out what is certain.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let end = match self.held.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if self.held.len() > LONGEST => {
                self.held.iter().rposition(u8::is_ascii_whitespace).map_or(self.held.len(), |at| at + 1)
            }
            None => return String::new(),
        };
        let rest = self.held.split_off(end);
        let ready = std::mem::replace(&mut self.held, rest);
        mask(&String::from_utf8_lossy(&ready))
    }

    /// Gives out what is left at the end.
    pub fn finish(self) -> String {
        mask(&String::from_utf8_lossy(&self.held))
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::utf8_percent_encode;
    use proptest::prelude::*;

    use super::*;
    use crate::secret::STRICT;

    #[test]
    fn passwords_are_masked_and_the_rest_stays() {
        for (text, expected) in [
            ("connect postgres://u:pw@h:5432/db failed", "connect postgres://u:***@h:5432/db failed"),
            ("redis://:s@cret@h, and more", "redis://:***@h, and more"),
            ("a=mongodb+srv://u:p/w?x@c.net/db;", "a=mongodb+srv://u:***@c.net/db;"),
            ("postgres://u:a@h1/x,redis://:b@h2", "postgres://u:***@h1/x,redis://:***@h2"),
            ("http://localhost:8080/path?x=1", "http://localhost:8080/path?x=1"),
            ("see https://example.com/a:b", "see https://example.com/a:b"),
            ("http://[::1]:80/", "http://[::1]:80/"),
            ("half postgres://u:pa?ss tail", "half postgres://u:*** tail"),
            ("postgresql:///db?host=/run&password=x%41y&user=u", "postgresql:///db?host=/run&password=***&user=u"),
            ("PGPASSWORD='a b' psql", "PGPASSWORD=*** psql"),
            ("password=\"a b", "password=***"),
            ("plain text: no secret @ all", "plain text: no secret @ all"),
        ] {
            assert_eq!(mask_forms(text), expected, "{text}");
        }
    }

    #[test]
    fn a_stream_is_masked_across_its_pieces() {
        let text = "one postgres://u:verylongsecret@h/db\ntwo redis://:verylongsecret@h\nthree";
        for size in 1..text.len() {
            let mut masker = Masker::default();
            let mut shown: String = text.as_bytes().chunks(size).map(|chunk| masker.push(chunk)).collect();
            shown.push_str(&masker.finish());
            assert_eq!(shown, "one postgres://u:***@h/db\ntwo redis://:***@h\nthree");
        }
    }

    proptest! {
        #[test]
        fn no_password_survives_raw_or_encoded(password in "[!-~]{8,24}") {
            for written in [password.clone(), utf8_percent_encode(&password, STRICT).to_string()] {
                for tail in ["h:5432/db", "h,i/db?x=1", "[::1]/0"] {
                    let shown = mask_forms(&format!("error at postgres://user:{written}@{tail} now\n"));
                    prop_assert!(!shown.contains(&written), "{}", shown);
                    prop_assert!(shown.ends_with(" now\n"), "{}", shown);
                }
            }
        }
    }
}
