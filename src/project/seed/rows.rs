//! A TOML file of named rows, with the place of every key and value kept for messages.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;

/// A file that was read: for the places in messages.
#[derive(Debug)]
pub struct Source {
    /// Relative to the project's root.
    pub shown: String,
    /// Its normalised text.
    pub text: String,
}

impl Source {
    /// The place at a byte offset.
    pub fn place(&self, offset: usize, width: usize) -> Place {
        Place::at_offset(&self.shown, &self.text, offset, width)
    }
}

/// What is done where a row is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// New rows are inserted, differing ones updated.
    #[default]
    Upsert,
    /// New rows are inserted, others left as they are.
    Insert,
    /// The file is applied the first time and never again.
    Once,
    /// As upsert; rows of the target that the file does not have are deleted.
    Replace,
}

/// The named rows of one target.
#[derive(Clone, Debug)]
pub struct Table {
    /// The store.
    pub store: StoreKind,
    /// The table, collection or key space.
    pub target: String,
    /// The natural key, where the file names one, and where it does.
    pub key: Option<(Vec<String>, Place)>,
    /// What is done where a row is there already; none: not said.
    pub mode: Option<Mode>,
    /// In the order of the file.
    pub rows: Vec<Row>,
    /// The file, of several the last.
    pub source: Arc<Source>,
    /// The other set that holds these rows, where they are only referred to.
    pub set: Option<String>,
}

impl Table {
    /// Lays another set's file for the same target over this one, row by row and field by field.
    pub fn lay_over(&mut self, over: Self) {
        self.key = over.key.or(self.key.take());
        self.mode = over.mode.or(self.mode);
        self.source = over.source;
        for row in over.rows {
            let Some(base) = self.rows.iter_mut().find(|base| base.name == row.name) else {
                self.rows.push(row);
                continue;
            };
            base.source = row.source;
            base.offset = row.offset;
            for field in row.fields {
                match base.fields.iter_mut().find(|old| old.name == field.name) {
                    Some(old) => *old = field,
                    None => base.fields.push(field),
                }
            }
        }
    }
}

/// One named row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name: unique in its target.
    pub name: String,
    /// In the order of the file.
    pub fields: Vec<Field>,
    /// The file it is in.
    pub source: Arc<Source>,
    /// The byte offset of its name.
    pub offset: usize,
}

impl Row {
    /// Where it begins.
    pub fn place(&self) -> Place {
        self.source.place(self.offset, self.name.chars().count())
    }
}

/// One field of a row.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value as it was written.
    pub node: Node,
    /// The file it is in.
    pub source: Arc<Source>,
    /// The byte offset of its name.
    pub offset: usize,
}

impl Field {
    /// Where its name stands.
    pub fn place(&self) -> Place {
        self.source.place(self.offset, self.name.chars().count())
    }

    /// Where a value within it stands.
    pub fn place_of(&self, node: &Node) -> Place {
        self.source.place(node.offset, node.width)
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its first byte.
    pub offset: usize,
    /// Its length in characters, where it is on one line.
    pub width: usize,
}

/// A value of TOML.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A float: its value, and its digits as they were written.
    Float(f64, String),
    /// True or false.
    Bool(bool),
    /// A date, a time or both.
    Date(toml::value::Datetime),
    /// An array.
    List(Vec<Node>),
    /// A table, in the order of the file.
    Table(Vec<(String, Node)>),
}

/// A key of a table with its place.
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its first byte.
    pub offset: usize,
}

/// Parses a TOML file into its top-level keys, in the order of the file.
pub fn parse(shown: &str, text: &str) -> Result<Vec<(Key, Node)>> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = match error.span() {
            Some(span) => Place::at_offset(shown, text, span.start, span.len().clamp(1, 40)),
            None => Place::file(shown),
        };
        // What cannot be parsed may hold a password: such a line is not shown.
        let is_secret =
            |text: &String| ["argon2", "bcrypt", "encrypt", "assword", "ecret"].iter().any(|word| text.contains(word));
        let place = Place { text: place.text.clone().filter(|text| !is_secret(text)), ..place };
        Error::new(Code::FileSyntax, format!("`{shown}` is not valid TOML"))
            .why(error.message().replace('\n', ", "))
            .at(place)
            .data("nothing was changed")
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.into_inner() {
        let offset = key.span().start;
        let name = key.into_inner().into_owned();
        entries.push((Key { name, offset }, node(shown, text, value)?));
    }
    entries.sort_by_key(|(key, _)| key.offset);
    Ok(entries)
}

fn node(shown: &str, text: &str, value: Spanned<DeValue<'_>>) -> Result<Node> {
    let span = value.span();
    let written = text.get(span.clone()).unwrap_or("");
    let width = written.lines().next().map_or(1, |line| line.chars().count()).max(1);
    let refuse = |what: &str, hint: &str| {
        Error::new(Code::SeedFile, what.to_owned())
            .at(Place::at_offset(shown, text, span.start, width))
            .data("nothing was changed")
            .hint(hint.to_owned())
    };
    let kind = match value.into_inner() {
        DeValue::String(text) => NodeKind::Text(text.into_owned()),
        DeValue::Boolean(value) => NodeKind::Bool(value),
        DeValue::Datetime(value) => NodeKind::Date(value),
        DeValue::Integer(number) => {
            let value = i64::from_str_radix(number.as_str(), number.radix());
            NodeKind::Integer(value.map_err(|_| refuse("the integer is larger than 64 bits", "write it as a string"))?)
        }
        DeValue::Float(number) => {
            let digits = number.as_str().trim_start_matches('+').to_owned();
            NodeKind::Float(
                digits.parse().map_err(|_| refuse("the number cannot be read", "write it as a string"))?,
                digits,
            )
        }
        DeValue::Array(items) => {
            NodeKind::List(items.into_iter().map(|item| node(shown, text, item)).collect::<Result<_>>()?)
        }
        DeValue::Table(table) => {
            let mut entries = Vec::new();
            for (key, value) in table {
                let offset = key.span().start;
                entries.push((offset, key.into_inner().into_owned(), node(shown, text, value)?));
            }
            // The parser sorts keys by name; documents keep the order of the file.
            entries.sort_by_key(|(offset, ..)| *offset);
            NodeKind::Table(entries.into_iter().map(|(_, key, node)| (key, node)).collect())
        }
    };
    Ok(Node { kind, offset: span.start, width })
}

const MODES: [(&str, Mode); 4] =
    [("upsert", Mode::Upsert), ("insert", Mode::Insert), ("once", Mode::Once), ("replace", Mode::Replace)];

/// Reads the rows of a target.
pub fn read(store: StoreKind, target: &str, source: Arc<Source>) -> Result<Table> {
    let mut table = Table {
        store,
        target: target.to_owned(),
        key: None,
        mode: None,
        rows: Vec::new(),
        source: source.clone(),
        set: None,
    };
    let refuse = |what: String, offset: usize, width: usize| {
        Error::new(Code::SeedFile, what).at(source.place(offset, width)).data("nothing was changed")
    };
    for (key, node) in parse(&source.shown, &source.text)? {
        match key.name.as_str() {
            "key" => {
                let names = match &node.kind {
                    NodeKind::Text(name) => Some(vec![name.clone()]),
                    NodeKind::List(items) => items.iter().map(text).collect(),
                    _ => None,
                };
                let names = names.filter(|names: &Vec<String>| !names.is_empty()).ok_or_else(|| {
                    refuse("`key` is not a list of names".into(), node.offset, node.width).hint("key = [\"email\"]")
                })?;
                table.key = Some((names, source.place(node.offset, node.width)));
            }
            "mode" => {
                let given = text(&node).unwrap_or_default();
                let mode = MODES.iter().find(|(word, _)| *word == given).map(|(_, mode)| *mode);
                table.mode = Some(mode.ok_or_else(|| {
                    refuse(format!("`{given}` is no mode"), node.offset, node.width)
                        .hint("upsert, insert, once or replace")
                })?);
            }
            "rows" => table.rows = rows(&source, &node)?,
            other => {
                let error = refuse(format!("unknown key `{other}`"), key.offset, other.chars().count());
                return Err(match nearest(other, ["key", "mode", "rows"].into_iter()) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint("rows are written as [rows.NAME]; beside them there are `key` and `mode`"),
                });
            }
        }
    }
    Ok(table)
}

fn text(node: &Node) -> Option<String> {
    match &node.kind {
        NodeKind::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn rows(source: &Arc<Source>, node: &Node) -> Result<Vec<Row>> {
    let refuse = |what: String, node: &Node| {
        Error::new(Code::SeedFile, what)
            .at(source.place(node.offset, node.width))
            .data("nothing was changed")
            .hint("[rows.NAME], then a line `field = value` for each field")
    };
    let NodeKind::Table(entries) = &node.kind else { return Err(refuse("`rows` is not a table of rows".into(), node)) };
    let mut rows = Vec::new();
    for (name, node) in entries {
        let NodeKind::Table(fields) = &node.kind else {
            return Err(refuse(format!("row `{name}` is not a table of fields"), node));
        };
        // The parser gives a table the place of its header; a field's key stands before its value.
        let field = |(name, node): &(String, Node)| Field {
            name: name.clone(),
            offset: key_before(&source.text, node.offset, name),
            node: node.clone(),
            source: source.clone(),
        };
        let offset = header(&source.text, node.offset, name);
        rows.push(Row {
            name: name.clone(),
            fields: fields.iter().map(field).collect(),
            source: source.clone(),
            offset,
        });
    }
    Ok(rows)
}

/// Where a field's name stands: before its value, on the same line.
fn key_before(text: &str, offset: usize, name: &str) -> usize {
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    text[start..offset].find(name).map_or(offset, |at| start + at)
}

/// Where a row's name stands: in its header, at or after the place of its table.
fn header(text: &str, offset: usize, name: &str) -> usize {
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    text[start..end].find(name).map_or(offset, |at| start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Table> {
        read(StoreKind::Postgres, "User", Arc::new(Source { shown: "User.toml".into(), text: text.into() }))
    }

    #[test]
    fn rows_keep_the_order_of_the_file_and_know_their_places() {
        let read = table("key = [\"email\"]\n[rows.zoe]\nemail = \"z\"\nage = 3\n\n[rows.ana]\nemail = \"a\"\n")
            .expect("rows");
        assert_eq!(read.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["zoe", "ana"]);
        assert_eq!(read.rows[0].fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["email", "age"]);
        assert_eq!(read.rows[1].place().to_string(), "User.toml:6:7");
        assert_eq!(read.rows[0].fields[1].place().to_string(), "User.toml:4:1");
        assert_eq!(read.key.map(|(names, _)| names), Some(vec!["email".to_owned()]));
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_place() {
        for (text, place) in [
            ("kex = [\"a\"]", "User.toml:1:1"),
            ("mode = \"upsrt\"", "User.toml:1:8"),
            ("[rows]\na = 1", "User.toml:2:5"),
            ("key = []", "User.toml:1:7"),
            ("[rows.a]\nx = ", "User.toml:2:5"),
            ("[rows.a]\nx = 99999999999999999999", "User.toml:2:5"),
        ] {
            let error = table(text).expect_err(text);
            assert_eq!(error.place().expect("a place").to_string(), place, "{text}: {error}");
        }
    }

    #[test]
    fn a_set_is_laid_over_its_base_field_by_field() {
        let mut base = table("[rows.a]\nx = 1\ny = 2\n").expect("rows");
        base.lay_over(table("mode = \"insert\"\n[rows.a]\ny = 3\n[rows.b]\nx = 4\n").expect("rows"));
        assert_eq!(base.rows.len(), 2);
        assert!(matches!(base.rows[0].fields[0].node.kind, NodeKind::Integer(1)));
        assert!(matches!(base.rows[0].fields[1].node.kind, NodeKind::Integer(3)));
        assert_eq!(base.mode, Some(Mode::Insert));
    }
}
