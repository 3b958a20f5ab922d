//! Values that may still depend on other rows and on what is stored: settled when these are known.

use base64::Engine as _;
use serde_json::{Map, Number, Value as Json, json};

use super::encrypted::{self, Encrypted};
use super::references::Reference;
use super::transforms::{NAMES, Password};
use crate::error::{Code, Error, Place, Result};
use crate::project::seed::{Field, NodeKind, nearest};

/// A value that may still depend on other rows and on what is stored.
#[derive(Clone, Debug)]
pub enum Term {
    /// As it is.
    Literal(Json),
    /// A number with its digits, which may be more than a float keeps.
    Digits(Number, String),
    /// Another row's id or field.
    Reference(Reference),
    /// Made for a new row; an existing one keeps what it has.
    First(Json),
    /// Stored as a hash; a hash that verifies is kept.
    Password(Password),
    /// Stored encrypted; what decrypts to the same text is kept. True: as bytes, not as a text.
    Encrypted(Box<Encrypted>, bool),
    /// The bytes of a file; as base64 where the column takes a text.
    File(Vec<u8>),
    /// A list.
    List(Vec<Self>),
    /// A table. True: written as `{ json = ... }`, so it is meant as one value.
    Table(Vec<(String, Self)>, bool),
}

impl Term {
    /// Everything it refers to.
    pub fn references<'a>(&'a self, found: &mut Vec<&'a Reference>) {
        match self {
            Self::Reference(reference) => found.push(reference),
            Self::List(items) => items.iter().for_each(|item| item.references(found)),
            Self::Table(entries, _) => entries.iter().for_each(|(_, item)| item.references(found)),
            _ => {}
        }
    }

    /// Whether its value depends on what is stored.
    pub fn is_made(&self) -> bool {
        match self {
            Self::First(_) | Self::Password(_) | Self::Encrypted(..) => true,
            Self::List(items) => items.iter().any(Self::is_made),
            Self::Table(entries, _) => entries.iter().any(|(_, item)| item.is_made()),
            Self::Literal(_) | Self::Digits(..) | Self::Reference(_) | Self::File(_) => false,
        }
    }

    /// The value; none while a row that it refers to is not known. `stored` is what the row has now.
    ///
    /// # Errors
    /// A password that cannot be hashed, a text that cannot be encrypted.
    pub fn settle(&self, look: &impl Fn(&Reference) -> Option<Json>, stored: Option<&Json>) -> Result<Option<Json>> {
        Ok(Some(match self {
            Self::Literal(value) => value.clone(),
            Self::Digits(number, _) => Json::Number(number.clone()),
            Self::Reference(reference) => return Ok(look(reference)),
            Self::First(new) => stored.unwrap_or(new).clone(),
            Self::Password(password) => match stored.and_then(Json::as_str) {
                Some(hash) if password.keeps(hash) => json!(hash),
                _ => json!(password.hash()?),
            },
            Self::Encrypted(value, is_bytes) => {
                let read = if *is_bytes { encrypted::from_hex } else { encrypted::from_text };
                match stored.and_then(Json::as_str) {
                    Some(text) if read(text).is_some_and(|bytes| value.opens(&bytes)) => json!(text),
                    _ if *is_bytes => json!(encrypted::to_hex(&value.seal()?)),
                    _ => json!(encrypted::to_text(&value.seal()?)),
                }
            }
            Self::File(bytes) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Self::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    let Some(value) = item.settle(look, stored.and_then(|stored| stored.get(at)))? else {
                        return Ok(None);
                    };
                    list.push(value);
                }
                Json::Array(list)
            }
            Self::Table(entries, _) => {
                let mut table = Map::new();
                for (name, item) in entries {
                    let Some(value) = item.settle(look, stored.and_then(|stored| stored.get(name)))? else {
                        return Ok(None);
                    };
                    table.insert(name.clone(), value);
                }
                Json::Object(table)
            }
        }))
    }
}

/// The error of a table where the column takes none: most likely a transform that does not exist.
pub fn no_table(field: &Field) -> Error {
    let name = match &field.node.kind {
        NodeKind::Table(entries) => entries.first().map_or("", |(name, _)| name.as_str()),
        _ => "",
    };
    let list = NAMES.join(", ");
    // A mistyped transform may hold a password that nobody has registered yet: the line is not shown.
    let place = Place { text: None, ..field.place_of(&field.node) };
    let error = Error::new(Code::SeedFile, format!("`{name}` is no transform"))
        .why(format!("the transforms are {list}; column `{}` takes no table", field.name))
        .at(place)
        .data("nothing was changed");
    match nearest(name, NAMES.into_iter()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("a table as JSON text is written { json = { ... } }"),
    }
}
