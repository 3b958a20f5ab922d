//! What generated rows need to know of a PostgreSQL schema: typed columns, keys, indexes, triggers,
//! partitions. Data only; `stores/postgres/tables.rs` reads it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The tables of the project's schema, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Ordinary and partitioned tables; partitions and extensions' tables are left out.
    pub tables: BTreeMap<String, Table>,
}

/// A table.
#[derive(Clone, Debug, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Row-level security is on.
    pub has_rls: bool,
    /// It binds the owner too.
    pub is_forced: bool,
    /// It is cut into partitions, whose indexes have names of their own.
    pub is_partitioned: bool,
    /// In order.
    #[serde(skip)]
    pub columns: Vec<Column>,
    /// By name.
    #[serde(skip)]
    pub constraints: Vec<Constraint>,
    /// By name.
    #[serde(skip)]
    pub indexes: Vec<Index>,
    /// By name.
    #[serde(skip)]
    pub triggers: Vec<Trigger>,
}

/// A column.
#[derive(Clone, Debug, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as PostgreSQL prints it.
    pub type_name: String,
    /// The name of its type below all domains: `int4`, `text`.
    pub base: String,
    /// `pg_type.typtype` of that type: b, e, c, r, m.
    pub kind: String,
    /// `pg_type.typcategory` of that type.
    pub category: String,
    /// `atttypmod`, or the domain's; -1 where there is none.
    pub modifier: i32,
    /// It refuses NULL, itself or by its domain.
    pub is_required: bool,
    /// It has a default, itself or by its domain, or an identity.
    pub has_default: bool,
    /// `a`: always, `d`: by default, empty: none.
    pub identity: String,
    /// Computed from other columns.
    pub is_generated: bool,
    /// The labels of an enum, in order.
    pub labels: Vec<String>,
    /// The CHECKs of its domains.
    pub checks: Vec<String>,
    /// How many fields a composite type has.
    pub fields: i32,
    /// It is part of a unique key, or referred to: its values are drawn from a wide range.
    #[serde(skip)]
    pub is_key: bool,
}

/// A constraint.
#[derive(Clone, Debug, Deserialize)]
pub struct Constraint {
    /// Its name.
    pub name: String,
    /// `p`, `u`, `f`, `c`, `x`.
    pub kind: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The referenced table, where it lies in the project's schema.
    pub parent: Option<String>,
    /// The referenced columns.
    pub parent_columns: Vec<String>,
    /// What becomes of rows whose parent is deleted: a, r, c, n, d.
    pub on_delete: String,
    /// As PostgreSQL prints it.
    pub definition: String,
}

/// An index.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// It refuses duplicates.
    pub is_unique: bool,
    /// It belongs to an exclusion constraint.
    pub is_exclusion: bool,
    /// It can be used.
    pub is_valid: bool,
    /// `btree`, `hash`, `gin`, ...
    pub method: String,
    /// Its key columns or expressions, as PostgreSQL prints them.
    pub keys: Vec<String>,
    /// The types of the keys.
    pub types: Vec<String>,
    /// The plain columns of the key; null for expressions.
    pub columns: Vec<Option<String>>,
    /// Every column it depends on: of keys, expressions and predicate.
    pub uses: Vec<String>,
    /// What rows it holds, where not all.
    pub predicate: Option<String>,
}

/// A trigger.
#[derive(Clone, Debug, Deserialize)]
pub struct Trigger {
    /// It fires.
    pub is_enabled: bool,
    /// `BEFORE UPDATE ... FOR EACH ROW`.
    pub is_before_update: bool,
    /// `BEFORE INSERT ... FOR EACH ROW`.
    pub is_before_insert: bool,
    /// The source of its function and its arguments.
    pub source: String,
}

impl Table {
    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Its foreign keys to tables of the schema.
    pub fn foreign_keys(&self) -> impl Iterator<Item = &Constraint> {
        self.constraints.iter().filter(|constraint| constraint.kind == "f" && constraint.parent.is_some())
    }

    /// Its CHECKs.
    pub fn checks(&self) -> impl Iterator<Item = &Constraint> {
        self.constraints.iter().filter(|constraint| constraint.kind == "c")
    }

    /// The columns of its primary key.
    pub fn primary_key(&self) -> &[String] {
        self.constraints.iter().find(|constraint| constraint.kind == "p").map_or(&[], |key| key.columns.as_slice())
    }

    /// Every column must be filled for the key to bind.
    pub fn is_required_key(&self, key: &Constraint) -> bool {
        key.columns.iter().all(|column| self.column(column).is_some_and(|column| column.is_required))
    }
}
