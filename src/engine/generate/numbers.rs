//! Numbers, times and spans within what is wished. Pure; whole-number arithmetic.

use super::check::{Bound, Wish};
use super::moment::{self, FUTURE, SECOND};
use super::provider::parts;
use super::random::Draw;
use super::schema::Column;
use super::value::Context;

const DAY: i64 = 86_400;

/// A whole number.
pub fn integer(column: &Column, wish: &Wish, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    let most = match column.base.as_str() {
        "int2" => i64::from(i16::MAX),
        "int4" | "oid" => i64::from(i32::MAX),
        _ => i64::MAX,
    };
    let (low, high) = within(wish, usual(&column.name), 0, most)?;
    if let Some(serial) = context.serial {
        let serial = i64::try_from(serial).ok()?;
        let first = bound(wish.low, 0, true).unwrap_or(1);
        let last = bound(wish.high, 0, false).unwrap_or(most);
        return first.checked_add(serial).filter(|number| *number <= last).map(|number| number.to_string());
    }
    let mut number = draw.between(low, high);
    if wish.none_of.contains(&number.to_string()) {
        number = if number < high { number + 1 } else { low };
    }
    Some(number.to_string())
}

/// A number with digits after the point.
pub fn decimal(column: &Column, wish: &Wish, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    let (precision, scale) = match column.base.as_str() {
        "numeric" if column.modifier >= 4 => {
            let modifier = column.modifier - 4;
            // The scale has eleven bits and a sign.
            ((modifier >> 16) & 0xffff, ((modifier & 0x7ff) ^ 1024) - 1024)
        }
        _ => (15, 2),
    };
    let is_tight =
        matches!((wish.low, wish.high), (Some(Bound::Number(a, _)), Some(Bound::Number(b, _))) if b - a <= 1.0);
    let is_place = parts(&column.name)
        .iter()
        .any(|word| matches!(word.as_str(), "lat" | "latitude" | "lng" | "lon" | "longitude"));
    let scale = match column.base.as_str() {
        "numeric" if column.modifier >= 4 => scale,
        _ if is_tight || is_place => 4,
        _ => scale,
    };
    let shown = u32::try_from(scale.clamp(0, 12)).ok()?;
    let unit = 10_i64.checked_pow(shown)?;
    let digits = u32::try_from((precision - scale.max(0) + i32::try_from(shown).ok()?).clamp(1, 17)).ok()?;
    let most = 10_i64.checked_pow(digits)? - 1;
    let (low, high) = usual(&column.name);
    let (low, high) = within(wish, (low.saturating_mul(unit), high.saturating_mul(unit)), shown, most)?;
    let number = match context.serial {
        Some(serial) => {
            let first = bound(wish.low, shown, true).unwrap_or(unit.min(most));
            let last = bound(wish.high, shown, false).unwrap_or(most);
            first.checked_add(i64::try_from(serial).ok()?).filter(|number| *number <= last)?
        }
        None => draw.between(low, high),
    };
    // A negative scale takes whole tens, hundreds...
    if scale < 0 {
        let step = 10_i64.checked_pow(u32::try_from(-scale).ok()?)?;
        return Some((number / step * step).to_string());
    }
    Some(with_point(number, shown))
}

/// `12345` with two digits after the point: `123.45`.
pub fn with_point(number: i64, scale: u32) -> String {
    let unit = 10_i64.pow(scale);
    let sign = if number < 0 { "-" } else { "" };
    let (whole, rest) = (number.unsigned_abs() / unit.unsigned_abs(), number.unsigned_abs() % unit.unsigned_abs());
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:0width$}", width = scale as usize) }
}

/// What numbers of a column of this name usually are.
fn usual(name: &str) -> (i64, i64) {
    let words = parts(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    if has(&["percent", "percentage", "pct", "progress", "score", "discount", "completion"]) {
        (0, 100)
    } else if has(&["rating", "stars", "level", "priority", "severity"]) {
        (1, 5)
    } else if has(&["quantity", "qty", "seats", "attempts", "retries", "guests", "nights", "rooms"]) {
        (1, 20)
    } else if has(&["age"]) {
        (18, 90)
    } else if has(&["year"]) {
        (2000, 2025)
    } else if has(&["month"]) {
        (1, 12)
    } else if has(&["day", "weekday", "hour", "dow"]) {
        (1, 7)
    } else if has(&["lat", "latitude"]) {
        (-60, 60)
    } else if has(&["lng", "lon", "longitude"]) {
        (-120, 120)
    } else if has(&["port"]) {
        (1024, 65_000)
    } else if has(&["rate", "ratio", "factor", "weight", "vat", "tax"]) {
        (1, 30)
    } else if has(&["cents"]) {
        (100, 50_000)
    } else if has(&["duration", "ms", "latency", "size", "bytes", "length"]) {
        (1, 30_000)
    } else if has(&["position", "sort", "order", "rank", "sequence", "ordinal", "index"]) {
        (1, 100)
    } else {
        (1, 1000)
    }
}

/// The range to draw from, in units of the last digit: what is wished, else what is usual.
fn within(wish: &Wish, (low, high): (i64, i64), scale: u32, most: i64) -> Option<(i64, i64)> {
    let span = high.saturating_sub(low);
    let (least, greatest) = (bound(wish.low, scale, true), bound(wish.high, scale, false));
    let (low, high) = match (least, greatest) {
        (None, None) => (low.min(most), high.min(most)),
        // The usual range where it fits, else one as wide beside the bound.
        (Some(least), None) if least <= low => (low.min(most), high.min(most)),
        (Some(least), None) => (least, least.saturating_add(span).min(most)),
        (None, Some(greatest)) if greatest >= low => (low, high.min(greatest)),
        (None, Some(greatest)) => (greatest.saturating_sub(span), greatest),
        (Some(least), Some(greatest)) => (least, greatest.min(most)),
    };
    (low <= high).then_some((low, high))
}

/// A bound in units of the last digit.
#[allow(clippy::cast_possible_truncation, reason = "clamped to what i64 holds exactly")]
fn bound(bound: Option<Bound>, scale: u32, is_low: bool) -> Option<i64> {
    let Some(Bound::Number(number, is_strict)) = bound else { return None };
    let scaled = (0..scale).fold(number, |number, _| number * 10.0).clamp(-9.0e15, 9.0e15);
    // What is a hair from a whole number is that number: 0.29 * 100.
    let near = scaled.round();
    let is_whole = (scaled - near).abs() < 1e-6;
    let at = if is_whole {
        near
    } else if is_low {
        scaled.ceil()
    } else {
        scaled.floor()
    } as i64;
    let step = i64::from(is_strict && is_whole);
    Some(if is_low { at + step } else { at - step })
}

/// A date, a time of day or a timestamp.
pub fn time(column: &Column, wish: &Wish, context: &Context<'_>, draw: &mut Draw) -> Option<String> {
    let base = column.base.as_str();
    let is_clock = base.starts_with("time") && base.len() <= 6;
    let step = if base == "date" { DAY } else { 1 };
    if is_clock {
        let low = clock(wish.low).unwrap_or(6 * 3600);
        let high = clock(wish.high).unwrap_or(DAY - 1).min(DAY - 1);
        let low = if wish.low.is_some() { low + 1 } else { low.min(high) };
        let second = match context.serial {
            Some(serial) => i64::try_from(serial % 86_400).ok()?,
            None if low <= high => draw.between(low / 60, high / 60) * 60,
            None => return None,
        };
        return moment::write(second.max(low).min(DAY - 1) * SECOND, base);
    }
    let now = context.now;
    let at = |bound: Option<Bound>| match bound? {
        Bound::Time(second) => Some(second),
        Bound::Now(_) | Bound::Number(..) => None,
    };
    // A server's clock is later than the fixed "now", and earlier than the far future.
    let least = match wish.low {
        Some(Bound::Now(_)) => Some(FUTURE),
        low => at(low),
    };
    let greatest = match wish.high {
        Some(Bound::Now(_)) => Some(now),
        high => at(high),
    };
    let (usual_low, usual_high) = usual_times(&column.name, now);
    let (low, high) = match (least, greatest) {
        (None, None) => (usual_low, usual_high),
        (Some(least), None) if least + step <= usual_low => (usual_low, usual_high),
        (Some(least), None) => (least + step, least + step + 90 * DAY),
        (None, Some(greatest)) if greatest > usual_low + DAY => (usual_low, usual_high.min(greatest - step)),
        (None, Some(greatest)) => (greatest - 365 * DAY, greatest - step),
        (Some(least), Some(greatest)) if greatest - least > 2 * step => (least + step, greatest - step),
        (Some(least), Some(_)) => (least, least),
    };
    if low > high {
        return None;
    }
    let second = match context.serial {
        // Side by side, seven minutes apart; dates four days.
        Some(serial) => {
            let far = i64::try_from(serial).ok()?.checked_mul(if base == "date" { 4 * DAY } else { 420 })?;
            // Between bounds it goes round.
            low + if greatest.is_some() { far % (high - low + 1) / step * step } else { far }
        }
        None => draw.between(low, high),
    };
    moment::write(second * SECOND, base)
}

fn clock(bound: Option<Bound>) -> Option<i64> {
    match bound? {
        Bound::Time(second) => Some(second.rem_euclid(DAY)),
        #[allow(clippy::cast_possible_truncation, reason = "seconds of a day")]
        Bound::Number(second, _) => Some(second as i64),
        Bound::Now(_) => None,
    }
}

fn usual_times(name: &str, now: i64) -> (i64, i64) {
    let words = parts(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    if has(&["birth", "birthday", "birthdate", "born", "dob"]) {
        (now - 70 * 365 * DAY, now - 18 * 365 * DAY)
    } else if has(&[
        "expires",
        "expiry",
        "expire",
        "due",
        "deadline",
        "ends",
        "end",
        "until",
        "next",
        "renewal",
        "scheduled",
        "to",
    ]) {
        (now, now + 365 * DAY)
    } else if has(&["updated", "modified", "last", "finished", "completed", "closed", "delivered", "paid"]) {
        (now - 180 * DAY, now - DAY)
    } else {
        (now - 730 * DAY, now - 181 * DAY)
    }
}

/// A span of time: `08:30:00`.
pub fn span(wish: &Wish, context: &Context<'_>, draw: &mut Draw) -> String {
    let _ = wish;
    let minutes = match context.serial {
        Some(serial) => serial + 1,
        None => 15 * (1 + draw.below(40)),
    };
    format!("{:02}:{:02}:00", minutes / 60, minutes % 60)
}
