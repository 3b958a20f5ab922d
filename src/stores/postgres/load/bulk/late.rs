//! Late indexes: a large load into an empty table goes faster without its indexes, which are made again
//! afterwards from the server's own definitions, with their names and comments. Where anything about the
//! table is out of the ordinary, or anything needs its keys, they stay.

use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgConnection};

use super::super::describe::Table;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::literal;

/// What takes the indexes away and what brings them back.
#[derive(Clone, Debug, Default)]
pub struct Late {
    /// Statements, in order.
    pub drops: Vec<String>,
    /// Statements, in order: every index, then what makes them constraints, and comments. An index that is
    /// there already is passed over.
    pub makes: Vec<String>,
}

#[derive(Deserialize)]
struct Found {
    is_plain: bool,
    indexes: Option<Vec<Index>>,
}

#[derive(Deserialize)]
struct Index {
    drop: String,
    make: String,
    constraint: Option<String>,
    comments: Vec<String>,
}

/// `%oid%` is the table's. A foreign key that points at the table needs its unique key; a trigger may read the
/// table; deferred checks forbid `ALTER TABLE` in the same transaction; event triggers would be told of it.
const FIND: &str = r#"
SELECT pg_catalog.json_build_object(
    'is_plain', c.relkind = 'r' AND NOT c.relispartition AND NOT c.relhassubclass AND c.relreplident <> 'i'
        AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
        AND pg_catalog.has_schema_privilege(c.relnamespace, 'CREATE')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = c.oid OR inhparent = c.oid)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE confrelid = c.oid AND contype = 'f')
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = c.oid AND (NOT tgisinternal OR tgdeferrable))
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = c.oid)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend WHERE objid = c.oid AND deptype = 'e'
            AND classid = 'pg_catalog.pg_class'::regclass)
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D'),
    'indexes', (
        SELECT pg_catalog.json_agg(pg_catalog.json_build_object(
            'drop', CASE WHEN k.oid IS NULL THEN pg_catalog.format('DROP INDEX %I.%I', n.nspname, x.relname)
                ELSE pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', %name%, k.conname) END,
            'make', CASE WHEN k.contype = 'x' THEN pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', %name%,
                    k.conname, pg_catalog.pg_get_constraintdef(k.oid))
                ELSE pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(x.oid), '^(CREATE( UNIQUE)? INDEX)',
                    '\1 IF NOT EXISTS') END,
            'constraint', CASE WHEN k.contype IN ('p', 'u') THEN pg_catalog.format(
                'ALTER TABLE %s ADD CONSTRAINT %I %s USING INDEX %I', %name%, k.conname,
                CASE k.contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END, x.relname) END,
            'comments', pg_catalog.array_remove(ARRAY[
                CASE WHEN pg_catalog.obj_description(x.oid, 'pg_class') IS NOT NULL THEN
                    pg_catalog.format('COMMENT ON INDEX %I.%I IS %L', n.nspname, x.relname,
                        pg_catalog.obj_description(x.oid, 'pg_class')) END,
                CASE WHEN pg_catalog.obj_description(k.oid, 'pg_constraint') IS NOT NULL THEN
                    pg_catalog.format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, %name%,
                        pg_catalog.obj_description(k.oid, 'pg_constraint')) END], NULL)
            ) ORDER BY i.indisprimary DESC, x.oid)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace
        LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = x.oid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisready AND i.indislive
          AND NOT i.indisclustered AND NOT i.indisreplident AND x.reltablespace = 0
          AND (k.oid IS NULL OR x.reloptions IS NULL)
          AND (NOT %unique_stays% OR NOT (i.indisunique OR i.indisexclusion))
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
              WHERE a.attrelid = x.oid AND COALESCE(a.attstattarget, -1) >= 0)
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
              WHERE (d.refobjid = k.oid AND d.refclassid = 'pg_catalog.pg_constraint'::regclass
                  OR d.refobjid = x.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass) AND d.deptype <> 'i'
                  OR d.objid = x.oid AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('e', 'x')))
)::text
FROM pg_catalog.pg_class c WHERE c.oid = %oid%"#;

/// Finds the indexes that can be made later, of a table that this transaction has locked. None: nothing is
/// gained or something speaks against it.
///
/// # Errors
/// The server's.
pub async fn find(
    connection: &mut PgConnection,
    table: &Table,
    unique_stays: bool,
) -> Result<Option<Late>, sqlx::Error> {
    let sql = FIND
        .replace("%oid%", &table.oid.to_string())
        .replace("%name%", &literal(&table.name))
        .replace("%unique_stays%", if unique_stays { "true" } else { "false" });
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    let found = rows.first().and_then(|row| text(row, 0)).and_then(|json| serde_json::from_str::<Found>(&json).ok());
    let Some(Found { is_plain: true, indexes: Some(indexes) }) = found else { return Ok(None) };
    let mut late = Late::default();
    let mut after = Vec::new();
    for index in indexes {
        // What is dropped last was made first.
        late.drops.insert(0, index.drop);
        late.makes.push(index.make);
        after.extend(index.constraint);
        after.extend(index.comments);
    }
    late.makes.append(&mut after);
    Ok(Some(late))
}

/// Locks the table against everybody, without waiting: who works with it must not be kept from it for
/// speed's sake. False: somebody does.
///
/// # Errors
/// The server's, other than the lock.
pub async fn lock(connection: &mut PgConnection, table: &Table) -> Result<bool, sqlx::Error> {
    let sql = format!("SAVEPOINT lyrox_late; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE NOWAIT", table.name);
    let locked = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await;
    let is_locked = locked.is_ok();
    if let Err(error) = locked
        && error.as_database_error().is_none()
    {
        return Err(error);
    }
    let end = if is_locked { "" } else { "ROLLBACK TO SAVEPOINT lyrox_late; " };
    let sql = format!("{end}RELEASE SAVEPOINT lyrox_late");
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await?;
    Ok(is_locked)
}

/// Whether a statement can run beside others of its kind.
pub fn is_index(make: &str) -> bool {
    make.starts_with("CREATE ")
}

/// What gives the server room to sort what it indexes, for this transaction.
pub const ROOM: &str = "SELECT pg_catalog.set_config('maintenance_work_mem', '256MB', true) \
    FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem' AND setting::int8 < 262144";
