//! Rows that a set refers to and does not hold: named by their key (`where`), or rows of the project's other
//! sets. They are looked for in their store and must be there; nothing writes them.

use std::fmt::Write as _;

use super::references::Names;
use super::transforms::NAMES;
use crate::config::Config;
use crate::error::Result;
use crate::kind::StoreKind;
use crate::project::seed::{self, Field, Node, NodeKind, Row, Set, Table};

/// The store and target that a `ref` with `where` names: `postgres.User`, or `User` in the same store.
pub fn target(store: StoreKind, text: &str) -> (StoreKind, String) {
    match text.split_once('.').and_then(|(first, rest)| Some((first.parse::<StoreKind>().ok()?, rest))) {
        Some((other, rest)) => (other, rest.to_owned()),
        None => (store, text.to_owned()),
    }
}

/// The name under which a row is known that is told by its key: the key itself.
pub fn name(key: &Node) -> String {
    let NodeKind::Table(entries) = &key.kind else { return shown(key) };
    let mut entries: Vec<&(String, Node)> = entries.iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let parts: Vec<String> = entries.iter().map(|(name, node)| format!("{name} = {}", shown(node))).collect();
    format!("[{}]", parts.join(", "))
}

fn shown(node: &Node) -> String {
    match &node.kind {
        NodeKind::Text(text) => format!("{text:?}"),
        NodeKind::Integer(number) => number.to_string(),
        NodeKind::Float(_, digits) => digits.clone(),
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::Date(date) => date.to_string(),
        NodeKind::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        NodeKind::Table(entries) => entries.iter().fold(String::new(), |mut text, (name, node)| {
            let _ = write!(text, "{{{name} = {}}}", shown(node));
            text
        }),
    }
}

/// The rows that a set refers to and does not hold, by target and key; the names of those of other sets join
/// `names`. What is in no set at all is left to the reader of values, which refuses it with its place.
///
/// # Errors
/// The folder of sets cannot be read.
pub fn tables(config: &Config, set: &Set, names: &mut Names) -> Result<Vec<Table>> {
    let mut search = Search { found: Vec::new(), others: None, config, set };
    for table in &set.tables {
        for field in table.rows.iter().flat_map(|row| &row.fields) {
            search.node(table.store, field, &field.node, names)?;
        }
    }
    // Keys of rows outside may themselves refer to rows outside.
    let mut at = 0;
    while at < search.found.len() {
        let table = search.found[at].clone();
        for field in table.rows.iter().flat_map(|row| &row.fields) {
            search.node(table.store, field, &field.node, names)?;
        }
        at += 1;
    }
    Ok(search.found)
}

struct Search<'a> {
    found: Vec<Table>,
    others: Option<Vec<Set>>,
    config: &'a Config,
    set: &'a Set,
}

impl Search<'_> {
    fn node(&mut self, store: StoreKind, field: &Field, node: &Node, names: &mut Names) -> Result<()> {
        match &node.kind {
            NodeKind::Text(text) => match text.strip_prefix('@') {
                Some(rest) if !rest.starts_with('@') => self.named(store, rest, names)?,
                _ => {}
            },
            NodeKind::List(items) => {
                for item in items {
                    self.node(store, field, item, names)?;
                }
            }
            NodeKind::Table(entries) => {
                let inner = |name: &str| entries.iter().find(|(other, _)| other == name).map(|(_, node)| node);
                match (inner("ref").map(|node| &node.kind), inner("where")) {
                    (Some(NodeKind::Text(text)), Some(key)) => self.keyed(store, field, text, key),
                    (Some(NodeKind::Text(text)), None) => self.named(store, text, names)?,
                    _ => match entries.as_slice() {
                        [(name, _)] if name != "json" && NAMES.contains(&name.as_str()) => {}
                        entries => {
                            for (_, node) in entries {
                                self.node(store, field, node, names)?;
                            }
                        }
                    },
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A row that is told by its key.
    fn keyed(&mut self, store: StoreKind, field: &Field, text: &str, key: &Node) {
        let (store, target) = target(store, text);
        let entries = match &key.kind {
            NodeKind::Table(entries) => entries.as_slice(),
            _ => &[],
        };
        let mut fields: Vec<Field> = entries
            .iter()
            .map(|(name, node)| Field {
                name: name.clone(),
                node: node.clone(),
                source: field.source.clone(),
                offset: node.offset,
            })
            .collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let columns: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
        let row = Row { name: name(key), fields, source: field.source.clone(), offset: key.offset };
        let place = field.place_of(key);
        let table = Table {
            store,
            target,
            key: Some((columns, place)),
            mode: None,
            rows: vec![row],
            source: field.source.clone(),
            set: None,
        };
        self.add(table);
    }

    /// A row that another set holds.
    fn named(&mut self, store: StoreKind, text: &str, names: &mut Names) -> Result<()> {
        if text == "tenant" || names.holds(store, text) {
            return Ok(());
        }
        if self.others.is_none() {
            // A set that cannot be read is told when it is used.
            let sets = seed::sets(self.config)?;
            let others = sets.iter().filter(|name| **name != self.set.name);
            self.others = Some(others.filter_map(|name| seed::read_set(self.config, name).ok()).collect());
        }
        for other in self.others.iter().flatten() {
            let Some(reference) = Names::of(other).known(store, text) else { continue };
            let Some(table) =
                other.tables.iter().find(|table| table.store == reference.store && table.target == reference.target)
            else {
                continue;
            };
            let mut rows = table.rows.clone();
            rows.retain(|row| row.name == reference.row);
            for row in &mut rows {
                row.fields.retain(|field| is_fixed(&field.node));
            }
            let table = Table { rows, set: Some(other.name.clone()), ..table.clone() };
            names.add(table.store, &table.target, &reference.row);
            self.add(table);
            return Ok(());
        }
        Ok(())
    }

    /// Rows of one target with one key are looked for together.
    fn add(&mut self, table: Table) {
        let columns = |table: &Table| table.key.as_ref().map(|(names, _)| names.clone());
        let twin = self.found.iter_mut().find(|other| {
            other.store == table.store
                && other.target == table.target
                && other.set == table.set
                && columns(other) == columns(&table)
        });
        match twin {
            Some(twin) => {
                for row in table.rows {
                    if twin.rows.iter().all(|other| other.name != row.name) {
                        twin.rows.push(row);
                    }
                }
            }
            None => self.found.push(table),
        }
    }
}

/// Whether a value is the same in every run: only such a value finds a row again.
fn is_fixed(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Text(text) => !text.contains("{{tenant"),
        NodeKind::List(items) => items.iter().all(is_fixed),
        NodeKind::Table(entries) => entries.iter().all(|(name, node)| match (name.as_str(), &node.kind) {
            ("argon2id" | "bcrypt" | "encrypted" | "now" | "env" | "base64", _) => false,
            ("uuid", NodeKind::Text(version)) => version == "v5",
            ("cuid" | "cuid2" | "ulid" | "objectid", NodeKind::Text(text)) => !text.is_empty(),
            _ => is_fixed(node),
        }),
        _ => true,
    }
}
