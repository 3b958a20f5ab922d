//! Rows that are there already: how many, the highest number, and the keys that others may refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fill, qualified};
use crate::engine::generate::parents::{MOST, Pool};
use crate::engine::generate::plan::{all_keys, parent_of};
use crate::engine::generate::schema::{Catalog, Table};
use crate::error::Result;
use crate::stores::load::FillOrder;
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::postgres::load::{PostgresLoader, failed, text};

impl PostgresLoader<'_> {
    /// How many rows each table has, those of heirs left out.
    pub(super) async fn count_rows(&mut self, catalog: &Catalog) -> Result<BTreeMap<String, u64>> {
        let schema = self.store.settings.schema.name().to_owned();
        let mut counts = BTreeMap::new();
        let names: Vec<&String> = catalog.tables.keys().collect();
        for chunk in names.chunks(100) {
            let mut parts = Vec::with_capacity(chunk.len());
            for name in chunk {
                let only = if catalog.tables[*name].has_heirs { "ONLY " } else { "" };
                parts.push(format!("SELECT {}, count(*) FROM {only}{}", literal(name), qualified(&schema, name)?));
            }
            let rows = self.send(&parts.join(" UNION ALL ")).await;
            let rows = rows.map_err(|error| failed("the rows cannot be counted", &error))?;
            for row in &rows {
                if let (Some(name), Some(count)) = (text(row, 0), text(row, 1).and_then(|count| count.parse().ok())) {
                    counts.insert(name, count);
                }
            }
        }
        Ok(counts)
    }

    /// The highest whole number in a column that is a key by itself; 0 where there is none.
    pub(super) async fn highest(&mut self, schema: &str, table: &Table) -> Result<u64> {
        let mut parts = Vec::new();
        for index in table.indexes.iter().filter(|index| index.is_unique) {
            if let [Some(name)] = index.columns.as_slice()
                && table.column(name).is_some_and(|column| matches!(column.base.as_str(), "int2" | "int4" | "int8"))
            {
                parts.push(format!("max({})::int8", Ident::new(name)?));
            }
        }
        if parts.is_empty() {
            return Ok(0);
        }
        let sql = format!("SELECT greatest({}) FROM {}", parts.join(", "), qualified(schema, &table.name)?);
        let rows = self.send(&sql).await.map_err(|error| failed("the highest id cannot be read", &error))?;
        Ok(rows.first().and_then(|row| text(row, 0)?.parse().ok()).unwrap_or(0))
    }

    /// Reads the keys of parents that are not known yet.
    pub(super) async fn read_parents(&mut self, fill: &mut Fill, table: &Table) -> Result<()> {
        let parents: Vec<String> = all_keys(table).filter_map(|key| parent_of(key).map(str::to_owned)).collect();
        for parent in parents {
            if !fill.pools.contains_key(&parent) {
                let pool = self.read_pool(fill, &parent).await?;
                // Empty ones are looked at again: rows may come.
                if !pool.rows.is_empty() || parent == table.name {
                    fill.pools.insert(parent, Arc::new(pool));
                }
            }
        }
        Ok(())
    }

    async fn read_pool(&mut self, fill: &Fill, parent: &str) -> Result<Pool> {
        let columns = fill.kept.get(parent).cloned().unwrap_or_default();
        let mut pool = Pool::new(columns.clone());
        if columns.is_empty() {
            return Ok(pool);
        }
        let own = fill.catalog.tables.get(parent);
        let from = match own {
            Some(table) => {
                format!("{}{}", if table.has_heirs { "ONLY " } else { "" }, qualified(&fill.schema, parent)?)
            }
            None => parent.to_owned(),
        };
        let texts: Vec<String> = columns
            .iter()
            .map(|name| Ident::new(name).map(|name| format!("{name}::pg_catalog.text")))
            .collect::<Result<_>>()?;
        let order: Vec<String> = texts.iter().map(|text| format!("{text} COLLATE \"C\"")).collect();
        let only = match (&fill.tenants, own) {
            (Some((column, tenants)), Some(table)) => {
                let key = match &self.terms.tenant_table {
                    Some((name, key)) if name == parent => Some(key.clone()),
                    _ => table.column(column).map(|column| column.name.clone()),
                };
                let list: Vec<String> = tenants.iter().map(|tenant| literal(tenant)).collect();
                match key {
                    Some(key) if !list.is_empty() => {
                        format!(" WHERE {}::pg_catalog.text IN ({})", Ident::new(&key)?, list.join(", "))
                    }
                    _ => String::new(),
                }
            }
            _ => String::new(),
        };
        let sql = format!("SELECT {} FROM {from}{only} ORDER BY {} LIMIT {MOST}", texts.join(", "), order.join(", "));
        self.send("SAVEPOINT lyrox_pool").await.map_err(|error| failed("parents cannot be read", &error))?;
        let rows = match self.send(&sql).await {
            Ok(rows) => rows,
            // A table that lies elsewhere may be closed to this role: it has no rows as far as can be seen.
            Err(error) if own.is_none() => {
                let _ = error;
                self.send("ROLLBACK TO SAVEPOINT lyrox_pool")
                    .await
                    .map_err(|error| failed("parents cannot be read", &error))?;
                Vec::new()
            }
            Err(error) => return Err(failed(&format!("the keys of `{parent}` cannot be read"), &error)),
        };
        for row in &rows {
            pool.push((0..columns.len()).map(|at| text(row, at)).collect());
        }
        self.send("RELEASE SAVEPOINT lyrox_pool").await.map_err(|error| failed("parents cannot be read", &error))?;
        Ok(pool)
    }

    /// Which tenants the run is for: those that are named.
    pub(super) async fn settle_tenants(&mut self, fill: &mut Fill, order: &FillOrder) -> Result<()> {
        if let Some(column) = self.terms.tenant_column.clone().filter(|_| !order.tenants.is_empty()) {
            fill.tenants = Some((column, order.tenants.clone()));
        }
        Ok(())
    }
}
