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
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Row-level security is on.
    pub has_rls: bool,
    /// It binds the owner too.
    pub is_forced: bool,
    /// It is cut into partitions, whose indexes have names of their own.
    pub is_partitioned: bool,
    /// Row-level security binds the role that asks.
    #[serde(default)]
    pub is_guarded: bool,
    /// Other tables inherit from it: keys that refer to it see its own rows only.
    #[serde(default)]
    pub has_heirs: bool,
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
    /// The partitions that hold rows, with what each level asks of a row.
    #[serde(skip)]
    pub leaves: Vec<Leaf>,
    /// The settings that its policies read, with the column each is compared with.
    #[serde(skip)]
    pub settings: Vec<Setting>,
}

/// A partition that holds rows.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Leaf {
    /// Its name.
    pub name: String,
    /// From the top: the key of the partitioned table (`RANGE (at)`) and the bound (`FOR VALUES FROM ...`).
    pub levels: Vec<(String, String)>,
}

/// A session setting that a policy compares with a column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Setting {
    /// `app.tenant`.
    pub name: String,
    /// The column; empty where none could be told.
    pub column: String,
}

/// A column; also an element of an array, the bounds of a range and a field of a composite type.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
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
    /// Its default, or how it is computed, as PostgreSQL prints it.
    pub default: Option<String>,
    /// The sequence that makes its values, qualified and quoted.
    pub sequence: Option<String>,
    /// The number of its type, by which element and fields are found.
    pub type_id: u32,
    /// It is part of a unique key, or referred to: its values are drawn from a wide range.
    #[serde(skip)]
    pub is_key: bool,
    /// The element of an array, the bound of a range.
    #[serde(skip)]
    pub element: Option<Box<Column>>,
    /// The fields of a composite type.
    #[serde(skip)]
    pub parts: Vec<Column>,
}

/// A constraint.
#[derive(Clone, Debug, Default, Deserialize)]
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
    /// The referenced table, qualified and quoted, where it lies elsewhere.
    #[serde(default)]
    pub outside: Option<String>,
    /// Only some of the table's partitions have it.
    #[serde(default)]
    pub is_leaf: bool,
    /// It can wait for the end of the transaction.
    #[serde(default)]
    pub is_deferrable: bool,
    /// `attribute operator` of each part of an exclusion constraint: `&&`, `=`.
    #[serde(default)]
    pub operators: Vec<String>,
    /// What becomes of rows whose parent is deleted: a, r, c, n, d.
    pub on_delete: String,
    /// As PostgreSQL prints it.
    pub definition: String,
}

/// An index.
#[derive(Clone, Debug, Default, Deserialize)]
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
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Trigger {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The name of its function.
    #[serde(default)]
    pub function: String,
    /// It fires.
    pub is_enabled: bool,
    /// It fires at the end of the transaction.
    #[serde(default)]
    pub is_deferred: bool,
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

    /// Its foreign keys to tables of the project's schemas, those of single partitions included.
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
