//! Generated rows as a bulk load takes them: made while they are read, never held together.

use std::sync::Mutex;

use crate::engine::generate::parents::Pool;
use crate::engine::generate::plan::Plan;
use crate::engine::generate::rows::{Maker, Values};
use crate::error::{Place, Result};
use crate::stores::source::{Form, Row, RowReader, RowSource};

/// What is known when all rows are made.
#[derive(Debug, Default)]
pub struct Harvest {
    /// The rows as others refer to them.
    pub pool: Pool,
    /// How many there are.
    pub made: u64,
    /// Why there are not more.
    pub reason: Option<String>,
}

/// The rows of a plan.
pub struct Generated<'p> {
    plan: &'p Plan,
    kept: Vec<String>,
    columns: Vec<String>,
    shown: String,
    has_line: bool,
    harvest: Mutex<Harvest>,
}

impl<'p> Generated<'p> {
    /// Rows of a plan; `kept` names the columns that others need of them.
    pub fn new(plan: &'p Plan, kept: &[String], shown: &str) -> Self {
        let columns = plan.columns();
        Self { plan, kept: kept.to_vec(), columns, shown: shown.to_owned(), has_line: false, harvest: Mutex::default() }
    }

    /// The same rows with their number before them.
    pub fn numbered(mut self) -> Self {
        self.has_line = true;
        self.columns.insert(0, super::LINE.to_owned());
        self
    }

    /// What the last reading came to.
    pub fn harvest(self) -> Harvest {
        self.harvest.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl RowSource for Generated<'_> {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn rows(&self) -> Option<u64> {
        Some(self.plan.rows)
    }

    /// The plan's own text: the same plan makes the same rows.
    fn checksum(&self) -> Result<String> {
        Ok(crate::project::text::sha256(format!("{:?}", self.plan).as_bytes()))
    }

    fn open(&self, _form: Form) -> Result<Box<dyn RowReader + '_>> {
        Ok(Box::new(Reader { source: self, maker: Maker::new(self.plan, &self.kept), made: 0 }))
    }
}

struct Reader<'s> {
    source: &'s Generated<'s>,
    maker: Maker<'s>,
    made: u64,
}

impl RowReader for Reader<'_> {
    fn read(&mut self, row: &mut Row) -> Result<bool> {
        row.clear();
        let Some(values) = self.maker.next_row() else {
            let mut harvest = self.source.harvest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let reason = if self.made < self.source.plan.rows { self.maker.reason.take() } else { None };
            *harvest = Harvest { pool: std::mem::take(&mut self.maker.own), made: self.made, reason };
            return Ok(false);
        };
        self.made += 1;
        if self.source.has_line {
            row.push_text(&self.made.to_string());
        }
        put(&values, self.source.plan, row);
        Ok(true)
    }

    fn place(&self) -> Place {
        Place { line: usize::try_from(self.made).unwrap_or(0), ..Place::file(&self.source.shown) }
    }

    fn progress(&self) -> Option<(u64, u64)> {
        Some((self.made, self.source.plan.rows.max(1)))
    }
}

/// The values of the columns that are given, in their order.
pub fn put(values: &Values, plan: &Plan, row: &mut Row) {
    for at in &plan.given {
        match values[*at].as_ref().and_then(|value| value.as_ref()) {
            Some(text) => row.push_text(text),
            None => row.push_null(),
        }
    }
}
