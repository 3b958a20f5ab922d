//! What the tables look like after all files have run, as far as tenancy is concerned. Types only.

use std::collections::BTreeMap;
use std::ops::Range;

/// A schema and a name in it, as the server stores them.
pub type Name = (String, String);

/// A place in the series.
#[derive(Clone, Debug)]
pub struct Spot {
    /// The index of the file.
    pub file: usize,
    /// The bytes.
    pub at: Range<usize>,
    /// Where its statement begins.
    pub statement: usize,
}

/// Everything there is.
#[derive(Debug, Default)]
pub struct Schema {
    /// By name.
    pub tables: BTreeMap<Name, Table>,
    /// By name.
    pub views: BTreeMap<Name, View>,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Where it was made.
    pub made: Spot,
    /// Its columns, and whether each refuses NULL.
    pub columns: BTreeMap<String, bool>,
    /// Its columns come from a query: they are not known.
    pub is_open: bool,
    /// Row-level security is enabled.
    pub has_rls: bool,
    /// It binds the owner too.
    pub is_forced: bool,
    /// Where either was switched off again.
    pub switched_off: Option<Spot>,
    /// Where a column was dropped, by its name.
    pub dropped: BTreeMap<String, Spot>,
    /// By name.
    pub policies: BTreeMap<String, Policy>,
    /// Primary keys, unique keys and indexes.
    pub keys: Vec<Key>,
    /// Foreign keys.
    pub foreign: Vec<Foreign>,
}

impl Table {
    /// An empty table.
    pub fn new(made: Spot) -> Self {
        Self {
            made,
            columns: BTreeMap::new(),
            is_open: false,
            has_rls: false,
            is_forced: false,
            switched_off: None,
            dropped: BTreeMap::new(),
            policies: BTreeMap::new(),
            keys: Vec::new(),
            foreign: Vec::new(),
        }
    }
}

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where it was made, or changed last.
    pub spot: Spot,
    /// A condition is `true`, and it holds for the application.
    pub is_open: bool,
    /// Where `current_setting` is read without a guard against an unset or empty setting.
    pub fragile: Option<Range<usize>>,
}

/// What kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PRIMARY KEY.
    Primary,
    /// UNIQUE, as a constraint or an index.
    Unique,
    /// EXCLUDE.
    Exclusion,
    /// A B-tree index.
    Index,
    /// An index of another method: a tenant column cannot lead it.
    Other,
}

/// A key or index.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name, given or as the server makes it.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its columns in order; none for an expression.
    pub columns: Vec<Option<String>>,
    /// Where it was made.
    pub spot: Spot,
}

/// A foreign key.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its name, given or as the server makes it.
    pub name: String,
    /// The columns of this table.
    pub columns: Vec<String>,
    /// The table it points at.
    pub target: Name,
    /// Where it was made.
    pub spot: Spot,
}

/// A view.
#[derive(Clone, Debug)]
pub struct View {
    /// Where it was made.
    pub spot: Spot,
    /// The tables that stand in its FROM clauses, or may.
    pub reads: Vec<String>,
    /// It reads with the rights of whoever asks.
    pub is_invoker: bool,
    /// It keeps what it read.
    pub is_materialized: bool,
}
