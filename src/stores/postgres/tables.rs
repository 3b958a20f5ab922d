//! The live tables as smoke tests and generated data need them: typed columns, keys, indexes, triggers,
//! policies, partitions. One round trip; the definitions that snapshots hold are read elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::engine::generate::schema::{Catalog, Column, Constraint, Index, Leaf, Setting, Table, Trigger};
use crate::error::{Code, Error, Result};
use crate::stores::postgres::connect::text;
use crate::stores::postgres::error::server_error;
use crate::stores::postgres::ident::literal;

#[derive(Deserialize)]
struct Of<T> {
    table: String,
    #[serde(flatten)]
    inner: T,
}

const TABLES: &str = "
SELECT coalesce(json_agg(json_build_object('name', c.label, 'has_rls', c.relrowsecurity, 'is_forced', c.relforcerowsecurity,
  'is_partitioned', c.relkind = 'p',
  'is_guarded', pg_catalog.row_security_active(c.oid),
  'has_heirs', c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid)) ORDER BY c.label), '[]')
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
SELECT coalesce(json_agg(json_build_object('table', c.label, 'name', a.attname,
  'type_name', pg_catalog.format_type(a.atttypid, a.atttypmod), 'base', b.typname, 'kind', b.typtype, 'category', b.typcategory,
  'modifier', CASE WHEN a.atttypmod >= 0 THEN a.atttypmod ELSE x.modifier END,
  'is_required', a.attnotnull OR x.required,
  'type_id', a.atttypid::int8,
  'default', (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum),
  'sequence', (SELECT pg_catalog.format('%I.%I', sn.nspname, s.relname) FROM pg_catalog.pg_depend d
     JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
       AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i') LIMIT 1),
  'has_default', a.atthasdef OR x.defaulted OR a.attidentity <> '', 'identity', a.attidentity, 'is_generated', a.attgenerated <> '',
  'labels', ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = b.oid ORDER BY e.enumsortorder),
  'checks', ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k WHERE k.contypid = ANY (x.domains) AND k.contype = 'c'),
  'fields', (SELECT count(*) FROM pg_catalog.pg_attribute f WHERE f.attrelid = b.typrelid AND b.typrelid <> 0 AND f.attnum > 0 AND NOT f.attisdropped)
  ) ORDER BY c.label, a.attnum), '[]')
FROM mine c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN types x ON x.type = a.atttypid AND x.typtype <> 'd' JOIN pg_catalog.pg_type b ON b.oid = x.base";

/// Foreign keys that only some partitions have stand with their root.
const CONSTRAINTS: &str = "
, under AS (
  SELECT c.oid AS root, c.oid FROM mine c
  UNION ALL
  SELECT u.root, i.inhrelid FROM under u JOIN pg_catalog.pg_class p ON p.oid = u.oid AND p.relkind = 'p'
  JOIN pg_catalog.pg_inherits i ON i.inhparent = u.oid
)
SELECT coalesce(json_agg(json_build_object('table', c.label, 'name', k.conname, 'kind', k.contype,
  'columns', ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY n (num, at) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = n.num ORDER BY n.at),
  'is_leaf', k.conrelid <> c.oid,
  'parent', p.label,
  'parent_columns', ARRAY(SELECT a.attname FROM unnest(k.confkey) WITH ORDINALITY n (num, at) JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = n.num ORDER BY n.at),
  'outside', CASE WHEN k.contype = 'f' AND p.oid IS NULL THEN (SELECT pg_catalog.format('%I.%I', n.nspname, o.relname)
     FROM pg_catalog.pg_class o JOIN pg_catalog.pg_namespace n ON n.oid = o.relnamespace WHERE o.oid = k.confrelid) END,
  'is_deferrable', k.condeferrable,
  'operators', ARRAY(SELECT o.oprname FROM unnest(k.conexclop) WITH ORDINALITY x (op, at) JOIN pg_catalog.pg_operator o ON o.oid = x.op ORDER BY x.at),
  'on_delete', k.confdeltype, 'definition', pg_catalog.pg_get_constraintdef(k.oid)) ORDER BY c.label, k.conname), '[]')
FROM mine c JOIN under u ON u.root = c.oid JOIN pg_catalog.pg_constraint k ON k.conrelid = u.oid AND k.conparentid = 0
  AND k.contype IN ('p', 'u', 'f', 'c', 'x') AND (u.oid = c.oid OR k.contype = 'f')
LEFT JOIN mine p ON p.oid = k.confrelid";

const INDEXES: &str = "
SELECT coalesce(json_agg(json_build_object('table', c.label, 'name', i.relname, 'is_unique', x.indisunique, 'is_exclusion', x.indisexclusion,
  'is_valid', x.indisvalid AND x.indisready, 'method', m.amname,
  'keys', ARRAY(SELECT pg_catalog.pg_get_indexdef(i.oid, n, false) FROM generate_series(1, x.indnkeyatts) n),
  'types', ARRAY(SELECT pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.oid AND a.attnum BETWEEN 1 AND x.indnkeyatts ORDER BY a.attnum),
  'columns', ARRAY(SELECT a.attname FROM generate_series(0, x.indnkeyatts - 1) n LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[n] AND a.attnum > 0 ORDER BY n),
  'uses', ARRAY(SELECT DISTINCT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND (
     a.attnum = ANY (x.indkey) OR EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
       AND d.objid = i.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))),
  'predicate', pg_catalog.pg_get_expr(x.indpred, c.oid)) ORDER BY c.label, i.relname), '[]')
FROM mine c JOIN pg_catalog.pg_index x ON x.indrelid = c.oid JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid JOIN pg_catalog.pg_am m ON m.oid = i.relam";

const TRIGGERS: &str = "
SELECT coalesce(json_agg(json_build_object('table', c.label, 'name', t.tgname, 'function', p.proname,
  'is_deferred', t.tgdeferrable AND t.tginitdeferred, 'is_enabled', t.tgenabled IN ('O', 'A'),
  'is_before_update', t.tgtype & 19 = 19, 'is_before_insert', t.tgtype & 7 = 7,
  'source', p.prosrc || ' ' || pg_catalog.encode(t.tgargs, 'escape')) ORDER BY c.label, t.tgname), '[]')
FROM mine c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid";

const LEAVES: &str = "
, parts AS (
  SELECT c.oid AS root, c.label AS table, i.inhrelid AS oid,
         json_build_array(json_build_array(pg_catalog.pg_get_partkeydef(c.oid), pg_catalog.pg_get_expr(k.relpartbound, k.oid)))::jsonb AS levels
  FROM mine c JOIN pg_catalog.pg_inherits i ON i.inhparent = c.oid JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid
  WHERE c.relkind = 'p'
  UNION ALL
  SELECT x.root, x.table, i.inhrelid,
         x.levels || json_build_array(json_build_array(pg_catalog.pg_get_partkeydef(x.oid), pg_catalog.pg_get_expr(k.relpartbound, k.oid)))::jsonb
  FROM parts x JOIN pg_catalog.pg_inherits i ON i.inhparent = x.oid JOIN pg_catalog.pg_class k ON k.oid = i.inhrelid
)
SELECT coalesce(json_agg(json_build_object('table', x.table, 'name', k.relname, 'levels', x.levels) ORDER BY x.table, k.relname), '[]')
FROM parts x JOIN pg_catalog.pg_class k ON k.oid = x.oid WHERE k.relkind <> 'p'";

const POLICIES: &str = "
SELECT coalesce(json_agg(json_build_object('table', c.label, 'text', coalesce(pg_catalog.pg_get_expr(p.polwithcheck, c.oid),
  pg_catalog.pg_get_expr(p.polqual, c.oid), '')) ORDER BY c.label, p.polname), '[]')
FROM mine c JOIN pg_catalog.pg_policy p ON p.polrelid = c.oid AND p.polcmd IN ('a', '*')";

/// Every type that the columns are made of: elements of arrays, bounds of ranges, fields of composite types.
const TYPES: &str = "
, every AS (
  SELECT DISTINCT a.atttypid AS oid FROM mine c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  UNION
  SELECT n.oid FROM every e JOIN pg_catalog.pg_type t ON t.oid = e.oid
  CROSS JOIN LATERAL (
    SELECT t.typbasetype AS oid WHERE t.typtype = 'd'
    UNION ALL SELECT t.typelem WHERE t.typelem <> 0
    UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid OR (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::pg_catalog.oid = t.oid
    UNION ALL SELECT f.atttypid FROM pg_catalog.pg_attribute f WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped
  ) n
)
SELECT coalesce(json_agg(json_build_object('type_id', t.oid::int8, 'name', t.typname, 'type_name', pg_catalog.format_type(t.oid, NULL),
  'base', t.typname, 'kind', t.typtype, 'category', t.typcategory, 'modifier', -1,
  'below', CASE WHEN t.typtype = 'd' THEN t.typbasetype::int8 END, 'below_modifier', t.typtypmod, 'is_required', t.typnotnull,
  'has_default', t.typdefault IS NOT NULL,
  'labels', ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),
  'checks', ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'),
  'element_id', CASE WHEN t.typcategory = 'A' THEN t.typelem::int8
     ELSE (SELECT r.rngsubtype::int8 FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid OR (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::pg_catalog.oid = t.oid) END,
  'field_ids', (SELECT json_agg(json_build_array(f.attname, f.atttypid::int8, f.atttypmod) ORDER BY f.attnum) FROM pg_catalog.pg_attribute f
     WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped)) ORDER BY t.oid), '[]')
FROM every e JOIN pg_catalog.pg_type t ON t.oid = e.oid";

#[derive(Deserialize)]
struct Type {
    #[serde(flatten)]
    column: Column,
    below: Option<u32>,
    below_modifier: i32,
    element_id: Option<u32>,
    field_ids: Option<Vec<(String, u32, i32)>>,
}

#[derive(Deserialize)]
struct Policy {
    table: String,
    text: String,
}

/// Reads the catalog of the project's schemas. Tables of the first one, its own, are known by their bare names, others by
/// `schema.table`; [`relation`](super::ident::relation) turns either into SQL.
///
/// # Errors
/// The server's refusal, or a lost connection.
pub async fn read(connection: &mut PgConnection, schemas: &[String]) -> Result<Catalog> {
    let own = literal(schemas.first().map(String::as_str).unwrap_or_default());
    let list: Vec<String> = schemas.iter().map(|schema| literal(schema)).collect();
    // The name of a missing schema must give no tables, not an error. A dot in a schema's name would be taken for the one
    // between schema and table.
    let mine = format!(
        "WITH RECURSIVE mine AS (SELECT c.*, CASE WHEN n.nspname = {own} AND pg_catalog.strpos(c.relname, '.') = 0 \
         THEN c.relname::text ELSE n.nspname || '.' || c.relname END AS label \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname IN ({}) AND (n.nspname = {own} OR pg_catalog.strpos(n.nspname, '.') = 0) \
         AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
         WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))",
        list.join(", ")
    );
    let sql = [TABLES, COLUMNS, CONSTRAINTS, INDEXES, TRIGGERS, LEAVES, POLICIES, TYPES]
        .map(|query| format!("{mine}{query};"))
        .concat();
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
    fill(&mut catalog, &next(), |table, constraint: Constraint| {
        let is_same = |other: &Constraint| {
            (&other.kind, &other.columns, &other.parent, &other.outside, &other.parent_columns)
                == (
                    &constraint.kind,
                    &constraint.columns,
                    &constraint.parent,
                    &constraint.outside,
                    &constraint.parent_columns,
                )
        };
        if !constraint.is_leaf || !table.constraints.iter().any(is_same) {
            table.constraints.push(constraint);
        }
    })?;
    fill(&mut catalog, &next(), |table, index: Index| table.indexes.push(index))?;
    fill(&mut catalog, &next(), |table, trigger: Trigger| table.triggers.push(trigger))?;
    fill(&mut catalog, &next(), |table, leaf: Leaf| table.leaves.push(leaf))?;
    for policy in parse::<Policy>(&next())? {
        if let Some(table) = catalog.tables.get_mut(&policy.table) {
            table.settings.extend(settings(&policy.text));
        }
    }
    let types: BTreeMap<u32, Type> = parse::<Type>(&next())?.into_iter().map(|one| (one.column.type_id, one)).collect();
    for column in catalog.tables.values_mut().flat_map(|table| &mut table.columns) {
        lay_out(column, &types, 0);
    }
    mark_keys(&mut catalog);
    Ok(catalog)
}

/// Gives a column the shapes of what its type is made of.
fn lay_out(column: &mut Column, types: &BTreeMap<u32, Type>, depth: usize) {
    let mut found = types.get(&column.type_id);
    while let Some(below) = found.and_then(|one| one.below) {
        found = types.get(&below);
    }
    let Some(found) = found.filter(|_| depth < 6) else { return };
    column.element = found.element_id.and_then(|id| made_of(id, column.modifier, types, depth)).map(Box::new);
    let fields = found.field_ids.iter().flatten();
    column.parts = fields
        .filter_map(|(name, id, modifier)| {
            made_of(*id, *modifier, types, depth).map(|part| Column { name: name.clone(), ..part })
        })
        .collect();
}

/// A value of a type, domains resolved.
fn made_of(id: u32, modifier: i32, types: &BTreeMap<u32, Type>, depth: usize) -> Option<Column> {
    let own = types.get(&id)?;
    let mut column = Column { modifier, ..own.column.clone() };
    let mut at = own;
    while let Some(below) = at.below.and_then(|below| types.get(&below)) {
        let modifier = if at.below_modifier >= 0 { at.below_modifier } else { column.modifier };
        let checks = [column.checks.as_slice(), &below.column.checks].concat();
        let is_required = column.is_required || below.column.is_required;
        column = Column { modifier, checks, is_required, ..below.column.clone() };
        at = below;
    }
    column.type_id = id;
    lay_out(&mut column, types, depth + 1);
    Some(column)
}

/// The settings that a policy reads, with the column that each is compared with.
fn settings(text: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    for (at, call) in text.match_indices("current_setting('") {
        let rest = &text[at + call.len()..];
        let Some(name) = rest.split('\'').next() else { continue };
        // `tenant_id = (... current_setting(...))`, or the other way round: the nearest name beside an `=`.
        let before = text[..at].rfind(" = ").map(|at| &text[..at]);
        let column = before.map(last_name).unwrap_or_default();
        found.push(Setting { name: name.to_owned(), column });
    }
    found
}

fn last_name(text: &str) -> String {
    let text = text.rsplit_once("::").filter(|(_, cast)| !cast.contains(['(', '='])).map_or(text, |(text, _)| text);
    let text = text.trim_end_matches(')');
    if let Some(text) = text.strip_suffix('"') {
        return text.rsplit('"').next().unwrap_or_default().to_owned();
    }
    text.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned()
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
            let refers = |constraint: &Constraint| constraint.kind == "f" && constraint.columns.contains(&column.name);
            column.is_key = table.constraints.iter().any(refers)
                || referred.contains(&(table.name.clone(), column.name.clone()))
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
