//! What the server's refusals teach: which columns to leave to their defaults, to leave empty, to fill, to keep small.

use super::{Done, Fill};
use crate::engine::generate::expression::parse;
use crate::engine::generate::parents::Pool;
use crate::engine::generate::plan::{Parents, Plan};
use crate::engine::generate::schema::Table;
use crate::stores::postgres::error::reported;

/// Whether a refusal taught anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// The next plan is another one.
    Something,
    /// The same rows would be refused again.
    Nothing,
}

/// Whether the catalog's name is that of a table, whose schema is left out.
fn is_named(label: &str, name: &str) -> bool {
    label == name || label.split_once('.').is_some_and(|(_, last)| last == name)
}

impl Fill {
    /// Draws a lesson from a refusal.
    pub fn learn(&mut self, table: &Table, error: &sqlx::Error) -> Learnt {
        let Some(report) = reported(error) else { return Learnt::Nothing };
        let column = report.column().map(str::to_owned).or_else(|| column_of(report.r#where().unwrap_or_default()));
        let lessons = self.lessons.entry(table.name.clone()).or_default();
        let about_column = |name: &str| table.column(name);
        match (report.code(), report.constraint(), column) {
            ("23514", Some(constraint), _) if report.table().is_some_and(|name| is_named(&table.name, name)) => {
                let (name, constraint) = (table.name.clone(), constraint.to_owned());
                let columns = table
                    .checks()
                    .find(|check| check.name == constraint)
                    .map(
                        |check| if check.columns.is_empty() { named(&check.definition) } else { check.columns.clone() },
                    )
                    .unwrap_or_default();
                self.step(&name, &constraint, table, &columns)
            }
            ("23502", _, Some(column)) => {
                let is_new =
                    lessons.fill.insert(column.clone()) | lessons.leave.remove(&column) | lessons.empty.remove(&column);
                if is_new { Learnt::Something } else { Learnt::Nothing }
            }
            ("22001" | "22003" | "22008", _, column) => {
                let before = lessons.small.len();
                match column {
                    Some(column) => drop(lessons.small.insert(column)),
                    // What is computed from columns is too large for its own.
                    None => lessons
                        .small
                        .extend(table.columns.iter().filter(|one| one.category == "N").map(|one| one.name.clone())),
                }
                if lessons.small.len() > before { Learnt::Something } else { Learnt::Nothing }
            }
            // A value that the type does not read, a domain that refuses it.
            (code, _, Some(column)) if code.starts_with("22") || code == "23514" => match about_column(&column) {
                Some(known) if known.has_default && lessons.leave.insert(column.clone()) => Learnt::Something,
                Some(known) if !known.is_required && lessons.empty.insert(column.clone()) => Learnt::Something,
                _ => Learnt::Nothing,
            },
            // A function that cannot do without a value.
            ("22004", _, None) => {
                let before = lessons.fill.len();
                lessons.fill.extend(table.checks().flat_map(|check| check.columns.iter().cloned()));
                if lessons.fill.len() > before { Learnt::Something } else { Learnt::Nothing }
            }
            _ => Learnt::Nothing,
        }
    }

    /// The next remedy for columns that a CHECK will not have as they are.
    fn step(&mut self, name: &str, constraint: &str, table: &Table, columns: &[String]) -> Learnt {
        let step = self.steps.entry((name.to_owned(), constraint.to_owned())).or_insert(0);
        let lessons = self.lessons.entry(name.to_owned()).or_default();
        while *step < 2 {
            *step += 1;
            let mut is_new = false;
            for column in columns.iter().filter_map(|column| table.column(column)) {
                let is_key = table.indexes.iter().any(|index| index.is_unique && index.uses.contains(&column.name));
                match step {
                    1 if column.has_default && !is_key => is_new |= lessons.leave.insert(column.name.clone()),
                    2 if !column.is_required => is_new |= lessons.empty.insert(column.name.clone()),
                    _ => {}
                }
            }
            if is_new {
                return Learnt::Something;
            }
        }
        Learnt::Nothing
    }

    /// Not one row could be made: the columns of all CHECKs are left to their defaults, then left empty.
    pub fn escalate(&mut self, table: &Table) -> bool {
        let columns: Vec<String> = table.checks().flat_map(|check| check.columns.clone()).collect();
        self.step(&table.name, "", table, &columns) == Learnt::Something
    }

    /// Whether the rows as they were made are the rows as they are stored.
    pub fn keeps_keys(&self, table: &Table, plan: &Plan, kept: &[String]) -> bool {
        let is_given = |name: &String| plan.given.iter().any(|at| table.columns[*at].name == *name);
        kept.iter().all(is_given)
            && !table.triggers.iter().any(|trigger| trigger.is_before_insert && trigger.is_enabled)
    }

    /// The table's rows are there: others may refer to them. None: they have to be read.
    pub fn landed(&mut self, table: &Table, pool: Option<Pool>) {
        match pool {
            Some(pool) => drop(self.pools.insert(table.name.clone(), pool.into())),
            None => drop(self.pools.remove(&table.name)),
        }
    }

    /// Remembers the keys that were left open.
    pub fn note_open(&mut self, table: &Table, plan: &Plan) {
        for key in plan.keys.iter().filter(|key| matches!(key.parents, Parents::Later)) {
            self.open.push((table.name.clone(), key.name.clone()));
        }
    }
}

impl Done {
    /// Nothing was written.
    pub fn none(reason: impl Into<String>) -> Self {
        Self { added: 0, reason: Some(reason.into()) }
    }
}

/// `COPY t, line 1, column price: "x"`
fn column_of(context: &str) -> Option<String> {
    let rest = context.lines().find_map(|line| line.strip_prefix("COPY "))?;
    let (_, rest) = rest.split_once(", column ")?;
    Some(rest.split(':').next()?.trim().to_owned())
}

fn named(definition: &str) -> Vec<String> {
    let body = definition.trim().strip_prefix("CHECK").unwrap_or(definition);
    parse(body.trim(), None)
        .map(|found| found.columns().iter().map(|name| (*name).to_owned()).collect())
        .unwrap_or_default()
}
