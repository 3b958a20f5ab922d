//! What a `[generate]` block says: how many rows, for which parents, and how the values of a column are spread.
//! Data only, made of what `project/seed/generate.rs` reads.

use super::provider::Provider;

/// How values lie between their bounds, or among those that are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// All alike.
    #[default]
    Uniform,
    /// The middle more often.
    Normal,
    /// The first ones far more often.
    Zipf,
}

/// What is said of one column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColumnOptions {
    /// The values to choose from.
    pub values: Vec<String>,
    /// How often each is chosen, beside the others; empty: alike.
    pub weights: Vec<u64>,
    /// How values, numbers, times or parents are spread.
    pub distribution: Distribution,
    /// The least and the greatest value, as texts.
    pub range: Option<(String, String)>,
    /// How many of a thousand rows have NULL.
    pub nulls: Option<u64>,
    /// A text with `{row}`, `{column}` and `{provider}` in it.
    pub template: Option<String>,
    /// The kind of text.
    pub provider: Option<Provider>,
}

/// How many rows there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Count {
    /// This many.
    Rows(u64),
    /// For each row of a table, between this many and this many.
    Per(String, u64, u64),
}

/// A block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// How many rows.
    pub count: Count,
    /// The seed number.
    pub seed: u64,
    /// "Now", in seconds since 1970.
    pub now: i64,
    /// What is said of columns, by their names.
    pub columns: Vec<(String, ColumnOptions)>,
}
