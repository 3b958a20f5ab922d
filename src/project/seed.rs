//! Seed sets on disk.
