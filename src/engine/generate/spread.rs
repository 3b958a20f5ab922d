//! Values as a `[generate.columns]` block asks for them. Pure.

use super::check::Wish;
use super::evaluate::Look;
use super::moment::{self, SECOND, write};
use super::numbers::with_point;
use super::options::{ColumnOptions, Distribution};
use super::provider::{self, PROVIDERS};
use super::random::Draw;
use super::schema::Column;
use super::value::{Context, value};

/// A value for the column as its options ask; none: they say nothing of it.
pub fn value_of(column: &Column, options: &ColumnOptions, draw: &mut Draw) -> Option<String> {
    if options.values.is_empty() {
        return None;
    }
    let count = options.values.len();
    let index = if options.weights.is_empty() {
        index(options.distribution, count as u64, draw)
    } else {
        draw.weighted(&options.weights)
    };
    let _ = column;
    options.values.get(index).cloned()
}

/// As [`value_of`], with ranges and templates.
pub fn value_in(
    column: &Column,
    options: &ColumnOptions,
    context: &Context<'_>,
    look: Look<'_>,
    draw: &mut Draw,
) -> Option<String> {
    if let Some(text) = value_of(column, options, draw) {
        return Some(text);
    }
    if let Some((low, high)) = &options.range {
        return between(column, low, high, options.distribution, draw);
    }
    if let Some(template) = &options.template {
        return Some(fill(template, column, context, look, draw));
    }
    let provider = options.provider?;
    let is_text = matches!(column.base.as_str(), "text" | "varchar" | "bpchar" | "citext" | "");
    if is_text && column.modifier < 4 {
        return Some(provider::text(provider, context.serial, draw));
    }
    value(column, &Wish::default(), &Context { provider: Some(provider), ..*context }, draw)
}

fn index(distribution: Distribution, count: u64, draw: &mut Draw) -> usize {
    let last = i64::try_from(count).unwrap_or(i64::MAX) - 1;
    let index = match distribution {
        Distribution::Uniform => draw.below(count),
        Distribution::Zipf => draw.zipf(count),
        Distribution::Normal => u64::try_from(draw.normal(0, last)).unwrap_or(0),
    };
    usize::try_from(index).unwrap_or(0)
}

/// One of the whole steps between two numbers, dates or times.
pub fn between(column: &Column, low: &str, high: &str, distribution: Distribution, draw: &mut Draw) -> Option<String> {
    let drawn = |low: i64, high: i64, draw: &mut Draw| match distribution {
        Distribution::Uniform => draw.between(low, high),
        Distribution::Normal => draw.normal(low, high),
        Distribution::Zipf => {
            let count = u64::try_from(i128::from(high) - i128::from(low) + 1).unwrap_or(u64::MAX);
            low.saturating_add(i64::try_from(draw.zipf(count)).unwrap_or(0))
        }
    };
    if let (Some(low), Some(high)) = (moment::moment(low), moment::moment(high)) {
        let step = if column.base == "date" { moment::DAY } else { SECOND };
        return write(drawn(low / step, high / step, draw) * step, &column.base);
    }
    let scale = u32::try_from(decimals(low).max(decimals(high)).max(own_scale(column))).ok()?;
    let (low, high) = (scaled(low, scale)?, scaled(high, scale)?);
    (low <= high).then(|| with_point(drawn(low, high, draw), scale))
}

fn own_scale(column: &Column) -> usize {
    match column.base.as_str() {
        "numeric" if column.modifier >= 4 => usize::try_from((column.modifier - 4) & 0x7ff).unwrap_or(0).min(9),
        "numeric" | "float4" | "float8" | "money" => 2,
        _ => 0,
    }
}

fn decimals(text: &str) -> usize {
    text.split_once('.').map_or(0, |(_, rest)| rest.len().min(9))
}

/// A number in units of its last digit; exact.
fn scaled(text: &str, scale: u32) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let mut number: i64 = whole.parse().ok()?;
    for at in 0..scale as usize {
        let digit = rest.as_bytes().get(at).map_or(0, |byte| i64::from(byte - b'0'));
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    Some(sign * number)
}

/// Puts the row's number, other columns and providers in their places: `{row}`, `{email}`, `{first_name}`.
fn fill(template: &str, column: &Column, context: &Context<'_>, look: Look<'_>, draw: &mut Draw) -> String {
    let mut text = String::with_capacity(template.len() + 16);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            text.push('{');
            rest = after;
            continue;
        };
        if name == "row" {
            text.push_str(&(context.index + 1).to_string());
        } else if let Some(value) = look(name).filter(|_| name != column.name) {
            text.push_str(&value.unwrap_or_default());
        } else if let Some((_, provider)) = PROVIDERS.iter().find(|(known, _)| *known == name) {
            text.push_str(&provider::text(*provider, None, draw));
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Whether a text is a bound that ranges know: a number, a date or a time.
pub fn is_bound(text: &str) -> bool {
    moment::moment(text).is_some() || scaled(text, 0).is_some()
}
