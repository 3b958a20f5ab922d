//! Foreign keys that had to wait: set when the tables they refer to have rows.

use super::{Fill, qualified};
use crate::engine::generate::plan::agreeing;
use crate::error::Result;
use crate::stores::postgres::ident::Ident;
use crate::stores::postgres::load::{PostgresLoader, failed};

impl PostgresLoader<'_> {
    /// Gives three of four rows a parent, row after row; a key that the server will not have stays NULL.
    pub(super) async fn set_open_keys(&mut self, fill: &mut Fill) -> Result<()> {
        for (name, key) in std::mem::take(&mut fill.open) {
            let Some(table) = fill.catalog.tables.get(&name) else { continue };
            let Some(key) = table.foreign_keys().find(|other| other.name == key) else { continue };
            let Some(parent) = &key.parent else { continue };
            // Where one of several columns belongs to other keys too, it says which parent fits.
            let mut agree = agreeing(&fill.catalog, table, key, self.terms.tenant_column.as_deref());
            agree
                .retain(|column| fill.catalog.tables.get(parent).is_some_and(|parent| parent.column(column).is_some()));
            let (mut set, mut open, mut same) = (Vec::new(), Vec::new(), Vec::new());
            for (column, there) in key.columns.iter().zip(&key.parent_columns) {
                let is_free = table.column(column).is_some_and(|column| !column.is_required);
                let (column, there) = (Ident::new(column)?, Ident::new(there)?);
                if is_free {
                    set.push(format!("{column} = p.{there}"));
                    open.push(format!("{column} IS NULL"));
                } else {
                    same.push((column, there));
                }
            }
            for column in &agree {
                same.push((Ident::new(column)?, Ident::new(column)?));
            }
            if set.is_empty() {
                continue;
            }
            let keys: Vec<String> = key
                .parent_columns
                .iter()
                .map(|name| Ident::new(name).map(|name| format!("{name}::pg_catalog.text COLLATE \"C\"")))
                .collect::<Result<_>>()?;
            let primary = table.primary_key();
            let own: Vec<String> = primary
                .iter()
                .map(|name| Ident::new(name).map(|name| format!("{name}::pg_catalog.text COLLATE \"C\"")))
                .collect::<Result<_>>()?;
            let within = if same.is_empty() {
                String::new()
            } else {
                format!(
                    "PARTITION BY {}",
                    same.iter().map(|(_, there)| there.to_string()).collect::<Vec<_>>().join(", ")
                )
            };
            let own_within = if same.is_empty() {
                String::new()
            } else {
                format!(
                    "PARTITION BY {}",
                    same.iter().map(|(column, _)| column.to_string()).collect::<Vec<_>>().join(", ")
                )
            };
            let is_single = table.indexes.iter().any(|index| {
                index.is_unique
                    && index
                        .columns
                        .iter()
                        .all(|column| column.as_ref().is_some_and(|column| key.columns.contains(column)))
            });
            let matches: Vec<String> = same.iter().map(|(column, there)| format!("p.{there} = x.{column}")).collect();
            let sql = format!(
                "WITH p AS (SELECT *, row_number() OVER ({within} ORDER BY {keys}) AS lyrox_n, count(*) OVER ({within}) AS lyrox_m FROM {parent}), \
                 x AS (SELECT *, ctid AS lyrox_at, tableoid AS lyrox_of, row_number() OVER ({own_within} ORDER BY {own}) AS lyrox_n FROM {name} WHERE {open}) \
                 UPDATE {name} AS t SET {set} FROM x, p \
                 WHERE t.ctid = x.lyrox_at AND t.tableoid = x.lyrox_of AND x.lyrox_n % 4 <> 0 AND {turn}{matches}",
                keys = keys.join(", "),
                own = if own.is_empty() { "ctid".to_owned() } else { own.join(", ") },
                open = open.join(" AND "),
                set = set.join(", "),
                parent = qualified(&fill.schema, parent)?,
                name = qualified(&fill.schema, &name)?,
                turn = if is_single { "p.lyrox_n = x.lyrox_n" } else { "p.lyrox_n = 1 + (x.lyrox_n * 7) % p.lyrox_m" },
                matches = matches.iter().map(|one| format!(" AND {one}")).collect::<String>(),
            );
            self.send("SAVEPOINT lyrox_later").await.map_err(|error| failed("keys cannot be set", &error))?;
            // A CHECK, a trigger or a policy may want the key as it is: NULL is what the column allows.
            let end = match self.send(&sql).await {
                Ok(_) => "RELEASE SAVEPOINT lyrox_later",
                Err(_) => "ROLLBACK TO SAVEPOINT lyrox_later",
            };
            self.send(end).await.map_err(|error| failed("keys cannot be set", &error))?;
        }
        Ok(())
    }
}
