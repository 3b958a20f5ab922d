//! The rows of one target on their way: read, checked against what the store says of the target, and
//! what is known of each so far.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::encrypted;
use super::ids::Origin;
use super::reader::Reader;
use super::references::Reference;
use super::terms::{Term, no_table};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::seed::{Field, Mode, Row, Table, nearest};
use crate::stores::load::{Counts, Fields, Found, RowDone, Shape};

/// One target's named rows.
pub struct Sheet<'a> {
    /// The file's rows.
    pub table: &'a Table,
    /// What the store says of the target.
    pub shape: Shape,
    /// The fields that tell rows apart.
    pub key: Vec<String>,
    /// What is done where a row is there already.
    pub mode: Mode,
    /// Fields that are read of rows that are there.
    pub wanted: Vec<String>,
    /// The rows.
    pub lines: Vec<Line<'a>>,
    /// The rows are only referred to: they must be there, and are never written.
    pub is_outside: bool,
    /// The file was applied before, and its mode is `once`.
    pub is_spent: bool,
    /// How many rows were deleted (mode `replace`).
    pub deleted: u64,
    /// How long that took.
    pub elapsed: Duration,
}

/// One row.
pub struct Line<'a> {
    /// As it is in the file.
    pub row: &'a Row,
    /// Its fields, an id that follows from its name included.
    pub terms: Vec<(String, Term)>,
    /// It was looked for.
    pub is_looked_for: bool,
    /// It is there.
    pub found: Option<Found>,
    /// The id by which others refer to it, once known.
    pub id: Option<Json>,
    /// Its values, once known.
    pub fields: Fields,
    /// It is as it should be, but for what is postponed.
    pub is_done: bool,
    /// Fields that are written after the rows they refer to.
    pub postponed: Vec<String>,
    /// What became of it.
    pub outcome: Option<RowDone>,
}

impl Line<'_> {
    /// Everything that its fields refer to, those left out that are postponed.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        for (_, term) in self.terms.iter().filter(|(name, _)| !self.postponed.contains(name)) {
            term.references(&mut found);
        }
        found
    }

    /// The term of a field.
    pub fn term(&self, name: &str) -> Option<&Term> {
        self.terms.iter().find(|(field, _)| field == name).map(|(_, term)| term)
    }
}

impl<'a> Sheet<'a> {
    /// Reads the terms of a target's rows. Nothing is known of the store yet.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read(table: &'a Table, reader: &Reader<'_>, is_outside: bool) -> Result<Self> {
        let mut lines = Vec::with_capacity(table.rows.len());
        for row in &table.rows {
            let reader = Reader { row: &row.name, ..*reader };
            let mut terms: Vec<(String, Term)> = Vec::with_capacity(row.fields.len() + 1);
            for field in &row.fields {
                let name = canonical(table.store, &field.name);
                if terms.iter().any(|(other, _)| *other == name) {
                    return Err(Error::new(Code::SeedFile, format!("row `{}` gives its {name} twice", row.name))
                        .at(field.place())
                        .data("nothing was changed"));
                }
                terms.push((name, reader.read(field)?));
            }
            lines.push(Line {
                row,
                terms,
                is_looked_for: false,
                found: None,
                id: None,
                fields: Fields::new(),
                is_done: false,
                postponed: Vec::new(),
                outcome: None,
            });
        }
        Ok(Self {
            table,
            shape: Shape::default(),
            key: Vec::new(),
            mode: table.mode.unwrap_or_default(),
            wanted: Vec::new(),
            lines,
            is_outside,
            is_spent: false,
            deleted: 0,
            elapsed: Duration::ZERO,
        })
    }

    /// Checks the rows against the target, gives ids to rows without, and chooses the key.
    ///
    /// # Errors
    /// `LYX-SEED-FILE` with file and line: no such target, no such column, a value the column cannot
    /// take, no key.
    pub fn fit(&mut self, shape: Shape, origin: &Origin<'_>) -> Result<()> {
        refuse_missing(self.table.store, &shape, &Place::file(&self.table.source.shown))?;
        self.shape = shape;
        for line in &mut self.lines {
            for field in &line.row.fields {
                check_field(self.table.store, &self.shape, field, &mut line.terms)?;
            }
            if let Some((name, id)) = derived(self.table.store, &self.shape, line, origin) {
                line.terms.push((name, Term::Literal(id)));
            }
        }
        self.key = self.choose_key()?;
        if self.is_outside {
            // What another file says of the row is no proof of what is stored.
            let key = &self.key;
            self.lines.iter_mut().for_each(|line| line.terms.retain(|(name, _)| key.contains(name)));
        }
        for line in &self.lines {
            for name in &self.key {
                let place = || line.row.place();
                match line.term(name) {
                    None => {
                        return Err(Error::new(Code::SeedFile, format!("row `{}` lacks `{name}`", line.row.name))
                            .why("it is part of the key, by which the row is found again")
                            .at(place())
                            .data("nothing was changed")
                            .hint(format!("add `{name} = ...` to the row")));
                    }
                    Some(term) if term.is_made() => {
                        return Err(Error::new(
                            Code::SeedFile,
                            format!("`{name}` of row `{}` cannot be made", line.row.name),
                        )
                        .why("it is part of the key, which must be the same in every run")
                        .at(place())
                        .data("nothing was changed")
                        .hint("give the value itself, or name another key"));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// The natural key, else the primary key, else the one unique index.
    fn choose_key(&self) -> Result<Vec<String>> {
        if self.table.store == StoreKind::Redis {
            // The parts of the key's pattern; it may have none.
            return Ok(self.shape.identity.clone());
        }
        if let Some((names, place)) = &self.table.key {
            for name in names {
                if self.shape.fields.is_some() && self.shape.field(name).is_none() {
                    return Err(unknown_field(&self.shape, name, place.clone()));
                }
            }
            return Ok(names.clone());
        }
        let has = |key: &&Vec<String>| {
            !key.is_empty() && self.lines.iter().all(|line| key.iter().all(|name| line.term(name).is_some()))
        };
        if let Some(key) = Some(&self.shape.identity).filter(has) {
            return Ok(key.clone());
        }
        let mut unique = self.shape.unique.iter().filter(has);
        match (unique.next(), unique.next()) {
            (Some(key), None) => Ok(key.clone()),
            (first, _) => Err(Error::new(Code::SeedFile, format!("the rows of `{}` have no key", self.table.target))
                .why(match first {
                    Some(_) => "several unique indexes could tell them apart",
                    None => "without one they cannot be found again, and a second run would insert them twice",
                })
                .at(Place::file(&self.table.source.shown))
                .data("nothing was changed")
                .hint("name the columns that tell rows apart: key = [\"...\"]")),
        }
    }

    /// Settles what is read of rows that are there: ids, made values, the tenant, what others refer to.
    pub fn want(&mut self, tenant: Option<&str>, referred: impl Iterator<Item = String>) {
        let mut wanted: BTreeSet<String> = self.shape.identity.iter().cloned().collect();
        for line in &self.lines {
            wanted.extend(line.terms.iter().filter(|(_, term)| term.is_made()).map(|(name, _)| name.clone()));
        }
        let has_tenant = |name: &&str| self.shape.fields.is_none() || self.shape.field(name).is_some();
        if self.table.store != StoreKind::Redis {
            wanted.extend(tenant.filter(has_tenant).map(str::to_owned));
        }
        wanted.extend(referred);
        self.wanted = wanted.into_iter().collect();
    }

    /// Fields that only a new row gets: its id, where another key finds it.
    pub fn first(&self) -> Vec<String> {
        self.shape.identity.iter().filter(|name| !self.key.contains(name)).cloned().collect()
    }

    /// What became of the rows.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { deleted: self.deleted, ..Counts::default() };
        self.lines.iter().filter_map(|line| line.outcome.as_ref()).for_each(|outcome| counts.add(outcome.what));
        counts
    }

    /// Gives a field to every row that does not give it itself.
    pub fn fill(&mut self, name: &str, value: &Json) {
        for line in &mut self.lines {
            if line.term(name).is_none() {
                line.terms.push((name.to_owned(), Term::Literal(value.clone())));
            }
        }
    }

    /// The id of its items: `postgres.User`.
    pub fn item_id(&self) -> String {
        format!("{}.{}", self.table.store, self.table.target)
    }
}

/// Redis' names for one thing: what a key holds, as the types call it.
fn canonical(store: StoreKind, name: &str) -> String {
    let is_value = matches!(name, "fields" | "items" | "members" | "entries");
    if store == StoreKind::Redis && is_value { "value".into() } else { name.into() }
}

/// Refuses a target that is not there.
///
/// # Errors
/// `LYX-SEED-FILE` with the nearest target, or the command that makes it.
pub fn refuse_missing(store: StoreKind, shape: &Shape, place: &Place) -> Result<()> {
    if shape.exists {
        return Ok(());
    }
    let kind = match store {
        StoreKind::Postgres => "table",
        StoreKind::Mongodb => "collection",
        StoreKind::Redis => "key space",
    };
    let error = Error::new(Code::SeedFile, format!("{store} has no {kind} `{}`", shape.target))
        .at(place.clone())
        .data("nothing was changed");
    Err(match (&shape.near, store) {
        (Some(near), _) => error.hint(format!("did you mean `{near}`? else: lyrox db migrate")),
        (None, StoreKind::Redis) => error.hint(format!("add [redis.keyspaces.{}] to lyrox.toml", shape.target)),
        (None, _) => error.hint("lyrox db migrate"),
    })
}

/// The error of a field that the target does not have.
pub fn unknown_field(shape: &Shape, name: &str, place: Place) -> Error {
    let known = || shape.fields.iter().flatten().map(|field| field.name.as_str());
    let error = Error::new(Code::SeedFile, format!("`{}` has no column `{name}`", shape.target))
        .at(place)
        .data("nothing was changed");
    match nearest(name, known()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("its columns are {}", known().collect::<Vec<_>>().join(", "))),
    }
}

fn check_field(store: StoreKind, shape: &Shape, field: &Field, terms: &mut [(String, Term)]) -> Result<()> {
    let name = canonical(store, &field.name);
    if shape.fields.is_none() {
        return Ok(());
    }
    let Some(column) = shape.field(&name) else { return Err(unknown_field(shape, &field.name, field.place())) };
    if column.is_computed {
        return Err(Error::new(Code::SeedFile, format!("`{name}` of `{}` is computed by the server", shape.target))
            .at(field.place())
            .data("nothing was changed")
            .hint("take it out of the row"));
    }
    let Some((_, term)) = terms.iter_mut().find(|(other, _)| *other == name) else { return Ok(()) };
    match term {
        Term::Encrypted(_, is_bytes) => {
            *is_bytes = column.is_bytes;
            Ok(())
        }
        Term::File(bytes) if column.is_bytes => {
            *term = Term::Literal(json!(encrypted::to_hex(bytes)));
            Ok(())
        }
        Term::Table(_, false) if !column.takes_tables => Err(no_table(field)),
        // The digits as they were written reach a numeric column exactly.
        Term::Digits(_, digits) if store == StoreKind::Postgres && !column.takes_tables => {
            *term = Term::Literal(json!(digits));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// An id that follows from the row's name, where the row gives none and the store makes none that could
/// be known before.
fn derived(store: StoreKind, shape: &Shape, line: &Line<'_>, origin: &Origin<'_>) -> Option<(String, Json)> {
    let missing = || shape.identity.iter().filter(|name| line.term(name).is_none());
    match store {
        StoreKind::Mongodb => missing().next().map(|name| (name.clone(), origin.object_id(&line.row.name))),
        StoreKind::Postgres => {
            let mut open = missing();
            let (name, None) = (open.next()?, open.next()) else { return None };
            let is_reference = shape.references.iter().any(|(columns, _)| columns.contains(name));
            let is_uuid = shape.field(name).is_some_and(|field| field.is_uuid && !field.is_computed);
            (is_uuid && !is_reference).then(|| (name.clone(), json!(origin.uuid(&line.row.name).to_string())))
        }
        StoreKind::Redis => None,
    }
}
