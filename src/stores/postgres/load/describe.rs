//! What the catalog says of the seeded tables: columns and how they compare, keys, foreign keys, policies.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{PostgresLoader, failed, text};
use crate::error::{Error, Result};
use crate::project::seed::nearest;
use crate::stores::load::{FieldShape, Shape};
use crate::stores::postgres::ident::{Ident, literal};

/// A table as statements need it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its number in the catalog.
    pub oid: u32,
    /// Its qualified and quoted name.
    pub name: String,
    /// Its columns, by name.
    pub columns: BTreeMap<String, Column>,
}

/// A column as statements need it.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its quoted name.
    pub name: Ident,
    /// How two values are told apart.
    pub compare: Compare,
    /// `GENERATED ALWAYS AS IDENTITY`: a given value needs `OVERRIDING SYSTEM VALUE`.
    pub is_always: bool,
    /// The name of its type below domains, where it is one of PostgreSQL's own; of an array: of its items.
    pub kind: String,
    /// It is an array.
    pub is_array: bool,
    /// It is a composite type, or an array of one.
    pub is_composite: bool,
    /// The sequence that makes its values, qualified and quoted.
    pub sequence: Option<String>,
    /// Its type, as a statement names it.
    pub type_name: String,
}

/// How two values of a type are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    /// By the type's own equality: `1.0` and `1.00` are one number.
    Own,
    /// Byte by byte, whatever the collation holds to be equal.
    Bytes,
    /// As jsonb: json has no equality.
    Jsonb,
    /// By their texts: the type has no equality, or one that means something else.
    Text,
}

impl Compare {
    /// A value as it is compared.
    pub fn side(self, value: &str) -> String {
        match self {
            Self::Own => value.to_owned(),
            Self::Bytes => format!("{value} COLLATE \"C\""),
            Self::Jsonb => format!("{value}::pg_catalog.jsonb"),
            Self::Text => format!("{value}::pg_catalog.text"),
        }
    }
}

#[derive(Deserialize)]
struct RawTable {
    target: String,
    oid: Option<u32>,
    schema: Option<String>,
    name: Option<String>,
    guarded: Option<bool>,
    columns: Option<Vec<RawColumn>>,
    identity: Option<Vec<String>>,
    uniques: Option<Vec<Vec<String>>>,
    references: Option<Vec<RawReference>>,
}

#[derive(Deserialize)]
struct RawColumn {
    name: String,
    uuid: bool,
    tables: bool,
    nullable: bool,
    computed: bool,
    always: bool,
    kind: String,
    array: bool,
    composite: bool,
    sequence: Option<String>,
    serial: bool,
    bytes: bool,
    #[serde(rename = "type")]
    type_name: String,
    compare: Compare,
}

#[derive(Deserialize)]
struct RawReference {
    columns: Vec<String>,
    table: u32,
}

/// `%targets%` is replaced by an array of the targets, `%schema%` by the project's schema.
const CATALOG: &str = r#"
WITH found AS (
    SELECT w.target, w.at, c.oid, c.relname, c.nspname
    FROM pg_catalog.unnest(%targets%) WITH ORDINALITY AS w(target, at)
    LEFT JOIN LATERAL (
        SELECT c.oid, c.relname, n.nspname
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p')
          AND ((n.nspname = %schema% AND c.relname = w.target)
            OR (pg_catalog.strpos(w.target, '.') > 0
                AND n.nspname = pg_catalog.split_part(w.target, '.', 1)
                AND c.relname = pg_catalog.substr(w.target, pg_catalog.strpos(w.target, '.') + 1)))
        ORDER BY n.nspname = %schema% DESC, pg_catalog.length(n.nspname::text)
        LIMIT 1) c ON true
)
SELECT pg_catalog.json_build_object(
    'target', f.target, 'oid', f.oid::int8, 'schema', f.nspname, 'name', f.relname,
    'guarded', CASE WHEN f.oid IS NOT NULL THEN pg_catalog.row_security_active(f.oid) END,
    'columns', (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'name', a.attname,
            'uuid', b.typname = 'uuid',
            'tables', b.typname IN ('json', 'jsonb', 'hstore') OR b.typtype = 'c',
            'nullable', NOT a.attnotnull,
            'computed', a.attgenerated <> '',
            'always', a.attidentity = 'a',
            'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
            'bytes', b.typname = 'bytea',
            'serial', b.typcategory = 'N' AND (a.attidentity <> '' OR COALESCE((
                SELECT pg_catalog.pg_get_expr(x.adbin, x.adrelid) ~ '^nextval\(' FROM pg_catalog.pg_attrdef x
                WHERE x.adrelid = a.attrelid AND x.adnum = a.attnum), false)),
            'kind', CASE WHEN e.typtype = 'e' THEN 'enum' WHEN e.typnamespace = 'pg_catalog'::regnamespace AND e.typtype = 'b' THEN e.typname ELSE '' END,
            'array', e.oid <> b.oid,
            'composite', e.typtype = 'c',
            'sequence', (
                SELECT pg_catalog.format('%I.%I', sn.nspname, s.relname)
                FROM (
                    SELECT 1 AS place, d.refobjid AS oid
                    FROM pg_catalog.pg_attrdef x
                    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid = x.oid
                        AND d.refclassid = 'pg_catalog.pg_class'::regclass
                    WHERE x.adrelid = a.attrelid AND x.adnum = a.attnum
                    UNION ALL
                    SELECT 2, d.objid
                    FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass
                      AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')) o
                JOIN pg_catalog.pg_class s ON s.oid = o.oid AND s.relkind = 'S'
                JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace
                ORDER BY o.place LIMIT 1),
            'compare', CASE
                WHEN e.typname = 'json' THEN CASE WHEN b.typname = 'json' THEN 'jsonb' ELSE 'text' END
                WHEN e.typname IN ('xml', 'citext') OR e.typcategory = 'G' OR e.typtype = 'c' THEN 'text'
                WHEN e.typcategory = 'U' AND e.typtype = 'b' AND NOT EXISTS (
                    SELECT FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
                    WHERE o.opcdefault AND o.opcintype = e.oid AND m.amname IN ('btree', 'hash')) THEN 'text'
                WHEN a.attcollation <> 0 THEN 'bytes'
                ELSE 'own' END) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN %base of t% ELSE t.oid END
        JOIN pg_catalog.pg_type l ON l.oid = CASE WHEN b.typcategory = 'A' AND b.typelem <> 0 THEN b.typelem ELSE b.oid END
        JOIN pg_catalog.pg_type e ON e.oid = CASE WHEN l.typtype = 'd' THEN %base of l% ELSE l.oid END
        WHERE a.attrelid = f.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'identity', (SELECT k.names FROM keys k WHERE k.indrelid = f.oid AND k.indisprimary),
    'uniques', (SELECT pg_catalog.json_agg(k.names ORDER BY k.indexrelid) FROM keys k
                WHERE k.indrelid = f.oid AND NOT k.indisprimary),
    'references', (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object('table', r.confrelid::int8, 'columns', (
            SELECT pg_catalog.json_agg(a.attname ORDER BY u.at)
            FROM pg_catalog.unnest(r.conkey) WITH ORDINALITY AS u(attnum, at)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = r.conrelid AND a.attnum = u.attnum)))
        FROM pg_catalog.pg_constraint r WHERE r.conrelid = f.oid AND r.contype = 'f')
)::text
FROM found f ORDER BY f.at"#;

/// The type under a domain, which may be a domain of a domain.
const BASE: &str = "(WITH RECURSIVE under AS (
    SELECT %type%.typbasetype AS oid
    UNION ALL
    SELECT d.typbasetype FROM under u JOIN pg_catalog.pg_type d ON d.oid = u.oid WHERE d.typtype = 'd')
    SELECT u.oid FROM under u JOIN pg_catalog.pg_type d ON d.oid = u.oid WHERE d.typtype <> 'd')";

/// Unique indexes over plain columns, without a condition.
const KEYS: &str = r#"
    SELECT i.indexrelid, i.indrelid, i.indisprimary, (
        SELECT pg_catalog.json_agg(a.attname ORDER BY u.at)
        FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
        WHERE u.at <= i.indnkeyatts) AS names
    FROM pg_catalog.pg_index i
    WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND i.indrelid IN (SELECT oid FROM found)"#;

impl PostgresLoader<'_> {
    pub(super) async fn describe_targets(&mut self, targets: &[String]) -> Result<Vec<Shape>> {
        let list: Vec<String> = targets.iter().map(|target| literal(target)).collect();
        let schema = literal(self.store.settings.schema.name());
        let sql = CATALOG
            .replacen("\nSELECT", &format!(", keys AS ({KEYS})\nSELECT"), 1)
            .replace("%base of t%", &BASE.replace("%type%", "t"))
            .replace("%base of l%", &BASE.replace("%type%", "l"))
            .replace("%targets%", &format!("ARRAY[{}]::pg_catalog.text[]", list.join(", ")))
            .replace("%schema%", &schema);
        let rows = self.send(&sql).await.map_err(|error| failed("the catalog cannot be read", &error))?;
        let mut raw = Vec::with_capacity(rows.len());
        for row in &rows {
            let json = text(row, 0).ok_or_else(|| Error::bug("the catalog answered nothing"))?;
            let table: RawTable = serde_json::from_str(&json)
                .map_err(|error| Error::bug("the catalog's answer was not understood").why(error.to_string()))?;
            raw.push(table);
        }
        let names = if raw.iter().any(|table| table.oid.is_none()) { self.table_names().await? } else { Vec::new() };
        let by_oid: Vec<(u32, String)> =
            raw.iter().filter_map(|table| Some((table.oid?, table.target.clone()))).collect();
        raw.into_iter().map(|table| self.shape(table, &by_oid, &names)).collect()
    }

    async fn table_names(&mut self) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p') AND n.nspname = {}",
            literal(self.store.settings.schema.name())
        );
        let rows = self.send(&sql).await.map_err(|error| failed("the catalog cannot be read", &error))?;
        Ok(rows.iter().filter_map(|row| text(row, 0)).collect())
    }

    fn shape(&mut self, raw: RawTable, by_oid: &[(u32, String)], names: &[String]) -> Result<Shape> {
        let (Some(oid), Some(schema), Some(name)) = (raw.oid, raw.schema, raw.name) else {
            let near = nearest(&raw.target, names.iter().map(String::as_str)).map(str::to_owned);
            return Ok(Shape { target: raw.target, near, ..Shape::default() });
        };
        let mut columns = BTreeMap::new();
        let mut fields = Vec::new();
        for column in raw.columns.unwrap_or_default() {
            fields.push(FieldShape {
                name: column.name.clone(),
                is_uuid: column.uuid,
                takes_tables: column.tables,
                is_nullable: column.nullable,
                is_computed: column.computed,
                is_bytes: column.bytes,
                has_sequence: column.serial && column.sequence.is_some(),
            });
            let ident = Ident::new(&column.name)?;
            columns.insert(
                column.name,
                Column {
                    name: ident,
                    compare: column.compare,
                    is_always: column.always,
                    kind: column.kind,
                    is_array: column.array,
                    is_composite: column.composite,
                    sequence: column.sequence,
                    type_name: column.type_name,
                },
            );
        }
        let qualified = format!("{}.{}", Ident::new(&schema)?, Ident::new(&name)?);
        self.tables.insert(raw.target.clone(), Table { oid, name: qualified, columns });
        let references = raw.references.unwrap_or_default().into_iter().filter_map(|reference| {
            let (_, target) = by_oid.iter().find(|(oid, _)| *oid == reference.table)?;
            Some((reference.columns, target.clone()))
        });
        Ok(Shape {
            exists: true,
            near: None,
            fields: Some(fields),
            identity: raw.identity.unwrap_or_default(),
            unique: raw.uniques.unwrap_or_default(),
            references: references.collect(),
            is_guarded: raw.guarded.unwrap_or(false),
            target: raw.target,
        })
    }
}
