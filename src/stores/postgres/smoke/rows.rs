//! Every table takes a valid row and refuses invalid ones; what keeps a timestamp keeps it; indexes serve.

use std::collections::BTreeMap;

use super::PostgresSmoke;
use super::attempt::Unmade;
use super::catalog::{Column, Table};
use super::check::{Wish, breaks};
use super::row::{Ask, condition, tenant_column};
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::{Ident, literal};
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
        self.begin_test(tenant.as_deref()).await?;
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
        self.send("ROLLBACK").await?.ok();
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
        self.begin_test(tenant.as_deref()).await?;
        let found = self.refusals(&table, tenant.as_deref(), &mut outcome).await;
        self.send("ROLLBACK").await?.ok();
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
        for column in table
            .columns
            .iter()
            .filter(|column| column.is_required && !column.is_generated && column.identity.is_empty())
        {
            let mut broken = inserts.clone();
            if let Some(last) = broken.last_mut() {
                last.values.insert(column.name.clone(), None);
            }
            match self.again(&broken, is_circular, "", "").await? {
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
            let mut is_settled = false;
            for way in ways {
                let mut broken = inserts.clone();
                let Some(last) = broken.last_mut() else { break };
                let mut is_whole = true;
                for (column, wish) in &way {
                    let Some(column) = table.column(column).filter(|column| !column.is_generated) else {
                        is_whole = false;
                        break;
                    };
                    let value = if wish.is_null == Some(true) {
                        None
                    } else {
                        let value = self.source.value(column, &Wish { is_null: None, ..wish.clone() });
                        is_whole &= value.is_some();
                        value
                    };
                    last.values.insert(column.name.clone(), value);
                }
                if !is_whole {
                    continue;
                }
                match self.again(&broken, is_circular, "", "").await? {
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
        self.begin_test(tenant.as_deref()).await?;
        let found = self.touch(&table, &column, tenant.as_deref(), &mut outcome).await;
        self.send("ROLLBACK").await?.ok();
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
        let (table_name, touched) = (Ident::new(name)?, Ident::new(&column.name)?);
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
