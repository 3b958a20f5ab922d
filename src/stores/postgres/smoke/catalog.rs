//! The live tables as the tests need them: typed columns, keys, indexes, triggers, policies. One round
//! trip; the definitions that snapshots hold are read elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::error::{Code, Error, Result};
use crate::stores::postgres::connect::text;
use crate::stores::postgres::error::server_error;
use crate::stores::postgres::ident::literal;

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

#[derive(Deserialize)]
struct Of<T> {
    table: String,
    #[serde(flatten)]
    inner: T,
}

const TABLES: &str = "
SELECT coalesce(json_agg(json_build_object('name', c.relname, 'has_rls', c.relrowsecurity, 'is_forced', c.relforcerowsecurity) ORDER BY c.relname), '[]')
FROM mine c";

const COLUMNS: &str = "
, types AS (
  SELECT t.oid AS type, t.oid AS base, t.typtype, t.typbasetype, -1 AS modifier, false AS required, false AS defaulted,
         ARRAY[]::oid[] AS domains
  FROM pg_catalog.pg_type t
  UNION ALL
  SELECT x.type, b.oid, b.typtype, b.typbasetype, CASE WHEN d.typtypmod >= 0 THEN d.typtypmod ELSE x.modifier END,
         x.required OR d.typnotnull, x.defaulted OR d.typdefault IS NOT NULL, x.domains || d.oid
  FROM types x JOIN pg_catalog.pg_type d ON d.oid = x.base AND d.typtype = 'd' JOIN pg_catalog.pg_type b ON b.oid = d.typbasetype
)
SELECT coalesce(json_agg(json_build_object('table', c.relname, 'name', a.attname,
  'type_name', pg_catalog.format_type(a.atttypid, a.atttypmod), 'base', b.typname, 'kind', b.typtype, 'category', b.typcategory,
  'modifier', CASE WHEN a.atttypmod >= 0 THEN a.atttypmod ELSE x.modifier END,
  'is_required', a.attnotnull OR x.required,
  'has_default', a.atthasdef OR x.defaulted OR a.attidentity <> '', 'identity', a.attidentity, 'is_generated', a.attgenerated <> '',
  'labels', ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = b.oid ORDER BY e.enumsortorder),
  'checks', ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k WHERE k.contypid = ANY (x.domains) AND k.contype = 'c'),
  'fields', (SELECT count(*) FROM pg_catalog.pg_attribute f WHERE f.attrelid = b.typrelid AND b.typrelid <> 0 AND f.attnum > 0 AND NOT f.attisdropped)
  ) ORDER BY c.relname, a.attnum), '[]')
FROM mine c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN types x ON x.type = a.atttypid AND x.typtype <> 'd' JOIN pg_catalog.pg_type b ON b.oid = x.base";

const CONSTRAINTS: &str = "
SELECT coalesce(json_agg(json_build_object('table', c.relname, 'name', k.conname, 'kind', k.contype,
  'columns', ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY n (num, at) JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = n.num ORDER BY n.at),
  'parent', p.relname,
  'parent_columns', ARRAY(SELECT a.attname FROM unnest(k.confkey) WITH ORDINALITY n (num, at) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = n.num ORDER BY n.at),
  'on_delete', k.confdeltype, 'definition', pg_catalog.pg_get_constraintdef(k.oid)) ORDER BY c.relname, k.conname), '[]')
FROM mine c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f', 'c', 'x')
LEFT JOIN mine p ON p.oid = k.confrelid";

const INDEXES: &str = "
SELECT coalesce(json_agg(json_build_object('table', c.relname, 'name', i.relname, 'is_unique', x.indisunique, 'is_exclusion', x.indisexclusion,
  'is_valid', x.indisvalid AND x.indisready,
  'uses', ARRAY(SELECT DISTINCT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND (
     a.attnum = ANY (x.indkey) OR EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
       AND d.objid = i.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))),
  'predicate', pg_catalog.pg_get_expr(x.indpred, c.oid)) ORDER BY c.relname, i.relname), '[]')
FROM mine c JOIN pg_catalog.pg_index x ON x.indrelid = c.oid JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid";

const TRIGGERS: &str = "
SELECT coalesce(json_agg(json_build_object('table', c.relname, 'is_enabled', t.tgenabled IN ('O', 'A'),
  'is_before_update', t.tgtype & 19 = 19, 'is_before_insert', t.tgtype & 7 = 7,
  'source', p.prosrc || ' ' || pg_catalog.encode(t.tgargs, 'escape')) ORDER BY c.relname, t.tgname), '[]')
FROM mine c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid";

/// Reads the catalog of a schema.
///
/// # Errors
/// The server's refusal, or a lost connection.
pub async fn read(connection: &mut PgConnection, schema: &str) -> Result<Catalog> {
    // The name of a missing schema must give no tables, not an error.
    let mine = format!(
        "WITH RECURSIVE mine AS (SELECT c.* FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
         WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))",
        literal(schema)
    );
    let sql = [TABLES, COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS].map(|query| format!("{mine}{query};")).concat();
    let rows = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| server_error(Code::SmokeFailed, "cannot read the catalog", &error))?;
    let mut answers = rows.iter().map(|row| text(row, 0).unwrap_or_default());
    let mut next = || answers.next().unwrap_or_default();
    let mut catalog = Catalog::default();
    for table in parse::<Table>(&next())? {
        catalog.tables.insert(table.name.clone(), table);
    }
    fill(&mut catalog, &next(), |table, column: Column| table.columns.push(column))?;
    fill(&mut catalog, &next(), |table, constraint: Constraint| table.constraints.push(constraint))?;
    fill(&mut catalog, &next(), |table, index: Index| table.indexes.push(index))?;
    fill(&mut catalog, &next(), |table, trigger: Trigger| table.triggers.push(trigger))?;
    mark_keys(&mut catalog);
    Ok(catalog)
}

fn mark_keys(catalog: &mut Catalog) {
    let referred: BTreeSet<(String, String)> = catalog
        .tables
        .values()
        .flat_map(Table::foreign_keys)
        .flat_map(|key| {
            key.parent_columns.iter().map(|column| (key.parent.clone().unwrap_or_default(), column.clone()))
        })
        .collect();
    for table in catalog.tables.values_mut() {
        for column in &mut table.columns {
            column.is_key = referred.contains(&(table.name.clone(), column.name.clone()))
                || table
                    .indexes
                    .iter()
                    .any(|index| (index.is_unique || index.is_exclusion) && index.uses.contains(&column.name));
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(json: &str) -> Result<Vec<T>> {
    serde_json::from_str(json).map_err(|error| Error::bug("the catalog cannot be read").why(error.to_string()))
}

fn fill<T: for<'de> Deserialize<'de>>(catalog: &mut Catalog, json: &str, put: impl Fn(&mut Table, T)) -> Result<()> {
    for of in parse::<Of<T>>(json)? {
        if let Some(table) = catalog.tables.get_mut(&of.table) {
            put(table, of.inner);
        }
    }
    Ok(())
}
