//! The seed operation.
