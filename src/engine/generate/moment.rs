//! Times without a clock: texts to microseconds since 1970 and back. Pure.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

/// Microseconds of a second.
pub const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub const DAY: i64 = 86_400 * SECOND;
/// "Now" of generated data where nothing else is said: 2025-01-01T00:00:00Z, in seconds. It never changes:
/// the same seed number must give the same bytes next year.
pub const EPOCH: i64 = 1_735_689_600;
/// What is later than any server's clock: 2090-01-01T00:00:00Z, in seconds.
pub const FUTURE: i64 = 3_786_912_000;

/// What a text of a time says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Microseconds since 1970, zones resolved, UTC where there is none.
    Time(i64),
    /// Microseconds since midnight.
    Clock(i64),
}

/// Reads a date, a timestamp with or without zone, or a time of day, as PostgreSQL and ISO 8601 write them.
pub fn parse(text: &str) -> Option<Moment> {
    let text = text.trim();
    let bytes = text.as_bytes();
    if bytes.len() >= 8 && bytes.get(2) == Some(&b':') && bytes.get(5) == Some(&b':') {
        let time: Time = text.get(..text.find(['+', '-']).unwrap_or(text.len()))?.parse().ok()?;
        let nanos = time.duration_since(Time::midnight()).as_nanos();
        return i64::try_from(nanos / 1000).ok().map(Moment::Clock);
    }
    if bytes.len() < 10 || bytes.get(4) != Some(&b'-') {
        return None;
    }
    let date: Date = text.get(..10)?.parse().ok()?;
    let rest = text.get(10..)?.trim_start_matches(['T', ' ']);
    if rest.is_empty() {
        return micros(date.to_datetime(Time::midnight()), 0).map(Moment::Time);
    }
    let zone = rest.find(['+', '-', 'Z']).unwrap_or(rest.len());
    let time: Time = rest.get(..zone)?.parse().ok()?;
    let offset = match rest.get(zone..)? {
        "" | "Z" => 0,
        zone => {
            let (sign, digits) = zone.split_at(1);
            let mut parts = digits.split(':').map(|part| part.parse::<i64>().ok());
            let hours = parts.next()??;
            let minutes = parts.next().unwrap_or(Some(0))?;
            (if sign == "-" { -1 } else { 1 }) * (hours * 3600 + minutes * 60)
        }
    };
    micros(date.to_datetime(time), offset).map(Moment::Time)
}

fn micros(at: DateTime, offset: i64) -> Option<i64> {
    let zoned = at.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_microsecond() - offset * SECOND)
}

/// Microseconds since 1970 of a date or timestamp.
pub fn moment(text: &str) -> Option<i64> {
    match parse(text)? {
        Moment::Time(micros) => Some(micros),
        Moment::Clock(_) => None,
    }
}

/// Microseconds of an interval as PostgreSQL prints it: `1 day 02:00:00`, `3 mons`, `30 minutes`, `P1DT2H`. A month
/// has 30 days.
pub fn interval(text: &str) -> Option<i64> {
    if let Some(rest) = text.strip_prefix('P') {
        return iso(rest);
    }
    let mut total = 0_i64;
    let mut words = text.split_whitespace();
    let mut is_any = false;
    while let Some(word) = words.next() {
        is_any = true;
        if word.contains(':') {
            let (sign, clock) = word.strip_prefix('-').map_or((1, word), |rest| (-1, rest));
            let mut parts = clock.split(':');
            let hours: i64 = parts.next()?.parse().ok()?;
            let minutes: i64 = parts.next()?.parse().ok()?;
            let seconds: i64 = parts.next().unwrap_or("0").split('.').next()?.parse().ok()?;
            total += sign * ((hours * 60 + minutes) * 60 + seconds) * SECOND;
            continue;
        }
        let count: i64 = word.parse().ok()?;
        let unit = match words.next()?.trim_end_matches('s') {
            "microsecond" => 1,
            "second" | "sec" => SECOND,
            "minute" | "min" => 60 * SECOND,
            "hour" => 3600 * SECOND,
            "day" => DAY,
            "week" => 7 * DAY,
            "mon" | "month" => 30 * DAY,
            "year" => 365 * DAY,
            _ => return None,
        };
        total += count * unit;
    }
    is_any.then_some(total)
}

/// `1DT2H30M`: an interval of ISO 8601 without its P.
fn iso(text: &str) -> Option<i64> {
    let (mut total, mut number, mut is_time, mut is_any) = (0_i64, String::new(), false, false);
    for c in text.chars() {
        if c == 'T' {
            is_time = true;
            continue;
        }
        if c.is_ascii_digit() || c == '-' || c == '.' {
            number.push(c);
            continue;
        }
        let unit = match (c, is_time) {
            ('Y', _) => 365 * DAY,
            ('M', false) => 30 * DAY,
            ('W', _) => 7 * DAY,
            ('D', _) => DAY,
            ('H', _) => 3600 * SECOND,
            ('M', true) => 60 * SECOND,
            ('S', _) => SECOND,
            _ => return None,
        };
        let count: i64 = number.split('.').next()?.parse().ok()?;
        total += count * unit;
        number.clear();
        is_any = true;
    }
    (is_any && number.is_empty()).then_some(total)
}

/// Writes a moment as a column of the type takes it: `2024-01-31 10:00:00+00`.
pub fn write(micros: i64, base: &str) -> Option<String> {
    let time = Timestamp::from_microsecond(micros).ok()?.to_zoned(TimeZone::UTC).datetime();
    let date = format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day());
    let mut clock = format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    let fraction = micros.rem_euclid(SECOND);
    if fraction > 0 {
        clock.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    Some(match base {
        "date" => date,
        "time" => clock,
        "timetz" => format!("{clock}+00"),
        "timestamp" => format!("{date} {clock}"),
        _ => format!("{date} {clock}+00"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, base) in
            [("2024-01-31 10:00:00+00", "timestamptz"), ("2024-02-29", "date"), ("1969-12-31 23:59:59.5", "timestamp")]
        {
            assert_eq!(write(moment(text).expect(text), base).as_deref(), Some(text));
        }
        assert_eq!(moment("2024-01-31T12:00:00+02"), moment("2024-01-31 10:00:00"));
        assert_eq!(parse("08:30:00"), Some(Moment::Clock(30_600 * SECOND)));
        assert_eq!(interval("1 day 02:00:00"), Some(DAY + 7200 * SECOND));
        assert_eq!(interval("3 mons"), Some(90 * DAY));
        assert_eq!(
            (interval("P1DT2H"), interval("PT1H"), interval("P60D")),
            (Some(DAY + 7200 * SECOND), Some(3600 * SECOND), Some(60 * DAY))
        );
        assert_eq!((moment("nothing"), interval("blue")), (None, None));
        assert_eq!(moment("2025-01-01"), Some(EPOCH * SECOND));
    }
}
