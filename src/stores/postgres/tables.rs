//! The live tables as smoke tests and generated data need them: typed columns, keys, indexes, triggers,
//! policies, partitions. One round trip; the definitions that snapshots hold are read elsewhere.

use std::collections::BTreeSet;

use serde::Deserialize;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use crate::engine::generate::schema::{Catalog, Column, Constraint, Index, Table, Trigger};
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
SELECT coalesce(json_agg(json_build_object('name', c.relname, 'has_rls', c.relrowsecurity, 'is_forced', c.relforcerowsecurity,
  'is_partitioned', c.relkind = 'p') ORDER BY c.relname), '[]')
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
  'is_valid', x.indisvalid AND x.indisready, 'method', m.amname,
  'keys', ARRAY(SELECT pg_catalog.pg_get_indexdef(i.oid, n, false) FROM generate_series(1, x.indnkeyatts) n),
  'types', ARRAY(SELECT pg_catalog.format_type(a.atttypid, NULL) FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.oid AND a.attnum BETWEEN 1 AND x.indnkeyatts ORDER BY a.attnum),
  'columns', ARRAY(SELECT a.attname FROM generate_series(0, x.indnkeyatts - 1) n LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[n] AND a.attnum > 0 ORDER BY n),
  'uses', ARRAY(SELECT DISTINCT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND (
     a.attnum = ANY (x.indkey) OR EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
       AND d.objid = i.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))),
  'predicate', pg_catalog.pg_get_expr(x.indpred, c.oid)) ORDER BY c.relname, i.relname), '[]')
FROM mine c JOIN pg_catalog.pg_index x ON x.indrelid = c.oid JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid JOIN pg_catalog.pg_am m ON m.oid = i.relam";

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
