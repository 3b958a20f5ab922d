//! What the catalog says of the tables that may hold a tenant's rows: columns, keys, foreign keys, sequences.

use super::super::super::connect::text;
use super::super::super::ident::literal;
use super::super::super::{PostgresStore, run};
use super::super::unreadable;
use crate::error::Result;

/// A table, partitions counted with their root.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    pub oid: String,
    pub schema: String,
    pub name: String,
    /// With its schema, quoted.
    pub quoted: String,
    /// `r`, `p` or `f`.
    pub kind: String,
    /// Policies hold for this session.
    pub is_guarded: bool,
    pub columns: Vec<Column>,
    /// The quoted columns of its key, in order; empty: it has none.
    pub order: Vec<String>,
    /// Triggers of the application that are on, its partitions' included.
    pub triggers: Vec<Trigger>,
}

/// A trigger that is on.
#[derive(Clone, Debug, Default)]
pub(super) struct Trigger {
    /// The quoted table or partition that has it.
    pub table: String,
    /// Quoted.
    pub name: String,
    /// It fires in sessions of every kind.
    pub is_always: bool,
    pub on_insert: bool,
    pub on_delete: bool,
    /// We may turn it off.
    pub is_ours: bool,
}

/// A policy that holds for this session.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub table: String,
    pub name: String,
    pub is_permissive: bool,
    /// Its expressions, one after the other.
    pub text: String,
    /// What it looks at beside the tenant and what leads to it: columns, of this table and others.
    pub looks_at: Vec<String>,
}

/// A column that is stored by itself: none that is worked out of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    pub name: String,
    pub quoted: String,
    /// As a cast wants it.
    pub kind: String,
    pub has_collation: bool,
    /// The sequence that gives its values.
    pub sequence: Option<String>,
}

/// A foreign key, by the numbers of the catalog.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub child: String,
    pub child_quoted: String,
    pub parent: String,
    /// Quoted.
    pub columns: Vec<String>,
    pub parent_columns: Vec<String>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub tables: Vec<Source>,
    pub references: Vec<Reference>,
    /// Materialized views: quoted.
    pub materialized: Vec<String>,
    /// Sequences: schema, name, quoted.
    pub sequences: Vec<(String, String, String)>,
    /// Policies on tables that they hold in for this session, as far as they bear on reading and removing.
    pub policies: Vec<Policy>,
    /// Large objects of the database.
    pub large_objects: u64,
}

impl PostgresStore {
    /// Reads the catalog of the database, system schemas and lyrox's own left out: one round trip.
    pub(super) async fn read_sources(&mut self) -> Result<Catalog> {
        let of = "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lyrox') \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e \
             WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')";
        let table = "AND c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition";
        let quoted = "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)";
        let names = |table: &str, numbers: &str| {
            format!(
                "(SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), E'\\x1f' ORDER BY u.at) \
                 FROM pg_catalog.unnest({numbers}) WITH ORDINALITY u (num, at) \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = {table} AND a.attnum = u.num)"
            )
        };
        // Casts and names are read with the search path that they are used with: the session's.
        let sql = format!(
            "SELECT 'table', c.oid::text, n.nspname, c.relname, {quoted}, c.relkind::text, \
             pg_catalog.row_security_active(c.oid)::text {of} {table} ORDER BY 3, 4; \
             SELECT 'column', c.oid::text, a.attname, pg_catalog.quote_ident(a.attname), \
             pg_catalog.format_type(a.atttypid, a.atttypmod), (a.attcollation <> 0)::text, \
             CASE WHEN c.relkind <> 'f' THEN coalesce(pg_catalog.pg_get_serial_sequence({quoted}, a.attname), \
             (SELECT pg_catalog.quote_ident(sn.nspname) || '.' || pg_catalog.quote_ident(s.relname) FROM pg_catalog.pg_attrdef f \
             JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = f.oid \
             AND p.refclassid = 'pg_catalog.pg_class'::regclass JOIN pg_catalog.pg_class s ON s.oid = p.refobjid AND s.relkind = 'S' \
             JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum \
             AND a.atttypid IN (20, 21, 23) AND CASE WHEN s.relkind = 'S' THEN pg_catalog.has_sequence_privilege(s.oid, 'UPDATE') END LIMIT 1)) END {of} {table} \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
             AND a.attgenerated = '' ORDER BY c.oid, a.attnum; \
             SELECT 'order', c.oid::text, {key} {of} {table} \
             JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL \
             AND i.indimmediate AND i.indisvalid AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND NOT a.attnotnull) \
             JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid \
             ORDER BY c.oid, i.indisprimary DESC, ic.relname COLLATE \"C\"; \
             SELECT 'reference', k.conrelid::text, {quoted}, k.confrelid::text, {own}, {its} {of} {table} \
             JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0 \
             ORDER BY 2, k.conname COLLATE \"C\"; \
             SELECT 'trigger', c.oid::text, t.tgrelid::regclass::text, pg_catalog.quote_ident(t.tgname), \
             (t.tgenabled = 'A')::text, (t.tgtype & 4 <> 0)::text, (t.tgtype & 8 <> 0)::text, \
             pg_catalog.pg_has_role(r.relowner, 'USAGE')::text {of} {table} \
             JOIN pg_catalog.pg_trigger t ON t.tgrelid IN (SELECT c.oid UNION SELECT l.relid FROM pg_catalog.pg_partition_tree(c.oid) l) \
             AND NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('O', 'A') AND t.tgtype & 12 <> 0 \
             JOIN pg_catalog.pg_class r ON r.oid = t.tgrelid ORDER BY 3, 4; \
             SELECT 'policy', c.oid::text, l.polname, l.polpermissive::text, \
             pg_catalog.concat_ws(' ', pg_catalog.pg_get_expr(l.polqual, l.polrelid), pg_catalog.pg_get_expr(l.polwithcheck, l.polrelid)), \
             (SELECT pg_catalog.string_agg(DISTINCT CASE WHEN x.oid = c.oid THEN '' ELSE x.relname || '.' END || a.attname, E'\x1f') \
             FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class x ON x.oid = p.refobjid \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = x.oid AND a.attnum = p.refobjsubid \
             WHERE p.classid = 'pg_catalog.pg_policy'::regclass AND p.objid = l.oid \
             AND p.refclassid = 'pg_catalog.pg_class'::regclass AND p.refobjsubid > 0 AND NOT EXISTS \
             (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND (k.conrelid = x.oid AND a.attnum = ANY (k.conkey) \
             OR k.confrelid = x.oid AND a.attnum = ANY (k.confkey)))) \
             {of} {table} AND pg_catalog.row_security_active(c.oid) \
             JOIN pg_catalog.pg_policy l ON l.polrelid = c.oid AND l.polcmd IN ('*', 'r', 'd') AND EXISTS \
             (SELECT FROM pg_catalog.unnest(l.polroles) u (id) WHERE CASE WHEN u.id = 0 THEN true \
             ELSE pg_catalog.pg_has_role(u.id, 'USAGE') END) ORDER BY 2, 3; \
             SELECT 'materialized', {quoted} {of} AND c.relkind = 'm' ORDER BY 2; \
             SELECT 'sequence', n.nspname, c.relname, {quoted} {of} AND c.relkind = 'S' ORDER BY 2, 3; \
             SELECT 'objects', pg_catalog.count(*)::text FROM pg_catalog.pg_largeobject_metadata",
            key = names("c.oid", "(i.indkey::int2[])[0:i.indnkeyatts - 1]"),
            own = names("k.conrelid", "k.conkey"),
            its = names("k.confrelid", "k.confkey"),
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let mut catalog = Catalog::default();
        let mut number = std::collections::HashMap::new();
        let split = |text: String| -> Vec<String> { text.split('\u{1f}').map(str::to_owned).collect() };
        for row in &rows {
            let word = |at| text(row, at).unwrap_or_default();
            match word(0).as_str() {
                "table" => {
                    number.insert(word(1), catalog.tables.len());
                    catalog.tables.push(Source {
                        oid: word(1),
                        schema: word(2),
                        name: word(3),
                        quoted: word(4),
                        kind: word(5),
                        is_guarded: word(6) == "true",
                        ..Source::default()
                    });
                }
                "column" => {
                    let Some(table) = number.get(&word(1)).and_then(|at| catalog.tables.get_mut(*at)) else { continue };
                    table.columns.push(Column {
                        name: word(2),
                        quoted: word(3),
                        kind: word(4),
                        has_collation: word(5) == "true",
                        sequence: text(row, 6),
                    });
                }
                "order" => {
                    let Some(table) = number.get(&word(1)).and_then(|at| catalog.tables.get_mut(*at)) else { continue };
                    if table.order.is_empty() {
                        table.order = split(word(2));
                    }
                }
                "reference" => catalog.references.push(Reference {
                    child: word(1),
                    child_quoted: word(2),
                    parent: word(3),
                    columns: split(word(4)),
                    parent_columns: split(word(5)),
                }),
                "trigger" => {
                    let Some(table) = number.get(&word(1)).and_then(|at| catalog.tables.get_mut(*at)) else { continue };
                    table.triggers.push(Trigger {
                        table: word(2),
                        name: word(3),
                        is_always: word(4) == "true",
                        on_insert: word(5) == "true",
                        on_delete: word(6) == "true",
                        is_ours: word(7) == "true",
                    });
                }
                "policy" => catalog.policies.push(Policy {
                    table: word(1),
                    name: word(2),
                    is_permissive: word(3) == "true",
                    text: word(4),
                    looks_at: text(row, 5).map(split).unwrap_or_default(),
                }),
                "materialized" => catalog.materialized.push(word(1)),
                "sequence" => catalog.sequences.push((word(1), word(2), word(3))),
                _ => catalog.large_objects = literal_number(&word(1)),
            }
        }
        Ok(catalog)
    }

    /// Objects outside a schema that would go with it: views, foreign keys, functions, types of columns.
    pub(super) async fn leaning_on(&mut self, schema: &str) -> Result<Vec<String>> {
        let sql = format!(
            "WITH inside AS (SELECT 'pg_catalog.pg_class'::regclass AS classid, c.oid FROM pg_catalog.pg_class c \
             WHERE c.relnamespace = {schema} UNION ALL SELECT 'pg_catalog.pg_type'::regclass, t.oid FROM pg_catalog.pg_type t \
             WHERE t.typnamespace = {schema} UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, p.oid FROM pg_catalog.pg_proc p \
             WHERE p.pronamespace = {schema}) \
             SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_catalog.pg_depend d \
             JOIN inside i ON i.classid = d.refclassid AND i.oid = d.refobjid \
             LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid \
             LEFT JOIN pg_catalog.pg_rewrite w ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND w.oid = d.objid \
             LEFT JOIN pg_catalog.pg_class v ON v.oid = coalesce(w.ev_class, k.conrelid, \
             CASE WHEN d.classid = 'pg_catalog.pg_class'::regclass THEN d.objid END) \
             LEFT JOIN pg_catalog.pg_proc p ON d.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objid \
             WHERE d.deptype IN ('n', 'a') AND coalesce(v.relnamespace, p.pronamespace, {schema}) <> {schema} \
             AND coalesce(v.relnamespace, p.pronamespace) <> 'pg_toast'::regnamespace ORDER BY 1",
            schema = format_args!("(SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {})", literal(schema)),
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        Ok(rows.iter().filter_map(|row| text(row, 0)).collect())
    }
}

fn literal_number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}
