//! What is settled for a table before its first row is made: how its CHECKs are satisfied, where its foreign
//! keys find parents, what has to be unique. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::check::{Wish, Wishes, condition, join, ways_of};
use super::expression::{Expression, parse};
use super::moment::EPOCH;
use super::options::ColumnOptions;
use super::parents::Pool;
use super::partitions;
use super::random::Root;
use super::schema::{Catalog, Constraint, Table};
use super::value::with_domain;

/// How many ways to satisfy all CHECKs together are kept.
const MOST: usize = 192;

/// What refusals of the server taught about a table.
#[derive(Clone, Debug, Default)]
pub struct Lessons {
    /// Columns that are left to their defaults.
    pub leave: BTreeSet<String>,
    /// Columns that stay NULL.
    pub empty: BTreeSet<String>,
    /// Columns that must not be NULL although they could be.
    pub fill: BTreeSet<String>,
    /// Columns whose texts are short and whose numbers are small.
    pub small: BTreeSet<String>,
}

/// Where the parents of a foreign key come from.
#[derive(Clone, Debug)]
pub enum Parents {
    /// Rows that are there.
    Pool(Arc<Pool>),
    /// Earlier rows of the same table, and those of the pool.
    Own(Arc<Pool>),
    /// Nobody yet: NULL for now, set when the other table has rows.
    Later,
}

/// A foreign key of the table.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its columns, by their places in the table.
    pub columns: Vec<usize>,
    /// The referenced columns, by their places in the pool.
    pub referred: Vec<usize>,
    /// Columns of the table that should agree with columns of the parent: both belong to one tenant.
    pub agree: Vec<(usize, usize)>,
    /// Where parents are.
    pub parents: Parents,
    /// It may be left NULL.
    pub is_nullable: bool,
    /// No two rows have the same parent.
    pub is_single: bool,
}

/// What no two rows may share.
#[derive(Clone, Debug)]
pub struct Unique {
    /// The columns, by their places.
    pub columns: Vec<usize>,
    /// Only of rows that this holds for.
    pub predicate: Option<Expression>,
    /// A NULL is a value like any other.
    pub nulls_count: bool,
}

/// One way to satisfy all that is asked: a wish for each column.
pub type Recipe = Vec<Option<Wish>>;

/// A table's rows, settled.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The table.
    pub table: Table,
    /// What all draws follow from.
    pub root: Root,
    /// The columns that get values, by their places.
    pub given: Vec<usize>,
    /// The order in which columns that are no foreign keys are made.
    pub order: Vec<usize>,
    /// The ways to satisfy what is asked.
    pub recipes: Vec<Recipe>,
    /// The foreign keys, the widest first.
    pub keys: Vec<Key>,
    /// The CHECKs that can be worked out.
    pub checks: Vec<Expression>,
    /// What is unique.
    pub uniques: Vec<Unique>,
    /// By column: it alone is unique.
    pub is_serial: Vec<bool>,
    /// By column: it is part of something unique.
    pub is_in_unique: Vec<bool>,
    /// By column: it bounds a range that must not overlap another row's.
    pub is_slot: Vec<bool>,
    /// By column: a function that lyrox does not know judges it.
    pub is_judged: Vec<bool>,
    /// By column: what it is computed from.
    pub computed: BTreeMap<String, Expression>,
    /// Texts that the CHECKs speak of, by column: tried where nothing else helps.
    pub dictionary: BTreeMap<usize, Vec<String>>,
    /// The values that a column may have whatever else: the tenants of the run.
    pub fixed: BTreeMap<usize, Vec<String>>,
    /// What a `[generate.columns]` block says, by column.
    pub options: BTreeMap<usize, ColumnOptions>,
    /// Rows are counted out to the parents of this key: where each one's rows end.
    pub per: Option<(usize, Vec<u64>)>,
    /// The number of the first row.
    pub first: u64,
    /// How many rows.
    pub rows: u64,
    /// "Now".
    pub now: i64,
    /// What was learnt.
    pub lessons: Lessons,
}

/// What is known when a plan is made.
#[derive(Debug)]
pub struct Terms<'a> {
    /// All tables.
    pub catalog: &'a Catalog,
    /// The pools, by table (or by the qualified name of one that lies elsewhere).
    pub pools: &'a BTreeMap<String, Arc<Pool>>,
    /// Tables that will have rows later in this run.
    pub later: &'a BTreeSet<String>,
    /// The seed number.
    pub seed: u64,
    /// `[project] name`.
    pub project: &'a str,
    /// What was learnt of the table.
    pub lessons: Lessons,
    /// A column that holds the tenant, and the tenants.
    pub tenants: Option<(&'a str, &'a [String])>,
}

/// The parent of a foreign key, as pools are called.
pub fn parent_of(key: &Constraint) -> Option<&str> {
    key.parent.as_deref().or(key.outside.as_deref())
}

/// The columns of a parent that should agree with columns of the same name that also refer to the same table.
pub fn agreeing(catalog: &Catalog, table: &Table, key: &Constraint, tenant: Option<&str>) -> Vec<String> {
    let Some(parent) = key.parent.as_ref().and_then(|name| catalog.tables.get(name)) else { return Vec::new() };
    let mut found: Vec<String> = Vec::new();
    for other in all_keys(table).filter(|other| other.name != key.name && other.columns.len() == 1) {
        let column = &other.columns[0];
        let has_same = all_keys(parent).any(|theirs| {
            theirs.columns.as_slice() == [column.clone()]
                && parent_of(theirs) == parent_of(other)
                && theirs.parent_columns == other.parent_columns
        });
        if has_same && !key.columns.contains(column) && !found.contains(column) {
            found.push(column.clone());
        }
    }
    if let Some(tenant) = tenant
        && table.column(tenant).is_some()
        && parent.column(tenant).is_some()
        && !key.columns.iter().any(|column| column == tenant)
        && !found.iter().any(|column| column == tenant)
    {
        found.push(tenant.to_owned());
    }
    found
}

/// Every foreign key, also of tables that lie elsewhere.
pub fn all_keys(table: &Table) -> impl Iterator<Item = &Constraint> {
    table.constraints.iter().filter(|constraint| constraint.kind == "f")
}

impl Plan {
    /// Settles what can be settled before rows are made.
    ///
    /// # Errors
    /// Why the table can have no rows.
    pub fn new(table: &Table, rows: u64, first: u64, terms: Terms<'_>) -> Result<Self, String> {
        let place = |name: &str| table.columns.iter().position(|column| column.name == name);
        let lessons = terms.lessons;
        let mut given = Vec::new();
        for (at, column) in table.columns.iter().enumerate() {
            let is_left = column.is_generated
                || lessons.leave.contains(&column.name)
                || (column.base == "tsvector" && !column.is_required);
            if !is_left {
                given.push(at);
            }
        }
        let mut keys = Vec::new();
        for key in all_keys(table) {
            keys.push(Self::key(
                table,
                key,
                terms.pools,
                terms.later,
                &lessons,
                terms.catalog,
                terms.tenants.map(|(column, _)| column),
            )?);
        }
        keys.retain(|key| !key.columns.iter().any(|at| table.columns[*at].is_generated));
        keys.sort_by_key(|key| {
            (std::cmp::Reverse(key.columns.len() + key.agree.len()), key.is_nullable, key.name.clone())
        });

        let (uniques, is_serial, is_in_unique, is_slot) = uniques(table, &keys);
        for key in &mut keys {
            key.is_single = uniques.iter().any(|unique| {
                unique.predicate.is_none()
                    && !unique.columns.is_empty()
                    && unique.columns.iter().all(|column| key.columns.contains(column))
            });
        }
        let mut plan = Self {
            root: Root::new(terms.seed, &[terms.project, "postgres", &table.name]),
            order: Vec::new(),
            recipes: recipes(table, &lessons),
            checks: checks(table),
            dictionary: BTreeMap::new(),
            computed: table
                .columns
                .iter()
                .filter(|column| column.is_generated)
                .filter_map(|column| Some((column.name.clone(), parse(column.default.as_deref()?, None)?)))
                .collect(),
            fixed: BTreeMap::new(),
            options: BTreeMap::new(),
            table: table.clone(),
            given,
            keys,
            uniques,
            is_serial,
            is_in_unique,
            is_slot,
            is_judged: judged(table),
            per: None,
            first,
            rows,
            now: EPOCH,
            lessons,
        };
        if let Some((column, tenants)) = terms.tenants
            && let Some(at) = place(column)
        {
            plan.fixed.insert(at, tenants.to_vec());
        }
        for check in &plan.checks {
            let mut texts = Vec::new();
            constants(check, &mut texts);
            for column in check.columns() {
                if let Some(at) = place(column) {
                    plan.dictionary.entry(at).or_default().extend(texts.iter().cloned());
                }
            }
        }
        plan.order = plan.find_order();
        Ok(plan)
    }

    fn key(
        table: &Table,
        key: &Constraint,
        pools: &BTreeMap<String, Arc<Pool>>,
        later: &BTreeSet<String>,
        lessons: &Lessons,
        catalog: &Catalog,
        tenant: Option<&str>,
    ) -> Result<Key, String> {
        let places: Vec<usize> = key
            .columns
            .iter()
            .filter_map(|name| table.columns.iter().position(|column| column.name == *name))
            .collect();
        let is_nullable = places.iter().any(|at| !table.columns[*at].is_required)
            && !key.columns.iter().any(|column| lessons.fill.contains(column));
        let parent = parent_of(key).unwrap_or_default();
        let none = Arc::new(Pool::new(key.parent_columns.clone()));
        let pool = pools.get(parent).cloned();
        let is_own = parent == table.name;
        let is_left = key.columns.iter().any(|column| lessons.leave.contains(column));
        let parents = match pool {
            Some(pool) if is_own => Parents::Own(pool),
            None if is_own => Parents::Own(none.clone()),
            Some(pool) if !pool.rows.is_empty() => Parents::Pool(pool),
            _ if is_nullable || is_left || later.contains(parent) => Parents::Later,
            _ => return Err(format!("it refers to `{parent}`, which has no rows")),
        };
        let of = match &parents {
            Parents::Pool(pool) => pool.clone(),
            Parents::Own(pool) if !pool.columns.is_empty() => pool.clone(),
            _ => none,
        };
        let referred: Option<Vec<usize>> = key.parent_columns.iter().map(|name| of.at(name)).collect();
        let agree = agreeing(catalog, table, key, tenant);
        let agree = agree
            .iter()
            .filter_map(|name| Some((table.columns.iter().position(|column| column.name == *name)?, of.at(name)?)))
            .collect();
        Ok(Key {
            name: key.name.clone(),
            columns: places,
            referred: referred.ok_or_else(|| format!("the key of `{parent}` is not known"))?,
            agree,
            parents,
            is_nullable,
            is_single: false,
        })
    }

    /// Columns after those that their wishes look at.
    fn find_order(&self) -> Vec<usize> {
        let of_keys: BTreeSet<usize> = self.keys.iter().flat_map(|key| key.columns.iter().copied()).collect();
        let mut left: Vec<usize> = self.given.iter().copied().filter(|at| !of_keys.contains(at)).collect();
        let looks_at = |at: usize, other: usize| {
            self.recipes.iter().any(|recipe| {
                recipe[at]
                    .iter()
                    .flat_map(|wish| &wish.than)
                    .any(|(_, than)| than.columns().contains(&self.table.columns[other].name.as_str()))
            })
        };
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let free = left.iter().position(|at| !left.iter().any(|other| other != at && looks_at(*at, *other)));
            order.push(left.remove(free.unwrap_or(0)));
        }
        order
    }

    /// The names of the columns that rows have, in their order.
    pub fn columns(&self) -> Vec<String> {
        self.given.iter().map(|at| self.table.columns[*at].name.clone()).collect()
    }
}

/// The ways to satisfy CHECKs, domains and a partition's bounds together.
pub fn recipes(table: &Table, lessons: &Lessons) -> Vec<Recipe> {
    let mut all: Vec<Wishes> = vec![Wishes::new()];
    // What must not be NULL cannot be wished to be.
    let is_required = |name: &String| table.column(name).is_some_and(|column| column.is_required);
    let is_free = |wishes: &Wishes| !wishes.iter().any(|(name, wish)| wish.is_null == Some(true) && is_required(name));
    let mut more = |ways: &[Wishes]| {
        let mut joined: Vec<Wishes> = all.iter().flat_map(|one| ways.iter().filter_map(|way| join(one, way))).collect();
        if joined.iter().any(is_free) {
            joined.retain(|wishes| is_free(wishes));
        }
        // What contradicts everything else is left to chance and to the server.
        if !joined.is_empty() {
            let step = joined.len().div_ceil(MOST);
            all = joined.into_iter().step_by(step.max(1)).collect();
        }
    };
    // A computed column stands for what it is computed from.
    let computed: BTreeMap<&str, Expression> = table
        .columns
        .iter()
        .filter(|column| column.is_generated)
        .filter_map(|column| Some((column.name.as_str(), parse(column.default.as_deref()?, None)?)))
        .collect();
    let laid_open = |condition: &Expression| {
        condition.replaced(&|one| match one {
            Expression::Column(name) => computed.get(name.as_str()).cloned(),
            _ => None,
        })
    };
    for check in table.checks() {
        if let Some(ways) = condition(&check.definition, None).and_then(|found| ways_of(&laid_open(&found))) {
            more(&ways);
        }
    }
    let leaves: Vec<Wishes> = table.leaves.iter().filter_map(partitions::wishes).collect();
    if !leaves.is_empty() {
        more(&leaves);
    }
    for column in &table.columns {
        if lessons.fill.contains(&column.name) {
            more(&[Wishes::from([(column.name.clone(), Wish { is_null: Some(false), ..Wish::default() })])]);
        }
    }
    let none = Wish::default();
    all.iter()
        .map(|wishes| {
            table
                .columns
                .iter()
                .map(|column| {
                    let wish = wishes.get(&column.name);
                    let mut wish = with_domain(column, wish.unwrap_or(&none)).or_else(|| wish.cloned())?;
                    if lessons.small.contains(&column.name) {
                        wish.longest = Some(wish.longest.unwrap_or(4).min(4));
                        wish.high = wish.high.or(Some(super::check::Bound::Number(9.0, false)));
                    }
                    (wish != none).then_some(wish)
                })
                .collect()
        })
        .collect()
}

/// What can be worked out: the table's CHECKs and those of its columns' domains.
pub fn checks(table: &Table) -> Vec<Expression> {
    let body = |text: &str| {
        let text = text.trim().strip_prefix("CHECK").unwrap_or(text).trim();
        let text = text.strip_suffix("NOT VALID").unwrap_or(text).trim();
        text.strip_suffix("NO INHERIT").unwrap_or(text).trim().to_owned()
    };
    let mut found: Vec<Expression> = table.checks().filter_map(|check| parse(&body(&check.definition), None)).collect();
    for column in &table.columns {
        found.extend(column.checks.iter().filter_map(|check| parse(&body(check), Some(&column.name))));
    }
    found
}

fn constants(expression: &Expression, found: &mut Vec<String>) {
    match expression {
        Expression::Constant(text) => found.push(text.clone()),
        Expression::Compare(left, _, right) | Expression::Operation(left, _, right) => {
            constants(left, found);
            constants(right, found);
        }
        Expression::And(parts) | Expression::Or(parts) | Expression::Call(_, parts) => {
            parts.iter().for_each(|part| constants(part, found));
        }
        Expression::Any(left, _, list) | Expression::All(left, _, list) => {
            constants(left, found);
            list.iter().for_each(|one| constants(one, found));
        }
        Expression::Not(inner) | Expression::IsNull(inner, _) => constants(inner, found),
        Expression::Case(branches, last) => {
            for (condition, value) in branches {
                constants(condition, found);
                constants(value, found);
            }
            if let Some(last) = last {
                constants(last, found);
            }
        }
        Expression::Column(_) | Expression::Null => {}
    }
}

/// What is unique, and which columns have to see to it alone.
fn uniques(table: &Table, keys: &[Key]) -> (Vec<Unique>, Vec<bool>, Vec<bool>, Vec<bool>) {
    let place = |name: &str| table.columns.iter().position(|column| column.name == name);
    let is_foreign = |at: usize| keys.iter().any(|key| key.columns.contains(&at));
    let mut uniques = Vec::new();
    let mut is_serial = vec![false; table.columns.len()];
    let mut is_in_unique = vec![false; table.columns.len()];
    let mut is_slot = vec![false; table.columns.len()];
    // A computed column is unique by what it is computed from.
    let sources = |at: usize| -> Vec<usize> {
        let column = &table.columns[at];
        match column.default.as_deref().filter(|_| column.is_generated).and_then(|text| parse(text, None)) {
            Some(expression) => expression.columns().iter().filter_map(|name| place(name)).collect(),
            None => vec![at],
        }
    };
    for index in table.indexes.iter().filter(|index| index.is_unique && !index.is_exclusion) {
        let predicate = index.predicate.as_deref();
        let is_plain = index.columns.iter().all(Option::is_some);
        let names: Vec<&String> =
            if is_plain { index.columns.iter().flatten().collect() } else { index.uses.iter().collect() };
        let mut places: Vec<usize> = names.iter().filter_map(|name| place(name)).collect();
        let expression = predicate.and_then(|text| parse(text, None));
        if !is_plain && let Some(expression) = &expression {
            // The columns of the condition alone are no part of the key.
            let of_keys: Vec<usize> = index
                .keys
                .iter()
                .filter_map(|key| parse(key, None))
                .flat_map(|key| key.columns().iter().filter_map(|name| place(name)).collect::<Vec<_>>())
                .collect();
            let _ = expression;
            if !of_keys.is_empty() {
                places = of_keys;
            }
        }
        let mut places: Vec<usize> = places.into_iter().flat_map(sources).collect();
        places.sort_unstable();
        places.dedup();
        for &at in &places {
            is_in_unique[at] = true;
        }
        if let [at] = places.as_slice()
            && !is_foreign(*at)
        {
            is_serial[*at] = true;
        }
        uniques.push(Unique { columns: places, predicate: expression, nulls_count: !is_plain });
    }
    for exclusion in table.constraints.iter().filter(|constraint| constraint.kind == "x") {
        // Ranges, boxes and the like lie side by side by their row's number; where `=` alone counts, the
        // columns are a unique key.
        if exclusion.operators.iter().all(|operator| operator == "=") {
            let columns = exclusion.columns.iter().filter_map(|name| place(name)).collect();
            uniques.push(Unique { columns, predicate: None, nulls_count: false });
        }
        let uses = table.indexes.iter().find(|index| index.name == exclusion.name).map(|index| index.uses.clone());
        let overlaps = exclusion.operators.iter().any(|operator| operator == "&&");
        for name in uses.unwrap_or_default().iter().filter(|_| overlaps) {
            let Some(at) = place(name) else { continue };
            let base = table.columns[at].base.as_str();
            // A range made of two columns: the first begins where the one before has ended.
            let is_bound = matches!(base, "date" | "timestamp" | "timestamptz" | "int2" | "int4" | "int8" | "numeric");
            if is_bound && !is_foreign(at) {
                is_serial[at] = true;
                is_slot[at] = true;
            }
        }
    }
    (uniques, is_serial, is_in_unique, is_slot)
}

/// The columns that a CHECK hands to a function of the schema's own.
fn judged(table: &Table) -> Vec<bool> {
    let all = table.checks().map(|check| (&check.definition, None));
    let domains =
        table.columns.iter().flat_map(|column| column.checks.iter().map(|check| (check, Some(column.name.as_str()))));
    let mut is_judged = vec![false; table.columns.len()];
    for (definition, value) in all.chain(domains) {
        let found = condition(definition, value);
        for (at, column) in table.columns.iter().enumerate() {
            let is_named = match &found {
                Some(expression) => expression.columns().contains(&column.name.as_str()),
                None => value == Some(column.name.as_str()) || definition.contains(&column.name),
            };
            is_judged[at] |= is_named && found.as_ref().and_then(ways_of).is_none();
        }
    }
    is_judged
}
