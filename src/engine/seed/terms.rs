//! Values of seed files, read: what is literal, what refers to a row, what is made. A term is read
//! before anything is contacted; it is settled when the rows it refers to are known.

use jiff::Timestamp;
use serde_json::{Map, Number, Value as Json, json};

use super::references::{Names, Reference};
use super::transforms::{self, NAMES, Password};
use crate::config::Variables;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::seed::{Field, Node, NodeKind, nearest};
use crate::secret::Secret;

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
    /// A list.
    List(Vec<Self>),
    /// A table. True: written as `{ json = ... }`, so it is meant as one value.
    Table(Vec<(String, Self)>, bool),
}

/// What reading a value needs.
pub struct Reader<'a> {
    /// The rows that can be referred to.
    pub names: &'a Names,
    /// The variables in force.
    pub variables: &'a Variables,
    /// The instant of the run: one for all rows.
    pub now: Timestamp,
    /// The store that the values are for.
    pub store: StoreKind,
}

impl Reader<'_> {
    /// Reads a field's value.
    ///
    /// # Errors
    /// `LYX-SEED-REFERENCE`, or `LYX-SEED-FILE` for a transform that cannot be used, with its place.
    pub fn read(&self, field: &Field) -> Result<Term> {
        self.node(field, &field.node)
    }

    fn node(&self, field: &Field, node: &Node) -> Result<Term> {
        Ok(match &node.kind {
            NodeKind::Bool(value) => Term::Literal(json!(value)),
            NodeKind::Integer(value) => Term::Literal(json!(value)),
            NodeKind::Float(value, digits) => match Number::from_f64(*value) {
                Some(number) => Term::Digits(number, digits.replace('_', "")),
                None if self.store == StoreKind::Mongodb => {
                    let word = if value.is_nan() {
                        "NaN"
                    } else if *value > 0.0 {
                        "Infinity"
                    } else {
                        "-Infinity"
                    };
                    Term::Literal(json!({ "$numberDouble": word }))
                }
                None => Term::Literal(json!(digits)),
            },
            NodeKind::Date(date) => Term::Literal(self.date(field, node, date)?),
            NodeKind::Text(text) => match text.strip_prefix('@') {
                Some(rest) if rest.starts_with('@') => Term::Literal(json!(rest)),
                Some(rest) => Term::Reference(self.names.resolve(self.store, rest, field.place_of(node))?),
                None => Term::Literal(json!(text)),
            },
            NodeKind::List(items) => {
                Term::List(items.iter().map(|item| self.node(field, item)).collect::<Result<_>>()?)
            }
            NodeKind::Table(entries) => match entries.as_slice() {
                [(name, inner)] if NAMES.contains(&name.as_str()) => self.transform(field, name, inner)?,
                entries => Term::Table(self.entries(field, entries)?, false),
            },
        })
    }

    fn entries(&self, field: &Field, entries: &[(String, Node)]) -> Result<Vec<(String, Term)>> {
        entries.iter().map(|(name, node)| Ok((name.clone(), self.node(field, node)?))).collect()
    }

    fn transform(&self, field: &Field, name: &str, node: &Node) -> Result<Term> {
        let refuse = |why: String| {
            Error::new(Code::SeedFile, format!("`{{ {name} = ... }}` cannot be used"))
                .why(why)
                .at(field.place_of(node))
                .data("nothing was changed")
        };
        if name == "json" {
            return Ok(match self.node(field, node)? {
                Term::Table(entries, _) => Term::Table(entries, true),
                other => other,
            });
        }
        let NodeKind::Text(text) = &node.kind else { return Err(refuse("its value is not a text".into())) };
        Ok(match name {
            "ref" => Term::Reference(self.names.resolve(self.store, text, field.place_of(node))?),
            "argon2id" => Term::Password(Password::Argon2id(Secret::new(text))),
            "bcrypt" => Term::Password(Password::Bcrypt(Secret::new(text))),
            "env" => {
                let (value, _) = self.variables.get(text).ok_or_else(|| {
                    refuse(format!("the variable {text} is not set"))
                        .hint(format!("set {text} in the environment or in .env"))
                })?;
                Term::Literal(json!(Secret::new(value).expose()))
            }
            "now" => Term::First(self.instant(transforms::instant(self.now, text).map_err(refuse)?)),
            _ => Term::First(json!(transforms::random_id(text).map_err(refuse)?)),
        })
    }

    fn instant(&self, time: Timestamp) -> Json {
        match self.store {
            StoreKind::Mongodb => json!({ "$date": { "$numberLong": time.as_millisecond().to_string() } }),
            _ => json!(time.to_string()),
        }
    }

    /// Dates without a zone are of UTC.
    fn date(&self, field: &Field, node: &Node, date: &toml::value::Datetime) -> Result<Json> {
        if self.store != StoreKind::Mongodb || date.date.is_none() {
            return Ok(json!(date.to_string()));
        }
        let mut text = date.to_string();
        if date.time.is_none() {
            text.push_str("T00:00:00");
        }
        if date.offset.is_none() {
            text.push('Z');
        }
        let time: Timestamp = text.parse().map_err(|_| {
            Error::new(Code::SeedFile, format!("`{date}` is no time"))
                .at(field.place_of(node))
                .data("nothing was changed")
        })?;
        Ok(self.instant(time))
    }
}

impl Term {
    /// Everything it refers to.
    pub fn references<'a>(&'a self, found: &mut Vec<&'a Reference>) {
        match self {
            Self::Reference(reference) => found.push(reference),
            Self::List(items) => items.iter().for_each(|item| item.references(found)),
            Self::Table(entries, _) => entries.iter().for_each(|(_, item)| item.references(found)),
            Self::Literal(_) | Self::Digits(..) | Self::First(_) | Self::Password(_) => {}
        }
    }

    /// Whether its value depends on what is stored.
    pub fn is_made(&self) -> bool {
        match self {
            Self::First(_) | Self::Password(_) => true,
            Self::List(items) => items.iter().any(Self::is_made),
            Self::Table(entries, _) => entries.iter().any(|(_, item)| item.is_made()),
            Self::Literal(_) | Self::Digits(..) | Self::Reference(_) => false,
        }
    }

    /// The value; none while a row that it refers to is not known. `stored` is what the row has now.
    ///
    /// # Errors
    /// A password that cannot be hashed.
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
