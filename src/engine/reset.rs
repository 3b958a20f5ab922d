//! The reset operation.
