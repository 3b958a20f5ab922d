//! Rows that a table takes: which, in which order, with which values. Pure: it plans inserts; sending them
//! and learning from refusals is [`super::attempt`]'s.
//!
//! Keys are chosen, never read back: where row-level security hides a row from who wrote it, RETURNING
//! is refused. Parents come first; tables that need each other are written by one statement, at whose end
//! the keys are checked. Columns that may be NULL or have a default are left to it unless something asks.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{Catalog, Column, Constraint, Table};
use super::check::{Wish, Wishes, join};
use super::value::Source;
use crate::config::file::Tenancy;
use crate::engine::generate::beside::{settle, written};
use crate::engine::generate::evaluate::{Value as Evaluated, evaluate, passes};
use crate::engine::generate::expression::parse;
use crate::engine::generate::plan::{self, Recipe, checks, recipes};
use crate::error::Result;
use crate::stores::postgres::ident::{Ident, literal_or_null, relation};

/// Values by column; none: NULL.
pub type Values = BTreeMap<String, Option<String>>;

/// Why no row can be made.
pub type Reason = String;

/// One row to insert.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The table.
    pub table: String,
    /// The values that are given; the rest is left to defaults.
    pub values: Values,
    /// The row is there already and is changed to these values: what it is known by.
    pub of: Option<Values>,
}

/// What was learnt from refusals: it holds for every row of the run.
#[derive(Clone, Debug, Default)]
pub struct Lessons {
    /// Columns that have to be filled although they seem free.
    pub fill: BTreeSet<(String, String)>,
    /// Which way of satisfying a CHECK is tried now.
    pub way: BTreeMap<(String, String), usize>,
}

impl Lessons {
    /// How often CHECKs of the table have refused a row.
    fn turn(&self, table: &str) -> usize {
        self.way.iter().filter(|((name, _), _)| name == table).map(|(_, turn)| *turn).sum()
    }
}

/// What is known of a column of a row that is being made: its value, or what its default comes to.
fn known(table: &Table, name: &str, values: &Values) -> Option<Option<String>> {
    if let Some(value) = values.get(name) {
        return Some(value.clone());
    }
    let column = table.column(name)?;
    let Some(text) = column.default.as_deref() else { return (!column.has_default).then_some(None) };
    match evaluate(&parse(text, None)?, &|name| column.is_generated.then(|| known(table, name, values)).flatten()) {
        Evaluated::Unknown => None,
        Evaluated::Null => Some(None),
        found => written(column, &found).map(Some),
    }
}

/// What the rows of one test have in common.
#[derive(Debug)]
pub struct Chain<'a> {
    catalog: &'a Catalog,
    tenancy: Option<&'a Tenancy>,
    lessons: &'a Lessons,
    source: &'a mut Source,
    /// The tenant that owns the rows.
    tenant: Option<String>,
    /// In the order they have to be written.
    pub inserts: Vec<Insert>,
    /// Two tables need each other: all must be written by one statement.
    pub is_circular: bool,
    /// Rows that are being planned: parents that refer to them close a circle.
    open: Vec<Insert>,
    /// How many rows were drawn, those that were given up included.
    drawn: usize,
    /// A row that was its own parent, or had one parent for two keys, broke a CHECK.
    is_choosy: bool,
}

/// How often one row is drawn.
const ATTEMPTS: usize = 40;
/// How many rows are drawn for one chain.
const MOST: usize = 600;

/// What is asked of one row.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Values that are given.
    pub values: Values,
    /// Columns that must not be NULL.
    pub fill: BTreeSet<String>,
    /// Foreign keys that must be set although they may be NULL.
    pub keys: BTreeSet<String>,
    /// Foreign keys that need a parent of their own, not one that is there already.
    pub fresh: BTreeSet<String>,
    /// Columns that refer to nothing on purpose: keys that share one get no parent.
    pub orphan: BTreeSet<String>,
    /// Further wishes.
    pub wishes: Wishes,
    /// Leave the primary key to its default where it has one.
    pub leave_key: bool,
}

impl<'a> Chain<'a> {
    /// An empty chain.
    pub fn new(
        catalog: &'a Catalog,
        tenancy: Option<&'a Tenancy>,
        lessons: &'a Lessons,
        source: &'a mut Source,
        tenant: Option<String>,
    ) -> Self {
        Self {
            catalog,
            tenancy,
            lessons,
            source,
            tenant,
            inserts: Vec::new(),
            is_circular: false,
            open: Vec::new(),
            drawn: 0,
            is_choosy: false,
        }
    }

    /// Goes on from rows that are written already.
    pub fn after(mut self, inserts: &[Insert]) -> Self {
        self.inserts = inserts.to_vec();
        self
    }

    /// Plans a row with the parents it needs; its values are the last insert's.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn row(&mut self, name: &str, ask: &Ask) -> Result<Values, Reason> {
        let catalog = self.catalog;
        let table = catalog.tables.get(name).ok_or_else(|| format!("table `{name}` is not there"))?;
        if self.open.len() > 24 {
            return Err(format!("`{name}` needs too long a line of parents"));
        }
        let recipes = self.recipes(table, ask)?;
        let was_choosy = std::mem::take(&mut self.is_choosy);
        let checks = checks(table);
        let turn = self.lessons.turn(name);
        let mut fill = ask.fill.clone();
        let mut last = format!("no row is found that the CHECKs of `{name}` let pass");
        for attempt in 0..ATTEMPTS {
            self.drawn += 1;
            if self.drawn > MOST {
                break;
            }
            let (written, was_circular) = (self.inserts.len(), self.is_circular);
            let at = if attempt + turn == 0 { 0 } else { self.source.index(recipes.len()) };
            self.is_choosy = attempt > 1 && attempt % 2 == 0;
            let values = self.once(table, ask, &fill, &recipes[at]);
            self.is_choosy = false;
            let values = match values {
                Ok(values) => values,
                // Another way may do without what cannot be had.
                Err(reason) if recipes.len() > 1 => {
                    last = reason;
                    self.inserts.truncate(written);
                    self.is_circular = was_circular;
                    continue;
                }
                Err(reason) => return Err(reason),
            };
            let look = |column: &str| known(table, column, &values);
            let Some(broken) = checks.iter().find(|check| !passes(check, &look)) else {
                self.source.made(&values);
                self.is_choosy = was_choosy;
                self.inserts.push(Insert { table: name.to_owned(), values: values.clone(), of: None });
                return Ok(values);
            };
            // Defaults that break a CHECK are not left alone.
            if attempt > 1 {
                fill.extend(broken.columns().iter().map(|column| (*column).to_owned()));
            }
            self.inserts.truncate(written);
            self.is_circular = was_circular;
        }
        Err(last)
    }

    /// The ways to satisfy the table's CHECKs and what is asked together.
    fn recipes(&self, table: &Table, ask: &Ask) -> Result<Vec<Recipe>, Reason> {
        let mut all = recipes(table, &plan::Lessons::default());
        all.retain_mut(|recipe| {
            table.columns.iter().zip(recipe.iter_mut()).all(|(column, own)| {
                let Some(asked) = ask.wishes.get(&column.name) else { return true };
                let of = |wish: &Wish| Wishes::from([(column.name.clone(), wish.clone())]);
                let joined = match own.as_ref() {
                    None => Some(asked.clone()),
                    Some(own) => join(&of(own), &of(asked)).and_then(|mut both| both.remove(&column.name)),
                };
                let fits = joined.is_some();
                *own = joined;
                fits
            })
        });
        // What has to be filled is not wished to be empty where there is another way.
        let place = |name: &String| table.columns.iter().position(|column| column.name == *name);
        let filled: Vec<usize> = ask.fill.iter().filter_map(place).collect();
        let fills = |recipe: &Recipe| {
            filled.iter().all(|at| recipe[*at].as_ref().is_none_or(|wish| wish.is_null != Some(true)))
        };
        if all.iter().any(fills) {
            all.retain(fills);
        }
        if all.is_empty() {
            return Err(format!("the CHECKs of `{}` contradict what is asked", table.name));
        }
        Ok(all)
    }

    fn once(&mut self, table: &Table, ask: &Ask, fill: &BTreeSet<String>, recipe: &Recipe) -> Result<Values, Reason> {
        let name = &table.name;
        let mut values = ask.values.clone();
        self.own_tenant(table, &mut values);
        // The key first: rows that refer to this one, itself included, need to know it.
        for column in key_columns(self.catalog, table) {
            let binds = |key: &&Constraint| table.is_required_key(key) && key.columns.contains(&column.name);
            let is_foreign = table.foreign_keys().any(|key| binds(&key));
            let is_left = ask.leave_key && column.has_default;
            if !values.contains_key(&column.name) && !is_foreign && !is_left && column.is_required {
                self.give(table, column, recipe, &mut values)?;
            }
        }
        self.open.push(Insert { table: name.to_owned(), values: values.clone(), of: None });
        let parents = self.parents(table, ask, fill, recipe, &mut values);
        self.open.pop();
        parents?;
        let mut left: Vec<usize> = (0..table.columns.len()).collect();
        while !left.is_empty() {
            // Columns after those that they are compared with.
            let waits = |at: usize| {
                recipe[at].iter().flat_map(|wish| &wish.than).any(|(_, than)| {
                    let others = than.columns();
                    left.iter().any(|other| *other != at && others.contains(&table.columns[*other].name.as_str()))
                })
            };
            let next = left.iter().position(|at| !waits(*at)).unwrap_or(0);
            let at = left.remove(next);
            let column = &table.columns[at];
            let wish = recipe[at].as_ref();
            if column.is_generated || values.contains_key(&column.name) {
                continue;
            }
            if wish.is_some_and(|wish| wish.is_null == Some(true)) {
                if column.has_default && !column.is_required {
                    values.insert(column.name.clone(), None);
                }
                continue;
            }
            let is_asked = fill.contains(&column.name)
                || self.lessons.fill.contains(&(name.to_owned(), column.name.clone()))
                || wish.is_some_and(|wish| wish.is_null == Some(false));
            let is_needed = column.is_required && !column.has_default;
            if is_needed || is_asked {
                self.give(table, column, recipe, &mut values)?;
            }
        }
        Ok(values)
    }

    /// Lets the tenant's own row, which there can be only one of, refer to a row of the chain: by a change.
    /// None: the chain has no such row.
    pub fn point(&mut self, name: &str, values: &Values) -> Option<Values> {
        let is_tenants_own = self.tenancy.is_some_and(|tenancy| tenancy.table.as_deref() == Some(name));
        let there = self.inserts.iter().find(|insert| insert.table == name).filter(|_| is_tenants_own)?;
        let key = self.catalog.tables.get(name)?.primary_key();
        let of: Values =
            key.iter().filter_map(|column| Some((column.clone(), there.values.get(column)?.clone()))).collect();
        let mut changed = there.values.clone();
        changed.extend(values.clone());
        self.inserts.push(Insert { table: name.to_owned(), values: values.clone(), of: Some(of) });
        Some(changed)
    }

    fn own_tenant(&self, table: &Table, values: &mut Values) {
        let (Some(tenancy), Some(tenant)) = (self.tenancy, &self.tenant) else { return };
        if let Some(column) = tenant_column(table, tenancy) {
            values.entry(column).or_insert_with(|| Some(tenant.clone()));
        }
    }

    fn give(&mut self, table: &Table, column: &Column, recipe: &Recipe, values: &mut Values) -> Result<(), Reason> {
        let none = Wish::default();
        let at = table.columns.iter().position(|other| other.name == column.name);
        let wish = at.and_then(|at| recipe[at].as_ref()).unwrap_or(&none);
        let settled = settle(column, wish, &|name| known(table, name, values));
        let value = settled.value.or_else(|| self.source.draw(column, &settled.wish));
        let value = value
            .ok_or_else(|| format!("no value is known for `{}.{}` ({})", table.name, column.name, column.type_name))?;
        values.insert(column.name.clone(), Some(value));
        Ok(())
    }

    fn parents(
        &mut self,
        table: &Table,
        ask: &Ask,
        fill: &BTreeSet<String>,
        recipe: &Recipe,
        values: &mut Values,
    ) -> Result<(), Reason> {
        let wished = |name: &String| {
            let at = table.columns.iter().position(|column| column.name == *name)?;
            recipe.get(at)?.as_ref()?.is_null
        };
        // Keys with more columns fix more: the others follow them.
        let mut keys: Vec<&Constraint> = table.foreign_keys().collect();
        let is_own = |key: &Constraint| key.parent.as_ref() == Some(&table.name);
        keys.sort_by_key(|key| (is_own(key), std::cmp::Reverse(key.columns.len()), key.name.clone()));
        for key in keys {
            if key.columns.iter().any(|column| ask.orphan.contains(column)) {
                continue;
            }
            // Columns that are filled in any case ask for no parent.
            let is_free = |column: &&String| table.column(column).is_some_and(|column| !column.is_required);
            let is_asked = ask.keys.contains(&key.name)
                || key.columns.iter().filter(is_free).any(|column| match wished(column) {
                    Some(is_null) => !is_null,
                    None => fill.contains(column) || self.lessons.fill.contains(&(table.name.clone(), column.clone())),
                });
            if !table.is_required_key(key) && !is_asked {
                continue;
            }
            let Some(parent) = &key.parent else { continue };
            let given: Values = key
                .columns
                .iter()
                .zip(&key.parent_columns)
                .filter_map(|(column, there)| Some((there.clone(), values.get(column)?.clone())))
                .collect();
            let is_settled = given.len() == key.columns.len() && self.has(parent, &given);
            if is_settled && !ask.fresh.contains(&key.name) {
                continue;
            }
            // A CHECK may want the parents of two keys to differ.
            let is_fresh = ask.fresh.contains(&key.name) || (self.is_choosy && self.source.index(2) == 0);
            let found = if is_fresh { None } else { self.find(parent, &given) };
            let there = match found {
                Some(there) => there,
                None => self.row(
                    parent,
                    &Ask { values: given, fill: key.parent_columns.iter().cloned().collect(), ..Ask::default() },
                )?,
            };
            for (column, there_column) in key.columns.iter().zip(&key.parent_columns) {
                let value = there.get(there_column).cloned().ok_or_else(|| {
                    format!(
                        "`{parent}.{there_column}`, which `{}` refers to, is not known before it is written",
                        table.name
                    )
                })?;
                values.insert(column.clone(), value.clone());
                if let Some(open) = self.open.last_mut() {
                    open.values.insert(column.clone(), value);
                }
            }
        }
        Ok(())
    }

    fn has(&self, table: &str, given: &Values) -> bool {
        self.inserts.iter().any(|insert| insert.table == table && agrees(&insert.values, given))
    }

    /// A row of the chain that can be the parent: written already, or being planned (a circle).
    fn find(&mut self, table: &str, given: &Values) -> Option<Values> {
        let done = self.inserts.iter().rev().find(|insert| insert.table == table && agrees(&insert.values, given));
        if let Some(done) = done {
            return Some(done.values.clone());
        }
        // Its own parent is a row only where nothing speaks against it.
        let open = &self.open[..self.open.len() - usize::from(self.is_choosy && !self.open.is_empty())];
        let open = open.iter().rposition(|insert| insert.table == table && fits(&insert.values, given))?;
        // A row that refers to itself needs no circle: its key is checked when it is there.
        self.is_circular |= open + 1 < self.open.len();
        Some(self.open[open].values.clone())
    }
}

/// The column that holds the tenant: the tenant table's key, or the tenant column.
pub fn tenant_column(table: &Table, tenancy: &Tenancy) -> Option<String> {
    if tenancy.table.as_deref() == Some(table.name.as_str()) {
        return Some(tenancy.key_column.clone());
    }
    let column = tenancy.column.as_ref()?;
    table.column(column).map(|column| column.name.clone())
}

fn agrees(row: &Values, given: &Values) -> bool {
    given.iter().all(|(column, value)| row.get(column) == Some(value))
}

fn fits(row: &Values, given: &Values) -> bool {
    given.iter().all(|(column, value)| row.get(column).is_none_or(|own| own == value))
}

/// The columns by which a row is known: its primary key and what foreign keys refer to.
fn key_columns<'t>(catalog: &Catalog, table: &'t Table) -> Vec<&'t Column> {
    let mut names: BTreeSet<&String> = table.primary_key().iter().collect();
    for other in catalog.tables.values() {
        for key in other.foreign_keys().filter(|key| key.parent.as_ref() == Some(&table.name)) {
            names.extend(&key.parent_columns);
        }
    }
    table.columns.iter().filter(|column| names.contains(&column.name) && !column.is_generated).collect()
}

/// Whether a row breaks a CHECK, as far as that can be told.
pub fn is_broken(table: &Table, definition: &str, values: &Values) -> Option<bool> {
    let body = definition.trim().strip_prefix("CHECK").unwrap_or(definition).trim();
    let body = body.strip_suffix("NOT VALID").unwrap_or(body).trim();
    match evaluate(&parse(body, None)?, &|name| known(table, name, values)) {
        Evaluated::Bool(truth) => Some(!truth),
        Evaluated::Null => Some(false),
        _ => None,
    }
}

/// The statements that write the rows.
///
/// # Errors
/// A name that PostgreSQL could not keep.
pub fn sql(catalog: &Catalog, inserts: &[Insert], is_circular: bool) -> Result<Vec<String>> {
    let mut statements = Vec::new();
    for insert in inserts {
        let table = catalog.tables.get(&insert.table);
        let overrides = table.is_some_and(|table| {
            table.columns.iter().any(|column| column.identity == "a" && insert.values.contains_key(&column.name))
        });
        let mut names = Vec::new();
        for name in insert.values.keys() {
            names.push(Ident::new(name)?.to_string());
        }
        let values: Vec<String> = insert.values.values().map(|value| literal_or_null(value.as_deref())).collect();
        let name = relation(None, &insert.table)?;
        if let Some(of) = &insert.of {
            let changes: Vec<String> =
                names.iter().zip(&values).map(|(name, value)| format!("{name} = {value}")).collect();
            statements.push(format!("UPDATE {name} SET {} WHERE {}", changes.join(", "), condition(of, of.keys())?));
            continue;
        }
        statements.push(if names.is_empty() {
            format!("INSERT INTO {name} DEFAULT VALUES")
        } else {
            let overriding = if overrides { " OVERRIDING SYSTEM VALUE" } else { "" };
            format!("INSERT INTO {name} ({}){overriding} VALUES ({})", names.join(", "), values.join(", "))
        });
    }
    if is_circular && statements.len() > 1 {
        let last = statements.pop().unwrap_or_default();
        let parts: Vec<String> =
            statements.iter().enumerate().map(|(index, statement)| format!("w{index} AS ({statement})")).collect();
        statements = vec![format!("WITH {} {last}", parts.join(", "))];
    }
    Ok(statements)
}

/// `a = 'x' AND b IS NULL` for the columns of a row.
///
/// # Errors
/// A name that PostgreSQL could not keep.
pub fn condition<'c>(values: &Values, columns: impl IntoIterator<Item = &'c String>) -> Result<String> {
    let mut parts = Vec::new();
    for column in columns {
        let name = Ident::new(column)?;
        parts.push(match values.get(column).cloned().flatten() {
            Some(value) => format!("{name} = {}", literal_or_null(Some(&value))),
            None => format!("{name} IS NULL"),
        });
    }
    Ok(if parts.is_empty() { "false".into() } else { parts.join(" AND ") })
}
