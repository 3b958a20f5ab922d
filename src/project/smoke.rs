//! Declared smoke tests on disk.
