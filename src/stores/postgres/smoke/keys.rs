//! Foreign keys refuse orphans and do what they declare; unique keys refuse duplicates.

use std::collections::BTreeSet;

use super::PostgresSmoke;
use super::attempt::{Said, Unmade, count};
use super::catalog::{Constraint, Index};
use super::check::{Wish, ways};
use super::row::{Ask, Insert, Values, condition, sql, tenant_column};
use crate::error::Result;
use crate::stores::postgres::ident::{Ident, relation};
use crate::stores::smoke::outcome::Outcome;

impl PostgresSmoke<'_> {
    /// Tries every foreign key of a table.
    pub(super) async fn try_foreign_keys(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(table) = self.catalog.tables.get(name).cloned() else { return Ok(outcome) };
        for key in table.foreign_keys().filter(|key| !key.is_leaf) {
            let tenant = self.draw_tenant(name);
            self.begin_test(tenant.as_deref());
            let found = self.try_foreign_key(name, key, tenant.as_deref()).await;
            self.end_test();
            match found? {
                Tried::Done(note) => {
                    outcome.passed += 1;
                    outcome.notes.extend(note);
                }
                Tried::Wrong(what) => outcome.failed.push(format!("foreign key `{}` of `{name}`: {what}", key.name)),
                Tried::Not(why) => outcome.untried.push(format!("`{}`: {why}", key.name)),
            }
        }
        outcome.notes.sort();
        Ok(outcome)
    }

    async fn try_foreign_key(&mut self, name: &str, key: &Constraint, tenant: Option<&str>) -> Result<Tried> {
        let Some(parent) = key.parent.clone() else { return Ok(Tried::Not("its parent is elsewhere".into())) };
        let fill: BTreeSet<String> = key.parent_columns.iter().cloned().collect();
        let made = self
            .make(tenant, |chain| {
                let above = chain.row(&parent, &Ask { fill: fill.clone(), ..Ask::default() })?;
                let values: Values = key
                    .columns
                    .iter()
                    .zip(&key.parent_columns)
                    .map(|(column, there)| (column.clone(), above.get(there).cloned().flatten()))
                    .collect();
                let below = match chain.point(name, &values) {
                    Some(below) => below,
                    None => chain.row(name, &Ask { values, ..Ask::default() })?,
                };
                Ok((above, below))
            })
            .await?;
        let ((above, below), inserts, is_circular) = match made {
            Ok(made) => made,
            Err(unmade) => return Ok(unmade.into()),
        };
        let deleted = self.try_delete(&parent, &above, name, &below, key).await?;
        if let Tried::Wrong(_) = deleted {
            return Ok(deleted);
        }
        Ok(match self.try_orphan(name, key, &inserts, is_circular, tenant).await? {
            Tried::Done(_) => match deleted {
                Tried::Not(_) => Tried::Done(None),
                done => done,
            },
            other => other,
        })
    }

    /// Deletes the parent and looks what became of the child.
    async fn try_delete(
        &mut self,
        parent: &str,
        above: &Values,
        child: &str,
        below: &Values,
        key: &Constraint,
    ) -> Result<Tried> {
        let Some(table) = self.catalog.tables.get(child) else { return Ok(Tried::Not("the table is gone".into())) };
        let known: Vec<String> = match table.primary_key() {
            [] => below.keys().cloned().collect(),
            columns => columns.to_vec(),
        };
        let child_is = condition(below, known.iter())?;
        let emptied = emptied_columns(key);
        let mut is_empty = Vec::new();
        for column in &emptied {
            is_empty.push(format!("{} IS NULL", Ident::new(column)?));
        }
        let (parent_name, child_name) = (relation(None, parent)?, relation(None, child)?);
        let sql = format!(
            "SAVEPOINT lyrox_delete; WITH gone AS (DELETE FROM {parent_name} WHERE {} RETURNING 1) SELECT count(*) FROM gone; \
             SELECT count(*) FROM {child_name} WHERE {child_is}; SELECT count(*) FROM {child_name} WHERE {child_is} AND {}",
            condition(above, key.parent_columns.iter())?,
            is_empty.join(" AND "),
        );
        let said = self.send(&sql).await?;
        let is_refusal = matches!(&said, Err(refused) if matches!(refused.code.as_str(), "23503" | "23001"));
        Ok(match (key.on_delete.as_str(), said) {
            ("a" | "r", Err(_)) if is_refusal => Tried::Done(Some("refuse the delete of a parent".into())),
            ("d", Err(_)) if is_refusal => Tried::Done(None),
            (_, Err(refused)) if is_refusal => {
                if refused.constraint.as_deref() == Some(key.name.as_str()) {
                    Tried::Wrong(format!("the delete of a parent is refused although it is declared to {}", verb(key)))
                } else {
                    Tried::Not(format!(
                        "the delete of a parent is held back by `{}`",
                        refused.constraint.unwrap_or_default()
                    ))
                }
            }
            ("n", Err(refused)) if refused.code == "23502" => {
                Tried::Wrong("ON DELETE SET NULL can never work: a column is NOT NULL".into())
            }
            (_, Err(refused)) => Tried::Not(format!("the delete of a parent failed: {}", refused.words)),
            (_, Ok(rows)) if count(&rows, 0) == 0 => Tried::Not("the policies hide the parent from a delete".into()),
            ("c", Ok(rows)) if count(&rows, 1) == 0 => Tried::Done(Some("cascade".into())),
            ("c", Ok(_)) => Tried::Wrong("the row is still there after its parent was deleted".into()),
            ("n", Ok(rows)) if count(&rows, 2) == 1 => Tried::Done(Some("set NULL".into())),
            (_, Ok(rows)) if count(&rows, 1) == 0 => Tried::Not("another key takes the row along".into()),
            ("n", Ok(_)) => Tried::Wrong("the column is not NULL after its parent was deleted".into()),
            ("d", Ok(_)) => Tried::Done(Some("set the default".into())),
            (_, Ok(_)) => Tried::Wrong("the parent was deleted, and the row that refers to it stayed".into()),
        })
    }

    /// Writes the child again with a key that no parent has.
    async fn try_orphan(
        &mut self,
        name: &str,
        key: &Constraint,
        inserts: &[Insert],
        is_circular: bool,
        tenant: Option<&str>,
    ) -> Result<Tried> {
        let Some(table) = self.catalog.tables.get(name).cloned() else {
            return Ok(Tried::Not("the table is gone".into()));
        };
        let tenancy = self.run.config.settings.tenancy.clone();
        let tenants = tenancy.as_ref().and_then(|tenancy| tenant_column(&table, tenancy));
        // The tenant's column stays where another column can do: policies speak before keys.
        let own: Vec<&String> = key.columns.iter().filter(|column| tenants.as_ref() != Some(*column)).collect();
        let columns: Vec<&String> = if own.is_empty() { key.columns.iter().collect() } else { own };
        let mut inserts = inserts.to_vec();
        let Some(last) = inserts.last_mut() else { return Ok(Tried::Not("there is no row".into())) };
        let mut before = String::new();
        for name in columns {
            let Some(column) = table.column(name) else { continue };
            if column.kind == "e" || column.base == "bool" {
                return Ok(Tried::Not("its values are few, and all may be taken".into()));
            }
            let Some(value) = self.source.value(column, &Wish::default()) else {
                return Ok(Tried::Not(format!("no value is known for `{name}`")));
            };
            if tenants.as_ref() == Some(name) && tenant.is_some() {
                before = self.set_tenant(Some(&value));
            }
            last.values.insert(name.clone(), Some(value));
        }
        Ok(match self.again(&inserts, is_circular, &before, "").await? {
            Err(refused) if refused.code == "23503" => Tried::Done(None),
            Err(refused) => Tried::Not(format!("an orphan was refused for another reason: {}", refused.words)),
            Ok(_) => Tried::Wrong("a row was taken that refers to nothing".into()),
        })
    }

    /// Tries every unique index and exclusion constraint of a table.
    pub(super) async fn try_unique(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(table) = self.catalog.tables.get(name).cloned() else { return Ok(outcome) };
        for index in table.indexes.iter().filter(|index| index.is_unique || index.is_exclusion) {
            if !index.is_valid {
                outcome.failed.push(format!("index `{}` of `{name}` is invalid: it refuses nothing", index.name));
                continue;
            }
            let tenant = self.draw_tenant(name);
            self.begin_test(tenant.as_deref());
            let found = self.try_duplicate(name, index, &table.indexes, tenant.as_deref()).await;
            self.end_test();
            match found? {
                Tried::Done(_) => outcome.passed += 1,
                Tried::Wrong(what) => outcome.failed.push(format!("index `{}` of `{name}`: {what}", index.name)),
                Tried::Not(why) => outcome.untried.push(format!("`{}`: {why}", index.name)),
            }
        }
        Ok(outcome)
    }

    async fn try_duplicate(&mut self, name: &str, index: &Index, all: &[Index], tenant: Option<&str>) -> Result<Tried> {
        let Some(table) = self.catalog.tables.get(name).cloned() else {
            return Ok(Tried::Not("the table is gone".into()));
        };
        let uses: BTreeSet<String> = index.uses.iter().cloned().collect();
        let wishes = match &index.predicate {
            None => Default::default(),
            Some(predicate) => match ways(predicate, None) {
                Some(ways) => ways.first().cloned().unwrap_or_default(),
                None => return Ok(Tried::Not(format!("its WHERE is not understood: {predicate}"))),
            },
        };
        // A column that has to be NULL in the rows of a partial index is no part of what must be filled.
        let fill: BTreeSet<String> = uses
            .iter()
            .filter(|column| wishes.get(*column).and_then(|wish: &Wish| wish.is_null) != Some(true))
            .cloned()
            .collect();
        let ask = Ask { fill, wishes, ..Ask::default() };
        let made = self.make(tenant, |chain| chain.row(name, &ask)).await?;
        let (first, inserts, _) = match made {
            Ok(made) => made,
            Err(unmade) => return Ok(unmade.into()),
        };
        let plain = index.columns.iter().flatten();
        if let Some(empty) = plain.clone().find(|column| matches!(first.get(*column), Some(None))) {
            return Ok(Tried::Not(format!("no row is found that fills `{empty}`")));
        }
        // Every other unique key must differ in one column, so that only this one is met: in a plain column
        // where it has one, else in a parent of its own. The tenant stays.
        let tenancy = self.run.config.settings.tenancy.clone();
        let tenants = tenancy.as_ref().and_then(|tenancy| tenant_column(&table, tenancy));
        let is_tenants_own = tenancy.as_ref().is_some_and(|tenancy| tenancy.table.as_deref() == Some(name));
        let is_foreign = |column: &String| table.foreign_keys().any(|key| key.columns.contains(column));
        let mut others: BTreeSet<String> = BTreeSet::new();
        for other in all.iter().filter(|other| other.name != index.name && (other.is_unique || other.is_exclusion)) {
            let free: Vec<&String> = other
                .uses
                .iter()
                .filter(|column| !uses.contains(*column) && tenants.as_ref() != Some(*column))
                .collect();
            match free.iter().find(|column| !is_foreign(column)) {
                Some(plain) => others.insert((*plain).clone()),
                None => free.first().is_some_and(|column| others.insert((*column).clone())),
            };
        }
        let mut values = first;
        values.retain(|column, _| !others.contains(column));
        let fresh: BTreeSet<String> = table
            .foreign_keys()
            .filter(|key| key.columns.iter().any(|column| others.contains(column)))
            .map(|key| key.name.clone())
            .collect();
        // A second row of the tenant table is a second tenant.
        let another = if is_tenants_own && tenants.as_ref().is_some_and(|column| !uses.contains(column)) {
            values.retain(|column, _| tenants.as_ref() != Some(column));
            self.draw_tenant(name)
        } else {
            None
        };
        let tenant = another.as_deref().or(tenant);
        let before = self.set_tenant(another.as_deref());
        let second = Ask { values, fresh, ..ask };
        let mut chain = self.chain(tenant).after(&inserts);
        if let Err(reason) = chain.row(name, &second) {
            return Ok(Tried::Not(reason));
        }
        let added = chain.inserts[inserts.len()..].to_vec();
        let statements = format!("{before}{}", sql(&self.catalog, &added, false)?.join(";"));
        let allowed = |refused: &str| {
            refused == index.name
                || all.iter().any(|other| {
                    // A narrower key is met as well; so is a wider one that has only the tenant more.
                    let is_more = |column: &String| !uses.contains(column) && tenants.as_ref() != Some(column);
                    other.name == refused && !other.uses.iter().any(is_more)
                })
        };
        let said: Said = self.send(&statements).await?;
        // A partition's part of the index has a name of its own.
        let leaves = self.catalog.tables.get(name).map(|table| table.leaves.clone()).unwrap_or_default();
        let is_part = |table: &str| leaves.iter().any(|leaf| leaf.name == table);
        Ok(match said {
            Err(refused)
                if matches!(refused.code.as_str(), "23505" | "23P01")
                    && (refused.constraint.as_deref().is_some_and(allowed)
                        || refused.table.as_deref().is_some_and(is_part)) =>
            {
                Tried::Done(None)
            }
            Err(refused) => Tried::Not(format!("a duplicate was refused for another reason: {}", refused.words)),
            Ok(_) => Tried::Wrong("a duplicate was taken".into()),
        })
    }
}

/// How trying one object ended.
pub enum Tried {
    /// As declared; a note for the line.
    Done(Option<String>),
    /// Not as declared.
    Wrong(String),
    /// Not tried, and why.
    Not(String),
}

impl From<Unmade> for Tried {
    fn from(unmade: Unmade) -> Self {
        match unmade {
            Unmade::Unknown(reason) | Unmade::Fault(reason) => Self::Not(format!("no row could be made: {reason}")),
        }
    }
}

fn verb(key: &Constraint) -> &'static str {
    match key.on_delete.as_str() {
        "c" => "cascade",
        "n" => "set NULL",
        "d" => "set the default",
        _ => "refuse it",
    }
}

/// The columns that SET NULL empties: those it names, or all of the key that may be NULL.
fn emptied_columns(key: &Constraint) -> Vec<String> {
    let named = key.definition.split_once("SET NULL (").and_then(|(_, rest)| rest.split_once(')'));
    match named {
        Some((list, _)) => list.split(',').map(|name| name.trim().trim_matches('"').replace("\"\"", "\"")).collect(),
        None => key.columns.clone(),
    }
}
