//! Tables that cannot be without each other: their rows are made first, their keys are filled in, and one
//! statement writes all of them, at whose end the keys are checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Done, Fill, qualified};
use crate::engine::event::Events;
use crate::engine::generate::parents::Pool;
use crate::engine::generate::plan::Plan;
use crate::engine::generate::rows::{Maker, Values};
use crate::error::Result;
use crate::stores::postgres::error::words;
use crate::stores::postgres::ident::{Ident, literal_or_null};
use crate::stores::postgres::load::{PostgresLoader, failed};

/// How many rows of each such table are held at once.
const MOST: u64 = 20_000;

impl PostgresLoader<'_> {
    /// Fills tables that need each other.
    pub(super) async fn fill_cycle(
        &mut self,
        fill: &mut Fill,
        tables: &[(String, u64, u64)],
        events: &dyn Events,
    ) -> Result<Vec<(String, Done)>> {
        let _ = events;
        fill.later = tables.iter().map(|(name, ..)| name.clone()).collect();
        let mut made: Vec<(Plan, Vec<Values>)> = Vec::new();
        let none =
            |reason: String| tables.iter().map(|(name, ..)| (name.clone(), Done::none(reason.clone()))).collect();
        for (name, rows, have) in tables {
            let Some(table) = fill.catalog.tables.get(name).cloned() else { continue };
            self.read_parents(fill, &table).await?;
            for (other, ..) in tables {
                fill.pools.remove(other);
            }
            let first = if *have == 0 { 0 } else { self.highest(&fill.schema, &table).await?.max(*have) };
            let plan = match self.plan(fill, &table, (*rows).min(MOST), first) {
                Ok(plan) => plan,
                Err(reason) => return Ok(none(reason)),
            };
            let kept = fill.kept.get(name).cloned().unwrap_or_default();
            let mut maker = Maker::new(&plan, &kept);
            let mut all = Vec::new();
            while let Some(values) = maker.next_row() {
                all.push(values);
            }
            if all.is_empty() {
                return Ok(none(maker.reason.unwrap_or_else(|| format!("no row of `{name}` can be made"))));
            }
            made.push((plan, all));
        }
        tie(&mut made);
        let mut parts = Vec::new();
        for (plan, rows) in &made {
            parts.push(insert(&fill.schema, plan, rows)?);
        }
        let Some(last) = parts.pop() else { return Ok(Vec::new()) };
        let before: Vec<String> = parts.iter().enumerate().map(|(at, part)| format!("w{at} AS ({part})")).collect();
        let sql = format!("WITH {} {last}", before.join(", "));
        self.send("SAVEPOINT lyrox_table").await.map_err(|error| failed("tables cannot be begun", &error))?;
        if let Err(error) = self.send(&sql).await {
            self.send("ROLLBACK TO SAVEPOINT lyrox_table")
                .await
                .map_err(|error| failed("tables cannot be left", &error))?;
            return Ok(none(words(&error)));
        }
        self.send("RELEASE SAVEPOINT lyrox_table").await.map_err(|error| failed("tables cannot be ended", &error))?;
        let mut done = Vec::new();
        for (plan, rows) in &made {
            self.move_sequences(fill, &plan.table, plan.first + plan.rows + 1).await?;
            fill.note_open(&plan.table, plan);
            done.push((plan.table.name.clone(), Done { added: rows.len() as u64, reason: None }));
        }
        let circle: Vec<String> = done.iter().map(|(name, _)| name.clone()).collect();
        fill.open.retain(|(name, key)| {
            let table = &fill.catalog.tables[name];
            let key = table.foreign_keys().find(|other| other.name == *key);
            !(circle.contains(name) && key.is_some_and(|key| table.is_required_key(key)))
        });
        Ok(done)
    }
}

/// Lets the rows of the tables refer to each other, row after row.
fn tie(made: &mut [(Plan, Vec<Values>)]) {
    let place = |plan: &Plan, name: &str| plan.table.columns.iter().position(|column| column.name == name);
    let pools: BTreeMap<String, Arc<Pool>> = made
        .iter()
        .map(|(plan, rows)| {
            let mut pool = Pool::new(plan.table.columns.iter().map(|column| column.name.clone()).collect());
            for row in rows {
                pool.push(row.iter().map(|value| value.clone().flatten()).collect());
            }
            (plan.table.name.clone(), Arc::new(pool))
        })
        .collect();
    for (plan, rows) in made {
        let keys: Vec<_> = plan.table.foreign_keys().cloned().collect();
        for key in
            keys.iter().filter(|key| plan.table.is_required_key(key) && key.parent.as_ref() != Some(&plan.table.name))
        {
            let Some(pool) = key.parent.as_ref().and_then(|parent| pools.get(parent)) else { continue };
            for (at, row) in rows.iter_mut().enumerate() {
                let mut draw = plan.root.row(at as u64, u32::MAX);
                let places: Vec<(usize, usize)> = key
                    .columns
                    .iter()
                    .zip(&key.parent_columns)
                    .filter_map(|(column, there)| Some((place(plan, column)?, pool.at(there)?)))
                    .collect();
                let fixed: Vec<(usize, &str)> = places
                    .iter()
                    .filter_map(|(column, there)| Some((*there, row[*column].as_ref()?.as_deref()?)))
                    .collect();
                let Some(found) = pool.pick(&fixed, Some(at as u64), false, &mut draw) else { continue };
                for (column, there) in places {
                    row[column] = Some(pool.rows[found][there].clone());
                }
            }
        }
    }
}

fn insert(schema: &str, plan: &Plan, rows: &[Values]) -> Result<String> {
    let mut names = Vec::new();
    for at in &plan.given {
        names.push(Ident::new(&plan.table.columns[*at].name)?.to_string());
    }
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        let cells: Vec<String> = plan
            .given
            .iter()
            .map(|at| {
                let text = row[*at].as_ref().and_then(|value| value.as_deref());
                format!("{}::{}", literal_or_null(text), plan.table.columns[*at].type_name)
            })
            .collect();
        values.push(format!("({})", cells.join(",")));
    }
    let has_identity = plan.table.columns.iter().any(|column| !column.identity.is_empty());
    Ok(format!(
        "INSERT INTO {} ({}){} VALUES {}",
        qualified(schema, &plan.table.name)?,
        names.join(", "),
        if has_identity { " OVERRIDING SYSTEM VALUE" } else { "" },
        values.join(", ")
    ))
}
