//! A value that a column takes, as the text of an SQL literal: from its type and from what is wished of
//! it. Pure. Texts hold the run's marker wherever the column has room for it.

use rand::RngExt as _;

use super::catalog::Column;
use super::check::{Bound, Wish, Wishes, join, ways};
use crate::engine::generate::pattern;

/// Where values come from: different ones each time, all recognisable.
#[derive(Clone, Debug)]
pub struct Source {
    marker: String,
    run: String,
    count: u64,
    /// Columns that are ranked against each other count from here.
    base: i64,
}

impl Source {
    /// Values of one run.
    pub fn new(marker: &str, run: &str) -> Self {
        Self { marker: marker.to_owned(), run: run.to_owned(), count: 0, base: jiff::Timestamp::now().as_second() }
    }

    /// A value for the column; none where lyrox does not know how to make one.
    pub fn value(&mut self, column: &Column, wish: &Wish) -> Option<String> {
        self.count += 1;
        let wish = with_domain(column, wish)?;
        if let Some(texts) = &wish.one_of {
            let free: Vec<&String> = texts.iter().filter(|text| !wish.none_of.contains(text)).collect();
            if free.is_empty() {
                return None;
            }
            return Some(free[usize::try_from(self.count).unwrap_or(0) % free.len()].clone());
        }
        if column.category == "A" {
            return self.array(column, &wish);
        }
        match (column.kind.as_str(), column.base.as_str()) {
            ("e", _) => {
                let free: Vec<&String> = column.labels.iter().filter(|label| !wish.none_of.contains(label)).collect();
                // The first label is the usual one; another is drawn where rows must differ.
                let index =
                    if self.count.is_multiple_of(2) { 0 } else { rand::rng().random_range(0..free.len().max(1)) };
                free.get(index).map(|label| (*label).clone())
            }
            ("c", _) => {
                let commas = usize::try_from(column.fields).ok()?.checked_sub(1)?;
                Some(format!("({})", ",".repeat(commas)))
            }
            ("r", base) => range(base),
            ("m", _) => Some("{}".into()),
            // Small, so that what is computed from it stays in range.
            (_, "int2" | "int4" | "int8" | "float4" | "float8") if !column.is_key => {
                self.integer(&wish, 1, 1000, if column.base == "int2" { 32_000 } else { i64::from(i32::MAX) })
            }
            (_, "int2") => self.integer(&wish, 1, 32_000, 32_000),
            (_, "int4") => self.integer(&wish, 1_000_000_000, 2_000_000_000, i64::from(i32::MAX)),
            (_, "int8") => self.integer(&wish, 1_000_000_000_000, 2_000_000_000_000, i64::MAX),
            (_, "oid") => self.integer(&wish, 1_000_000, 2_000_000_000, i64::from(i32::MAX)),
            (_, "float4" | "float8") => self.integer(&wish, 1_000_000, 8_000_000, i64::MAX),
            (_, "numeric") => self.numeric(column, &wish),
            (_, "money") => self.integer(&wish, 1, 1_000_000, i64::MAX),
            (_, "bool") => Some(if wish.none_of.iter().any(|text| text == "false") { "true" } else { "false" }.into()),
            (_, "text" | "varchar" | "bpchar" | "citext" | "name" | "char") => self.text(column, &wish),
            (_, "uuid") => Some(uuid::Uuid::new_v4().to_string()),
            (_, "timestamptz" | "timestamp" | "date" | "time" | "timetz") => self.time(column, &wish),
            (_, "interval") => Some(format!("{} seconds", rand::rng().random_range(60..600))),
            (_, "json" | "jsonb") => Some(match wish.json.as_deref() {
                Some("array") => format!("[\"{}\"]", self.marker),
                Some("string") => format!("\"{}\"", self.marker),
                Some("number") => "1".into(),
                Some("boolean") => "true".into(),
                _ => format!("{{\"lyrox\": \"{}-{}\"}}", self.marker, self.count),
            }),
            (_, "bytea") => Some(format!("\\x{}{:08x}", hex(&self.marker), rand::rng().random::<u32>())),
            (_, "inet") => Some(self.address()),
            (_, "cidr") => Some(format!("{}/32", self.address())),
            (_, "macaddr") => Some(format!("02:{}", bytes(5))),
            (_, "macaddr8") => Some(format!("02:{}", bytes(7))),
            (_, "bit") => Some(random_bits(usize::try_from(column.modifier).unwrap_or(1).max(1))),
            (_, "varbit") => Some("1".into()),
            (_, "point") => {
                Some(format!("({},{})", rand::rng().random_range(0..1000), rand::rng().random_range(0..1000)))
            }
            (_, "line") => Some("{1,1,1}".into()),
            (_, "lseg" | "path" | "polygon" | "box") => Some("((0,0),(1,1))".into()),
            (_, "circle") => Some("<(0,0),1>".into()),
            (_, "tsvector" | "tsquery") => Some("lyrox".into()),
            (_, "xml") => Some(format!("<lyrox>{}</lyrox>", self.marker)),
            (_, "ltree") => Some(format!("lyrox.{}.{}", self.run, self.count)),
            (_, "hstore") => Some(format!("lyrox=>\"{}\"", self.marker)),
            (_, "vector" | "halfvec") => {
                let size =
                    usize::try_from(column.modifier).ok().filter(|size| (1..=16_000).contains(size)).unwrap_or(3);
                Some(format!("[{}]", vec!["0.5"; size].join(",")))
            }
            _ => None,
        }
    }

    fn integer(&mut self, wish: &Wish, low: i64, high: i64, most: i64) -> Option<String> {
        if let Some(rank) = wish.rank
            && wish.low.is_none()
            && wish.high.is_none()
        {
            return Some((low.min(20_000) + rank).to_string());
        }
        let (low, high) = bounds(wish, low, high, most)?;
        let value = rand::rng().random_range(low..=high).checked_add(wish.rank.unwrap_or(0))?.min(high.max(low));
        Some(value.to_string())
    }

    /// Whole numbers while the column has digits for them; else fractions.
    fn numeric(&mut self, column: &Column, wish: &Wish) -> Option<String> {
        let (precision, scale) = if column.modifier < 4 {
            (15, 2)
        } else {
            let modifier = column.modifier - 4;
            ((modifier >> 16) & 0xffff, modifier & 0x7ff)
        };
        let whole = precision - scale;
        let most = if whole > 0 { 10_i64.checked_pow(u32::try_from(whole.min(15)).ok()?)? - 1 } else { 0 };
        if let (Some(Bound::Number(low, _)), Some(Bound::Number(high, _))) = (wish.low, wish.high)
            && high - low < 2.0
        {
            return Some(format!("{}", f64::midpoint(low, high)));
        }
        match (wish.low, wish.high) {
            (_, Some(Bound::Number(high, _))) if high <= 1.0 && wish.low.is_none() => Some(format!("{}", high - 1.0)),
            _ if most == 0 => Some("0.5".into()),
            _ => self.integer(wish, 1.min(most), most.min(1_000_000), most),
        }
    }

    fn time(&mut self, column: &Column, wish: &Wish) -> Option<String> {
        let step = if column.base.starts_with("time") && column.base.len() <= 6 { 60 } else { 86_400 };
        let spread = rand::rng().random_range(1..50_000);
        let now = self.base;
        let mut second = match (wish.low, wish.high) {
            (Some(low), None) => moment(low, now)? + step + spread,
            (None, Some(high)) => moment(high, now)? - step - spread,
            (Some(low), Some(high)) => i64::midpoint(moment(low, now)?, moment(high, now)?),
            (None, None) => now - if wish.rank.is_some() { 10 * step } else { spread },
        };
        second += wish.rank.unwrap_or(0) * step;
        let time = jiff::Timestamp::from_second(second).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
        Some(match column.base.as_str() {
            "date" => time.date().to_string(),
            "time" | "timetz" => time.time().to_string(),
            "timestamp" => time.datetime().to_string(),
            _ => time.timestamp().to_string(),
        })
    }

    fn text(&mut self, column: &Column, wish: &Wish) -> Option<String> {
        if let Some(regex) = &wish.regex {
            return pattern::example(regex, &mut |count| rand::rng().random_range(0..count.max(1)));
        }
        if let Some(like) = &wish.like {
            return Some(pattern::like(like, "lyrox"));
        }
        let declared = match column.base.as_str() {
            "varchar" | "bpchar" if column.modifier >= 4 => usize::try_from(column.modifier - 4).ok(),
            "bpchar" | "char" => Some(1),
            "name" => Some(63),
            _ => None,
        };
        let longest = [declared, wish.longest].into_iter().flatten().min().unwrap_or(usize::MAX);
        let unique = format!("{:x}", rand::rng().random::<u64>());
        let mut text = format!("{}-{unique}", self.marker);
        if text.chars().count() > longest {
            // No room for the marker: what is left is at least different each time.
            text = unique.chars().cycle().take(longest).collect();
        }
        while wish.shortest.is_some_and(|shortest| text.chars().count() < shortest) {
            text.push('x');
        }
        if wish.is_upper {
            text = text.to_uppercase();
        }
        Some(text)
    }

    fn array(&mut self, column: &Column, wish: &Wish) -> Option<String> {
        let count = wish.shortest.unwrap_or(0).min(100);
        if count == 0 {
            return Some("{}".into());
        }
        let element = match column.base.trim_start_matches('_') {
            "text" | "varchar" | "bpchar" | "citext" => self.marker.clone(),
            "int2" | "int4" | "int8" | "numeric" | "float4" | "float8" => "1".into(),
            "uuid" => uuid::Uuid::new_v4().to_string(),
            "bool" => "true".into(),
            _ => return None,
        };
        Some(format!("{{{}}}", vec![element; count].join(",")))
    }

    fn address(&self) -> String {
        let mut random = rand::rng();
        format!("10.{}.{}.{}", random.random::<u8>(), random.random::<u8>(), random.random::<u8>())
    }
}

/// The wish with what the column's domains ask added.
fn with_domain(column: &Column, wish: &Wish) -> Option<Wish> {
    let mut all = Wishes::from([("value".to_owned(), wish.clone())]);
    for check in &column.checks {
        // A CHECK that is not understood may still be satisfied.
        let Some(ways) = ways(check, Some("value")) else { continue };
        all = ways.iter().find_map(|way| join(&all, way))?;
    }
    all.remove("value")
}

fn moment(bound: Bound, now: i64) -> Option<i64> {
    match bound {
        Bound::Now(offset) => Some(now + offset),
        Bound::Time(second) => Some(second),
        Bound::Number(..) => None,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "clamped to the type's range")]
fn bounds(wish: &Wish, low: i64, high: i64, most: i64) -> Option<(i64, i64)> {
    let given = |bound: Option<Bound>, is_low: bool| match bound {
        Some(Bound::Number(number, is_strict)) => {
            let whole = if is_low { number.ceil() } else { number.floor() };
            let at = whole as i64;
            #[allow(clippy::float_cmp, reason = "a whole number or not")]
            let touches = is_strict && whole == number;
            Some(if !touches {
                at
            } else if is_low {
                at.saturating_add(1)
            } else {
                at.saturating_sub(1)
            })
        }
        _ => None,
    };
    let (least, greatest) = (given(wish.low, true), given(wish.high, false));
    let span = high - low;
    let (low, high) = match (least, greatest) {
        (None, None) => (low, high),
        (Some(least), None) => (least, least.saturating_add(span).min(most)),
        (None, Some(greatest)) => (greatest.saturating_sub(span).max(greatest.min(0)), greatest),
        (Some(least), Some(greatest)) => (least, greatest),
    };
    (low <= high).then_some((low, high))
}

fn range(base: &str) -> Option<String> {
    Some(match base {
        "int4range" | "int8range" | "numrange" => {
            let low = rand::rng().random_range(1..1_000_000_000);
            format!("[{low},{})", low + 1)
        }
        "daterange" => "[2001-01-01,2001-01-02)".into(),
        "tsrange" | "tstzrange" => "[2001-01-01 00:00:00,2001-01-01 00:00:01)".into(),
        _ => "empty".into(),
    })
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(count: usize) -> String {
    (0..count).map(|_| format!("{:02x}", rand::rng().random::<u8>())).collect::<Vec<_>>().join(":")
}

fn random_bits(count: usize) -> String {
    (0..count).map(|_| if rand::rng().random::<bool>() { '1' } else { '0' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(base: &str, modifier: i32) -> Column {
        Column {
            name: "c".into(),
            type_name: base.into(),
            base: base.into(),
            kind: "b".into(),
            category: "X".into(),
            modifier,
            is_required: true,
            ..Column::default()
        }
    }

    fn source() -> Source {
        Source::new("lyrox-smoke-12345678", "12345678")
    }

    #[test]
    fn texts_hold_the_marker_where_there_is_room() {
        let mut source = source();
        assert!(
            source.value(&column("text", -1), &Wish::default()).expect("a text").starts_with("lyrox-smoke-12345678-")
        );
        let short = source.value(&column("varchar", 4 + 8), &Wish::default()).expect("a text");
        assert_eq!(short.len(), 8);
        let long = source.value(&column("text", -1), &Wish { shortest: Some(90), ..Wish::default() }).expect("a text");
        assert_eq!(long.len(), 90);
    }

    #[test]
    fn numbers_keep_within_type_and_wish() {
        let mut source = source();
        // numeric(4, 2): at most 99.
        for _ in 0..50 {
            let value: f64 = source
                .value(&column("numeric", 4 + (4 << 16) + 2), &Wish::default())
                .expect("a number")
                .parse()
                .expect("a number");
            assert!((1.0..=99.0).contains(&value), "{value}");
        }
        let between =
            Wish { low: Some(Bound::Number(0.0, true)), high: Some(Bound::Number(5.0, true)), ..Wish::default() };
        for _ in 0..50 {
            let value: i64 = source.value(&column("int4", -1), &between).expect("a number").parse().expect("a number");
            assert!((1..=4).contains(&value), "{value}");
        }
        let share =
            Wish { low: Some(Bound::Number(0.0, false)), high: Some(Bound::Number(1.0, false)), ..Wish::default() };
        assert_eq!(source.value(&column("numeric", 4 + (3 << 16) + 2), &share).as_deref(), Some("0.5"));
        let none =
            Wish { low: Some(Bound::Number(5.0, true)), high: Some(Bound::Number(5.0, true)), ..Wish::default() };
        assert_eq!(source.value(&column("int4", -1), &none), None);
    }

    #[test]
    fn times_keep_their_rank() {
        let mut source = source();
        let mut at = |rank| {
            source.value(&column("timestamptz", -1), &Wish { rank: Some(rank), ..Wish::default() }).expect("a time")
        };
        assert!(at(0) < at(1));
    }

    #[test]
    fn domains_have_their_say() {
        let mut domain = column("text", -1);
        domain.checks = vec!["CHECK ((VALUE ~ '^[a-z]+@[a-z]+$'::text))".into()];
        let value = source().value(&domain, &Wish::default()).expect("a text");
        let (name, host) = value.split_once('@').expect("an address");
        assert!(!name.is_empty() && !host.is_empty() && !value.contains('-'), "{value}");
    }
}
