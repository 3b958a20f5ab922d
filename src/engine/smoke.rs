//! The smoke operation.
