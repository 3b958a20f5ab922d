//! Values beside values: what a column may be once the columns that it is compared with are known. Pure.

use super::check::{Bound, Wish};
use super::evaluate::{Look, Value, evaluate, number};
use super::expression::Operator;
use super::moment::{self, SECOND, write};
use super::schema::Column;

/// A wish with the other columns looked at.
#[derive(Clone, Debug)]
pub struct Settled {
    /// There is one value only.
    pub value: Option<String>,
    /// Its bounds are drawn closer.
    pub wish: Wish,
    /// All that it is compared with is known.
    pub is_known: bool,
}

/// Looks at the columns that a column is compared with.
pub fn settle(column: &Column, wish: &Wish, look: Look<'_>) -> Settled {
    let mut settled = Settled { value: None, wish: wish.clone(), is_known: true };
    for (operator, expression) in std::mem::take(&mut settled.wish.than) {
        match evaluate(&expression, look) {
            Value::Unknown | Value::Null => settled.is_known = false,
            found if operator == Operator::Equal => {
                settled.value = written(column, &found);
                settled.is_known &= settled.value.is_some();
            }
            found => narrow(&mut settled.wish, operator, &found),
        }
    }
    settled
}

/// What an expression came to, as the column takes it.
pub fn written(column: &Column, found: &Value) -> Option<String> {
    Some(match found {
        Value::Text(text) => match (column.base.as_str(), moment::moment(text)) {
            ("date" | "timestamp" | "timestamptz", Some(micros)) => write(micros, &column.base)?,
            _ => text.clone(),
        },
        Value::Bool(truth) => truth.to_string(),
        Value::Time(micros) => write(*micros, &column.base)?,
        Value::Span(micros) => format!("{} seconds", micros / SECOND),
        Value::Number(number) => {
            let scale = match column.base.as_str() {
                "numeric" if column.modifier >= 4 => ((column.modifier - 4) & 0x7ff).clamp(0, 9),
                "numeric" | "float4" | "float8" => 6,
                _ => 0,
            };
            let unit = (0..scale).fold(1.0, |unit, _| unit * 10.0);
            let whole = (number * unit).round();
            #[allow(clippy::cast_possible_truncation, reason = "checked")]
            let whole = (whole.abs() < 9.0e15).then_some(whole as i64)?;
            super::numbers::with_point(whole, u32::try_from(scale).ok()?)
        }
        Value::Unknown | Value::Null => return None,
    })
}

/// Draws the bounds of a wish closer by what another column came to.
fn narrow(wish: &mut Wish, operator: Operator, found: &Value) {
    let is_strict = matches!(operator, Operator::Less | Operator::Greater);
    let time = match found {
        Value::Time(micros) => Some(*micros),
        Value::Text(text) => match moment::parse(text) {
            Some(moment::Moment::Time(micros) | moment::Moment::Clock(micros)) => Some(micros),
            None => None,
        },
        _ => None,
    };
    let bound = match (time, number(found)) {
        (Some(micros), _) => Bound::Time(micros.div_euclid(SECOND)),
        (None, Some(number)) => Bound::Number(number, is_strict),
        (None, None) => return,
    };
    let tighter = |old: Option<Bound>, is_low: bool| match (old, bound) {
        (Some(Bound::Number(old, strict)), Bound::Number(new, _)) if (old > new) == is_low => {
            Some(Bound::Number(old, strict))
        }
        (Some(Bound::Time(old)), Bound::Time(new)) if (old > new) == is_low => Some(Bound::Time(old)),
        _ => Some(bound),
    };
    match operator {
        Operator::Greater | Operator::AtLeast => wish.low = tighter(wish.low, true),
        Operator::Less | Operator::AtMost => wish.high = tighter(wish.high, false),
        Operator::Unequal => {
            if let Value::Text(text) = found {
                wish.none_of.push(text.clone());
            }
        }
        _ => {}
    }
}
