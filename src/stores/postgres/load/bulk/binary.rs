//! Rows in the binary form of COPY: the server need not read numbers, times and ids from texts. What is
//! written in a way that is not plain to see is left to the server: see [`Kind::write`].

use serde_json::Value as Json;

use crate::stores::postgres::load::describe::Column;
use crate::stores::source::Cell;

/// A type whose binary form is written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Texts, names of enums, json: bytes as they are.
    Bytes,
    /// A JSON document; a text of a JSON source is quoted.
    Json,
    /// A version before the text.
    Jsonb,
    /// Two, four or eight bytes.
    Integer(u8),
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// Digits in groups of four.
    Numeric,
    /// One byte.
    Bool,
    /// Sixteen bytes.
    Uuid,
    /// Days since 2000.
    Date,
    /// Microseconds since 2000, without or with a time zone.
    Timestamp(bool),
    /// Bytes as `\x...`.
    Bytea,
}

impl Kind {
    /// The form of a column; none where only the server can read its texts.
    pub fn of(column: &Column) -> Option<Self> {
        if column.is_array || column.is_composite {
            return None;
        }
        Some(match column.kind.as_str() {
            "text" | "varchar" | "bpchar" | "enum" => Self::Bytes,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            "int2" => Self::Integer(2),
            "int4" => Self::Integer(4),
            "int8" => Self::Integer(8),
            "float4" => Self::Float,
            "float8" => Self::Double,
            "numeric" => Self::Numeric,
            "bool" => Self::Bool,
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp(false),
            "timestamptz" => Self::Timestamp(true),
            "bytea" => Self::Bytea,
            _ => return None,
        })
    }

    /// Adds a value: its length and its bytes. None where the text is not in the one plain form: the server
    /// decides then what it means, if anything.
    pub fn write(self, cell: Cell<'_>, has_json_texts: bool, out: &mut Vec<u8>) -> Option<()> {
        let (text, is_text) = match cell {
            Cell::Null => {
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                return Some(());
            }
            Cell::Text(text) => (text, true),
            Cell::Json(text) => (text, false),
        };
        match self {
            Self::Bytes => sized(text.as_bytes(), out),
            Self::Json | Self::Jsonb => {
                let quoted = (is_text && has_json_texts).then(|| Json::from(text).to_string());
                let text = quoted.as_deref().unwrap_or(text);
                let version: &[u8] = if self == Self::Jsonb { &[1] } else { &[] };
                out.extend_from_slice(&i32::try_from(text.len() + version.len()).ok()?.to_be_bytes());
                out.extend_from_slice(version);
                out.extend_from_slice(text.as_bytes());
                Some(())
            }
            Self::Integer(width) => {
                let number: i64 = plain_number(text, false).then(|| text.parse().ok())??;
                match width {
                    2 => sized(&i16::try_from(number).ok()?.to_be_bytes(), out),
                    4 => sized(&i32::try_from(number).ok()?.to_be_bytes(), out),
                    _ => sized(&number.to_be_bytes(), out),
                }
            }
            Self::Float => {
                let number: f32 = plain_number(text, true).then(|| text.parse().ok())??;
                // What is too large or too small is refused by the server.
                (number.is_finite() && (number != 0.0 || is_zero(text))).then_some(())?;
                sized(&number.to_be_bytes(), out)
            }
            Self::Double => {
                let number: f64 = plain_number(text, true).then(|| text.parse().ok())??;
                (number.is_finite() && (number != 0.0 || is_zero(text))).then_some(())?;
                sized(&number.to_be_bytes(), out)
            }
            Self::Numeric => numeric(text, out),
            Self::Bool => {
                let value = match text {
                    "t" | "true" | "1" => 1,
                    "f" | "false" | "0" => 0,
                    _ => return None,
                };
                sized(&[value], out)
            }
            Self::Uuid => {
                matches!(text.len(), 32 | 36).then_some(())?;
                sized(uuid::Uuid::try_parse(text).ok()?.as_bytes(), out)
            }
            Self::Date => {
                let (days, rest) = date(text.as_bytes())?;
                rest.is_empty().then_some(())?;
                sized(&i32::try_from(days).ok()?.to_be_bytes(), out)
            }
            Self::Timestamp(has_zone) => sized(&timestamp(text.as_bytes(), has_zone)?.to_be_bytes(), out),
            Self::Bytea => {
                let digits = text.strip_prefix("\\x")?.as_bytes();
                (digits.len() % 2 == 0).then_some(())?;
                out.extend_from_slice(&i32::try_from(digits.len() / 2).ok()?.to_be_bytes());
                for pair in digits.chunks_exact(2) {
                    out.push((nibble(pair[0])? << 4) | nibble(pair[1])?);
                }
                Some(())
            }
        }
    }
}

fn nibble(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&i32::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

fn is_zero(text: &str) -> bool {
    text.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).all(|byte| matches!(byte, b'0' | b'.' | b'-' | b'+'))
}

/// `-12`, and with a fraction or an exponent where those are allowed.
fn plain_number(text: &str, may_float: bool) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_digit() || (may_float && matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    digits.first().is_some_and(u8::is_ascii_digit) && digits.iter().all(is_part)
}

/// The sign, weight and scale, then digits of base 10,000.
fn numeric(text: &str, out: &mut Vec<u8>) -> Option<()> {
    let (is_negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &digits[digits.len()..]),
    };
    let all = || whole.iter().chain(fraction);
    if whole.is_empty() || (point.is_some() && fraction.is_empty()) || digits.len() > 1000 {
        return None;
    }
    if !all().all(u8::is_ascii_digit) {
        return None;
    }
    let at = out.len();
    out.extend_from_slice(&[0; 12]);
    let value = |byte: &u8| i16::from(byte - b'0');
    let mut weight = i16::try_from(whole.len().div_ceil(4)).ok()? - 1;
    let mut count = 0_i16;
    // Groups of four from the point to both sides; zeros at both ends are left out.
    let mut kept = out.len();
    let mut push = |group: i16, out: &mut Vec<u8>| {
        if count == 0 && group == 0 {
            weight -= 1;
            return;
        }
        out.extend_from_slice(&group.to_be_bytes());
        count += 1;
        if group != 0 {
            kept = out.len();
        }
    };
    let first = whole.len() % 4;
    if first > 0 {
        push(whole[..first].iter().fold(0, |sum, byte| sum * 10 + value(byte)), out);
    }
    for group in whole[first..].chunks(4) {
        push(group.iter().fold(0, |sum, byte| sum * 10 + value(byte)), out);
    }
    for group in fraction.chunks(4) {
        let sum = group.iter().fold(0, |sum, byte| sum * 10 + value(byte));
        push(sum * 10_i16.pow(u32::try_from(4 - group.len()).ok()?), out);
    }
    out.truncate(kept);
    let count = i16::try_from((kept - at - 12) / 2).ok()?;
    let sign: u16 = if is_negative && count > 0 { 0x4000 } else { 0 };
    let weight = if count == 0 { 0 } else { weight };
    let length = i32::try_from(kept - at - 4).ok()?;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    out[at + 4..at + 6].copy_from_slice(&count.to_be_bytes());
    out[at + 6..at + 8].copy_from_slice(&weight.to_be_bytes());
    out[at + 8..at + 10].copy_from_slice(&sign.to_be_bytes());
    out[at + 10..at + 12].copy_from_slice(&i16::try_from(fraction.len()).ok()?.to_be_bytes());
    Some(())
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// `2025-11-01`: days since 2000-01-01, and what follows.
fn date(text: &[u8]) -> Option<(i64, &[u8])> {
    if text.len() < 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > last {
        return None;
    }
    // Days by eras of 400 years that begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    // 2000-01-01 is day 730425 from 0000-03-01.
    Some((days - 730_425, &text[10..]))
}

/// Microseconds since 2000; a time without a zone is in UTC.
fn timestamp(text: &[u8], has_zone: bool) -> Option<i64> {
    let (days, rest) = date(text)?;
    let mut micros = days * 86_400_000_000;
    let [b' ' | b'T', rest @ ..] = rest else { return rest.is_empty().then_some(micros) };
    if rest.len() < 8 || rest[2] != b':' || rest[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(&rest[..2])?, number(&rest[3..5])?, number(&rest[6..8])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    micros += ((hour * 60 + minute) * 60 + second) * 1_000_000;
    let mut rest = &rest[8..];
    if let [b'.', after @ ..] = rest {
        let count = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 || count > 6 {
            return None;
        }
        micros += number(&after[..count])? * 10_i64.pow(u32::try_from(6 - count).ok()?);
        rest = &after[count..];
    }
    if rest.is_empty() {
        return Some(micros);
    }
    if !has_zone {
        return None;
    }
    let offset = match rest {
        [b'Z'] => 0,
        [sign @ (b'+' | b'-'), zone @ ..] => {
            let (hours, minutes) = match zone.len() {
                2 => (number(zone)?, 0),
                4 => (number(&zone[..2])?, number(&zone[2..])?),
                5 if zone[2] == b':' => (number(&zone[..2])?, number(&zone[3..])?),
                _ => return None,
            };
            if hours > 15 || minutes > 59 {
                return None;
            }
            let offset = (hours * 60 + minutes) * 60_000_000;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(micros - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(kind: Kind, text: &str) -> Option<String> {
        let mut out = Vec::new();
        kind.write(Cell::Text(text), false, &mut out)?;
        Some(out.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// As `pg_catalog.numeric_send` and its kin answer them, each behind its length.
    #[test]
    fn values_are_what_the_server_would_send() {
        let table: [(Kind, &str, &str); 24] = [
            (Kind::Integer(4), "-2", "00000004fffffffe"),
            (Kind::Integer(2), "7", "000000020007"),
            (Kind::Numeric, "0", "000000080000000000000000"),
            (Kind::Numeric, "0.00", "000000080000000000000002"),
            (Kind::Numeric, "1", "0000000a00010000000000000001"),
            (Kind::Numeric, "-12345.678", "0000000e000300014000000300010929 1a7c"),
            (Kind::Numeric, "0.0001", "0000000a0001ffff000000040001"),
            (Kind::Numeric, "0.00001", "0000000a0001fffe0000000503e8"),
            (Kind::Numeric, "10000", "0000000a00010001000000000001"),
            (Kind::Numeric, "19.99", "0000000c00020000000000020013 26ac"),
            (Kind::Bool, "true", "0000000101"),
            (Kind::Bool, "f", "0000000100"),
            (Kind::Date, "2000-01-01", "0000000400000000"),
            (Kind::Date, "1999-12-31", "00000004ffffffff"),
            (Kind::Date, "2024-02-29", "00000004 00002279"),
            (Kind::Timestamp(true), "2000-01-01T00:00:00Z", "000000080000000000000000"),
            (Kind::Timestamp(true), "2000-01-01 02:00:00.5+02", "0000000800000000 0007a120"),
            (Kind::Timestamp(false), "2000-01-01 00:00:01", "00000008 00000000000f4240"),
            (Kind::Timestamp(false), "1999-12-31 23:59:59.999999", "00000008ffffffffffffffff"),
            (Kind::Uuid, "00000000-0000-0000-0000-0000000000ff", "00000010000000000000000000000000000000ff"),
            (Kind::Bytea, "\\x00Ff", "0000000200ff"),
            (Kind::Jsonb, "{}", "00000003017b7d"),
            (Kind::Double, "1.5", "000000083ff8000000000000"),
            (Kind::Bytes, "é", "00000002c3a9"),
        ];
        for (kind, text, wanted) in table {
            assert_eq!(hex(kind, text).as_deref(), Some(wanted.replace(' ', "").as_str()), "{kind:?} {text}");
        }
    }

    #[test]
    fn what_is_not_plain_is_the_servers_to_read() {
        let table = [
            (Kind::Integer(2), "40000"),
            (Kind::Integer(4), " 1"),
            (Kind::Integer(8), "1.0"),
            (Kind::Integer(4), ""),
            (Kind::Double, "NaN"),
            (Kind::Double, "1e400"),
            (Kind::Double, "1e-400"),
            (Kind::Numeric, "1e5"),
            (Kind::Numeric, "NaN"),
            (Kind::Numeric, "."),
            (Kind::Numeric, "1_000"),
            (Kind::Bool, "yes"),
            (Kind::Date, "2023-02-29"),
            (Kind::Date, "01/02/2024"),
            (Kind::Timestamp(true), "2024-01-01T24:00:00Z"),
            (Kind::Timestamp(true), "infinity"),
            (Kind::Timestamp(true), "2024-01-01 10:00:00.1234567"),
            (Kind::Timestamp(true), "2024-01-01 10:00:00 Europe/Berlin"),
            (Kind::Timestamp(false), "2024-01-01 10:00:00+01"),
            (Kind::Uuid, "{00000000-0000-0000-0000-0000000000ff}"),
            (Kind::Bytea, "abc"),
        ];
        for (kind, text) in table {
            assert_eq!(hex(kind, text), None, "{kind:?} {text}");
        }
    }
}
