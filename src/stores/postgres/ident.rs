//! Quoting: the only way names and texts reach SQL. It knows no connection.

use std::fmt::{self, Write as _};

use crate::error::{Code, Error, Result};

/// The longest identifier PostgreSQL keeps, in bytes; longer ones would be cut silently.
pub const LONGEST: usize = 63;

/// A name that may be written into SQL: 1 to 63 bytes, no NUL, quotes doubled by [`fmt::Display`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident(String);

impl Ident {
    /// Takes a name as the server knows it, unquoted.
    ///
    /// # Errors
    /// `LYX-CONFIG-VALUE` where PostgreSQL could not keep the name as it is.
    pub fn new(name: &str) -> Result<Self> {
        let why = if name.is_empty() {
            "it is empty".to_owned()
        } else if name.contains('\0') {
            "it holds a NUL character".to_owned()
        } else if name.len() > LONGEST {
            format!("it has {} bytes and PostgreSQL keeps {LONGEST}", name.len())
        } else {
            return Ok(Self(name.to_owned()));
        };
        let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        Err(Error::new(Code::ConfigValue, format!("`{shown}` cannot be a name in PostgreSQL"))
            .why(why)
            .data("nothing was changed"))
    }

    /// The name as the server knows it, unquoted.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// A text as an SQL literal that reads the same whatever `standard_conforming_strings` says.
/// PostgreSQL knows no NUL character in texts; one would be left out.
pub fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 3);
    if text.contains('\\') {
        quoted.push_str(" E");
    }
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => {}
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A text or nothing, as an SQL literal.
pub fn literal_or_null(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), literal)
}

/// A table as the catalog of the project's schemas knows it, quoted: a bare name is one of the project's own schema (or, where
/// none is given, of the search path), any other `schema.table`.
///
/// # Errors
/// A name that PostgreSQL could not keep.
pub fn relation(own: Option<&str>, label: &str) -> Result<String> {
    match label.split_once('.').or(own.map(|schema| (schema, label))) {
        Some((schema, name)) => Ok(format!("{}.{}", Ident::new(schema)?, Ident::new(name)?)),
        None => Ok(Ident::new(label)?.to_string()),
    }
}

/// Bytes as an SQL literal of type bytea.
pub fn bytes_literal(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len() * 2 + 30);
    quoted.push_str("pg_catalog.decode('");
    for byte in bytes {
        let _ = write!(quoted, "{byte:02x}");
    }
    quoted.push_str("', 'hex')");
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_never_cut() {
        assert_eq!(Ident::new("a\"b").expect("a name").to_string(), "\"a\"\"b\"");
        assert!(Ident::new(&"x".repeat(63)).is_ok());
        for name in ["", "a\0b", &"x".repeat(64), &"ä".repeat(32)] {
            assert!(Ident::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn texts_cannot_leave_their_literal() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
        assert_eq!(literal_or_null(None), "NULL");
        assert_eq!(bytes_literal(&[0, 255]), "pg_catalog.decode('00ff', 'hex')");
    }
}
