//! Makes the rows of a plan, one after the other: parents first, then values in the order in which they look
//! at each other, then all that can be worked out is checked, and a row that fails is drawn again. Pure.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::beside::{settle, written};
use super::check::{Bound, Wish};
use super::evaluate::{Value, evaluate, may_hold, passes};
use super::parents::{MOST, Pool};
use super::plan::{Key, Parents, Plan};
use super::provider::parts;
use super::random::Draw;
use super::spread;
use super::value::{Context, value};

/// How often a row is drawn.
const ATTEMPTS: u32 = 48;
/// How many rows in a row that could not be made end the table.
const PATIENCE: u32 = 40;

/// The values of a row by column: none where the server gives one, `Some(None)` for NULL.
pub type Values = Vec<Option<Option<String>>>;

/// Rows being made.
#[derive(Debug)]
pub struct Maker<'a> {
    plan: &'a Plan,
    /// The columns that others need of these rows.
    kept: Vec<usize>,
    /// The rows so far, as others refer to them.
    pub own: Pool,
    seen: Vec<HashSet<u64>>,
    /// The number of the next row.
    index: u64,
    made: u64,
    failed: u32,
    /// Why the last row that could not be made could not be made.
    pub reason: Option<String>,
}

impl<'a> Maker<'a> {
    /// Begins; `kept` names the columns that others need.
    pub fn new(plan: &'a Plan, kept: &[String]) -> Self {
        let place = |name: &String| plan.table.columns.iter().position(|column| column.name == *name);
        Self {
            kept: kept.iter().filter_map(place).collect(),
            own: Pool::new(kept.to_vec()),
            seen: vec![HashSet::new(); plan.uniques.len()],
            plan,
            index: 0,
            made: 0,
            failed: 0,
            reason: None,
        }
    }

    /// The next row; none where there are enough, or no more can be made.
    pub fn next(&mut self) -> Option<Values> {
        while self.made < self.plan.rows && self.failed < PATIENCE {
            let index = self.index;
            self.index += 1;
            for attempt in 0..ATTEMPTS {
                match self.attempt(index, attempt) {
                    Ok(values) => {
                        self.made += 1;
                        self.failed = 0;
                        let kept = self.kept.iter().map(|at| values[*at].clone().flatten()).collect();
                        if self.own.rows.len() < MOST {
                            self.own.push(kept);
                        }
                        return Some(values);
                    }
                    Err(reason) => self.reason = Some(reason),
                }
            }
            self.failed += 1;
        }
        None
    }

    fn attempt(&mut self, index: u64, attempt: u32) -> Result<Values, String> {
        let plan = self.plan;
        let mut draw = plan.root.row(plan.first + index, attempt);
        let recipe = &plan.recipes[draw.index(plan.recipes.len())];
        let mut values: Values = vec![None; plan.table.columns.len()];
        for (at, texts) in &plan.fixed {
            if !texts.is_empty() {
                values[*at] = Some(Some(texts[draw.index(texts.len())].clone()));
            }
        }
        for key in &plan.keys {
            for at in &key.columns {
                // A partition's list, a CHECK: the parent follows.
                if let Some(texts) = recipe[*at].as_ref().and_then(|wish| wish.one_of.as_ref())
                    && values[*at].is_none()
                {
                    values[*at] = Some(Some(texts[draw.index(texts.len())].clone()));
                }
            }
        }
        for key in &plan.keys {
            self.refer(key, recipe, index, attempt, &mut values, &mut draw)?;
        }
        // Columns that belong to keys which were left NULL through another column.
        for key in plan.keys.iter().filter(|key| key.is_nullable) {
            for &at in &key.columns {
                let is_left = plan.lessons.leave.contains(&plan.table.columns[at].name);
                if values[at].is_none() && plan.table.columns[at].is_required && !is_left {
                    values[at] = self.give(at, recipe[at].as_ref(), index, attempt, &values, &mut draw)?;
                }
            }
        }
        for &at in &plan.order {
            if values[at].is_none() {
                values[at] = self.give(at, recipe[at].as_ref(), index, attempt, &values, &mut draw)?;
            }
        }
        // A row that is its own parent.
        for key in plan.keys.iter().filter(|key| matches!(key.parents, Parents::Own(_))) {
            if key.columns.iter().any(|at| values[*at].is_none()) {
                self.refer_to_itself(key, &mut values);
            }
        }
        // What keys left open stays NULL.
        for key in &plan.keys {
            for at in &key.columns {
                let is_left = plan.lessons.leave.contains(&plan.table.columns[*at].name);
                if values[*at].is_none() && !is_left {
                    values[*at] = Some(None);
                }
            }
        }
        let look = |name: &str| self.look(name, &values);
        for check in &plan.checks {
            if !passes(check, &look) {
                return Err("its CHECKs leave no value that lyrox finds".into());
            }
        }
        let mut marks = Vec::with_capacity(plan.uniques.len());
        for (at, unique) in plan.uniques.iter().enumerate() {
            if unique.predicate.as_ref().is_some_and(|predicate| !may_hold(predicate, &look)) {
                continue;
            }
            let is_null = |column: &usize| matches!(values[*column], Some(None));
            let is_open = |column: &usize| values[*column].is_none();
            if unique.columns.iter().any(is_open) || (!unique.nulls_count && unique.columns.iter().any(is_null)) {
                continue;
            }
            let mut hasher = DefaultHasher::new();
            for column in &unique.columns {
                values[*column]
                    .as_ref()
                    .and_then(|value| value.as_ref())
                    .map(|text| text.to_lowercase())
                    .hash(&mut hasher);
            }
            let mark = hasher.finish();
            if self.seen[at].contains(&mark) {
                return Err("no further row differs from the others in its unique columns".into());
            }
            marks.push((at, mark));
        }
        for (at, mark) in marks {
            self.seen[at].insert(mark);
        }
        Ok(values)
    }

    /// The value of a column as far as it is known, computed columns worked out.
    fn look(&self, name: &str, values: &Values) -> Option<Option<String>> {
        let at = self.plan.table.columns.iter().position(|column| column.name == name)?;
        if let Some(expression) = self.plan.computed.get(name) {
            return match evaluate(expression, &|name| self.look(name, values)) {
                Value::Unknown => None,
                Value::Null => Some(None),
                other => written(&self.plan.table.columns[at], &other).map(Some),
            };
        }
        values[at].clone()
    }

    /// Chooses a parent.
    fn refer(
        &self,
        key: &Key,
        recipe: &[Option<Wish>],
        index: u64,
        attempt: u32,
        values: &mut Values,
        draw: &mut Draw,
    ) -> Result<(), String> {
        let plan = self.plan;
        if key.columns.iter().any(|at| plan.lessons.leave.contains(&plan.table.columns[*at].name)) {
            return Ok(());
        }
        let wished = |is_null: bool| {
            key.columns.iter().any(|at| recipe[*at].as_ref().and_then(|wish| wish.is_null) == Some(is_null))
        };
        let is_empty = key.columns.iter().any(|at| plan.lessons.empty.contains(&plan.table.columns[*at].name));
        let leave = |values: &mut Values| {
            // Of several columns one that may be NULL is enough; the others may belong to other keys.
            for at in &key.columns {
                if !plan.table.columns[*at].is_required && values[*at].is_none() {
                    values[*at] = Some(None);
                    break;
                }
            }
        };
        if key.columns.iter().any(|at| matches!(values[*at], Some(None))) {
            return Ok(());
        }
        let own = matches!(key.parents, Parents::Own(_));
        let share = match attempt % 3 {
            1 => 0,
            2 => 600,
            _ if own => 150,
            _ => 120,
        };
        let nulls = key.columns.first().and_then(|at| plan.options.get(at)).and_then(|options| options.nulls);
        let rolled = draw.in_thousand(nulls.unwrap_or(share));
        if key.is_nullable && (wished(true) || is_empty || (rolled && !wished(false))) {
            leave(values);
            return Ok(());
        }
        let pool = match &key.parents {
            Parents::Later => {
                leave(values);
                return Ok(());
            }
            Parents::Pool(pool) => pool.as_ref(),
            // Rows that were there before, now and then; else one of those just made.
            Parents::Own(pool) if !pool.rows.is_empty() && (self.own.rows.is_empty() || draw.in_thousand(200)) => {
                pool.as_ref()
            }
            Parents::Own(_) => &self.own,
        };
        let referred: Vec<usize> =
            if own && std::ptr::eq(pool, &self.own) { self.own_places(key) } else { key.referred.clone() };
        let is_complete = key.columns.iter().all(|at| values[*at].is_some());
        let mut fixed: Vec<(usize, &str)> = Vec::new();
        for (at, there) in key.columns.iter().zip(&referred) {
            if let Some(Some(text)) = &values[*at] {
                fixed.push((*there, text));
            }
        }
        let hard = fixed.len();
        let agree: Vec<(usize, usize)> = if own && std::ptr::eq(pool, &self.own) {
            key.agree.iter().filter_map(|(at, _)| Some((*at, self.kept.iter().position(|kept| kept == at)?))).collect()
        } else {
            key.agree.clone()
        };
        for (at, there) in &agree {
            if let Some(Some(text)) = &values[*at] {
                fixed.push((*there, text));
            }
        }
        let distribution = key.columns.first().and_then(|at| plan.options.get(at)).map(|options| options.distribution);
        let is_skewed = match distribution {
            Some(distribution) => distribution == super::options::Distribution::Zipf,
            None => draw.in_thousand(300),
        };
        let turn = key.is_single.then(|| plan.first.wrapping_add(index) + u64::from(attempt) * 7);
        let mut found = pool.pick(&fixed, turn, is_skewed, draw);
        if found.is_none() && fixed.len() > hard && attempt >= 4 {
            fixed.truncate(hard);
            found = pool.pick(&fixed, turn, is_skewed, draw);
        }
        let Some(found) = found else {
            if own && !is_complete && !key.is_nullable {
                // The first row of a tree without a root is its own parent.
                return Ok(());
            }
            if key.is_nullable {
                leave(values);
                return Ok(());
            }
            return Err("no parent fits its keys".into());
        };
        let row = &pool.rows[found];
        for (at, there) in key.columns.iter().zip(&referred).chain(agree.iter().map(|(at, there)| (at, there))) {
            if values[*at].is_none() && row[*there].is_some() {
                values[*at] = Some(row[*there].clone());
            }
        }
        Ok(())
    }

    /// Where the referenced columns are among what is kept of the own rows.
    fn own_places(&self, key: &Key) -> Vec<usize> {
        let names = self.plan.table.constraints.iter().find(|constraint| constraint.name == key.name);
        let names = names.map(|constraint| constraint.parent_columns.clone()).unwrap_or_default();
        names.iter().filter_map(|name| self.own.at(name)).collect()
    }

    fn refer_to_itself(&self, key: &Key, values: &mut Values) {
        let names = self.plan.table.constraints.iter().find(|constraint| constraint.name == key.name);
        for (at, name) in key.columns.iter().zip(names.iter().flat_map(|constraint| &constraint.parent_columns)) {
            let from = self.plan.table.columns.iter().position(|column| column.name == *name);
            if values[*at].is_none()
                && let Some(from) = from
            {
                values[*at] = values[from].clone();
            }
        }
    }

    /// A value for a column that is no foreign key.
    fn give(
        &self,
        at: usize,
        wish: Option<&Wish>,
        index: u64,
        attempt: u32,
        values: &Values,
        draw: &mut Draw,
    ) -> Result<Option<Option<String>>, String> {
        let plan = self.plan;
        let column = &plan.table.columns[at];
        let none = Wish::default();
        let wish = wish.unwrap_or(&none);
        if plan.lessons.empty.contains(&column.name) && !column.is_required {
            return Ok(Some(None));
        }
        let options = plan.options.get(&at);
        let may_be_null = !column.is_required && !plan.is_slot[at] && !plan.lessons.fill.contains(&column.name);
        if may_be_null && wish.is_null != Some(false) {
            let share = options.and_then(|options| options.nulls).unwrap_or(match attempt % 3 {
                1 => 0,
                2 => 600,
                _ => usual_nulls(&column.name),
            });
            if wish.is_null == Some(true) || draw.in_thousand(share) {
                return Ok(Some(None));
            }
        }
        let is_serial = plan.is_serial[at] || (attempt >= 3 && plan.is_in_unique[at]);
        let row = plan.first + index;
        let mut context = Context::new(&plan.table.name, row);
        context.now = plan.now;
        context.serial = is_serial.then(|| row + if attempt > 8 { u64::from(attempt) * plan.rows } else { 0 });
        if plan.is_slot[at] && column.category == "N" {
            context.serial = context.serial.map(|serial| serial * 10);
        }
        // What an unknown function judges: texts of digits are what such functions mostly want.
        if plan.is_judged[at] && column.category == "S" && wish.one_of.is_none() && draw.in_thousand(500) {
            let count = draw.between(4, 16);
            return Ok(Some(Some(
                (0..count).map(|_| char::from(b'0' + u8::try_from(draw.below(10)).unwrap_or(0))).collect(),
            )));
        }
        context.provider = options.and_then(|options| options.provider);
        if let Some(options) = options
            && let Some(text) = spread::value_in(column, options, &context, &|name| self.look(name, values), draw)
        {
            return Ok(Some(Some(text)));
        }
        if let Some(texts) = plan.dictionary.get(&at).filter(|texts| attempt >= 8 && !texts.is_empty())
            && wish.one_of.is_none()
            && draw.in_thousand(400)
        {
            return Ok(Some(Some(texts[draw.index(texts.len())].clone())));
        }
        let mut bounded: Wish;
        let mut wish = wish;
        if !wish.than.is_empty() {
            let settled = settle(column, wish, &|name| self.look(name, values));
            if let Some(text) = settled.value {
                return Ok(Some(Some(text)));
            }
            bounded = settled.wish;
            // What follows from other columns needs no number of its own.
            if matches!(
                column.base.as_str(),
                "date" | "timestamp" | "timestamptz" | "int2" | "int4" | "int8" | "numeric"
            ) {
                context.serial = context.serial.filter(|_| bounded.low.is_none() && bounded.high.is_none());
                // The second bound of a slot ends before the next slot begins.
                if plan.is_slot[at] && bounded.high.is_none() {
                    bounded.high = match bounded.low {
                        Some(Bound::Time(low)) => {
                            Some(Bound::Time(low + if column.base == "date" { 3 * 86_400 } else { 400 }))
                        }
                        Some(Bound::Number(low, _)) => {
                            let scale = if column.base == "numeric" && column.modifier >= 4 {
                                (column.modifier - 4) & 0x7ff
                            } else {
                                0
                            };
                            Some(Bound::Number(low + (0..scale).fold(9.0, |step, _| step / 10.0), false))
                        }
                        _ => None,
                    };
                }
            }
            wish = &bounded;
        }
        match value(column, wish, &context, draw) {
            Some(text) => Ok(Some(Some(text))),
            None if column.has_default && wish.is_null != Some(true) => Err(format!("no value fits `{}`", column.name)),
            None if !column.is_required => Ok(Some(None)),
            None => Err(format!("no value is known for `{}` ({})", column.name, column.type_name)),
        }
    }
}

/// How many of a thousand rows leave a column of this name empty, where it may be.
fn usual_nulls(name: &str) -> u64 {
    let words = parts(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    if has(&["deleted", "archived", "cancelled", "canceled", "revoked", "error", "failed", "removed", "banned"]) {
        850
    } else if words.last().is_some_and(|word| word == "at" || word == "on" || word == "date") {
        300
    } else {
        120
    }
}
