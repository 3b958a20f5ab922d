//! The migrate operation.
