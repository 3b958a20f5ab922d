//! Lengths of time as people write them: `500ms`, `3s`, `10m`, `24h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// A length of time; a day is 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct Period(Duration);

impl Period {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// In milliseconds, as servers' settings want it.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no length of time; write it like `500ms`, `3s`, `10m`, `24h` or `7d`");
        let span: jiff::Span = text.trim().parse().map_err(|_| wrong())?;
        let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        Duration::try_from(signed).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis();
        if !millis.is_multiple_of(1000) {
            write!(out, "{millis}ms")
        } else if !millis.is_multiple_of(60_000) || millis == 0 {
            write!(out, "{}s", millis / 1000)
        } else if !millis.is_multiple_of(3_600_000) {
            write!(out, "{}m", millis / 60_000)
        } else {
            write!(out, "{}h", millis / 3_600_000)
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Period;

    #[test]
    fn periods_read_back_what_they_show() {
        for text in ["500ms", "3s", "90s", "10m", "24h", "0s"] {
            let period: Period = text.parse().expect(text);
            assert_eq!(period.to_string().parse::<Period>(), Ok(period), "{text}");
        }
        assert_eq!("7d".parse::<Period>(), Ok(Period::seconds(7 * 86_400)));
        for text in ["", "3", "-2s", "soon", "3 lightyears"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
