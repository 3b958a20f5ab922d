//! Named rows: found by key, compared by the server, inserted and updated only where they differ.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::describe::Table;
use super::{PostgresLoader, failed, text};
use crate::error::{Error, Result};
use crate::stores::load::{Batch, Fields, Found, Probe, Record, RowDone, Shape, is_unknown, several};
use crate::stores::postgres::ident::literal;

/// Rows as a source of a statement: `e.ord` counts them from 1, `i` holds these columns of each row, cast to
/// the table's types. Other columns are no part of it: their domains may refuse to be empty.
pub(super) fn source(table: &Table, names: &[String], rows: &[Json]) -> Result<String> {
    let columns = names.iter().map(|name| {
        let column = table.columns.get(name).ok_or_else(|| Error::bug(format!("`{name}` is no column")))?;
        Ok(format!("{} {}", column.name, column.type_name))
    });
    Ok(format!(
        "pg_catalog.json_array_elements({}::pg_catalog.json) WITH ORDINALITY AS e(value, ord) \
         CROSS JOIN LATERAL pg_catalog.json_to_record(e.value) AS i({})",
        literal(&Json::Array(rows.to_vec()).to_string()),
        columns.collect::<Result<Vec<_>>>()?.join(", ")
    ))
}

pub(super) fn matches(table: &Table, key: &[String]) -> Result<String> {
    let parts = key.iter().map(|name| column(table, name).map(|column| format!("t.{column} = i.{column}")));
    Ok(parts.collect::<Result<Vec<_>>>()?.join(" AND "))
}

pub(super) fn column(table: &Table, name: &str) -> Result<String> {
    let column = table.columns.get(name).ok_or_else(|| Error::bug(format!("`{name}` is no column")))?;
    Ok(column.name.to_string())
}

pub(super) fn list(table: &Table, names: &[String], before: &str) -> Result<String> {
    let parts = names.iter().map(|name| column(table, name).map(|column| format!("{before}{column}")));
    Ok(parts.collect::<Result<Vec<_>>>()?.join(", "))
}

/// The condition that a column differs.
pub(super) fn differs_in(table: &Table, name: &str, ours: &str, theirs: &str) -> Result<String> {
    let compare = table.columns.get(name).ok_or_else(|| Error::bug(format!("`{name}` is no column")))?.compare;
    let column = column(table, name)?;
    let (ours, theirs) = (compare.side(&format!("{ours}.{column}")), compare.side(&format!("{theirs}.{column}")));
    Ok(format!("{ours} IS DISTINCT FROM {theirs}"))
}

/// The condition that one of the columns differs.
pub(super) fn differs(table: &Table, names: &[String], ours: &str, theirs: &str) -> Result<String> {
    let parts = names.iter().map(|name| differs_in(table, name, ours, theirs));
    Ok(parts.collect::<Result<Vec<_>>>()?.join(" OR "))
}

/// One statement's worth of rows: the same table, the same columns.
struct Part<'a> {
    table: Table,
    shape: &'a Shape,
    columns: Vec<String>,
    rows: Vec<&'a Record>,
}

impl Part<'_> {
    fn insert(&self, rows: &[&Record]) -> Result<String> {
        let values: Vec<Json> = rows.iter().map(|row| Json::Object(row.fields.clone())).collect();
        if self.columns.is_empty() {
            return Ok(format!("INSERT INTO {} DEFAULT VALUES", self.table.name));
        }
        let is_always =
            self.columns.iter().any(|name| self.table.columns.get(name).is_some_and(|column| column.is_always));
        Ok(format!(
            "INSERT INTO {} ({}){} SELECT {} FROM {} ORDER BY e.ord",
            self.table.name,
            list(&self.table, &self.columns, "")?,
            if is_always { " OVERRIDING SYSTEM VALUE" } else { "" },
            list(&self.table, &self.columns, "i.")?,
            source(&self.table, &self.columns, &values)?,
        ))
    }
}

/// Rows grouped by the columns they give.
fn parts<'a>(table: &Table, shape: &'a Shape, rows: impl Iterator<Item = &'a Record>) -> Vec<Part<'a>> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    for row in rows {
        let columns: Vec<String> = row.fields.keys().cloned().collect();
        match parts.iter_mut().find(|part| part.columns == columns) {
            Some(part) => part.rows.push(row),
            None => parts.push(Part { table: table.clone(), shape, columns, rows: vec![row] }),
        }
    }
    parts
}

impl PostgresLoader<'_> {
    pub(super) async fn find_rows(
        &mut self,
        shape: &Shape,
        key: &[String],
        wanted: &[String],
        probes: &[Probe],
    ) -> Result<Vec<Option<Found>>> {
        let table = self.table(shape)?;
        let mut found: Vec<Option<Found>> = vec![None; probes.len()];
        for (tenant, indices) in self.seen_from(shape, probes) {
            // A row that one tenant sees is not looked for under the next.
            let open: Vec<usize> = indices.into_iter().filter(|index| found[*index].is_none()).collect();
            if open.is_empty() {
                continue;
            }
            if let Some(tenant) = &tenant {
                self.enter(tenant).await?;
            }
            let keys: Vec<Json> = open.iter().map(|index| object(key, &probes[*index].key)).collect();
            let fields = if wanted.is_empty() {
                "'{}'".to_owned()
            } else {
                format!(
                    "(SELECT pg_catalog.to_jsonb(lyrox_row) FROM (SELECT {}) lyrox_row)::pg_catalog.text",
                    list(&table, wanted, "t.")?
                )
            };
            let sql = format!(
                "SELECT e.ord, {fields} FROM {} JOIN {} AS t ON {}",
                source(&table, key, &keys)?,
                table.name,
                matches(&table, key)?
            );
            let rows = match self.attempt(&sql).await {
                Ok(rows) => rows,
                Err(error) => {
                    let place = self.blame_find(&table, key, probes, &open).await;
                    return Err(self.refused(shape, place, &error).await);
                }
            };
            for row in &rows {
                let ord: usize = text(row, 0).and_then(|ord| ord.parse().ok()).unwrap_or_default();
                let Some(&index) = open.get(ord.wrapping_sub(1)) else { continue };
                if found[index].is_some() {
                    return Err(several(shape, key, &probes[index].place));
                }
                let fields: Fields = serde_json::from_str(&text(row, 1).unwrap_or_default())
                    .map_err(|error| Error::bug("a stored row was not understood").why(error.to_string()))?;
                found[index] = Some(Found { fields, tenant: tenant.clone() });
            }
        }
        Ok(found)
    }

    /// Under which tenants rows are looked for: their own; where none is known, every one in turn.
    fn seen_from(&self, shape: &Shape, probes: &[Probe]) -> Vec<(Option<String>, Vec<usize>)> {
        if !shape.is_guarded {
            return vec![(None, (0..probes.len()).collect())];
        }
        let mut by_tenant: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut anywhere = Vec::new();
        for (index, probe) in probes.iter().enumerate() {
            match &probe.tenant {
                Some(tenant) => by_tenant.entry(tenant.clone()).or_default().push(index),
                None => anywhere.push(index),
            }
        }
        let mut groups: Vec<(Option<String>, Vec<usize>)> =
            by_tenant.into_iter().map(|(tenant, indices)| (Some(tenant), indices)).collect();
        if !anywhere.is_empty() {
            groups.push((Some(self.own_tenant()), anywhere.clone()));
            groups.extend(self.terms.tenants.iter().map(|tenant| (Some(tenant.clone()), anywhere.clone())));
        }
        groups
    }

    /// Runs a statement so that its failure leaves the transaction usable.
    pub(super) async fn attempt(&mut self, sql: &str) -> Result<Vec<sqlx::postgres::PgRow>, sqlx::Error> {
        let result = self.send(&format!("SAVEPOINT lyrox_rows; {sql}; RELEASE SAVEPOINT lyrox_rows")).await;
        if result.is_err() {
            let _ = self.send("ROLLBACK TO SAVEPOINT lyrox_rows; RELEASE SAVEPOINT lyrox_rows").await;
        }
        result
    }

    /// The row whose key the server cannot read.
    async fn blame_find(
        &mut self,
        table: &Table,
        key: &[String],
        probes: &[Probe],
        indices: &[usize],
    ) -> Option<crate::error::Place> {
        for &index in indices {
            let sql = format!("SELECT i.* FROM {}", source(table, key, &[object(key, &probes[index].key)]).ok()?);
            if self.attempt(&sql).await.is_err() {
                return Some(probes[index].place.clone());
            }
        }
        None
    }

    pub(super) async fn write_rows(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Vec<RowDone>>> {
        let mut done = Vec::with_capacity(batches.len());
        let mut inserts: BTreeMap<Option<String>, Vec<Part<'_>>> = BTreeMap::new();
        for batch in batches {
            let table = self.table(batch.shape)?;
            for row in &batch.rows {
                self.note_sequences(&table, &row.fields);
            }
            let mut by_tenant: BTreeMap<Option<String>, Vec<&Record>> = BTreeMap::new();
            for row in batch.rows.iter().filter(|row| !row.is_there) {
                // Without policies the tenant matters only where rows of several tables come together.
                let tenant =
                    (batch.shape.is_guarded || batches.len() > 1).then(|| row.tenant.clone().unwrap_or_default());
                by_tenant.entry(tenant).or_default().push(row);
            }
            for (tenant, rows) in by_tenant {
                inserts.entry(tenant).or_default().extend(parts(&table, batch.shape, rows.into_iter()));
            }
            let there = |row: &Record| if row.is_there { RowDone::there(Vec::new()) } else { RowDone::created() };
            done.push(batch.rows.iter().map(there).collect::<Vec<_>>());
        }
        for (tenant, parts) in inserts {
            if self.terms.is_read_only {
                self.check_values(&parts).await?;
                continue;
            }
            if let Some(tenant) = &tenant {
                self.enter(tenant).await?;
            }
            self.insert(&parts).await?;
        }
        for (batch, done) in batches.iter().zip(&mut done) {
            self.update(batch, done).await?;
        }
        Ok(done)
    }

    /// Has the server read the values of new rows without writing them.
    async fn check_values(&mut self, parts: &[Part<'_>]) -> Result<()> {
        for part in parts {
            for row in &part.rows {
                let mut fields = row.fields.clone();
                fields.retain(|_, value| !is_unknown(value));
                let names: Vec<String> = fields.keys().cloned().collect();
                if names.is_empty() {
                    continue;
                }
                let sql = format!("SELECT i.* FROM {}", source(&part.table, &names, &[Json::Object(fields)])?);
                if let Err(error) = self.attempt(&sql).await {
                    return Err(self.refused(part.shape, Some(row.place.clone()), &error).await);
                }
            }
        }
        Ok(())
    }

    /// Inserts the rows of one or several tables in one statement: foreign keys are checked at its end,
    /// so rows that need each other can come together.
    async fn insert(&mut self, parts: &[Part<'_>]) -> Result<()> {
        let statements: Vec<String> = parts.iter().map(|part| part.insert(&part.rows)).collect::<Result<_>>()?;
        let sql = match statements.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            several => {
                let named = several.iter().enumerate().map(|(at, statement)| format!("part_{at} AS ({statement})"));
                format!("WITH {} SELECT 1", named.collect::<Vec<_>>().join(", "))
            }
        };
        let Err(error) = self.attempt(&sql).await else { return Ok(()) };
        // One by one, to name the row. Rows that need a later one fail here as well: then the first is named.
        for part in parts {
            for row in &part.rows {
                let sql = part.insert(&[row])?;
                if let Err(own) = self.attempt(&sql).await {
                    let cause = if parts.len() == 1 { &own } else { &error };
                    return Err(self.refused(part.shape, Some(row.place.clone()), cause).await);
                }
            }
        }
        let shape = parts[0].shape;
        Err(self.refused(shape, None, &error).await)
    }

    fn note_sequences(&mut self, table: &Table, fields: &Fields) {
        for (name, value) in fields {
            let sequence = table.columns.get(name).and_then(|column| column.sequence.clone());
            let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
            if let (Some(sequence), Some(number)) = (sequence, number) {
                self.note_sequence(sequence, number);
            }
        }
    }

    pub(super) fn note_sequence(&mut self, sequence: String, number: i64) {
        let highest = self.sequences.entry(sequence).or_insert(number);
        *highest = (*highest).max(number);
    }

    pub(super) async fn remove_rows(&mut self, shape: &Shape, key: &[String], keep: &[Probe]) -> Result<u64> {
        let table = self.table(shape)?;
        let tenants: Vec<String> = if shape.is_guarded {
            let mut tenants = self.terms.tenants.clone();
            tenants.extend(keep.iter().filter_map(|probe| probe.tenant.clone()));
            tenants.sort();
            tenants.dedup();
            tenants
        } else {
            vec![self.tenant.clone()]
        };
        let keys: Vec<Json> = keep.iter().map(|probe| object(key, &probe.key)).collect();
        let others = format!(
            "FROM {} AS t WHERE NOT EXISTS (SELECT FROM {} WHERE {})",
            table.name,
            source(&table, key, &keys)?,
            matches(&table, key)?
        );
        let (only_looks, sql) = match self.terms.is_read_only {
            true => (true, format!("SELECT pg_catalog.count(*) {others}")),
            false => (false, format!("DELETE {others}")),
        };
        let mut removed = 0;
        for tenant in tenants {
            self.enter(&tenant).await?;
            if only_looks {
                let rows = self.send(&sql).await.map_err(|error| failed("rows cannot be counted", &error))?;
                removed += rows.first().and_then(|row| text(row, 0)?.parse::<u64>().ok()).unwrap_or(0);
                continue;
            }
            removed += match self.run(&sql).await {
                Ok(count) => count,
                Err(error) => {
                    return Err(failed(&format!("rows of `{}` that the file does not have cannot be deleted", shape.target), &error)
                        .hint("other rows may point at them: take `mode = \"replace\"` out of the file, or delete those first"));
                }
            };
        }
        Ok(removed)
    }
}

fn object(names: &[String], values: &[Json]) -> Json {
    let entries: Map<String, Json> = names.iter().cloned().zip(values.iter().cloned()).collect();
    Json::Object(entries)
}
