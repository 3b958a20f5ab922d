//! The rows that other rows may refer to: their keys, with the columns that have to agree. Pure.

use std::collections::HashMap;
use std::sync::Mutex;

use super::random::Draw;

/// How many rows of a table others may refer to: enough for any schema, and flat memory.
pub const MOST: usize = 50_000;

/// Keys of a table's rows, in an order that is the same everywhere.
#[derive(Debug, Default)]
pub struct Pool {
    /// The columns that are kept.
    pub columns: Vec<String>,
    /// The rows; a NULL is none.
    pub rows: Vec<Vec<Option<String>>>,
    /// Rows by the values of some columns, made when first asked for.
    by: Mutex<HashMap<Vec<usize>, Groups>>,
}

/// Rows by the values that some of their columns have.
type Groups = HashMap<Vec<String>, Vec<u32>>;

impl Pool {
    /// A pool of these columns.
    pub fn new(columns: Vec<String>) -> Self {
        Self { columns, ..Self::default() }
    }

    /// Adds a row while there is room.
    pub fn push(&mut self, row: Vec<Option<String>>) {
        if self.rows.len() < MOST {
            self.rows.push(row);
        }
    }

    /// Where a column is.
    pub fn at(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }

    /// The rows whose columns have these values.
    fn agreeing(&self, fixed: &[(usize, &str)], use_rows: impl FnOnce(&[u32]) -> Option<usize>) -> Option<usize> {
        let columns: Vec<usize> = fixed.iter().map(|(column, _)| *column).collect();
        let values: Vec<String> = fixed.iter().map(|(_, value)| (*value).to_owned()).collect();
        let mut by = self.by.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let groups = by.entry(columns.clone()).or_insert_with(|| {
            let mut groups = Groups::new();
            for (row, values) in self.rows.iter().enumerate() {
                let key: Option<Vec<String>> = columns.iter().map(|column| values[*column].clone()).collect();
                if let (Some(key), Ok(row)) = (key, u32::try_from(row)) {
                    groups.entry(key).or_default().push(row);
                }
            }
            groups
        });
        use_rows(groups.get(&values)?)
    }

    /// A row that agrees with what is fixed; `turn` asks for row after row instead of any.
    pub fn pick(&self, fixed: &[(usize, &str)], turn: Option<u64>, is_skewed: bool, draw: &mut Draw) -> Option<usize> {
        let choose = |count: usize, draw: &mut Draw| -> Option<usize> {
            if count == 0 {
                return None;
            }
            let wide = count as u64;
            let index = match turn {
                Some(turn) => spread(turn, wide),
                None if is_skewed => draw.zipf(wide),
                None => draw.below(wide),
            };
            usize::try_from(index).ok()
        };
        if fixed.is_empty() {
            return choose(self.rows.len(), draw);
        }
        self.agreeing(fixed, |rows| choose(rows.len(), draw).map(|index| rows[index] as usize))
    }
}

/// Row after row, each once per round, without being in order: a step that has no divisor in common.
fn spread(turn: u64, count: u64) -> u64 {
    let mut step = (count / 2 + count / 8).max(1) | 1;
    while gcd(step, count) != 1 {
        step += 2;
    }
    let wide = u128::from(turn) * u128::from(step) % u128::from(count);
    u64::try_from(wide).unwrap_or(0)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::random::Root;
    use super::*;

    #[test]
    fn rows_that_agree_are_found_and_turns_meet_each_once() {
        let mut pool = Pool::new(vec!["tenant".into(), "id".into()]);
        for row in 0..100_u32 {
            pool.push(vec![Some((row % 4).to_string()), Some(row.to_string())]);
        }
        let mut draw = Root::new(1, &[]).row(0, 0);
        for _ in 0..50 {
            let row = pool.pick(&[(0, "3")], None, true, &mut draw).expect("a row");
            assert_eq!(pool.rows[row][0].as_deref(), Some("3"));
        }
        assert_eq!(pool.pick(&[(0, "9")], None, false, &mut draw), None);
        for count in [1_u64, 2, 7, 30, 64, 100] {
            let met: std::collections::BTreeSet<u64> = (0..count).map(|turn| spread(turn, count)).collect();
            assert_eq!(met.len() as u64, count);
        }
    }
}
