//! Generated data: believable rows from what a schema says, the same for the same seed number on every
//! platform. Pure: it knows no driver and no server; what a server refuses comes back as a lesson.

pub mod beside;
pub mod check;
pub mod evaluate;
pub mod expression;
pub mod moment;
pub mod numbers;
pub mod options;
pub mod parents;
pub mod partitions;
pub mod pattern;
pub mod plan;
pub mod provider;
pub mod random;
pub mod rows;
pub mod schema;
pub mod shapes;
pub mod share;
pub mod spread;
pub mod value;
pub mod words;
