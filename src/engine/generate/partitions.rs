//! What a partition asks of its rows: reads the bounds that PostgreSQL prints. Pure.

use super::check::{Bound, Wish, Wishes, join};
use super::expression::{Expression, parse};
use super::moment::{SECOND, moment};
use super::schema::Leaf;

/// The wishes of a row that goes into the partition; none where the bounds are not understood, empty where
/// they ask nothing.
pub fn wishes(leaf: &Leaf) -> Option<Wishes> {
    let mut all = Wishes::new();
    for (key, bound) in &leaf.levels {
        all = join(&all, &level(key, bound)?)?;
    }
    Some(all)
}

fn level(key: &str, bound: &str) -> Option<Wishes> {
    let (kind, columns) = key.split_once(' ')?;
    let columns: Vec<Option<String>> = split(columns.strip_prefix('(')?.strip_suffix(')')?)
        .iter()
        .map(|text| match parse(text.split(" COLLATE").next().unwrap_or(text), None) {
            Some(expression) => match expression.columns().as_slice() {
                // `date_trunc('month', at)` lies where `at` lies.
                [column] if kind.eq_ignore_ascii_case("range") || matches!(expression, Expression::Column(_)) => {
                    Some((*column).to_owned())
                }
                _ => None,
            },
            None => None,
        })
        .collect();
    if bound == "DEFAULT" || kind.eq_ignore_ascii_case("hash") {
        return Some(Wishes::new());
    }
    let bound = bound.strip_prefix("FOR VALUES ")?;
    if let Some(list) = bound.strip_prefix("IN (") {
        let texts: Vec<String> = split(list.strip_suffix(')')?).iter().filter_map(|text| constant(text)).collect();
        let column = columns.first()?.clone()?;
        let wish = if texts.is_empty() {
            Wish { is_null: Some(true), ..Wish::default() }
        } else {
            Wish { one_of: Some(texts), is_null: Some(false), ..Wish::default() }
        };
        return Some(Wishes::from([(column, wish)]));
    }
    let (from, to) = bound.strip_prefix("FROM (")?.split_once(") TO (")?;
    let (from, to) = (split(from), split(to.strip_suffix(')')?));
    let mut wishes = Wishes::new();
    for ((column, low), high) in columns.iter().zip(&from).zip(&to) {
        if low == high && constant(low).is_some() {
            let wish = Wish { one_of: Some(vec![constant(low)?]), is_null: Some(false), ..Wish::default() };
            wishes.insert(column.clone()?, wish);
            continue;
        }
        let mut wish = Wish { is_null: Some(false), ..Wish::default() };
        let ends = |text: &str, is_strict: bool| {
            let text = constant(text)?;
            let number = text.parse().ok().map(|number| Bound::Number(number, is_strict));
            number.or_else(|| moment(&text).map(|micros| Bound::Time(micros / SECOND)))
        };
        wish.low = ends(low, false);
        wish.high = ends(high, true);
        if wish.low.is_none() && wish.high.is_none() {
            // Texts: what begins with the lower bound lies behind it.
            wish.like = constant(low).map(|text| format!("{text}%"));
            if wish.like.is_none() && constant(high).is_some() {
                return None;
            }
        }
        wishes.insert(column.clone()?, wish);
        // The columns behind it are free once the first one lies between its bounds.
        break;
    }
    Some(wishes)
}

/// A constant, unquoted; none for MINVALUE, MAXVALUE and NULL.
fn constant(text: &str) -> Option<String> {
    let text = text.trim();
    if matches!(text, "MINVALUE" | "MAXVALUE" | "NULL") {
        return None;
    }
    match parse(text, None) {
        Some(Expression::Constant(text)) => Some(text),
        _ => None,
    }
}

/// Cuts at commas outside quotes and parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quote) = (vec![String::new()], 0_i32, None);
    for c in text.chars() {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('(', None) => depth += 1,
            (')', None) => depth -= 1,
            (',', None) if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(levels: &[(&str, &str)]) -> Option<Wishes> {
        let levels = levels.iter().map(|(key, bound)| ((*key).to_owned(), (*bound).to_owned())).collect();
        wishes(&Leaf { name: "p".into(), levels })
    }

    #[test]
    fn bounds_become_wishes() {
        let month = ("RANGE (\"at\")", "FOR VALUES FROM ('2024-01-01 00:00:00+00') TO ('2024-02-01 00:00:00+00')");
        let found = of(&[month, ("LIST (kind)", "FOR VALUES IN ('a', 'b,c', NULL)")]).expect("wishes");
        assert!(matches!(found["at"].low, Some(Bound::Time(1_704_067_200))));
        assert_eq!(found["kind"].one_of.as_deref(), Some(["a".to_owned(), "b,c".to_owned()].as_slice()));
        let found = of(&[("RANGE (id)", "FOR VALUES FROM (MINVALUE) TO (1000)")]).expect("wishes");
        assert_eq!((found["id"].low, found["id"].high), (None, Some(Bound::Number(1000.0, true))));
        let found = of(&[("RANGE (a, b)", "FOR VALUES FROM (1, 10) TO (1, 20)")]).expect("wishes");
        assert_eq!(
            (found["a"].one_of.as_ref().map(Vec::len), found["b"].low),
            (Some(1), Some(Bound::Number(10.0, false)))
        );
        assert_eq!(of(&[("HASH (id)", "FOR VALUES WITH (modulus 4, remainder 0)")]), Some(Wishes::new()));
        assert_eq!(of(&[("LIST (kind)", "DEFAULT")]), Some(Wishes::new()));
        let found =
            of(&[("RANGE (date_trunc('month'::text, at))", "FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')")]);
        assert!(found.expect("wishes")["at"].low.is_some());
    }
}
