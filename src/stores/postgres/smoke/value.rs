//! Values of one run's rows: made by the generator, with the run's marker in texts wherever a column has room for
//! it, and with keys drawn from where stored rows hardly are. Pure.

use std::collections::BTreeMap;

use super::catalog::Column;
use super::check::Wish;
use crate::engine::generate::beside::settle;
use crate::engine::generate::random::Draw;
use crate::engine::generate::value::{Context, value, with_domain};

/// Where values come from: different ones each time, all recognisable.
#[derive(Clone, Debug)]
pub struct Source {
    marker: String,
    draw: Draw,
    now: i64,
    /// The row that was made last: what values are compared with that stand alone.
    last: BTreeMap<String, Option<String>>,
}

impl Source {
    /// Values of one run.
    pub fn new(marker: &str) -> Self {
        Self {
            marker: marker.to_owned(),
            draw: Draw::random(),
            now: jiff::Timestamp::now().as_second(),
            last: BTreeMap::new(),
        }
    }

    /// One of `0..count`.
    pub fn index(&mut self, count: usize) -> usize {
        self.draw.index(count)
    }

    /// Remembers a row that was made.
    pub fn made(&mut self, row: &BTreeMap<String, Option<String>>) {
        self.last.clone_from(row);
    }

    /// A value for the column, beside the row that was made last; none where lyrox does not know how to make one.
    pub fn value(&mut self, column: &Column, wish: &Wish) -> Option<String> {
        let wish = with_domain(column, wish)?;
        if wish.than.is_empty() {
            return self.draw(column, &wish);
        }
        let settled = settle(column, &wish, &|name| self.last.get(name).cloned());
        match settled.value {
            Some(value) => Some(value),
            None if settled.is_known => self.draw(column, &settled.wish),
            None => None,
        }
    }

    /// A value for the column, as it is wished; the domain's wishes are part of it.
    pub fn draw(&mut self, column: &Column, wish: &Wish) -> Option<String> {
        // Far from where rows usually are, so that ranges do not overlap stored ones.
        let index = u64::try_from(self.draw.between(50_000, 600_000)).ok()?;
        let marker = self.marker.clone();
        let mut context = Context { now: self.now, marker: Some(&marker), ..Context::new("", index) };
        context.serial = column.is_key.then(|| far(&column.base, &mut self.draw)).flatten();
        value(column, wish, &context, &mut self.draw).or_else(|| {
            context.serial = None;
            value(column, wish, &context, &mut self.draw)
        })
    }
}

/// A number for a key that stored rows hardly have.
fn far(base: &str, draw: &mut Draw) -> Option<u64> {
    let (low, high) = match base {
        "int2" => (20_000, 32_000),
        "int4" | "oid" => (1_000_000_000, 2_000_000_000),
        "int8" => (1_000_000_000_000, 2_000_000_000_000),
        "numeric" | "float4" | "float8" | "money" => (1_000_000, 8_000_000),
        "date" | "timestamp" | "timestamptz" => (10_000, 400_000),
        "inet" | "cidr" | "macaddr" | "macaddr8" | "bit" | "varbit" => (1, 16_000_000),
        "interval" => (1_000, 5_000_000),
        _ => return None,
    };
    u64::try_from(draw.between(low, high)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::generate::check::Bound;
    use crate::engine::generate::expression::{Expression, Operator};

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
        Source::new("lyrox-smoke-12345678")
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
        for is_key in [false, true] {
            // numeric(4, 2): at most 99.99.
            let narrow = Column { is_key, ..column("numeric", 4 + (4 << 16) + 2) };
            for _ in 0..50 {
                let value: f64 = source.value(&narrow, &Wish::default()).expect("a number").parse().expect("a number");
                assert!((0.0..100.0).contains(&value), "{value}");
            }
            let between =
                Wish { low: Some(Bound::Number(0.0, true)), high: Some(Bound::Number(5.0, true)), ..Wish::default() };
            for _ in 0..50 {
                let value = source.value(&Column { is_key, ..column("int4", -1) }, &between).expect("a number");
                assert!((1..=4).contains(&value.parse::<i64>().expect("a number")), "{value}");
            }
        }
        let none =
            Wish { low: Some(Bound::Number(5.0, true)), high: Some(Bound::Number(5.0, true)), ..Wish::default() };
        assert_eq!(source.value(&column("int4", -1), &none), None);
    }

    #[test]
    fn a_value_is_made_beside_the_row_that_was_made_last() {
        let mut source = source();
        let other = Expression::Column("other".into());
        let wish = Wish { than: vec![(Operator::Greater, other)], ..Wish::default() };
        assert_eq!(source.value(&column("int4", -1), &wish), None, "what it is compared with is not known");
        source.made(&BTreeMap::from([("other".to_owned(), Some("70000".to_owned()))]));
        let value: i64 = source.value(&column("int4", -1), &wish).expect("a number").parse().expect("a number");
        assert!(value > 70_000, "{value}");
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
