//! Chance that repeats itself: numbers that follow from (seed number, target, row, attempt) and from nothing
//! else. Whole-number arithmetic of fixed width only, so that every platform draws the same.

use sha2::{Digest as _, Sha256};

/// What all draws of one target follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root(u64);

impl Root {
    /// The root of a target: the first eight bytes of a SHA-256 over the names, joined by NUL characters.
    pub fn new(seed: u64, names: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(seed.to_be_bytes());
        for name in names {
            hasher.update([0]);
            hasher.update(name.as_bytes());
        }
        let digest = hasher.finalize();
        Self(digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// The draws of one row; `attempt` counts how often it was drawn before.
    pub fn row(self, row: u64, attempt: u32) -> Draw {
        Draw { state: mix(self.0 ^ mix(row.wrapping_add(1)) ^ mix(u64::from(attempt) << 40)) }
    }

    /// A root below this one: of a column.
    pub fn below(self, name: &str) -> Self {
        Self(name.bytes().fold(mix(self.0), |number, byte| mix(number ^ u64::from(byte))))
    }
}

/// SplitMix64: one addition and a finisher; passes the usual tests, and is eight lines in any language.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Draw {
    /// A draw that follows from the clock and the system's entropy: for rows that nobody repeats.
    pub fn random() -> Self {
        Self { state: rand::random() }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// One of `0..count`; 0 where there is none.
    pub fn below(&mut self, count: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(count);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// One of `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = i128::from(high) - i128::from(low);
        let Ok(count) = u64::try_from(span + 1) else { return low };
        let drawn = i128::from(low) + i128::from(self.below(count));
        i64::try_from(drawn).unwrap_or(low)
    }

    /// True in this many of a thousand draws.
    pub fn in_thousand(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// One of a list that is not empty.
    pub fn one<'l, T: ?Sized>(&mut self, list: &'l [&'l T]) -> &'l T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap_or(0)]
    }

    /// An index below `count`; 0 where there is none.
    pub fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).unwrap_or(0)
    }

    /// One of `0..count`, the first ones far more often: octave after octave is as likely as the one before,
    /// which is Zipf's law with exponent 1.
    pub fn zipf(&mut self, count: u64) -> u64 {
        if count < 2 {
            return 0;
        }
        let octaves = u64::from(64 - count.leading_zeros());
        loop {
            let octave = self.below(octaves);
            let low = 1_u64 << octave;
            let value = low + self.below(low) - 1;
            if value < count {
                return value;
            }
        }
    }

    /// One of `low..=high`, the middle far more often: the sum of twelve even draws.
    pub fn normal(&mut self, low: i64, high: i64) -> i64 {
        let total: i128 = (0..12).map(|_| i128::from(self.below(1 << 20))).sum();
        let span = i128::from(high) - i128::from(low) + 1;
        let drawn = i128::from(low) + span * total / (12 << 20);
        i64::try_from(drawn).unwrap_or(high).clamp(low, high)
    }

    /// The index of a weight, drawn by weight; 0 where all are 0.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_names_draw_the_same_numbers_for_ever() {
        // Written down: a change of these changes every generated database.
        let mut draw = Root::new(7, &["p", "postgres", "User"]).row(0, 0);
        let drawn: Vec<u64> = (0..4).map(|_| draw.below(1000)).collect();
        assert_eq!(drawn, GOLDEN);
        assert_ne!(Root::new(7, &["a", "bc"]), Root::new(7, &["ab", "c"]));
        let rows: std::collections::BTreeSet<u64> =
            (0..1000).map(|row| Root::new(7, &["p"]).row(row, 0).bits()).collect();
        assert_eq!(rows.len(), 1000);
    }

    const GOLDEN: [u64; 4] = [646, 389, 48, 452];

    #[test]
    fn draws_keep_their_shapes() {
        let mut draw = Root::new(1, &[]).row(0, 0);
        let zipf: Vec<u64> = (0..10_000).map(|_| draw.zipf(1000)).collect();
        let first = zipf.iter().filter(|one| **one == 0).count();
        assert!(zipf.iter().all(|one| *one < 1000) && (700..1400).contains(&first), "{first}");
        let normal: Vec<i64> = (0..10_000).map(|_| draw.normal(0, 99)).collect();
        let middle = normal.iter().filter(|one| (40..60).contains(*one)).count();
        assert!(normal.iter().all(|one| (0..100).contains(one)) && middle > 6000, "{middle}");
        assert!(draw.between(i64::MIN, i64::MAX - 1).checked_abs().is_some());
        assert_eq!((draw.between(5, 5), draw.below(0)), (5, 0));
    }
}
