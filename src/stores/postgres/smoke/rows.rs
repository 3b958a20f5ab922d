//! Every table takes a valid row and refuses invalid ones; what keeps a timestamp keeps it; indexes serve.

use std::collections::BTreeMap;

use super::PostgresSmoke;
use super::attempt::Unmade;
use super::attempts::Attempt;
use super::catalog::{Catalog, Column, Table};
use super::check::{Wish, breaks};
use super::row::{Ask, Insert, condition, is_broken, sql, tenant_column};
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::{Ident, literal, relation};
use crate::stores::smoke::outcome::Outcome;

/// How the column that a trigger keeps is usually called.
pub const TOUCHED: [&str; 6] =
    ["updatedAt", "updated_at", "modifiedAt", "modified_at", "lastModified", "last_modified"];

/// The column that a trigger of the table sets on update.
pub fn touched_column(table: &Table) -> Option<&Column> {
    table.columns.iter().find(|column| {
        TOUCHED.contains(&column.name.as_str())
            && column.base.starts_with("timestamp")
            && table.triggers.iter().any(|trigger| trigger.is_before_update && trigger.source.contains(&column.name))
    })
}

impl PostgresSmoke<'_> {
    /// Writes one valid row, with the parents it needs.
    pub(super) async fn try_row(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let tenant = self.draw_tenant(name);
        self.begin_test(tenant.as_deref());
        // A key that is left to its default proves the default; where the row needs to know it, it is chosen.
        let made = self
            .make(tenant.as_deref(), |chain| {
                let left = chain.row(name, &Ask { leave_key: true, ..Ask::default() });
                left.or_else(|_| {
                    chain.inserts.clear();
                    chain.row(name, &Ask::default())
                })
            })
            .await;
        self.end_test();
        match made? {
            Ok((_, inserts, _)) => {
                outcome.passed = 1;
                let parents = inserts.len() - 1;
                if parents > 0 {
                    outcome.notes.push(format!("{parents} parent{}", if parents == 1 { "" } else { "s" }));
                }
            }
            Err(Unmade::Fault(reason)) => outcome.failed.push(format!("`{name}` takes no row: {reason}")),
            Err(Unmade::Unknown(reason)) => outcome.untried.push(format!("no valid row is known: {reason}")),
        }
        Ok(outcome)
    }

    /// Writes rows that NOT NULL and CHECK have to refuse.
    pub(super) async fn try_refusals(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(table) = self.catalog.tables.get(name).cloned() else { return Ok(outcome) };
        let tenant = self.draw_tenant(name);
        self.begin_test(tenant.as_deref());
        let found = self.refusals(&table, tenant.as_deref(), &mut outcome).await;
        self.end_test();
        found?;
        Ok(outcome)
    }

    async fn refusals(&mut self, table: &Table, tenant: Option<&str>, outcome: &mut Outcome) -> Result<()> {
        let name = &table.name;
        let made = self.make(tenant, |chain| chain.row(name, &Ask::default())).await?;
        let (_, inserts, is_circular) = match made {
            Ok(made) => made,
            Err(Unmade::Unknown(reason) | Unmade::Fault(reason)) => {
                outcome.untried.push(format!("no row could be made: {reason}"));
                return Ok(());
            }
        };
        let tenancy = self.run.config.settings.tenancy.clone();
        let tenants = tenancy.and_then(|tenancy| tenant_column(table, &tenancy));
        let is_changed_by_trigger = table.triggers.iter().any(|trigger| trigger.is_before_insert && trigger.is_enabled);
        let Some((broken, before)) = Broken::of(&self.catalog, &inserts, is_circular)? else { return Ok(()) };
        let is_tried = |column: &&Column| column.is_required && !column.is_generated && column.identity.is_empty();
        let columns: Vec<&Column> = table.columns.iter().filter(is_tried).collect();
        let mut attempts = Vec::new();
        for column in &columns {
            attempts.push(broken.with(&self.catalog, [(column.name.clone(), None)])?);
        }
        for (column, said) in columns.into_iter().zip(self.attempts(&before, &attempts).await?) {
            match said {
                Err(refused) if refused.code == "23502" => outcome.passed += 1,
                // The policy speaks first: no tenant is no tenant's.
                Err(refused) if refused.code == "42501" && tenants.as_ref() == Some(&column.name) => {
                    outcome.passed += 1
                }
                Err(refused) => outcome.untried.push(format!("NULL in `{}`: {}", column.name, refused.words)),
                Ok(_) if is_changed_by_trigger => outcome.untried.push(format!("a trigger fills `{}`", column.name)),
                Ok(_) => outcome.failed.push(format!("`{name}.{}` took NULL", column.name)),
            }
        }
        for check in table.checks() {
            let Some(ways) = breaks(&check.definition, None) else {
                outcome.untried.push(format!("CHECK `{}` is not understood", check.name));
                continue;
            };
            let mut last_words = String::from("no value breaks it");
            let mut attempts = Vec::new();
            for way in ways {
                let mut values = Vec::new();
                for (column, wish) in &way {
                    let Some(column) = table.column(column).filter(|column| !column.is_generated) else { break };
                    let wish = Wish { is_null: None, ..wish.clone() };
                    let value = match way.get(&column.name).and_then(|wish| wish.is_null) {
                        Some(true) => None,
                        _ => match self.source.value(column, &wish) {
                            Some(value) => Some(value),
                            None => break,
                        },
                    };
                    values.push((column.name.clone(), value));
                }
                // Only what surely breaks it can prove anything.
                let mut row = broken.last.values.clone();
                row.extend(values.iter().cloned());
                if values.len() == way.len() && is_broken(table, &check.definition, &row) == Some(true) {
                    attempts.push(broken.with(&self.catalog, values)?);
                }
            }
            let mut is_settled = false;
            for said in self.attempts(&before, &attempts).await? {
                match said {
                    Err(refused) if refused.code == "23514" => {
                        is_settled = true;
                        outcome.passed += 1;
                        break;
                    }
                    Err(refused) => last_words = refused.words,
                    Ok(_) if is_changed_by_trigger => last_words = "a trigger may change what is written".into(),
                    Ok(_) => {
                        is_settled = true;
                        outcome.failed.push(format!("CHECK `{}` of `{name}` took a row that breaks it", check.name));
                        break;
                    }
                }
            }
            if !is_settled {
                outcome.untried.push(format!("CHECK `{}`: {last_words}", check.name));
            }
        }
        Ok(())
    }

    /// Writes an old timestamp, changes the row, and looks whether the timestamp moved.
    pub(super) async fn try_touch(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(table) = self.catalog.tables.get(name).cloned() else { return Ok(outcome) };
        let Some(column) = touched_column(&table).cloned() else { return Ok(outcome) };
        let tenant = self.draw_tenant(name);
        self.begin_test(tenant.as_deref());
        let found = self.touch(&table, &column, tenant.as_deref(), &mut outcome).await;
        self.end_test();
        found?;
        Ok(outcome)
    }

    async fn touch(
        &mut self,
        table: &Table,
        column: &Column,
        tenant: Option<&str>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        const OLD: &str = "2001-01-01 00:00:00";
        let name = &table.name;
        let ask = Ask { values: BTreeMap::from([(column.name.clone(), Some(OLD.to_owned()))]), ..Ask::default() };
        let row = match self.make(tenant, |chain| chain.row(name, &ask)).await? {
            Ok((row, ..)) => row,
            Err(Unmade::Unknown(reason) | Unmade::Fault(reason)) => {
                outcome.untried.push(format!("no row could be made: {reason}"));
                return Ok(());
            }
        };
        let key = match table.primary_key() {
            [] => row.keys().filter(|name| **name != column.name).cloned().collect(),
            key => key.to_vec(),
        };
        let row_is = condition(&row, key.iter())?;
        let (table_name, touched) = (relation(None, name)?, Ident::new(&column.name)?);
        // A trigger may fire only where something changes: a free column is given another value.
        let change = self.free_change(table)?.unwrap_or_else(|| format!("{touched} = {touched}"));
        let sql = format!(
            "SELECT {touched} > {old}::timestamp + interval '1 day' FROM {table_name} WHERE {row_is};\
             UPDATE {table_name} SET {change} WHERE {row_is};\
             SELECT {touched} > {old}::timestamp + interval '1 day' FROM {table_name} WHERE {row_is};\
             UPDATE {table_name} SET {change}, {touched} = {old} WHERE {row_is};\
             SELECT {touched} > {old}::timestamp + interval '1 day' FROM {table_name} WHERE {row_is};",
            old = literal(OLD)
        );
        let sql = if change.starts_with(&touched.to_string()) { sql.replace(&format!("{change}, "), "") } else { sql };
        match self.send(&sql).await? {
            Err(refused) => outcome.untried.push(format!("an update was refused: {}", refused.words)),
            Ok(rows) => {
                let moved: Vec<Option<String>> = rows.iter().map(|row| text(row, 0)).collect();
                let is = |at: usize| moved.get(at).cloned().flatten().as_deref() == Some("t");
                // Where the insert itself sets the time, only an old one written by the update can tell.
                let is_kept = if is(0) { is(2) } else { is(1) };
                if moved.len() < 3 {
                    outcome.untried.push("the policies hide the row from an update".into());
                } else if is_kept {
                    outcome.passed = 1;
                } else {
                    outcome.failed.push(format!("`{name}.{}` stayed as it was after an update", column.name));
                }
            }
        }
        Ok(())
    }

    /// `column = value` for a column that is in no key, no CHECK and no policy.
    fn free_change(&mut self, table: &Table) -> Result<Option<String>> {
        let tenancy = self.run.config.settings.tenancy.clone();
        let tenants = tenancy.and_then(|tenancy| tenant_column(table, &tenancy));
        let is_free = |column: &&Column| {
            let name = &column.name;
            !column.is_generated
                && column.identity.is_empty()
                && tenants.as_ref() != Some(name)
                && !TOUCHED.contains(&name.as_str())
                && !table.constraints.iter().any(|constraint| constraint.columns.contains(name))
                && !table.indexes.iter().any(|index| index.is_unique && index.uses.contains(name))
        };
        let mut free: Vec<&Column> = table.columns.iter().filter(is_free).collect();
        free.sort_by_key(|column| !matches!(column.base.as_str(), "text" | "varchar"));
        for column in free {
            if let Some(value) = self.source.value(column, &Wish::default()) {
                return Ok(Some(format!("{} = {}", Ident::new(&column.name)?, literal(&value))));
            }
        }
        Ok(None)
    }
}

/// The last row of a chain, to be written with other values: the rows before it are written once.
struct Broken {
    last: Insert,
    /// Rows that must be written by the same statement.
    along: Vec<Insert>,
}

impl Broken {
    /// The row, and what has to be sent before it; none where there are no rows.
    fn of(catalog: &Catalog, inserts: &[Insert], is_circular: bool) -> Result<Option<(Self, String)>> {
        let Some((last, parents)) = inserts.split_last() else { return Ok(None) };
        let along = if is_circular { parents.to_vec() } else { Vec::new() };
        let parents = if is_circular { Vec::new() } else { sql(catalog, parents, false)? };
        let mut before = String::from("ROLLBACK TO SAVEPOINT lyrox_rows;");
        parents.iter().for_each(|parent| before.push_str(&format!("{parent};")));
        Ok(Some((Self { last: last.clone(), along }, before)))
    }

    /// The attempt to write it with these values.
    fn with(&self, catalog: &Catalog, values: impl IntoIterator<Item = (String, Option<String>)>) -> Result<Attempt> {
        let mut last = self.last.clone();
        last.values.extend(values);
        let rows: Vec<Insert> = self.along.iter().cloned().chain([last]).collect();
        Ok(Attempt { sql: sql(catalog, &rows, !self.along.is_empty())?.join(";"), is_count: false })
    }
}
