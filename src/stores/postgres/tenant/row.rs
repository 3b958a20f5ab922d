//! The model `row`: a tenant's place is its row in the tenant table. Policies may hide rows from the owner as well:
//! then each row is read and written as its own tenant, all in one message.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::super::connect::text;
use super::super::error::{is_lost, server_error, sqlstate, words};
use super::super::ident::{Ident, literal};
use super::super::{PostgresStore, run};
use super::{refused, unreadable};
use crate::engine::tenant::plan::quoted;
use crate::engine::tenant::{Tenant, shown};
use crate::error::{Code, Error, Result};
use crate::stores::tenant::{Clash, Made, Place, Terms};

/// The tenant table as the catalog has it.
#[derive(Clone)]
struct Table {
    /// Its qualified name, quoted.
    name: String,
    /// The column of the key, quoted.
    key: String,
    /// The key's type as SQL has it.
    key_type: String,
    /// Policies hold for this session.
    is_guarded: bool,
}

impl PostgresStore {
    /// The tenant table; none where the configuration names none.
    async fn tenant_table(&mut self, terms: &Terms) -> Result<Option<Table>> {
        let Some(table) = &terms.tenancy.table else { return Ok(None) };
        let key = &terms.tenancy.key_column;
        let sql = format!(
            "SELECT pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.row_security_active(c.oid), c.oid IS NOT NULL, \
             EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL \
             AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = {} AND a.attnum > 0 AND NOT a.attisdropped \
             WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p')",
            literal(key),
            literal(self.settings.schema.name()),
            literal(table)
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let missing = |what: String| Error::new(Code::Tenancy, what).data("nothing was changed");
        let Some(row) = rows.first() else {
            return Err(missing(format!("the tenant table `{}` is not there", shown(table)))
                .why(format!("schema {} has no such table", self.settings.schema))
                .hint("lyrox db migrate, or mend `table` under [tenancy] in lyrox.toml"));
        };
        let Some(key_type) = text(row, 0) else {
            return Err(missing(format!("the tenant table `{}` has no column `{}`", shown(table), shown(key)))
                .hint("mend `key_column` under [tenancy] in lyrox.toml"));
        };
        if text(row, 3).as_deref() != Some("t") {
            return Err(missing(format!("`{}` of `{}` is not unique by itself", shown(key), shown(table)))
                .why("two tenants could have the same key")
                .hint(format!(
                    "ALTER TABLE {}.{} ADD UNIQUE ({})",
                    self.settings.schema,
                    Ident::new(table)?,
                    Ident::new(key)?
                )));
        }
        Ok(Some(Table {
            name: format!("{}.{}", self.settings.schema, Ident::new(table)?),
            key: Ident::new(key)?.to_string(),
            key_type,
            is_guarded: text(row, 1).as_deref() == Some("t"),
        }))
    }

    /// Makes the policies see a tenant, within a transaction.
    fn entering(terms: &Terms, key: &str) -> String {
        format!("SELECT pg_catalog.set_config({}, {}, true);", literal(&terms.tenancy.setting), literal(key))
    }

    /// Which of these tenants have a row: their keys.
    pub(super) async fn keys_with_row(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<String>> {
        let Some(table) = self.tenant_table(terms).await? else { return Ok(Vec::new()) };
        let found = self.keys_in(&table, tenants, terms).await?;
        Ok(found.into_iter().filter(|(asked, there)| asked == there).map(|(asked, _)| asked).collect())
    }

    /// The rows of these keys: each key that was asked for, and the key of its row as the column writes it. The two differ
    /// where the column holds different texts for equal.
    async fn keys_in(&mut self, table: &Table, tenants: &[Tenant], terms: &Terms) -> Result<Vec<(String, String)>> {
        let (name, key) = (&table.name, &table.key);
        let sql = if table.is_guarded {
            let each = tenants.iter().map(|tenant| {
                let (enter, own) = (Self::entering(terms, tenant.key()), literal(tenant.key()));
                format!("{enter} SELECT 'row', {own}, {key}::text FROM {name} WHERE {key} = {own};")
            });
            format!("BEGIN READ ONLY; {} COMMIT", each.collect::<String>())
        } else {
            let keys: Vec<String> = tenants.iter().map(|tenant| format!("({})", literal(tenant.key()))).collect();
            format!(
                "SELECT 'row', v.k, r.{key}::text FROM (VALUES {}) v (k) JOIN {name} r ON r.{key} = v.k::{}",
                keys.join(", "),
                table.key_type
            )
        };
        let rows = match run(&mut self.connection, sql).await {
            Ok(rows) => rows,
            Err(error) => {
                let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                return Err(server_error(Code::TenantFailed, "the tenant table cannot be read", &error));
            }
        };
        Ok(rows.iter().filter_map(|row| Some((text(row, 1)?, text(row, 2)?))).collect())
    }

    /// Keys that the column cannot hold or writes otherwise, and rows that are there already.
    pub(super) async fn row_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>> {
        let Some(table) = self.tenant_table(terms).await? else { return Ok(Vec::new()) };
        let mut clashes = Vec::new();
        let mut sound = Vec::new();
        for (index, canonical) in self.canonical(&table, tenants).await?.into_iter().enumerate() {
            let (why, key) = match canonical {
                Ok(key) if key == tenants[index].key() => {
                    sound.push(index);
                    continue;
                }
                Ok(key) => {
                    (format!("its key is `{}` in the column `{}`", shown(&key), terms.tenancy.key_column), Some(key))
                }
                Err(why) => (format!("`{}` cannot hold its key: {why}", terms.tenancy.key_column), None),
            };
            clashes.push(Clash { index, why, is_unmanaged: false, key: Some(key) });
        }
        let asked: Vec<Tenant> = sound.iter().map(|index| tenants[*index].clone()).collect();
        if asked.is_empty() {
            return Ok(clashes);
        }
        let there = self.keys_in(&table, &asked, terms).await?;
        let list = terms.tenancy.table.as_deref().unwrap_or_default();
        for index in sound {
            let Some((_, key)) = there.iter().find(|(asked, _)| asked == tenants[index].key()) else { continue };
            let is_unmanaged = key == tenants[index].key();
            clashes.push(if is_unmanaged {
                Clash { index, why: format!("`{list}` has a row with its key already"), is_unmanaged, key: None }
            } else {
                Clash { index, why: equal(list, key), is_unmanaged, key: Some(Some(key.clone())) }
            });
        }
        Ok(clashes)
    }

    /// Each key as the column writes it, or why it cannot hold it. The cast to the bare type and back is one round trip;
    /// only where one fails they are tried by themselves.
    async fn canonical(&mut self, table: &Table, tenants: &[Tenant]) -> Result<Vec<Result<String, String>>> {
        let cast = |tenant: &Tenant| format!("({}::{})::text", literal(tenant.key()), table.key_type);
        let values: Vec<String> = tenants.iter().map(|tenant| format!("({})", cast(tenant))).collect();
        let sql = format!("VALUES {}", values.join(", "));
        match run(&mut self.connection, sql).await {
            Ok(rows) => return Ok(rows.iter().map(|row| Ok(text(row, 0).unwrap_or_default())).collect()),
            Err(error) if is_lost(&error) || tenants.is_empty() => return Err(unreadable(&error)),
            Err(error) if tenants.len() == 1 => return Ok(vec![Err(words(&error))]),
            Err(_) => {}
        }
        let mut found = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            found.push(match run(&mut self.connection, format!("SELECT {}", cast(tenant))).await {
                Ok(rows) => Ok(rows.first().and_then(|row| text(row, 0)).unwrap_or_default()),
                Err(error) if is_lost(&error) => return Err(unreadable(&error)),
                Err(error) => Err(words(&error)),
            });
        }
        Ok(found)
    }

    /// Makes the rows that are missing: all in one round trip; where one is refused, each by itself.
    pub(super) async fn make_rows(&mut self, places: &[Place], terms: &Terms) -> Result<Made> {
        let Some(table) = self.tenant_table(terms).await? else { return Ok(Made::all(places.len())) };
        let all: Vec<&Place> = places.iter().collect();
        match run(&mut self.connection, insert(&table, &all, terms)?).await {
            Ok(rows) => {
                let mut made = Made::all(places.len());
                for key in
                    rows.iter().filter(|row| text(row, 0).as_deref() == Some(LOST)).filter_map(|row| text(row, 1))
                {
                    for (index, place) in places.iter().enumerate().filter(|(_, place)| place.tenant.key() == key) {
                        made.done.remove(&index);
                        made.failed.push((index, not_its_own(place, terms)));
                    }
                }
                return Ok(made);
            }
            Err(error) if is_lost(&error) => {
                return Err(server_error(Code::TenantFailed, "the tenant table cannot be written", &error));
            }
            Err(_) => {
                let _ = run(&mut self.connection, "ROLLBACK".into()).await;
            }
        }
        // A row that is there needs none of its values: it is not inserted a second time.
        let tenants: Vec<Tenant> = places.iter().map(|place| place.tenant.clone()).collect();
        let there = self.keys_in(&table, &tenants, terms).await?;
        let there: BTreeSet<&str> =
            there.iter().filter(|(asked, key)| asked == key).map(|(asked, _)| asked.as_str()).collect();
        let mut made = Made::default();
        for (index, place) in places.iter().enumerate() {
            if there.contains(place.tenant.key()) {
                made.done.insert(index);
                continue;
            }
            match run(&mut self.connection, insert(&table, &[place], terms)?).await {
                Ok(rows) if rows.iter().any(|row| text(row, 0).as_deref() == Some(LOST)) => {
                    made.failed.push((index, not_its_own(place, terms)));
                }
                Ok(_) => {
                    made.done.insert(index);
                }
                Err(error) if is_lost(&error) => {
                    return Err(server_error(Code::TenantFailed, "the tenant table cannot be written", &error));
                }
                Err(error) => {
                    let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                    made.failed.push((index, row_error(place, terms, &error)));
                }
            }
        }
        Ok(made)
    }

    /// Takes a row away that nobody has used yet.
    pub(super) async fn delete_row(&mut self, tenant: &Tenant, terms: &Terms) -> Result<()> {
        let Some(table) = self.tenant_table(terms).await? else { return Ok(()) };
        let sql = format!(
            "BEGIN; {} DELETE FROM {} WHERE {key} = {own} AND {key}::text = {own}; COMMIT",
            Self::entering(terms, tenant.key()),
            table.name,
            key = table.key,
            own = literal(tenant.key())
        );
        if let Err(error) = run(&mut self.connection, sql).await {
            let _ = run(&mut self.connection, "ROLLBACK".into()).await;
            let what = format!("the row of tenant `{}` cannot be taken back", tenant.shown());
            return Err(server_error(Code::TenantFailed, what, &error).data("its row is still there"));
        }
        Ok(())
    }

    /// Keys of rows that no record names. Where policies hold for the owner too, no list of all tenants can be read.
    pub(super) async fn unmanaged_rows(&mut self, terms: &Terms, limit: usize) -> Result<Vec<String>> {
        let table = match self.tenant_table(terms).await {
            Ok(Some(table)) => table,
            Ok(None) => return Ok(Vec::new()),
            // A list need not fail because the table is still to be made.
            Err(error) if error.code() == Code::Tenancy => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let known = format!(
            "NOT EXISTS (SELECT FROM lyrox.tenants t WHERE t.project = {} AND t.key = r.{}::text)",
            literal(&self.project),
            table.key
        );
        let select = |known: &str| {
            format!(
                "SELECT r.{0}::text FROM {1} r WHERE {known} ORDER BY r.{0}::text COLLATE \"C\" LIMIT {limit}",
                table.key, table.name
            )
        };
        match run(&mut self.connection, select(&known)).await {
            Ok(rows) => Ok(rows.iter().filter_map(|row| text(row, 0)).collect()),
            Err(error) if matches!(sqlstate(&error), Some("42P01" | "3F000")) => {
                let rows = run(&mut self.connection, select("true")).await.map_err(|error| unreadable(&error))?;
                Ok(rows.iter().filter_map(|row| text(row, 0)).collect())
            }
            Err(error) => Err(unreadable(&error)),
        }
    }
}

/// The message that inserts rows: one statement for those with the same columns or, where policies hold, one each.
fn insert(table: &Table, places: &[&Place], terms: &Terms) -> Result<String> {
    let mut groups: BTreeMap<Vec<&str>, Vec<&Place>> = BTreeMap::new();
    for place in places {
        groups.entry(place.fields.iter().map(|(name, _)| name.as_str()).collect()).or_default().push(place);
    }
    let mut sql = String::from("BEGIN;");
    for (names, places) in groups {
        let mut columns = table.key.clone();
        for name in &names {
            let _ = write!(columns, ", {}", Ident::new(name)?);
        }
        let values = |place: &Place| {
            let mut values = literal(place.tenant.key());
            place.fields.iter().for_each(|(_, value)| values.push_str(&format!(", {}", literal(value))));
            format!("({values})")
        };
        let tail = format!("ON CONFLICT ({}) DO NOTHING;", table.key);
        if table.is_guarded {
            for place in places {
                let enter = PostgresStore::entering(terms, place.tenant.key());
                let _ = write!(sql, " {enter} INSERT INTO {} ({columns}) VALUES {} {tail}", table.name, values(place));
                let _ = write!(sql, " {}", lost(table, &[place]));
            }
        } else {
            let rows: Vec<String> = places.into_iter().map(values).collect();
            let _ = write!(sql, " INSERT INTO {} ({columns}) VALUES {} {tail}", table.name, rows.join(", "));
        }
    }
    if !table.is_guarded {
        let _ = write!(sql, " {}", lost(table, places));
    }
    sql.push_str(" COMMIT");
    Ok(sql)
}

/// What tells the rows of [`lost`] from others of the same message.
const LOST: &str = "lost";

/// Names those keys that have no row of their own: the column holds another tenant's for equal.
fn lost(table: &Table, places: &[&Place]) -> String {
    let keys: Vec<String> = places.iter().map(|place| format!("({})", literal(place.tenant.key()))).collect();
    format!(
        "SELECT '{LOST}', v.k FROM (VALUES {}) v (k) WHERE NOT EXISTS (SELECT FROM {} r WHERE r.{key} = v.k::{} AND r.{key}::text = v.k);",
        keys.join(", "),
        table.name,
        table.key_type,
        key = table.key,
    )
}

/// Two keys that are one to the column.
fn equal(list: &str, key: &str) -> String {
    format!("`{list}` has the row `{}`, and its column holds both keys for the same", shown(key))
}

fn not_its_own(place: &Place, terms: &Terms) -> Error {
    let list = terms.tenancy.table.as_deref().unwrap_or_default();
    Error::new(Code::TenantClash, format!("tenant `{}` gets no row of its own", place.tenant.shown()))
        .why(format!("`{list}` has a row whose key its column holds for the same"))
        .data("PostgreSQL has nothing of it")
}

fn row_error(place: &Place, terms: &Terms, error: &sqlx::Error) -> Error {
    let refused = refused(&place.tenant, error);
    match sqlstate(error) {
        Some("23502") => refused.hint(format!(
            "lyrox tenant create {} --set COLUMN=VALUE, for each column of `{}` that must not be empty",
            quoted(place.tenant.key()),
            terms.tenancy.table.as_deref().unwrap_or_default()
        )),
        _ => refused,
    }
}
