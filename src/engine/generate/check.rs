//! What a CHECK asks of a row: reads the text that PostgreSQL prints for one and says, as wishes for
//! columns, how to satisfy it and how to break it. Pure; the server has the last word.
//!
//! Understood: comparisons of a column (or its length) with constants, IN lists, ranges, LIKE and simple
//! regular expressions, IS NULL, `num_nonnulls`, columns compared with each other, AND, OR, NOT.

use std::collections::BTreeMap;

use super::expression::{Expression, Operator, parse};
use super::moment::{EPOCH, FUTURE, SECOND, write};

/// What is wished of the value of one column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// Must be NULL, or must not be.
    pub is_null: Option<bool>,
    /// One of these texts.
    pub one_of: Option<Vec<String>>,
    /// None of these texts.
    pub none_of: Vec<String>,
    /// At least this.
    pub low: Option<Bound>,
    /// At most this.
    pub high: Option<Bound>,
    /// The least number of characters (bytes, elements).
    pub shortest: Option<usize>,
    /// The greatest number of characters (bytes, elements).
    pub longest: Option<usize>,
    /// Matches this regular expression.
    pub regex: Option<String>,
    /// Matches this LIKE pattern.
    pub like: Option<String>,
    /// Compared with what other columns come to.
    pub than: Vec<(Operator, Expression)>,
    /// The elements that an array may hold.
    pub elements: Option<Vec<String>>,
    /// The keys that a JSON object has to have, with their values as JSON.
    pub keys: BTreeMap<String, String>,
    /// The JSON type.
    pub json: Option<String>,
    /// In capital letters.
    pub is_upper: bool,
    /// In small letters.
    pub is_lower: bool,
}

/// A bound of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// A number; `true`: the number itself does not count.
    Number(f64, bool),
    /// Seconds from now.
    Now(i64),
    /// Seconds since 1970.
    Time(i64),
}

/// Wishes by column.
pub type Wishes = BTreeMap<String, Wish>;

/// How many ways of satisfying one CHECK are kept.
const MOST: usize = 24;

/// The ways to satisfy a CHECK, best first; none: it is not understood. `value` stands for a domain's VALUE.
pub fn ways(definition: &str, value: Option<&str>) -> Option<Vec<Wishes>> {
    solve(&read(definition, value)?, true)
}

/// The ways to make a condition hold, best first; none: it is not understood.
pub fn ways_of(condition: &Expression) -> Option<Vec<Wishes>> {
    solve(condition, true)
}

/// A CHECK's condition; none: it is not understood.
pub fn condition(definition: &str, value: Option<&str>) -> Option<Expression> {
    read(definition, value)
}

/// The ways to break a CHECK; none: it is not understood.
pub fn breaks(definition: &str, value: Option<&str>) -> Option<Vec<Wishes>> {
    solve(&read(definition, value)?, false)
}

fn read(definition: &str, value: Option<&str>) -> Option<Expression> {
    let body = definition.trim().strip_prefix("CHECK").unwrap_or(definition).trim();
    let body = body.strip_suffix("NOT VALID").unwrap_or(body).trim();
    let body = body.strip_suffix("NO INHERIT").unwrap_or(body).trim();
    parse(body, value)
}

/// Joins two sets of wishes; none where they contradict each other.
pub fn join(a: &Wishes, b: &Wishes) -> Option<Wishes> {
    let mut joined = a.clone();
    for (column, wish) in b {
        let merged = match joined.get(column) {
            Some(other) => merge(other, wish)?,
            None => wish.clone(),
        };
        joined.insert(column.clone(), merged);
    }
    Some(joined)
}

fn merge(a: &Wish, b: &Wish) -> Option<Wish> {
    let is_null = match (a.is_null, b.is_null) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.or(b),
    };
    let one_of = match (&a.one_of, &b.one_of) {
        (Some(a), Some(b)) => {
            let both: Vec<String> = a.iter().filter(|text| b.contains(text)).cloned().collect();
            if both.is_empty() {
                return None;
            }
            Some(both)
        }
        (a, b) => a.clone().or_else(|| b.clone()),
    };
    let none_of = [a.none_of.as_slice(), &b.none_of].concat();
    let (low, high) = (tighter(a.low, b.low, true), tighter(a.high, b.high, false));
    let one_of = match one_of {
        Some(mut texts) => {
            texts.retain(|text| !none_of.contains(text) && is_between(text, low, high));
            if texts.is_empty() {
                return None;
            }
            Some(texts)
        }
        None => None,
    };
    if let (Some(Bound::Number(least, is_above)), Some(Bound::Number(most, is_below))) = (low, high)
        && (least > most || (least == most && (is_above || is_below)))
    {
        return None;
    }
    Some(Wish {
        is_null,
        one_of,
        none_of,
        low,
        high,
        shortest: a.shortest.max(b.shortest),
        longest: match (a.longest, b.longest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        },
        regex: a.regex.clone().or_else(|| b.regex.clone()),
        like: a.like.clone().or_else(|| b.like.clone()),
        than: [a.than.as_slice(), &b.than].concat(),
        elements: a.elements.clone().or_else(|| b.elements.clone()),
        keys: keys(&a.keys, &b.keys),
        json: a.json.clone().or_else(|| b.json.clone()),
        is_upper: a.is_upper || b.is_upper,
        is_lower: a.is_lower || b.is_lower,
    })
}

/// A value of a certain kind stands before one that is there just to be there.
fn keys(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = a.clone();
    for (key, value) in b {
        if value != "\"a\"" || !all.contains_key(key) {
            all.insert(key.clone(), value.clone());
        }
    }
    all
}

/// Whether a number lies between two numbers; what is none does not contradict them.
fn is_between(text: &str, low: Option<Bound>, high: Option<Bound>) -> bool {
    let Ok(number) = text.parse::<f64>() else { return true };
    let is_above = match low {
        Some(Bound::Number(least, true)) => number > least,
        Some(Bound::Number(least, false)) => number >= least,
        _ => true,
    };
    let is_below = match high {
        Some(Bound::Number(most, true)) => number < most,
        Some(Bound::Number(most, false)) => number <= most,
        _ => true,
    };
    is_above && is_below
}

fn tighter(a: Option<Bound>, b: Option<Bound>, is_low: bool) -> Option<Bound> {
    match (a, b) {
        (Some(Bound::Number(x, _)), Some(Bound::Number(y, _))) => {
            let takes_first = if is_low { x >= y } else { x <= y };
            if takes_first { a } else { b }
        }
        (a, b) => a.or(b),
    }
}

fn solve(expression: &Expression, wanted: bool) -> Option<Vec<Wishes>> {
    match (expression, wanted) {
        (Expression::Not(inner), wanted) => solve(inner, !wanted),
        (Expression::And(parts), true) | (Expression::Or(parts), false) => {
            let mut ways = vec![Wishes::new()];
            for part in parts {
                let next = solve(part, wanted)?;
                ways =
                    ways.iter().flat_map(|way| next.iter().filter_map(|other| join(way, other))).take(MOST).collect();
            }
            Some(ways)
        }
        (Expression::Or(parts), true) | (Expression::And(parts), false) => {
            // A branch that is not understood is left out while another one is.
            let ways: Vec<Wishes> = parts.iter().filter_map(|part| solve(part, wanted)).flatten().take(MOST).collect();
            (!ways.is_empty()).then_some(ways)
        }
        (Expression::Constant(text), wanted) if text == "true" || text == "false" => {
            Some(if (text == "true") == wanted { vec![Wishes::new()] } else { Vec::new() })
        }
        (Expression::Column(column), wanted) => {
            Some(vec![one(column, Wish { one_of: Some(vec![wanted.to_string()]), ..Wish::default() })])
        }
        (Expression::IsNull(inner, is_null), wanted) => match &**inner {
            Expression::Column(column) => {
                Some(vec![one(column, Wish { is_null: Some(*is_null == wanted), ..Wish::default() })])
            }
            // An empty array has no length.
            Expression::Call(name, arguments)
                if matches!(name.as_str(), "array_length" | "array_upper" | "array_lower")
                    && *is_null != wanted
                    && matches!(arguments.first(), Some(Expression::Column(_))) =>
            {
                let Some(Expression::Column(column)) = arguments.first() else { return None };
                Some(vec![one(column, Wish { is_null: Some(false), shortest: Some(1), ..Wish::default() })])
            }
            inner => {
                let (column, key) = member(inner).filter(|_| *is_null != wanted)?;
                Some(vec![with_key(column, key, "\"a\"")])
            }
        },
        (Expression::Any(left, Operator::Equal, list), true)
        | (Expression::All(left, Operator::Unequal, list), false) => among(left, list, true),
        (Expression::Any(left, Operator::Equal, list), false)
        | (Expression::All(left, Operator::Unequal, list), true) => among(left, list, false),
        // What is true together, or false together.
        (Expression::Compare(left, operator @ (Operator::Equal | Operator::Unequal), right), wanted)
            if left.is_condition()
                && right.is_condition()
                && !matches!((&**left, &**right), (Expression::IsNull(..), Expression::IsNull(..))) =>
        {
            let is_same = (*operator == Operator::Equal) == wanted;
            let mut ways = Vec::new();
            for first in [true, false] {
                let (Some(a), Some(b)) = (solve(left, first), solve(right, first == is_same)) else { continue };
                ways.extend(a.iter().flat_map(|a| b.iter().filter_map(|b| join(a, b))).take(MOST / 2));
            }
            (!ways.is_empty()).then_some(ways)
        }
        (Expression::Case(branches, last), wanted) => {
            let mut ways = Vec::new();
            let mut before = vec![Wishes::new()];
            let both = |a: &[Wishes], b: &[Wishes]| -> Vec<Wishes> {
                a.iter().flat_map(|a| b.iter().filter_map(|b| join(a, b))).take(MOST).collect()
            };
            for (condition, value) in branches {
                if let (Some(holds), Some(value)) = (solve(condition, true), solve(value, wanted)) {
                    ways.extend(both(&both(&before, &holds), &value));
                }
                before = both(&before, &solve(condition, false)?);
            }
            if let Some(value) = last.as_ref().and_then(|last| solve(last, wanted)) {
                ways.extend(both(&before, &value));
            }
            ways.truncate(MOST);
            (!ways.is_empty()).then_some(ways)
        }
        (Expression::Operation(left, operator, right), true) => operation(left, operator, right),
        (Expression::Compare(left, operator, right), wanted) => {
            compare(left, if wanted { *operator } else { operator.negated()? }, right)
        }
        _ => None,
    }
}

/// Containment and JSON keys.
fn operation(left: &Expression, operator: &str, right: &Expression) -> Option<Vec<Wishes>> {
    match (plain(left), operator, right) {
        (Expression::Column(column), "<@", Expression::Call(name, items)) if name == "array" => {
            let elements = items
                .iter()
                .map(|item| match item {
                    Expression::Constant(text) => Some(text.clone()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()?;
            Some(vec![one(column, Wish { elements: Some(elements), ..Wish::default() })])
        }
        (Expression::Column(column), "<@", Expression::Constant(list)) => {
            let inner = list.strip_prefix('{')?.strip_suffix('}')?;
            let elements = inner.split(',').map(|one| one.trim_matches('"').to_owned()).collect();
            Some(vec![one(column, Wish { elements: Some(elements), ..Wish::default() })])
        }
        (Expression::Column(column), "?", Expression::Constant(key)) => Some(vec![with_key(column, key, "\"a\"")]),
        (Expression::Column(column), "?&", Expression::Call(name, items)) if name == "array" => {
            let keys = items.iter().filter_map(|item| match item {
                Expression::Constant(text) => Some((text.clone(), "\"a\"".to_owned())),
                _ => None,
            });
            let wish = Wish { json: Some("object".into()), keys: keys.collect(), ..Wish::default() };
            Some(vec![one(column, wish)])
        }
        _ => None,
    }
}

fn with_key(column: &str, key: &str, value: &str) -> Wishes {
    let keys = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    one(column, Wish { json: Some("object".into()), keys, ..Wish::default() })
}

/// `data -> 'key'` and `data ->> 'key'` of a column.
fn member(expression: &Expression) -> Option<(&str, &str)> {
    match expression {
        Expression::Operation(left, operator, right) if operator == "->" || operator == "->>" => {
            match (&**left, &**right) {
                (Expression::Column(column), Expression::Constant(key)) => Some((column, key)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn one(column: &str, wish: Wish) -> Wishes {
    Wishes::from([(column.to_owned(), wish)])
}

fn among(left: &Expression, list: &[Expression], is_in: bool) -> Option<Vec<Wishes>> {
    let Expression::Column(column) = plain(left) else { return None };
    let texts: Option<Vec<String>> = list
        .iter()
        .map(|one| match one {
            Expression::Constant(text) => Some(text.clone()),
            _ => None,
        })
        .collect();
    let texts = texts?;
    Some(vec![if is_in {
        one(column, Wish { one_of: Some(texts), ..Wish::default() })
    } else {
        one(column, Wish { none_of: texts, ..Wish::default() })
    }])
}

/// `lower(x)` and `btrim(x)` of what lyrox writes is the text itself.
fn plain(expression: &Expression) -> &Expression {
    match expression {
        Expression::Call(name, arguments)
            if (matches!(name.as_str(), "lower" | "btrim" | "ltrim" | "rtrim" | "abs") && arguments.len() == 1)
                || (name == "coalesce" && matches!(arguments.as_slice(), [_, Expression::Constant(_)]))
                || (name == "COALESCE" && matches!(arguments.as_slice(), [_, Expression::Constant(_)])) =>
        {
            &arguments[0]
        }
        other => other,
    }
}

fn compare(left: &Expression, operator: Operator, right: &Expression) -> Option<Vec<Wishes>> {
    use Expression::{Call, Column, Constant, IsNull};
    for (one, other) in [(left, right), (right, left)] {
        if let (Column(column), Call(name, arguments), Operator::Equal) = (one, other, operator)
            && matches!(name.as_str(), "lower" | "upper")
            && arguments.as_slice() == [Column(column.clone())]
        {
            let (is_lower, is_upper) = (name == "lower", name == "upper");
            return Some(vec![Wishes::from([(column.clone(), Wish { is_lower, is_upper, ..Wish::default() })])]);
        }
    }
    match (plain(left), plain(right)) {
        (Column(a), Column(b)) => columns(a, operator, b),
        (Column(column), Constant(text)) => against(column, operator, text).map(|wish| vec![one(column, wish)]),
        (Column(column), Call(name, arguments)) if name == "similar_to_escape" => {
            let Some(Constant(pattern)) = arguments.first() else { return None };
            let pattern = format!("^({})$", pattern.replace('%', ".*").replace('_', "."));
            against(column, operator, &pattern).map(|wish| vec![one(column, wish)])
        }
        (inner, Constant(text)) if member(inner).is_some() && operator == Operator::Equal => {
            let (column, key) = member(inner)?;
            Some(vec![with_key(column, key, &serde_json::json!(text).to_string())])
        }
        (Constant(_), Column(_) | Call(..)) => compare(right, operator.mirrored()?, left),
        (Column(column), Call(name, _)) if is_now(name) => {
            let bound = Bound::Now(0);
            Some(vec![one(
                column,
                match operator {
                    Operator::Less | Operator::AtMost => Wish { high: Some(bound), ..Wish::default() },
                    Operator::Greater | Operator::AtLeast => Wish { low: Some(bound), ..Wish::default() },
                    _ => return None,
                },
            )])
        }
        (Call(name, _), Column(_)) if is_now(name) => compare(right, operator.mirrored()?, left),
        (Call(name, arguments), Constant(text)) => call(name, arguments, operator, text),
        (Column(column), Call(name, arguments))
            if name == "upper" && operator == Operator::Equal && arguments.as_slice() == [Column(column.clone())] =>
        {
            Some(vec![one(column, Wish { is_upper: true, ..Wish::default() })])
        }
        // `(a IS NULL) <> (b IS NULL)`
        (IsNull(a, a_null), IsNull(b, b_null)) => {
            let (Column(a), Column(b)) = (&**a, &**b) else { return None };
            let is_same = match operator {
                Operator::Equal => true,
                Operator::Unequal => false,
                _ => return None,
            };
            let way = |first: bool| {
                let second = if is_same { first } else { !first };
                let mut way = one(a, Wish { is_null: Some(first == *a_null), ..Wish::default() });
                way.insert(b.clone(), Wish { is_null: Some(second == *b_null), ..Wish::default() });
                way
            };
            Some(vec![way(true), way(false)])
        }
        // A column beside what others come to.
        (Column(column), other) if !other.columns().contains(&column.as_str()) => {
            let than = vec![(operator, at_worst(other, operator))];
            Some(vec![one(column, Wish { than, ..Wish::default() })])
        }
        (other, Column(column)) if !other.columns().contains(&column.as_str()) => {
            let operator = operator.mirrored()?;
            Some(vec![one(column, Wish { than: vec![(operator, at_worst(other, operator))], ..Wish::default() })])
        }
        (Expression::Operation(..), _) | (_, Expression::Operation(..)) => sums(left, operator, right),
        _ => None,
    }
}

/// The server's clock is later than the fixed "now" and earlier than the far future: a value that has to be later
/// than the clock is compared with the one, a value that has to be earlier with the other.
fn at_worst(expression: &Expression, operator: Operator) -> Expression {
    let second = match operator {
        Operator::Greater | Operator::AtLeast => FUTURE,
        _ => EPOCH,
    };
    expression.replaced(&|one| match one {
        Expression::Call(name, _) if is_now(name) => write(second * SECOND, "timestamptz").map(Expression::Constant),
        _ => None,
    })
}

/// `(a + b) = (c + d)` and the like: the first column of a sum is what the rest comes to.
fn sums(left: &Expression, operator: Operator, right: &Expression) -> Option<Vec<Wishes>> {
    let Expression::Operation(first, sign, rest) = left else {
        return match right {
            Expression::Operation(..) => sums(right, operator.mirrored()?, left),
            _ => None,
        };
    };
    let (Expression::Column(column), "+" | "-") = (&**first, sign.as_str()) else { return None };
    let back = if sign == "+" { "-" } else { "+" };
    let other = Expression::Operation(Box::new(right.clone()), back.into(), rest.clone());
    if other.columns().contains(&column.as_str()) {
        return None;
    }
    Some(vec![one(column, Wish { than: vec![(operator, other)], ..Wish::default() })])
}

fn is_now(name: &str) -> bool {
    matches!(
        name,
        "now" | "current_timestamp" | "current_date" | "localtimestamp" | "clock_timestamp" | "statement_timestamp"
    )
}

fn columns(a: &str, operator: Operator, b: &str) -> Option<Vec<Wishes>> {
    // A column that is compared with itself, as in `btrim(slug) = slug`, asks for nothing more.
    if a == b {
        let is_same = matches!(operator, Operator::AtMost | Operator::AtLeast | Operator::Equal);
        return is_same.then(|| vec![Wishes::new()]);
    }
    // The later one follows from the earlier one.
    let of = |name: &str| Expression::Column(name.to_owned());
    Some(vec![match operator {
        Operator::Greater | Operator::AtLeast => one(a, Wish { than: vec![(operator, of(b))], ..Wish::default() }),
        operator => one(b, Wish { than: vec![(operator.mirrored()?, of(a))], ..Wish::default() }),
    }])
}

fn against(column: &str, operator: Operator, text: &str) -> Option<Wish> {
    let _ = column;
    let none = Wish::default();
    let bound = |is_strict: bool| {
        text.parse::<f64>().ok().map(|number| Bound::Number(number, is_strict)).or_else(|| time(text).map(Bound::Time))
    };
    Some(match operator {
        Operator::Equal => Wish { one_of: Some(vec![text.to_owned()]), ..none },
        Operator::Unequal if text.is_empty() => Wish { shortest: Some(1), ..none },
        Operator::Unequal => Wish { none_of: vec![text.to_owned()], ..none },
        Operator::Less => Wish { high: Some(bound(true)?), ..none },
        Operator::AtMost => Wish { high: Some(bound(false)?), ..none },
        Operator::Greater if text.is_empty() => Wish { shortest: Some(1), ..none },
        Operator::Greater => Wish { low: Some(bound(true)?), ..none },
        Operator::AtLeast => Wish { low: Some(bound(false)?), ..none },
        Operator::Matches => Wish { regex: Some(text.to_owned()), ..none },
        Operator::Like => Wish { like: Some(text.to_owned()), ..none },
        // What no pattern that people write into a CHECK matches.
        Operator::Mismatches | Operator::Unlike => Wish { one_of: Some(vec!["\u{1}".into()]), ..none },
    })
}

fn call(name: &str, arguments: &[Expression], operator: Operator, text: &str) -> Option<Vec<Wishes>> {
    let number: f64 = text.parse().ok().unwrap_or(0.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths in a CHECK are small")]
    let count = number.max(0.0) as usize;
    match name {
        "length" | "char_length" | "character_length" | "octet_length" | "cardinality" | "array_length"
        | "jsonb_array_length" => {
            let Expression::Column(column) = plain(arguments.first()?) else { return None };
            let none = Wish::default();
            let wish = match operator {
                Operator::Equal => Wish { shortest: Some(count), longest: Some(count), ..none },
                Operator::Unequal => Wish { shortest: Some(count + 1), ..none },
                Operator::Less => Wish { longest: Some(count.checked_sub(1)?), ..none },
                Operator::AtMost => Wish { longest: Some(count), ..none },
                Operator::Greater => Wish { shortest: Some(count + 1), ..none },
                Operator::AtLeast => Wish { shortest: Some(count), ..none },
                _ => return None,
            };
            Some(vec![one(column, wish)])
        }
        "jsonb_typeof" | "json_typeof" => {
            if let Some((column, key)) = arguments.first().and_then(member).filter(|_| operator == Operator::Equal) {
                let value = match text {
                    "array" => "[\"a\"]",
                    "object" => "{\"a\": 1}",
                    "number" => "1",
                    "boolean" => "true",
                    _ => "\"a\"",
                };
                return Some(vec![with_key(column, key, value)]);
            }
            let Expression::Column(column) = arguments.first()? else { return None };
            let wanted = match (operator, text) {
                (Operator::Equal, text) => text,
                (Operator::Unequal, "object") => "array",
                (Operator::Unequal, _) => "object",
                _ => return None,
            };
            Some(vec![one(column, Wish { json: Some(wanted.to_owned()), ..Wish::default() })])
        }
        "num_nonnulls" | "num_nulls" => {
            let columns: Option<Vec<&String>> = arguments
                .iter()
                .map(|argument| match argument {
                    Expression::Column(column) => Some(column),
                    _ => None,
                })
                .collect();
            let columns = columns?;
            let total = columns.len();
            let wanted = match operator {
                Operator::Equal | Operator::AtLeast | Operator::AtMost => count,
                Operator::Greater | Operator::Unequal => count + 1,
                Operator::Less => count.checked_sub(1)?,
                _ => return None,
            };
            let filled = if name == "num_nulls" { total.checked_sub(wanted)? } else { wanted };
            if filled > total {
                return None;
            }
            // Every rotation is a way: the first may meet a column that cannot be filled.
            Some(
                (0..total)
                    .map(|turn| {
                        let filled = |index: usize| (index + total - turn) % total < filled;
                        columns
                            .iter()
                            .enumerate()
                            .map(|(index, column)| {
                                ((*column).clone(), Wish { is_null: Some(!filled(index)), ..Wish::default() })
                            })
                            .collect()
                    })
                    .collect(),
            )
        }
        _ => None,
    }
}

/// Seconds since 1970 of a date or timestamp as PostgreSQL prints it.
fn time(text: &str) -> Option<i64> {
    let text = text.trim();
    let date = text.get(..10)?.parse::<jiff::civil::Date>().ok()?;
    let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(definition: &str) -> Wishes {
        ways(definition, None).unwrap_or_else(|| panic!("{definition}")).remove(0)
    }

    #[test]
    fn the_usual_checks_are_understood() {
        let wishes = first("CHECK ((price >= (0)::numeric))");
        assert_eq!(wishes["price"].low, Some(Bound::Number(0.0, false)));
        let wishes = first("CHECK (((quantity > 0) AND (quantity <= 100)))");
        assert_eq!(wishes["quantity"].low, Some(Bound::Number(0.0, true)));
        assert_eq!(wishes["quantity"].high, Some(Bound::Number(100.0, false)));
        for list in [
            "CHECK ((role = ANY (ARRAY['user'::text, 'assistant'::text])))",
            "CHECK (((role)::text = ANY ((ARRAY['user'::character varying, 'assistant'::character varying])::text[])))",
            "CHECK (((role = 'user'::text) OR (role = 'assistant'::text)))",
            "CHECK ((role = ANY ('{user,assistant}'::text[])))",
        ] {
            assert_eq!(first(list)["role"].one_of.as_ref().map(|texts| texts[0].as_str()), Some("user"), "{list}");
        }
        assert_eq!(first("CHECK ((char_length((name)::text) >= 3))")["name"].shortest, Some(3));
        assert_eq!(first("CHECK ((length(btrim(name)) > 0))")["name"].shortest, Some(1));
        assert_eq!(first("CHECK ((email ~* '^[^@]+@x$'::text))")["email"].regex.as_deref(), Some("^[^@]+@x$"));
        assert_eq!(first("CHECK ((email ~~ '%@%'::text))")["email"].like.as_deref(), Some("%@%"));
        assert_eq!(first("CHECK ((jsonb_typeof(meta) = 'array'::text))")["meta"].json.as_deref(), Some("array"));
        assert_eq!(
            first("CHECK ((temperature >= '-40'::integer))")["temperature"].low,
            Some(Bound::Number(-40.0, false))
        );
        assert_eq!(first("CHECK ((at <= now()))")["at"].high, Some(Bound::Now(0)));
        assert!(matches!(first("CHECK ((day >= '2020-01-01'::date))")["day"].low, Some(Bound::Time(_))));
        assert!(first("CHECK ((slug = lower(slug)))")["slug"].is_lower);
        assert!(first("CHECK ((code = upper(code)))")["code"].is_upper);
        let wishes = first("CHECK ((\"endsAt\" > \"startsAt\"))");
        let start = Expression::Column("startsAt".into());
        assert_eq!(wishes["endsAt"].than, [(Operator::Greater, start)]);
        let value = ways("CHECK ((VALUE ~ '^a$'::text))", Some("x")).expect("a way");
        assert_eq!(value[0]["x"].regex.as_deref(), Some("^a$"));
    }

    #[test]
    fn alternatives_are_kept() {
        let ways = ways("CHECK (((a IS NOT NULL) OR (b IS NOT NULL)))", None).expect("ways");
        assert_eq!((ways[0]["a"].is_null, ways[1]["b"].is_null), (Some(false), Some(false)));
        let ways = super::ways("CHECK (((a IS NULL) <> (b IS NULL)))", None).expect("ways");
        assert_eq!((ways[0]["a"].is_null, ways[0]["b"].is_null), (Some(true), Some(false)));
        let ways = super::ways("CHECK ((num_nonnulls(a, b, c) = 1))", None).expect("ways");
        let filled = |way: &Wishes| way.values().filter(|wish| wish.is_null == Some(false)).count();
        assert_eq!(ways.iter().map(filled).collect::<Vec<_>>(), [1, 1, 1]);
    }

    #[test]
    fn contradictions_are_no_way_and_the_unknown_is_said() {
        assert_eq!(ways("CHECK (((a = 1) AND (a = 2)))", None), Some(Vec::new()));
        for unknown in ["CHECK (is_valid(a))", "CHECK (((a % 2) = 0))", "((("] {
            assert_eq!(ways(unknown, None), None, "{unknown}");
        }
    }

    #[test]
    fn breaking_is_the_opposite() {
        let broken = breaks("CHECK (((quantity > 0) AND (quantity <= 100)))", None).expect("ways");
        assert_eq!(broken[0]["quantity"].high, Some(Bound::Number(0.0, false)));
        assert_eq!(broken[1]["quantity"].low, Some(Bound::Number(100.0, true)));
        let broken = breaks("CHECK ((role = ANY (ARRAY['a'::text, 'b'::text])))", None).expect("ways");
        assert_eq!(broken[0]["role"].none_of, ["a", "b"]);
    }
}
