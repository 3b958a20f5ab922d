//! What a step expects, as it is written.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::place::{Source, refuse};
use super::{Amount, Claim, Expect, Expected, Is, Path};
use crate::config::Period;
use crate::error::{Error, Place, Result};

/// `expect = { ... }`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawExpect {
    rows: Option<RawAmount>,
    value: Option<toml::Value>,
    #[serde(default)]
    json: Vec<RawClaim>,
    error: Option<toml::Value>,
    pub ttl: Option<Spanned<String>>,
    within: Option<Spanned<String>>,
}

/// `3` or `"1.."`, `"1..5"`, `"..5"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawAmount {
    Exactly(u64),
    Between(String),
}

/// `{ path = "$.rows[*].id", count = 3 }`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    path: Spanned<String>,
    exists: Option<bool>,
    equals: Option<toml::Value>,
    not: Option<toml::Value>,
    contains: Option<toml::Value>,
    matches: Option<Spanned<String>>,
    count: Option<RawAmount>,
    min: Option<f64>,
    max: Option<f64>,
}

impl RawExpect {
    /// Nothing but an error may be expected beside an error.
    pub fn has_more_than_error(&self) -> bool {
        self.rows.is_some() || self.value.is_some() || !self.json.is_empty()
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, at its place, or the step's.
    pub fn read(self, source: Source<'_>, step: &Place) -> Result<Expect> {
        let wrong = |why: String, place: Place| refuse("an expectation cannot be read", place).why(why);
        let ttl = match &self.ttl {
            None => None,
            Some(ttl) => {
                let at = || source.place(ttl);
                let unusable = || wrong("a range is needed".into(), at()).hint("ttl = \"1s..24h\"");
                let (low, high) = ttl.get_ref().split_once("..").ok_or_else(unusable)?;
                let low = period(low).map_err(|why| wrong(why, at()))?;
                let high = period(high).map_err(|why| wrong(why, at()))?;
                if low > high {
                    return Err(unusable());
                }
                Some((low, high))
            }
        };
        let within = match &self.within {
            None => None,
            Some(within) => Some(period(within.get_ref()).map_err(|why| wrong(why, source.place(within)))?),
        };
        let error = match self.error {
            None => None,
            Some(toml::Value::String(error)) if !error.is_empty() => Some(error),
            Some(toml::Value::Integer(error)) => Some(error.to_string()),
            Some(_) => return Err(wrong("`error` is a code or a part of a message".into(), step.clone())),
        };
        let value = match self.value {
            None => None,
            Some(toml::Value::Table(paths)) => {
                let mut at = Vec::new();
                for (path, value) in paths {
                    let path = Path::parse(&path).map_err(|why| wrong(why, step.clone()))?;
                    at.push((path, json(value)));
                }
                Some(Expected::At(at))
            }
            Some(value) => Some(Expected::First(json(value))),
        };
        let rows = self.rows.map(|rows| amount(rows).map_err(|why| wrong(why, step.clone()))).transpose()?;
        let claims = self.json.into_iter().map(|raw| claim(source, raw)).collect::<Result<_>>()?;
        Ok(Expect { rows, value, json: claims, error, ttl, within })
    }
}

fn claim(source: Source<'_>, raw: RawClaim) -> Result<Claim> {
    let at = source.place(&raw.path);
    let wrong = |why: String, place: Place| refuse("an expectation cannot be read", place).why(why);
    let path = Path::parse(raw.path.get_ref()).map_err(|why| wrong(why, at.clone()))?;
    let mut is = Vec::new();
    is.extend(raw.exists.map(Is::There));
    is.extend(raw.equals.map(|value| Is::Equal(json(value))));
    is.extend(raw.not.map(|value| Is::Unequal(json(value))));
    is.extend(raw.contains.map(|value| Is::Holding(json(value))));
    if let Some(pattern) = &raw.matches {
        let regex = Regex::new(pattern.get_ref()).map_err(|error| {
            let why = error.to_string().lines().last().unwrap_or_default().to_owned();
            wrong(why, source.place(pattern))
        })?;
        is.push(Is::Like(Box::new(regex)));
    }
    if let Some(count) = raw.count {
        is.push(Is::Counting(amount(count).map_err(|why| wrong(why, at.clone()))?));
    }
    is.extend(raw.min.map(Is::Least));
    is.extend(raw.max.map(Is::Most));
    if is.is_empty() {
        return Err(wrong(format!("nothing is said of `{path}`"), at)
            .hint("exists, equals, not, contains, matches, count, min or max"));
    }
    Ok(Claim { path, is })
}

fn amount(raw: RawAmount) -> Result<Amount, String> {
    let text = match raw {
        RawAmount::Exactly(count) => return Ok(Amount { low: count, high: count }),
        RawAmount::Between(text) => text,
    };
    let wrong = || format!("`{text}` is no number of things; write it like `3`, `\"1..\"` or `\"1..5\"`");
    let number = |part: &str, otherwise: u64| match part.trim() {
        "" => Ok(otherwise),
        part => part.parse().map_err(|_| wrong()),
    };
    let (low, high) = text.split_once("..").ok_or_else(wrong)?;
    let amount = Amount { low: number(low, 0)?, high: number(high, u64::MAX)? };
    if amount.low > amount.high || text.trim() == ".." { Err(wrong()) } else { Ok(amount) }
}

/// A length of time.
///
/// # Errors
/// That it is none.
pub fn period(text: &str) -> Result<std::time::Duration, String> {
    text.trim().parse::<Period>().map(Period::duration)
}

/// A length of time that stands in a file.
///
/// # Errors
/// That it is none, at its place.
pub fn period_at(source: Source<'_>, text: &Spanned<String>) -> Result<std::time::Duration, Error> {
    period(text.get_ref()).map_err(|why| refuse("a length of time cannot be read", source.place(text)).why(why))
}

/// A value of TOML as JSON.
pub fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(json).collect()),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect()),
    }
}

/// Every placeholder's name in what is expected.
pub fn names(expect: &Expect) -> Vec<&str> {
    let mut found = Vec::new();
    match &expect.value {
        Some(Expected::First(value)) => super::names_in(value, &mut found),
        Some(Expected::At(paths)) => paths.iter().for_each(|(_, value)| super::names_in(value, &mut found)),
        None => {}
    }
    for is in expect.json.iter().flat_map(|claim| &claim.is) {
        if let Is::Equal(value) | Is::Unequal(value) | Is::Holding(value) = is {
            super::names_in(value, &mut found);
        }
    }
    found
}

/// The variables that a file gives, by name.
pub type Values = BTreeMap<String, toml::Value>;
