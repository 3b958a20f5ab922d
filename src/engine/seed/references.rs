//! Names of rows and what refers to them. Pure.

use std::fmt;

use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::seed::{Set, nearest};

/// A named row, or a field of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The store.
    pub store: StoreKind,
    /// The table, collection or key space.
    pub target: String,
    /// The row's name.
    pub row: String,
    /// The field; none: the row's id.
    pub field: Option<String>,
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.store, self.target, self.row)?;
        match &self.field {
            Some(field) => write!(out, ".{field}"),
            None => Ok(()),
        }
    }
}

/// Every named row of a set.
#[derive(Debug)]
pub struct Names(Vec<(StoreKind, String, String)>);

impl Names {
    /// Collects them.
    pub fn of(set: &Set) -> Self {
        let rows = set
            .tables
            .iter()
            .flat_map(|table| table.rows.iter().map(|row| (table.store, table.target.clone(), row.name.clone())));
        Self(rows.collect())
    }

    /// Adds a row of another set.
    pub fn add(&mut self, store: StoreKind, target: &str, row: &str) {
        self.0.push((store, target.to_owned(), row.to_owned()));
    }

    /// Whether a text refers to one of the rows.
    pub fn holds(&self, store: StoreKind, text: &str) -> bool {
        self.known(store, text).is_some()
    }

    /// What a text refers to, if to any row here.
    pub fn known(&self, store: StoreKind, text: &str) -> Option<Reference> {
        let other = text.split_once('.').and_then(|(first, rest)| Some((first.parse::<StoreKind>().ok()?, rest)));
        self.find(store, text).or_else(|| other.and_then(|(store, rest)| self.find(store, rest)))
    }

    /// What a text refers to: `Table.row`, `Table.row.field`, with a store's name before it or without.
    ///
    /// # Errors
    /// `LYX-SEED-REFERENCE` with the nearest name.
    pub fn resolve(&self, store: StoreKind, text: &str, place: Place) -> Result<Reference> {
        self.known(store, text).ok_or_else(|| self.unknown(store, text, place))
    }

    fn find(&self, store: StoreKind, text: &str) -> Option<Reference> {
        let matching = self.0.iter().filter(|(kind, ..)| *kind == store).filter_map(|(_, target, row)| {
            let rest = text.strip_prefix(target.as_str())?.strip_prefix('.')?.strip_prefix(row.as_str())?;
            let field = match rest.strip_prefix('.') {
                Some(field) if !field.is_empty() => Some(field.to_owned()),
                None if rest.is_empty() => None,
                _ => return None,
            };
            Some(Reference { store, target: target.clone(), row: row.clone(), field })
        });
        // Names may hold dots: the longest name that fits is meant.
        matching.max_by_key(|reference| reference.target.len() + reference.row.len())
    }

    fn unknown(&self, store: StoreKind, text: &str, place: Place) -> Error {
        let error = Error::new(Code::SeedReference, format!("`{text}` refers to no row of this or another set"))
            .at(place)
            .data("nothing was changed");
        if let Some(elsewhere) =
            StoreKind::ALL.into_iter().filter(|kind| *kind != store).find_map(|kind| self.find(kind, text))
        {
            return error
                .why("unqualified names are rows of the same store")
                .hint(format!("did you mean `{elsewhere}`?"));
        }
        let own: Vec<String> = self
            .0
            .iter()
            .map(
                |(kind, target, row)| {
                    if *kind == store { format!("{target}.{row}") } else { format!("{kind}.{target}.{row}") }
                },
            )
            .collect();
        match nearest(text, own.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if text.contains('.') => error
                .hint(format!("add [rows.NAME] to the file of that target, name a stored row by its key ({{ ref = \"TARGET\", where = {{ ... }} }}), or write `@@{text}` for the text itself")),
            None => error
                .hint(format!("a reference is written `@Table.row`; a text that begins with @ is written `@@{text}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let row = |store, target: &str, row: &str| (store, target.to_owned(), row.to_owned());
        Names(vec![
            row(StoreKind::Postgres, "User", "pedro"),
            row(StoreKind::Postgres, "User", "pedro.b"),
            row(StoreKind::Postgres, "audit.Event", "first"),
            row(StoreKind::Mongodb, "conversations", "hello"),
        ])
    }

    #[test]
    fn names_resolve_with_and_without_a_store_and_a_field() {
        let resolve = |store, text: &str| {
            names().resolve(store, text, Place::file("f.toml")).map(|reference| reference.to_string())
        };
        let postgres = StoreKind::Postgres;
        assert_eq!(resolve(postgres, "User.pedro").ok().as_deref(), Some("postgres.User.pedro"));
        assert_eq!(resolve(postgres, "User.pedro.email").ok().as_deref(), Some("postgres.User.pedro.email"));
        assert_eq!(resolve(postgres, "User.pedro.b.email").ok().as_deref(), Some("postgres.User.pedro.b.email"));
        assert_eq!(resolve(postgres, "audit.Event.first").ok().as_deref(), Some("postgres.audit.Event.first"));
        assert_eq!(resolve(StoreKind::Redis, "postgres.User.pedro").ok().as_deref(), Some("postgres.User.pedro"));
        assert_eq!(
            resolve(postgres, "mongodb.conversations.hello").ok().as_deref(),
            Some("mongodb.conversations.hello")
        );
    }

    #[test]
    fn an_unknown_name_comes_with_the_nearest_one() {
        let hint = |store, text: &str| {
            let error = names().resolve(store, text, Place::file("f.toml")).expect_err(text);
            assert_eq!(error.code(), Code::SeedReference);
            error.hint_text().unwrap_or_default().to_owned()
        };
        assert_eq!(hint(StoreKind::Postgres, "User.perdo"), "did you mean `User.pedro`?");
        assert_eq!(hint(StoreKind::Mongodb, "User.pedro"), "did you mean `postgres.User.pedro`?");
        assert!(hint(StoreKind::Postgres, "handle").contains("@@handle"));
        assert!(hint(StoreKind::Postgres, "User.pedro.").contains("User.pedro"));
    }
}
