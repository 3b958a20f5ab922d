//! Named rows that are there: compared by the server column by column, updated where they differ.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::rows::{column, differs_in, matches, source};
use super::{PostgresLoader, text};
use crate::error::{Place, Result};
use crate::stores::load::{Batch, Fields, RowDone, is_unknown};

/// Rows that are compared together: of one tenant, with the same columns.
type Group = (Option<String>, Vec<String>);

impl PostgresLoader<'_> {
    /// Updates the rows that are there and differ; in a dry run, finds them.
    pub(super) async fn update(&mut self, batch: &Batch<'_>, done: &mut [RowDone]) -> Result<()> {
        let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        for (index, row) in batch.rows.iter().enumerate().filter(|(_, row)| row.is_there) {
            let tenant = batch.shape.is_guarded.then(|| row.tenant.clone().unwrap_or_default());
            let is_set = |name: &&String| !batch.key.contains(name) && !row.first.contains(name);
            // What refers to a row that is not written yet cannot be what is stored.
            let (open, columns): (Vec<String>, Vec<String>) = row
                .fields
                .keys()
                .filter(is_set)
                .cloned()
                .partition(|name| row.fields.get(name).is_some_and(is_unknown));
            if !open.is_empty() {
                done[index] = RowDone::there(open);
            }
            if !columns.is_empty() {
                groups.entry((tenant, columns)).or_default().push(index);
            }
        }
        for ((tenant, columns), indices) in groups {
            if let Some(tenant) = &tenant {
                self.enter(tenant).await?;
            }
            let changed = self.changed(batch, &columns, &indices).await?;
            if !changed.is_empty() && !self.terms.is_read_only {
                let indices: Vec<usize> = changed.iter().map(|(index, _)| *index).collect();
                self.set(batch, &columns, &indices).await?;
            }
            for (index, mut names) in changed {
                names.append(&mut done[index].changed);
                done[index] = RowDone::there(names);
            }
        }
        Ok(())
    }

    /// The rows that differ, each with the columns in which it does.
    async fn changed(
        &mut self,
        batch: &Batch<'_>,
        columns: &[String],
        indices: &[usize],
    ) -> Result<Vec<(usize, Vec<String>)>> {
        let table = self.table(batch.shape)?;
        let names = with_key(batch, columns);
        let values: Vec<Json> = indices.iter().map(|at| picked(&batch.rows[*at].fields, &names)).collect();
        let differ = columns.iter().map(|name| differs_in(&table, name, "t", "i")).collect::<Result<Vec<_>>>()?;
        let sql = format!(
            "SELECT e.ord, {} FROM {} JOIN {} AS t ON {} WHERE {}",
            differ.join(", "),
            source(&table, &names, &values)?,
            table.name,
            matches(&table, batch.key)?,
            differ.join(" OR ")
        );
        let rows = match self.attempt(&sql).await {
            Ok(rows) => rows,
            Err(error) => {
                let place = self.blame_values(batch, &names, indices).await;
                return Err(self.refused(batch.shape, place, &error).await);
            }
        };
        let changed = rows.iter().filter_map(|row| {
            let index = *indices.get(text(row, 0)?.parse::<usize>().ok()?.wrapping_sub(1))?;
            let names = columns.iter().enumerate().filter(|(at, _)| text(row, at + 1).as_deref() == Some("t"));
            Some((index, names.map(|(_, name)| name.clone()).collect()))
        });
        Ok(changed.collect())
    }

    async fn set(&mut self, batch: &Batch<'_>, columns: &[String], indices: &[usize]) -> Result<()> {
        let table = self.table(batch.shape)?;
        let names = with_key(batch, columns);
        let sql = |indices: &[usize]| -> Result<String> {
            let set = columns.iter().map(|name| column(&table, name).map(|column| format!("{column} = i.{column}")));
            let values: Vec<Json> = indices.iter().map(|at| picked(&batch.rows[*at].fields, &names)).collect();
            Ok(format!(
                "UPDATE {} AS t SET {} FROM {} WHERE {}",
                table.name,
                set.collect::<Result<Vec<_>>>()?.join(", "),
                source(&table, &names, &values)?,
                matches(&table, batch.key)?
            ))
        };
        let Err(error) = self.attempt(&sql(indices)?).await else { return Ok(()) };
        // One by one, to name the row.
        for &index in indices {
            if let Err(own) = self.attempt(&sql(&[index])?).await {
                return Err(self.refused(batch.shape, Some(batch.rows[index].place.clone()), &own).await);
            }
        }
        Err(self.refused(batch.shape, None, &error).await)
    }

    /// The row whose values the server cannot read.
    async fn blame_values(&mut self, batch: &Batch<'_>, names: &[String], indices: &[usize]) -> Option<Place> {
        let table = self.table(batch.shape).ok()?;
        for &index in indices {
            let row = picked(&batch.rows[index].fields, names);
            let sql = format!("SELECT i.* FROM {}", source(&table, names, &[row]).ok()?);
            if self.attempt(&sql).await.is_err() {
                return Some(batch.rows[index].place.clone());
            }
        }
        None
    }
}

fn with_key(batch: &Batch<'_>, columns: &[String]) -> Vec<String> {
    batch.key.iter().chain(columns).cloned().collect()
}

fn picked(fields: &Fields, names: &[String]) -> Json {
    Json::Object(fields.iter().filter(|(name, _)| names.contains(name)).map(|(k, v)| (k.clone(), v.clone())).collect())
}
