//! Which versions of the servers their makers still mend, and which have a known hole. A table that is looked up,
//! by the calendar of the machine; it contacts nobody.

use std::time::SystemTime;

use crate::error::Code;

/// The servers whose versions are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// PostgreSQL itself: not what speaks its protocol.
    Postgres,
    /// MongoDB, and whether it is known to take zlib.
    Mongodb {
        /// None where it does not say.
        takes_zlib: Option<bool>,
    },
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

/// The first release of a series in which a hole is closed.
struct Hole {
    product: Product,
    name: &'static str,
    what: &'static str,
    /// Series and release, newest first: a series that is not listed is safe when newer than the first, and has no
    /// mended release when older than the last.
    closed: &'static [(&'static [u32], &'static [u32])],
}

/// Series and the day its support ends, from their makers' calendars.
const ENDS: &[(Product, &[u32], &str)] = &[
    (Product::Postgres, &[12], "2024-11-21"),
    (Product::Postgres, &[13], "2025-11-13"),
    (Product::Postgres, &[14], "2026-11-12"),
    (Product::Postgres, &[15], "2027-11-11"),
    (Product::Postgres, &[16], "2028-11-09"),
    (Product::Postgres, &[17], "2029-11-08"),
    (Product::Postgres, &[18], "2030-11-14"),
    (MONGODB, &[4, 4], "2024-02-29"),
    (MONGODB, &[5, 0], "2024-10-31"),
    (MONGODB, &[6, 0], "2025-07-31"),
    (MONGODB, &[7, 0], "2027-08-31"),
    (MONGODB, &[8, 0], "2029-10-31"),
    (Product::Redis, &[6, 0], "2022-04-27"),
    (Product::Redis, &[7, 0], "2024-07-29"),
];

const HOLES: &[Hole] = &[
    Hole {
        product: Product::Postgres,
        name: "CVE-2026-18408",
        what: "a dump of a hostile database runs its commands where it is restored",
        closed: &[(&[18], &[18, 6]), (&[17], &[17, 11]), (&[16], &[16, 15]), (&[15], &[15, 19]), (&[14], &[14, 24])],
    },
    Hole {
        product: MONGODB,
        name: "CVE-2025-14847",
        what: "whoever reaches it reads pieces of its memory without a login, where zlib compression is on",
        closed: &[
            (&[8, 2], &[8, 2, 3]),
            (&[8, 0], &[8, 0, 17]),
            (&[7, 0], &[7, 0, 28]),
            (&[6, 0], &[6, 0, 27]),
            (&[5, 0], &[5, 0, 32]),
            (&[4, 4], &[4, 4, 30]),
        ],
    },
    Hole {
        product: Product::Redis,
        name: "CVE-2025-49844",
        what: "a user that may run scripts can run code on the server",
        closed: &[
            (&[8, 2], &[8, 2, 2]),
            (&[8, 0], &[8, 0, 4]),
            (&[7, 4], &[7, 4, 6]),
            (&[7, 2], &[7, 2, 11]),
            (&[6, 2], &[6, 2, 20]),
        ],
    },
    Hole {
        product: Product::Valkey,
        name: "CVE-2025-49844",
        what: "a user that may run scripts can run code on the server",
        closed: &[(&[8, 1], &[8, 1, 4]), (&[8, 0], &[8, 0, 6]), (&[7, 2], &[7, 2, 11])],
    },
];

/// One thing to say of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `LYX-VERSION-OLD` or `LYX-VERSION-HOLE`.
    pub code: Code,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub mend: String,
}

const MONGODB: Product = Product::Mongodb { takes_zlib: None };

impl Product {
    /// The same server, whatever was found out about it.
    fn is(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// What is to be said of a server's version: `15.18`, `6.0.5`, `16.4 (Debian 16.4-1)`.
pub fn findings(product: Product, version: &str) -> Vec<Finding> {
    let today = jiff::Timestamp::try_from(SystemTime::now()).ok();
    let today = today.map(|now| now.to_zoned(jiff::tz::TimeZone::UTC).date());
    found(product, version, today)
}

fn found(product: Product, version: &str, today: Option<jiff::civil::Date>) -> Vec<Finding> {
    let version = version.split([' ', '-', '~', '+']).next().unwrap_or_default();
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    if numbers.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if let Some(end) = end(product, &numbers, today) {
        let what = format!("version {version} is out of support{end}");
        let mend = "upgrade it: holes that are found in it stay open".to_owned();
        findings.push(Finding { code: Code::VersionOld, what, mend });
    }
    for hole in HOLES.iter().filter(|hole| hole.product.is(product)) {
        // The hole is in the compressor: where that is off, it is closed.
        if product == (Product::Mongodb { takes_zlib: Some(false) }) {
            continue;
        }
        let series = hole.closed.iter().find(|(series, _)| numbers.starts_with(series));
        let mended = match series {
            Some((_, release)) if numbers.as_slice() < *release => Some(shown(release)),
            Some(_) => None,
            None => {
                let oldest = hole.closed.last().map(|(series, _)| *series);
                oldest.filter(|oldest| numbers.as_slice() < *oldest).map(|_| "a series that is still mended".to_owned())
            }
        };
        if let Some(mended) = mended {
            let what = format!("version {version} has a known hole, {}: {}", hole.name, hole.what);
            findings.push(Finding { code: Code::VersionHole, what, mend: format!("upgrade it to {mended}") });
        }
    }
    findings
}

/// ` since 2025-11-13`, where support has ended.
fn end(product: Product, numbers: &[u32], today: Option<jiff::civil::Date>) -> Option<String> {
    let mut of_product = ENDS.iter().filter(|(of, ..)| of.is(product));
    let (_, oldest, _) = of_product.clone().next()?;
    if let Some((.., day)) = of_product.find(|(_, series, _)| numbers.starts_with(series)) {
        let date: jiff::civil::Date = day.parse().ok()?;
        return (today? > date).then(|| format!(" since {day}"));
    }
    (numbers < *oldest).then(String::new)
}

fn shown(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_judged_by_series_and_day() {
        let today = jiff::civil::date(2026, 6, 1);
        let says = |product, version: &str| -> Vec<(&str, String)> {
            let found = found(product, version, Some(today));
            found.into_iter().map(|finding| (finding.code.text(), finding.what)).collect()
        };
        for (product, version, codes) in [
            (Product::Postgres, "18.6", &[][..]),
            (Product::Postgres, "19.1", &[]),
            (Product::Postgres, "16.4 (Debian 16.4-1.pgdg12+1)", &["LYX-VERSION-HOLE"]),
            (Product::Postgres, "15.19", &[]),
            (Product::Postgres, "13.20", &["LYX-VERSION-OLD", "LYX-VERSION-HOLE"]),
            (Product::Postgres, "9.6.24", &["LYX-VERSION-OLD", "LYX-VERSION-HOLE"]),
            (MONGODB, "8.0.17", &[]),
            (MONGODB, "8.0.4", &["LYX-VERSION-HOLE"]),
            (MONGODB, "6.0.5", &["LYX-VERSION-OLD", "LYX-VERSION-HOLE"]),
            (MONGODB, "8.2.0-rc1", &["LYX-VERSION-HOLE"]),
            (Product::Mongodb { takes_zlib: Some(false) }, "8.2.0", &[]),
            (Product::Redis, "8.2.2", &[]),
            (Product::Redis, "8.4.0", &[]),
            (Product::Redis, "7.2.4", &["LYX-VERSION-HOLE"]),
            (Product::Redis, "5.0.14", &["LYX-VERSION-OLD", "LYX-VERSION-HOLE"]),
            (Product::Valkey, "9.1.2", &[]),
            (Product::Valkey, "8.0.5", &["LYX-VERSION-HOLE"]),
            (Product::Valkey, "unknown", &[]),
        ] {
            let found: Vec<&str> = says(product, version).into_iter().map(|(code, _)| code).collect();
            assert_eq!(found, codes, "{product:?} {version}");
        }
        assert!(says(Product::Postgres, "13.20")[0].1.ends_with("since 2025-11-13"));
        assert!(says(Product::Postgres, "16.4")[0].1.contains("CVE-2026-18408"));
    }
}
