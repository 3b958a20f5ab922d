//! What became, or would become, of the rows of one target: the part of the report that names each row.

use serde::Serialize;

use super::sheet::Sheet;
use crate::kind::StoreKind;
use crate::stores::load::Written;

/// The rows of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowSet {
    /// The store.
    pub store: StoreKind,
    /// The table, collection or key space.
    pub target: String,
    /// The file, of several the last.
    pub file: String,
    /// How many rows are new.
    pub insert: u64,
    /// How many rows differ.
    pub update: u64,
    /// How many rows are as the file wants them.
    pub unchanged: u64,
    /// How many rows go (mode `replace`).
    pub delete: u64,
    /// The rows, in the order of the file.
    pub rows: Vec<RowChange>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowChange {
    /// Its name in the file.
    pub row: String,
    /// `insert`, `update` or `unchanged`.
    pub change: &'static str,
    /// The fields that differ, where it is there; never their values.
    pub fields: Vec<String>,
}

impl RowSet {
    /// What a sheet came to.
    pub fn of(sheet: &Sheet<'_>) -> Self {
        let counts = sheet.counts();
        let rows = sheet.lines.iter().filter_map(|line| {
            let outcome = line.outcome.as_ref()?;
            let change = match outcome.what {
                Written::Created => "insert",
                Written::Updated => "update",
                Written::Unchanged => "unchanged",
            };
            Some(RowChange { row: line.row.name.clone(), change, fields: outcome.changed.clone() })
        });
        Self {
            store: sheet.table.store,
            target: sheet.table.target.clone(),
            file: sheet.table.source.shown.clone(),
            insert: counts.created,
            update: counts.updated,
            unchanged: counts.unchanged,
            delete: counts.deleted,
            rows: rows.collect(),
        }
    }

    /// A line for each row, for a person.
    pub fn lines(&self) -> Vec<String> {
        let width = self.rows.iter().map(|row| row.row.chars().count()).max().unwrap_or(0).min(30);
        let line = |row: &RowChange| format!("{:9}  {:width$}  {}", row.change, row.row, row.fields.join(", "));
        self.rows.iter().map(line).map(|line| line.trim_end().to_owned()).collect()
    }
}
