//! What an expression comes to for a row, as far as that can be told without a server. Pure. What is not
//! understood is [`Value::Unknown`], and a row is never refused for it: the server has the last word.

use std::cmp::Ordering;

use super::expression::{Expression, Operator};
use super::moment::{DAY, Moment, interval, moment, parse};

/// A value while an expression is worked out.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not told.
    Unknown,
    /// NULL.
    Null,
    /// A truth.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text, or anything that is written as one.
    Text(String),
    /// Microseconds since 1970.
    Time(i64),
    /// Microseconds.
    Span(i64),
}

/// The value of a column: none where the row leaves it to the server, `Some(None)` for NULL.
pub type Look<'a> = &'a dyn Fn(&str) -> Option<Option<String>>;

/// Whether a CHECK lets a row pass; true where that cannot be told.
pub fn passes(check: &Expression, look: Look<'_>) -> bool {
    evaluate(check, look) != Value::Bool(false)
}

/// Whether a condition may be true of a row: the predicate of a partial index.
pub fn may_hold(condition: &Expression, look: Look<'_>) -> bool {
    !matches!(evaluate(condition, look), Value::Bool(false) | Value::Null)
}

/// Works an expression out.
pub fn evaluate(expression: &Expression, look: Look<'_>) -> Value {
    match expression {
        Expression::Null => Value::Null,
        Expression::Constant(text) => Value::Text(text.clone()),
        Expression::Column(name) => match look(name) {
            None => Value::Unknown,
            Some(None) => Value::Null,
            Some(Some(text)) => Value::Text(text),
        },
        Expression::Not(inner) => match truth(&evaluate(inner, look)) {
            Some(truth) => Value::Bool(!truth),
            None => evaluate(inner, look),
        },
        Expression::And(parts) => all(parts, look, false),
        Expression::Or(parts) => all(parts, look, true),
        Expression::IsNull(inner, is_null) => match evaluate(inner, look) {
            Value::Unknown => Value::Unknown,
            value => Value::Bool((value == Value::Null) == *is_null),
        },
        Expression::Compare(left, operator, right) => compare(&evaluate(left, look), *operator, &evaluate(right, look)),
        Expression::Any(left, operator, list) => {
            let left = evaluate(left, look);
            any(list.iter().map(|one| compare(&left, *operator, &evaluate(one, look))), true)
        }
        Expression::All(left, operator, list) => {
            let left = evaluate(left, look);
            any(list.iter().map(|one| compare(&left, *operator, &evaluate(one, look))), false)
        }
        Expression::Case(branches, last) => {
            for (condition, value) in branches {
                match truth_or_null(&evaluate(condition, look)) {
                    Some(true) => return evaluate(value, look),
                    Some(false) => {}
                    None => return Value::Unknown,
                }
            }
            last.as_ref().map_or(Value::Null, |last| evaluate(last, look))
        }
        Expression::Operation(left, operator, right) if operator == "<@" => match (evaluate(left, look), &**right) {
            (Value::Text(array), Expression::Call(name, allowed)) if name == "array" => {
                let Some(items) = items(&array) else { return Value::Unknown };
                let allowed: Vec<Value> = allowed.iter().map(|one| evaluate(one, look)).collect();
                Value::Bool(items.into_iter().all(|item| allowed.contains(&Value::Text(item))))
            }
            (Value::Null, _) => Value::Null,
            _ => Value::Unknown,
        },
        Expression::Operation(left, operator, right) => {
            operate(&evaluate(left, look), operator, &evaluate(right, look))
        }
        Expression::Call(name, arguments) => {
            let arguments: Vec<Value> = arguments.iter().map(|one| evaluate(one, look)).collect();
            call(&name.to_ascii_lowercase(), &arguments)
        }
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Text(text) => match text.as_str() {
            "true" | "t" => Some(true),
            "false" | "f" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn truth_or_null(value: &Value) -> Option<bool> {
    if *value == Value::Null { Some(false) } else { truth(value) }
}

/// AND (`stop` false) and OR (`stop` true) over parts, in three-valued logic.
fn all(parts: &[Expression], look: Look<'_>, stop: bool) -> Value {
    any(parts.iter().map(|part| evaluate(part, look)), stop)
}

fn any(values: impl Iterator<Item = Value>, stop: bool) -> Value {
    let mut answer = Value::Bool(!stop);
    for value in values {
        match truth(&value) {
            Some(truth) if truth == stop => return Value::Bool(stop),
            Some(_) => {}
            None if value == Value::Null => {
                if answer != Value::Unknown {
                    answer = Value::Null;
                }
            }
            None => answer = Value::Unknown,
        }
    }
    answer
}

/// A number, where the value is one.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok(),
        Value::Span(micros) =>
        {
            #[allow(clippy::cast_precision_loss, reason = "compared, never written")]
            Some(*micros as f64 / 1e6)
        }
        _ => None,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(_), _) | (_, Value::Bool(_)) => return Some(truth(a)?.cmp(&truth(b)?)),
        (Value::Time(a), Value::Time(b)) | (Value::Span(a), Value::Span(b)) => return Some(a.cmp(b)),
        (Value::Time(a), Value::Text(b)) => return Some(a.cmp(&moment(b)?)),
        (Value::Text(a), Value::Time(b)) => return Some(moment(a)?.cmp(b)),
        (Value::Span(a), Value::Text(b)) => return Some(a.cmp(&interval(b)?)),
        (Value::Text(a), Value::Span(b)) => return Some(interval(a)?.cmp(b)),
        _ => {}
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        let is_same = (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
        return if is_same { Some(Ordering::Equal) } else { a.partial_cmp(&b) };
    }
    let (Value::Text(a), Value::Text(b)) = (a, b) else { return None };
    match (parse(a), parse(b)) {
        (Some(Moment::Time(a)), Some(Moment::Time(b))) | (Some(Moment::Clock(a)), Some(Moment::Clock(b))) => {
            Some(a.cmp(&b))
        }
        _ => match (interval(a), interval(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => Some(a.cmp(b)),
        },
    }
}

/// The items of an array of one dimension.
fn items(array: &str) -> Option<Vec<String>> {
    let inner = array.strip_prefix('{')?.strip_suffix('}')?;
    let (mut found, mut item, mut is_quoted, mut is_escaped) = (Vec::new(), String::new(), false, false);
    for c in inner.chars() {
        match c {
            c if is_escaped => {
                item.push(c);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => found.push(std::mem::take(&mut item)),
            '{' if !is_quoted => return None,
            c => item.push(c),
        }
    }
    if !inner.is_empty() {
        found.push(item);
    }
    Some(found)
}

fn compare(a: &Value, operator: Operator, b: &Value) -> Value {
    if *a == Value::Unknown || *b == Value::Unknown {
        return Value::Unknown;
    }
    if *a == Value::Null || *b == Value::Null {
        return Value::Null;
    }
    // What no pattern that people write into a CHECK matches.
    if let (Value::Text(text), Operator::Matches | Operator::Like) = (a, operator)
        && text == "\u{1}"
    {
        return Value::Bool(false);
    }
    let Some(order) = order(a, b) else { return Value::Unknown };
    Value::Bool(match operator {
        Operator::Equal => order == Ordering::Equal,
        Operator::Unequal => order != Ordering::Equal,
        Operator::Less => order == Ordering::Less,
        Operator::AtMost => order != Ordering::Greater,
        Operator::Greater => order == Ordering::Greater,
        Operator::AtLeast => order != Ordering::Less,
        _ => return Value::Unknown,
    })
}

fn operate(a: &Value, operator: &str, b: &Value) -> Value {
    if *a == Value::Unknown || *b == Value::Unknown {
        return Value::Unknown;
    }
    if *a == Value::Null || *b == Value::Null {
        return Value::Null;
    }
    if operator == "||" {
        return match (a, b) {
            (Value::Text(a), Value::Text(b)) => Value::Text(format!("{a}{b}")),
            _ => Value::Unknown,
        };
    }
    if let ("->" | "->>" | "?", Value::Text(document), Value::Text(key)) = (operator, a, b) {
        let Ok(document) = serde_json::from_str::<serde_json::Value>(document) else { return Value::Unknown };
        return match (operator, document.get(key)) {
            ("?", found) => {
                Value::Bool(found.is_some() || document.as_array().is_some_and(|all| all.iter().any(|one| one == key)))
            }
            (_, None) => Value::Null,
            ("->>", Some(serde_json::Value::Null)) => Value::Null,
            ("->>", Some(serde_json::Value::String(text))) => Value::Text(text.clone()),
            (_, Some(found)) => Value::Text(found.to_string()),
        };
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return match operator {
            "+" => Value::Number(a + b),
            "-" => Value::Number(a - b),
            "*" => Value::Number(a * b),
            "/" if b != 0.0 => Value::Number(a / b),
            "%" if b != 0.0 => Value::Number(a % b),
            _ => Value::Unknown,
        };
    }
    let time = |value: &Value| match value {
        Value::Time(micros) => Some(*micros),
        Value::Text(text) => moment(text),
        _ => None,
    };
    let span = |value: &Value| match value {
        Value::Span(micros) => Some(*micros),
        Value::Text(text) => interval(text),
        // A date and a number are days.
        Value::Number(_) => None,
        _ => None,
    };
    #[allow(clippy::cast_possible_truncation, reason = "days of a date")]
    let days = |value: &Value| number(value).map(|days| days as i64 * DAY);
    match (operator, time(a), time(b)) {
        ("-", Some(a), Some(b)) => Value::Span(a - b),
        ("+", Some(at), None) => span(b).or_else(|| days(b)).map_or(Value::Unknown, |more| Value::Time(at + more)),
        ("-", Some(at), None) => span(b).or_else(|| days(b)).map_or(Value::Unknown, |less| Value::Time(at - less)),
        ("+", None, Some(at)) => span(a).map_or(Value::Unknown, |more| Value::Time(at + more)),
        _ => Value::Unknown,
    }
}

#[allow(clippy::cast_precision_loss, reason = "lengths are small")]
fn call(name: &str, arguments: &[Value]) -> Value {
    if name == "coalesce" {
        return arguments.iter().find(|one| **one != Value::Null).cloned().unwrap_or(Value::Null);
    }
    if matches!(name, "num_nonnulls" | "num_nulls") {
        if arguments.contains(&Value::Unknown) {
            return Value::Unknown;
        }
        let nulls = arguments.iter().filter(|one| **one == Value::Null).count();
        return Value::Number(if name == "num_nulls" { nulls } else { arguments.len() - nulls } as f64);
    }
    if matches!(name, "greatest" | "least") {
        let known: Vec<&Value> = arguments.iter().filter(|one| **one != Value::Null).collect();
        let first = known.into_iter().reduce(|a, b| match order(a, b) {
            Some(Ordering::Less) if name == "greatest" => b,
            Some(Ordering::Greater) if name == "least" => b,
            _ => a,
        });
        return first.cloned().unwrap_or(Value::Null);
    }
    let [first, ..] = arguments else { return Value::Unknown };
    if *first == Value::Null {
        return Value::Null;
    }
    let Value::Text(text) = first else {
        return match (name, number(first)) {
            ("abs", Some(number)) => Value::Number(number.abs()),
            ("floor", Some(number)) => Value::Number(number.floor()),
            ("ceil" | "ceiling", Some(number)) => Value::Number(number.ceil()),
            ("round", Some(number)) if arguments.len() == 1 => Value::Number(number.round()),
            ("round", Some(number)) => rounded(number, arguments),
            ("date", _) => match first {
                Value::Time(micros) => Value::Time(micros.div_euclid(DAY) * DAY),
                _ => Value::Unknown,
            },
            _ => Value::Unknown,
        };
    };
    match name {
        "length" | "char_length" | "character_length" => Value::Number(text.chars().count() as f64),
        "octet_length" if text.starts_with("\\x") => Value::Number(((text.len() - 2) / 2) as f64),
        "octet_length" => Value::Number(text.len() as f64),
        "lower" | "upper" if text.starts_with(['[', '(']) && text.contains(',') => bound(text, name == "lower"),
        "lower" => Value::Text(text.to_lowercase()),
        "upper" => Value::Text(text.to_uppercase()),
        "btrim" | "trim" if arguments.len() == 1 => Value::Text(text.trim_matches(' ').to_owned()),
        "isempty" => Value::Bool(text == "empty"),
        "date" => match moment(text) {
            Some(micros) => Value::Time(micros.div_euclid(DAY) * DAY),
            None => Value::Unknown,
        },
        "abs" => number(first).map_or(Value::Unknown, |number| Value::Number(number.abs())),
        "floor" => number(first).map_or(Value::Unknown, |number| Value::Number(number.floor())),
        "round" if arguments.len() == 1 => number(first).map_or(Value::Unknown, |number| Value::Number(number.round())),
        "round" => number(first).map_or(Value::Unknown, |number| rounded(number, arguments)),
        "array_length" | "cardinality" => match items(text) {
            Some(items) if items.is_empty() && name == "array_length" => Value::Null,
            Some(items) => Value::Number(items.len() as f64),
            None => Value::Unknown,
        },
        "upper_inf" => Value::Bool(text.ends_with(",)") || text.ends_with(",]")),
        "lower_inf" => Value::Bool(text.starts_with("(,") || text.starts_with("[,")),
        "jsonb_typeof" | "json_typeof" => match serde_json::from_str(text) {
            Ok(serde_json::Value::Object(_)) => Value::Text("object".into()),
            Ok(serde_json::Value::Array(_)) => Value::Text("array".into()),
            Ok(serde_json::Value::String(_)) => Value::Text("string".into()),
            Ok(serde_json::Value::Number(_)) => Value::Text("number".into()),
            Ok(serde_json::Value::Bool(_)) => Value::Text("boolean".into()),
            Ok(serde_json::Value::Null) => Value::Text("null".into()),
            Err(_) => Value::Unknown,
        },
        "jsonb_array_length" | "json_array_length" => match serde_json::from_str(text) {
            Ok(serde_json::Value::Array(items)) => Value::Number(items.len() as f64),
            _ => Value::Unknown,
        },
        "extract" | "date_part" => extract(text, arguments.get(1)),
        "starts_with" => match arguments.get(1) {
            Some(Value::Text(start)) => Value::Bool(text.starts_with(start.as_str())),
            _ => Value::Unknown,
        },
        _ => Value::Unknown,
    }
}

/// A part of a date or time.
fn extract(field: &str, of: Option<&Value>) -> Value {
    let micros = match of {
        Some(Value::Time(micros)) => Some(*micros),
        Some(Value::Text(text)) => moment(text),
        Some(Value::Null) => return Value::Null,
        _ => None,
    };
    let Some(time) = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok()) else {
        return Value::Unknown;
    };
    let at = time.to_zoned(jiff::tz::TimeZone::UTC).datetime();
    Value::Number(f64::from(match field {
        "year" => i32::from(at.year()),
        "month" => i32::from(at.month()),
        "day" => i32::from(at.day()),
        "hour" => i32::from(at.hour()),
        "minute" => i32::from(at.minute()),
        "dow" => i32::from(at.weekday().to_sunday_zero_offset()),
        "isodow" => i32::from(at.weekday().to_monday_one_offset()),
        "doy" => i32::from(at.date().day_of_year()),
        _ => return Value::Unknown,
    }))
}

fn rounded(number: f64, arguments: &[Value]) -> Value {
    match arguments.get(1).and_then(self::number) {
        #[allow(clippy::cast_possible_truncation, reason = "a scale")]
        Some(scale) if (0.0..=9.0).contains(&scale) => {
            let factor = (0..scale as i32).fold(1.0, |factor, _| factor * 10.0);
            Value::Number((number * factor).round() / factor)
        }
        _ => Value::Unknown,
    }
}

/// The lower or upper bound of a range; NULL where it has none.
fn bound(range: &str, is_lower: bool) -> Value {
    let inner = &range[1..range.len() - 1];
    let Some((low, high)) = inner.split_once(',') else { return Value::Unknown };
    match (if is_lower { low } else { high }).trim_matches('"') {
        "" => Value::Null,
        text => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::expression::parse;
    use super::*;

    fn holds(text: &str, row: &[(&str, Option<&str>)]) -> Value {
        let row: BTreeMap<&str, Option<&str>> = row.iter().copied().collect();
        let expression = parse(text, None).unwrap_or_else(|| panic!("{text}"));
        evaluate(&expression, &|name| row.get(name).map(|value| value.map(str::to_owned)))
    }

    #[test]
    fn conditions_come_to_what_the_server_would_say() {
        let row = [
            ("a", Some("3")),
            ("b", Some("4.5")),
            ("n", None),
            ("t", Some("Abc")),
            ("at", Some("2024-01-31 10:00:00+00")),
            ("till", Some("2024-02-01")),
            ("during", Some("[\"2024-01-01 00:00:00+00\",\"2024-01-01 02:00:00+00\")")),
        ];
        for text in [
            "((a + b) = 7.5)",
            "((a % (2)::numeric) = (1)::numeric)",
            "(at < till)",
            "((till - at) <= '1 day'::interval)",
            "((at + '02:00:00'::interval) > '2024-01-31 11:59:59+00'::timestamptz)",
            "(lower(t) = 'abc'::text)",
            "((length(t) >= 3) AND (n IS NULL))",
            "CASE WHEN (a > 5) THEN (b > 100) ELSE (b < 5) END",
            "(COALESCE(n, 7) = 7)",
            "((upper(during) - lower(during)) = '02:00:00'::interval)",
            "((at)::date = '2024-01-31'::date)",
            "(n IS NOT DISTINCT FROM NULL)",
            "(num_nonnulls(a, b, n) = 2)",
        ] {
            assert_eq!(holds(text, &row), Value::Bool(true), "{text}");
        }
        assert_eq!(holds("((a > 5) OR (n > 1))", &row), Value::Null);
        assert_eq!(holds("(is_iban(t) AND (a > 1))", &row), Value::Unknown);
        assert_eq!(holds("(is_iban(t) AND (a > 5))", &row), Value::Bool(false));
    }
}
