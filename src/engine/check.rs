//! The check operation.
